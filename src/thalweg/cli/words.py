"""What stands behind an option, as values: `-1.2,1`, `-2:2,-1:3` and `adam.lr=0.1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg import typed


def numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers separated by commas.

    >>> numbers("start", "-1.2,1")
    (-1.2, 1.0)
    """
    if text is None:
        return None
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} is {text!r}; it must be numbers, as in -1.2,1.") from None


def interval(name: str, text: str | None) -> tuple[float, float] | None:
    """Two numbers with a colon between them.

    >>> interval("x-range", "0.1:0.9")
    (0.1, 0.9)
    """
    if text is None:
        return None
    try:
        low, high = (float(each) for each in text.split(":"))
    except ValueError:
        raise ValueError(f"--{name} is {text!r}; it must be two numbers, as in 0.1:0.9.") from None
    return low, high


def intervals(name: str, text: str | None) -> list[tuple[float, float]] | None:
    """Intervals separated by commas."""
    found = [interval(name, each) for each in text.split(",")] if text is not None else None
    return None if found is None else [each for each in found if each is not None]


def settings(given: Sequence[str]) -> dict[str, Any]:
    """What `--set` says, by name.

    >>> settings(["adam.lr=0.1", "adam.amsgrad=true"])
    {'adam.lr': 0.1, 'adam.amsgrad': True}
    """
    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or "." not in name:
            raise ValueError(f"--set is {each!r}; it must be like adam.lr=0.1.")
        found[name.strip()] = typed.value(value)
    return found
