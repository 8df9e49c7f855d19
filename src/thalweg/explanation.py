"""`tw.explain("adam")`: what an optimizer does, by its formula, its numbers and its past.

Everything is read from the rule and its card: the formula from the source of the rule, the numbers from
running it, what the past counts from differentiating it.

    >>> print(explain("momentum").formula)
    push ← g
    v ← momentum · v + push
    p ← p − lr · v
    >>> explain("momentum").history(steps=3, momentum=0.5).memories["step"].shares
    [1.0, 0.5, 0.25]
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch

from thalweg import landscapes, rules
from thalweg.card import Card, OneMinusLog, Range, card_of
from thalweg.engine.history import History, history
from thalweg.engine.trajectory import plain
from thalweg.landscape import Landscape
from thalweg.optimizer import Optimizer, optimizer
from thalweg.printing import page
from thalweg.printing.conventions import call
from thalweg.printing.formula import Formula, formula
from thalweg.printing.signatures import WORDS, meaning
from thalweg.printing.worked import Worked, work
from thalweg.signature import Rule, check_number, signature_of

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Explanation:
    """What is known about an optimizer. Print it, show it in a notebook, or take its parts.

    Args:
        rule: the rule as its class runs it, with weight decay in front.
        name, title: its own name and that of its class.
        summary: what it does, in one sentence.
        chosen: the settings that differ from the defaults.
        formula: its lines under these settings.
        symbols: what each name in the formula stands for.
        settings: for each argument its `value`, the range to `search` (or None) and its `meaning`.
        state: its `slots` by their first value, `bytes_per_parameter` in float32, `bytes_per_tensor` besides,
            and the same as `text`.
        conventions: the calls that reproduce another library, the paper or the lecture.
        file: where the formula stands.
    """

    rule: Rule = field(repr=False)
    name: str
    title: str
    summary: str
    chosen: Mapping[str, Any]
    formula: Formula = field(repr=False)
    symbols: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    file: str
    intuition: str = field(default="", repr=False)
    strengths: list[str] = field(default_factory=list, repr=False)
    weaknesses: list[str] = field(default_factory=list, repr=False)
    when: str = field(default="", repr=False)
    when_not: str = field(default="", repr=False)
    search_source: str = field(default="", repr=False)
    conventions: Mapping[str, str] = field(default_factory=dict, repr=False)
    conventions_note: str = field(default="", repr=False)
    kin: Mapping[str, str] = field(default_factory=dict, repr=False)
    paper: str = field(default="", repr=False)

    def worked(
        self,
        steps: int = 3,
        landscape: str | Landscape | Callable[..., Any] = "valley",
        parameter: int | str = 0,
        **settings: Any,
    ) -> Worked:
        """A few steps written out with their numbers.

        Args:
            steps: how many. Default 3.
            landscape: where the gradients come from: a name, a formula ``"lambda x, y: ..."``, a function of
                tensors, or a landscape; the walk begins at its start. Default "valley".
            parameter: whose numbers are shown: an index, or the name of a coordinate. Default the first.
            settings: hyper-parameters that differ from those of this explanation.

        Raises:
            ValueError: there is no such landscape or parameter.

        Example:
            >>> print(explain("sgd").worked(steps=1, parameter="y", lr=0.1))
            step 1   p = y = 0.9   g = 9
              p <- 0.9 - 0.1 * 9 = 0
        """
        land = landscapes.load(landscape)
        names = land.coordinates if not land.is_matrix else [f"p[{i}]" for i in range(land.point().numel())]
        if isinstance(parameter, str):
            if parameter not in names:
                raise ValueError(f"parameter is {parameter!r}; {land.name} has {', '.join(names)}.")
            parameter = list(names).index(parameter)
        return work(
            self.rule,
            lambda p, t: land.gradient(torch.from_numpy(p), t).numpy(),
            land.point().numpy(),
            steps=steps,
            parameter=parameter,
            names=names,
            project=lambda p: land.project(torch.from_numpy(p)).numpy(),
            **_checked(self.rule, {**self.chosen, **settings}),
        )

    def history(self, steps: int = 16, **settings: Any) -> History:
        """How much each past gradient counts in today's step, and how the rate changes.

        Args:
            steps: how many gradients it has seen. Default 16.
            settings: hyper-parameters that differ from those of this explanation.

        Example:
            >>> explain("rmsprop").history(alpha=0.95).memories["v"].half_life
            13.5...
        """
        return history(self.rule, steps, **_checked(self.rule, {**self.chosen, **settings}))

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        known = {name: value for name, value in vars(self).items() if name not in ("rule", "formula")}
        written = {"unicode": self.formula.unicode, "latex": self.formula.latex, "text": str(self.formula)}
        notes = [line.note for line in self.formula.lines]
        return plain({**known, "formula": {**written, "notes": notes, "left_out": list(self.formula.left_out)}})

    def json(self) -> str:
        """The same as strict JSON."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False, allow_nan=False)

    def markdown(self, rule_file: str = "", page_of: str = "") -> str:
        """A page of Markdown; `printing.page.markdown` has the arguments."""
        return page.markdown(self.data(), rule_file, page_of)

    def latex(self) -> str:
        """The formula as one LaTeX environment."""
        lines = [line.replace(r"\leftarrow", r"&\leftarrow", 1) for line in self.formula.latex]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def __str__(self) -> str:
        return page.text(self.data())


