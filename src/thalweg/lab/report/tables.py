"""The table of results: who is where, on fresh seeds or in the search alone."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.lab.report.data import Data, part, seen_as

SYMBOLS = dict(zip("os^DvP<X>hp", "●■▲◆▼✚◀✖▶⬢⬟", strict=True))
"""matplotlib's markers as characters, so that a table row is recognised in the pictures."""


@dataclass(frozen=True)
class Row:
    """One optimizer in the table of results."""

    name: str
    colour: str
    symbol: str
    known: Data
    recommended: bool

    @property
    def confirmed(self) -> Data | None:
        """What fresh seeds say, if there were any."""
        return self.known.get("confirmed")

    @property
    def failed(self) -> int:
        """How many of the fresh seeds diverged; the mean counts them with the worst value."""
        return sum(value is None for value in (self.confirmed or {}).get("values", []))


def rows(data: Data) -> list[Row]:
    """The confirmed optimizers, best first; then the others by their search value; then those without any."""
    sign = 1 if part(data, "task").get("mode") == "min" else -1

    def rank(row: Row) -> tuple[int, float]:
        if row.confirmed:
            return 0, sign * row.confirmed["mean"]
        best = row.known.get("search_best")
        return (2, 0.0) if best is None else (1, sign * best)

    recommended = part(data, "decision").get("recommended")
    seen = seen_as(data)
    made = [
        Row(name, seen[name].colour, SYMBOLS[seen[name].marker], known, name == recommended)
        for name, known in part(data, "optimizers").items()
    ]
    return sorted(made, key=rank)
