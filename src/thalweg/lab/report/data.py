"""Reading result.json: its parts, its runs, and how each optimizer looks in every picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.pictures.style import Look, looks

Data = Mapping[str, Any]
SEARCHED = ("default", "search", "edge")


def part(data: Data, key: str) -> Data:
    """A part of the data; empty where it is missing or null."""
    return data.get(key) or {}


def runs(data: Data, *phases: str) -> list[Data]:
    """The runs of some phases, in the order in which they were asked for."""
    return [run for run in data.get("runs") or [] if run["phase"] in phases]


def seen_as(data: Data) -> dict[str, Look]:
    """One look per optimizer, in the order in which the comparison lists them."""
    named = [*part(data, "optimizers"), *(run["optimizer"] for run in data.get("runs") or [])]
    return looks(dict.fromkeys(named))
