"""Print the README's table of optimizers from the cards."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.card import Card
from thalweg.printing.signatures import search_text
from thalweg.signature import Signature


def optimizer_table(cards: Mapping[str, tuple[Card, Signature]]) -> str:
    """A Markdown table: one row per rule, by file name."""
    rows = [
        "| optimizer | what it does | state | lr to search | reach for it when | formula |",
        "|---|---|---|---|---|---|",
    ]
    for name, (card, signature) in cards.items():
        kept = signature.kept({})
        slots = ", ".join(f"`{slot}`" for slot in kept) or "none"
        lr = search_text(card).split(",")[0].removeprefix("lr ")
        rows.append(
            f"| `tw.{card.title}` | {card.summary} | {slots} | {lr} | {card.when} "
            f"| [{name}.py](src/thalweg/rules/{name}.py) |"
        )
    return "\n".join(rows)
