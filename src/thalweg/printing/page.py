"""An explanation as text and as Markdown, from its data.

>>> formula = {"text": "p ← p − g", "latex": [], "notes": [], "left_out": []}
>>> print(text({"title": "Tiny", "summary": "A step.", "formula": formula}))
Tiny: A step.
<BLANKLINE>
FORMULA
  p ← p − g
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thalweg.printing.conventions import library
from thalweg.printing.notation import UNICODE

WIDTH = 100
WORDS = ("intuition", "strengths", "weaknesses", "when", "when_not", "kin", "paper")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Something that has `data()` with a title, a summary and a formula, in every form in which one reads it.

    Args:
        name: its own name.
        title: as one writes it.
        summary: what it does, in one sentence.
        chosen: the settings that differ from the defaults.
        symbols: what each name in the formula stands for.
        settings: for each argument its `value`, the range to `search` (or None) and its `meaning`.
        file: where the formula stands.
        intuition, strengths, weaknesses, when, when_not, kin, paper: the words of its card.
    """

    name: str
    title: str
    summary: str
    chosen: Mapping[str, Any]
    symbols: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    file: str
    intuition: str = field(default="", repr=False)
    strengths: list[str] = field(default_factory=list, repr=False)
    weaknesses: list[str] = field(default_factory=list, repr=False)
    when: str = field(default="", repr=False)
    when_not: str = field(default="", repr=False)
    kin: Mapping[str, str] = field(default_factory=dict, repr=False)
    paper: str = field(default="", repr=False)

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        raise NotImplementedError

    def json(self) -> str:
        """The same as strict JSON."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False, allow_nan=False)

    def markdown(self, rule_file: str = "", page_of: str = "") -> str:
        """A page of Markdown; `printing.page.markdown` has the arguments."""
        return markdown(self.data(), rule_file, page_of)

    def latex(self) -> str:
        """The formula as one LaTeX environment."""
        lines = [re.sub(r"\\leftarrow|\\geq|=", r"&\g<0>", line, count=1) for line in self.data()["formula"]["latex"]]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def __str__(self) -> str:
        return text(self.data())


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: lines as they are, pairs of a name and its meaning, points, prose."""

    heading: str
    lines: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()
    points: Sequence[str] = ()
    prose: str = ""

    def __bool__(self) -> bool:
        return bool(self.lines or self.pairs or self.points or self.prose)


def words(card: Any) -> dict[str, Any]:
    """The words of a card, of a rule or of a minimizer, as an explanation takes them."""
    return {name: getattr(card, name) for name in WORDS}


def sections(known: Mapping[str, Any]) -> list[Section]:
    """What is known, in reading order; what is not known is left out."""
    formula = known["formula"]
    left_out = f"Left out, because they are 0 here: {', '.join(formula['left_out'])}." if formula["left_out"] else ""
    settings = [(name, _setting(one)) for name, one in known.get("settings", {}).items()]
    searched = f"Ranges to search: {known['search_source']}." if known.get("search_source") else ""
    conventions = [(library(name), call) for name, call in known.get("conventions", {}).items()]
    where = [f"{known['paper']}." if known.get("paper") else "", f"Formula: {known.get('file', '')}."]
    found = [
        Section("Formula", lines=formula["text"].splitlines(), prose=left_out),
        Section("Symbols", pairs=[(symbol(name), means) for name, means in known.get("symbols", {}).items()]),
        Section("In the source", pairs=[*known.get("source", {}).items()]),
        Section("Intuition", prose=known.get("intuition", "")),
        Section("Strengths", points=known.get("strengths", [])),
        Section("Weaknesses", points=known.get("weaknesses", [])),
        Section("When", prose=known.get("when", "")),
        Section("When not", prose=known.get("when_not", "")),
        Section("Settings", pairs=settings, prose=searched),
        Section("Step length", pairs=[*known.get("search", {}).items()]),
        Section("Cost", prose=f"{known['cost']}." if known.get("cost") else ""),
        Section("State", prose=known.get("state", {}).get("text", "")),
        Section("Conventions", pairs=conventions, prose=known.get("conventions_note", "")),
        Section("Kin", pairs=[*known.get("kin", {}).items()]),
        Section("Source", prose=" ".join(filter(None, where)) if "file" in known else ""),
    ]
    return [section for section in found if section]