@dataclass(frozen=True)
class Overview:
    """Every optimizer in a line: what ``tw.explain()`` gives."""

    explanations: Mapping[str, Explanation]

    def rows(self) -> list[dict[str, Any]]:
        """Name, what it does, bytes of state per parameter, lr to search, and when to reach for it."""
        return [
            {
                "name": name,
                "summary": e.summary,
                "bytes_per_parameter": e.state["bytes_per_parameter"],
                "lr": e.settings.get("lr", {}).get("search"),
                "when": e.when,
            }
            for name, e in self.explanations.items()
        ]

    def json(self) -> str:
        """The rows as strict JSON."""
        return json.dumps(plain(self.rows()), indent=1, ensure_ascii=False, allow_nan=False)

    def markdown(self, page_of: str = "") -> str:
        """A table; `page_of` is where the pages are, with ``{name}`` in it."""
        head = ["| optimizer | what it does | state, bytes per parameter | lr to search | reach for it when |"]
        lines = [*head, "|---|---|---|---|---|"]
        for row in self.rows():
            name = f"[{row['name']}]({page_of.format(name=row['name'])})" if page_of else row["name"]
            lines.append(f"| {name} | {row['summary']} | {row['bytes_per_parameter']} | {row['lr']} | {row['when']} |")
        return "\n".join(lines) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        wide = max(map(len, self.explanations))
        return "\n".join(f"{row['name']:<{wide}}  {row['summary']}" for row in self.rows())


@overload
def explain(optimizer: None = None) -> Overview: ...
@overload
def explain(optimizer: str | Rule | type[Optimizer], **settings: Any) -> Explanation: ...
def explain(optimizer: str | Rule | type[Optimizer] | None = None, **settings: Any) -> Explanation | Overview:
    """Explain an optimizer; without one, all of them in a line each.

    Args:
        optimizer: a name, a class (`tw.Adam`), or a rule of your own.
        settings: hyper-parameters that differ from their defaults: ``explain("adam", amsgrad=True)``.

    Raises:
        ValueError: there is no such optimizer, or a setting has a value out of its range.
        TypeError: it has no such setting, or is no rule.

    Example:
        >>> explain("adam").formula.unicode[-1]
        'p ← p − lr · m̂ / (√v̂ + ε)'
        >>> explain("adm")
        Traceback (most recent call last):
        ValueError: there is no rule 'adm'. Did you mean 'adam'? Known: ...
    """
    if optimizer is None:
        return Overview({name: explain(name) for name in rules.names()})
    made = _class(optimizer)
    rule, own = made.rule, made.formula
    given = rules.find(optimizer) if isinstance(optimizer, str) else own
    settings = _checked(rule, settings)
    card, signature = made.card, signature_of(rule)
    hyper = {**signature.defaults, **settings}
    lines = formula(rule, **settings)
    known = {
        "intuition": card.intuition,
        "strengths": card.strengths,
        "weaknesses": card.weaknesses,
        "when": card.when,
        "when_not": card.when_not,
        "search_source": card.search_source,
        "conventions": {name: call(card.title, their) for name, their in card.conventions.items()},
        "conventions_note": card.conventions_note,
        "kin": card.kin,
        "paper": card.paper,
    } if card else {}  # fmt: skip
    return Explanation(
        rule=rule,
        name=getattr(given, "__name__", "rule"),
        title=made.__name__,
        summary=card.summary if card else (inspect.getdoc(own) or "A rule without a docstring.").splitlines()[0],
        chosen=settings,
        formula=lines,
        symbols={name: _stands_for(name, card) for name in lines.names if _stands_for(name, card)},
        settings={
            name: {
                "value": hyper[name],
                "search": _range(card.search[name]) if card and name in card.search else None,
                "meaning": meaning(name, card),
            }
            for name in signature.defaults
        },
        state=_state(rule, hyper),
        file=_file(given),
        **known,
    )


def _class(given: str | Rule | type[Optimizer]) -> type[Optimizer]:
    if isinstance(given, type) and issubclass(given, Optimizer):
        return given
    return optimizer(rules.find(given) if isinstance(given, str) else given)


def _checked(rule: Rule, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each in its range and none against another; unknown names are left for `trace` to refuse."""
    signature = signature_of(rule)
    for name in signature.numbers.keys() & settings.keys():
        check_number(name, settings[name])
    card = card_of(rule)
    refusal = card.refuses({**signature.defaults, **settings}) if card and card.refuses else None
    if refusal:
        raise ValueError(refusal)
    return dict(settings)


def _stands_for(name: str, card: Card | None) -> str:
    if name == "t":
        return "step number, counted from 1"
    if card and name in card.symbols:
        return card.symbols[name]
    return meaning(name, card) if name in WORDS else {"p": "parameter", "g": "gradient"}.get(name, "")


def _range(search: Range) -> str:
    low, high = (1 - search.high, 1 - search.low) if isinstance(search, OneMinusLog) else (search.low, search.high)
    return f"{low:g} to {high:g}"


def _state(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    kept = signature_of(rule).kept(hyper)
    tensors = [name for name, slot in kept.items() if slot.shape == "p"]
    numbers = [name for name in kept if name not in tensors]
    parts = [f"{', '.join(tensors)}: {4 * len(tensors)} bytes per parameter in float32"] if tensors else []
    parts += [f"{', '.join(numbers)}: {8 * len(numbers)} bytes per tensor"] if numbers else []
    return {
        "slots": {name: hyper.get(str(slot.start), slot.start) for name, slot in kept.items()},
        "bytes_per_parameter": 4 * len(tensors),
        "bytes_per_tensor": 8 * len(numbers),
        "text": "; ".join(parts) + "." if parts else "None.",
    }


def _file(rule: Rule) -> str:
    path = Path(inspect.getsourcefile(inspect.unwrap(rule)) or "")
    return f"src/thalweg/{path.relative_to(PACKAGE).as_posix()}" if path.is_relative_to(PACKAGE) else str(path)
