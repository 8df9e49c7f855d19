"""Print the page of conventions from the cards: which settings reproduce torch, Keras, optax, a paper ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.card import Card
from thalweg.printing.signatures import WORDS

HEAD = """\
# Conventions

Generated from the cards in `src/thalweg/rules/` by `scripts/generate.py`: edit those, and run it.

The same name means different arithmetic in different libraries. eps stands inside or outside a root, a
velocity is a sum or an average, an accumulator starts at 0 or at 0.1. Here every such choice is an argument
of the rule. The default is that of the class of the same name in `torch.optim`; for Momentum and Nesterov it
is `torch.optim.SGD` with its flags.

Each call below reproduces one library, the paper, or the [lecture](lecture.md) that this toolkit began with.
It writes out the settings that differ from our defaults. Where it sets no `lr`, it keeps our default, or
takes yours.

Import the package as `import thalweg as tw`; `params` is what `model.parameters()` gives."""


def conventions_page(cards: Mapping[str, Card]) -> str:
    """The page as Markdown: one table per optimizer, and what the arguments mean.

        >>> from thalweg.card import Bowl, Log
        >>> card = Card(title="Tiny", paper="", summary="", intuition="", strengths=[], weaknesses=[], when="",
        ...             when_not="", symbols={}, search={"lr": Log(0.1, 1.0)}, search_source="", bowl=Bowl(lr=1.0),
        ...             conventions={"torch": {}, "keras": {"eps": 1e-7}}, conventions_note="Keras: larger eps.")
        >>> print(conventions_page({"tiny": card}).partition("## Tiny")[2])
        <BLANKLINE>
        <BLANKLINE>
        | as in | call |
        |---|---|
        | torch | `tw.Tiny(params)` |
        | Keras | `tw.Tiny(params, eps=1e-07)` |
        <BLANKLINE>
        Keras: larger eps.
        <BLANKLINE>

    Args:
        cards: by file name, as the page shall be ordered.
    """
    shown = [card for card in cards.values() if card.conventions]
    used = {name for card in shown for settings in card.conventions.values() for name in settings}
    parts = [HEAD, _arguments(used), *map(_section, shown)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _arguments(used: set[str]) -> str:
    """What the arguments mean that the calls set."""
    words = [f"- `{name}`: {WORDS[name]}." for name in sorted(used & set(WORDS) - {"lr"})]
    return "\n".join(["## What the arguments mean", "", *words]) if words else ""


def _section(card: Card) -> str:
    rows = [f"| {library(name)} | `{call(card.title, settings)}` |" for name, settings in card.conventions.items()]
    lines = [f"## {card.title}", "", "| as in | call |", "|---|---|", *rows]
    return "\n".join([*lines, "", card.conventions_note] if card.conventions_note else lines)


def library(name: str) -> str:
    """The name of a convention as it is printed: keras is Keras."""
    capitals = {"keras": "Keras", "tensorflow": "TensorFlow"}
    first, _, rest = name.partition(" ")
    return f"{capitals.get(first, first)} {rest}".strip()


def call(title: str, settings: Mapping[str, Any]) -> str:
    """What makes the optimizer with these settings."""
    return f"tw.{title}({', '.join(['params', *(f'{name}={value!r}' for name, value in settings.items())])})"