def symbol(name: str) -> str:
    """A name as the formula has it, and as the source has it where that differs."""
    written = UNICODE.name(name)
    return name if written == name else f"{written} {name}"


def text(known: Mapping[str, Any], headings: Sequence[str] = ()) -> str:
    """Plain text, 100 columns wide; all sections, or those named."""
    chosen = [s for s in sections(known) if not headings or s.heading in headings]
    first = textwrap.fill(f"{known['title']}: {known['summary']}", WIDTH)
    return "\n\n".join([first, *(f"{s.heading.upper()}\n{body(s)}" for s in chosen)])


def body(section: Section, width: int = WIDTH) -> str:
    """A section without its heading, as indented text."""
    wide = max((_cells(name) for name, _ in section.pairs), default=0)
    parts = [f"  {line}" for line in section.lines]
    parts += [_hanging(f"  {name}{' ' * (wide - _cells(name))}  ", means, width) for name, means in section.pairs]
    parts += [_hanging("  - ", point, width) for point in section.points]
    parts += [_hanging("  ", section.prose, width)] if section.prose else []
    return "\n".join(parts)


def markdown(known: Mapping[str, Any], rule_file: str = "", page_of: str = "") -> str:
    """A page of Markdown.

    Args:
        known: the data of an explanation.
        rule_file: where the rule's file is, seen from the page; without it the file is named, not linked.
        page_of: where the pages of kin are, with ``{name}`` in it; without it kin are named, not linked.
    """
    parts = [f"# {known['title']}", known["summary"]]
    for section in sections(known):
        parts.append(f"## {section.heading}")
        if section.heading == "Formula":
            parts += [f"$$\n{line}\n$$" for line in known["formula"]["latex"]]
            noted = ", with the notes from its source" if any(known["formula"]["notes"]) else ""
            parts.append(f"The same in one piece{noted}:")
            parts.append("```text\n" + "\n".join(section.lines) + "\n```")
        if section.heading == "Kin" and page_of:
            parts.append("\n".join(f"- [{name}]({page_of.format(name=name)}): {how}" for name, how in section.pairs))
        elif section.heading == "Conventions":
            rows = [f"| {name} | `{call}` |" for name, call in section.pairs]
            parts.append("\n".join(["| as in | call |", "|---|---|", *rows]))
        elif section.heading == "Settings":
            ranges = any(one["search"] for one in known["settings"].values())
            rows = [_row(name, one, ranges) for name, one in known["settings"].items()]
            head = "| argument | value |" + " range to search |" * ranges + " meaning |"
            parts.append("\n".join([head, "|---|---|" + "---|" * ranges + "---|", *rows]))
        elif section.heading == "Symbols":
            parts.append("\n".join(f"- `{name.replace(' ', '` or `')}`: {means}" for name, means in section.pairs))
        elif section.pairs:
            parts.append("\n".join(f"- `{name}`: {means}" for name, means in section.pairs))
        parts += ["\n".join(f"- {point}" for point in section.points)] if section.points else []
        prose = section.prose
        if section.heading == "Source":
            prose = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", prose)
            prose = prose.replace(
                known["file"], f"[{known['file']}]({rule_file})" if rule_file else f"`{known['file']}`"
            )
        parts += [prose] if prose else []
    return "\n\n".join(parts) + "\n"


def _setting(one: Mapping[str, Any]) -> str:
    search = f" (search {one['search']})" if one["search"] else ""
    return f"{_value(one)}{search}: {one['meaning']}"


def _row(name: str, one: Mapping[str, Any], ranges: bool) -> str:
    cells = [f"`{name}`", _value(one), *([one["search"] or ""] if ranges else []), one["meaning"]]
    return f"| {' | '.join(cells)} |"


def _value(one: Mapping[str, Any]) -> str:
    return str(one["value"]) if isinstance(one["value"], bool | str) else f"{one['value']:g}"


def _cells(name: str) -> int:
    """How many cells of a terminal: an accent takes none."""
    return sum(c not in "\u0302\u0303\u0304" for c in name)


def _hanging(begin: str, text: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=begin,
        subsequent_indent=" " * _cells(begin),
        break_long_words=False,
        break_on_hyphens=False,
    )
