"""A user's search ranges: a TOML file that changes or extends those on the optimizers' cards.

    [adamw]
    source = "our sweeps of last year"
    lr = { log = [1e-4, 1e-2] }
    beta1 = { one_minus_log = [0.02, 0.3] }    # 1 - beta1, evenly in the logarithm
    default = 3e-4                             # the lr of the first run

What a file does not name stays as the card has it; what it says of an optimizer that does not compete is passed over.
The order is the order of importance: with few points only the first hyper-parameters are searched
(thalweg.lab.space.dimensions); lr always comes first.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg import rules
from thalweg.card import Log, OneMinusLog, Range
from thalweg.minimize.methods import METHODS
from thalweg.signature import did_you_mean

VERSION = "cards of 2026-11-27"  # of the ranges on the cards: a change there is another search
SCALES = {"log": Log, "one_minus_log": OneMinusLog}


@dataclass(frozen=True)
class Own:
    """What a file says of one optimizer.

    Attributes:
        ranges: by hyper-parameter, in the order of the file.
        default: the lr of the first run, or None for the rule's.
        source: where the ranges are from.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    default: float | None = None
    source: str = ""


def read(path: str | Path, known: Mapping[str, Sequence[str]]) -> tuple[dict[str, Own], str]:
    """The ranges of a file by candidate, and the version they are known by (the file's hash).

    Args:
        path: the TOML file.
        known: the numbers that each candidate has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML, or names what there is not; the sentence says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r} of search ranges")
    content = path.read_bytes()
    try:
        given = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}.") from None
    every = [*known, *rules.names(), *METHODS]
    for name in given:
        if name not in every:
            near = did_you_mean(name, known) or did_you_mean(name, every)
            raise ValueError(f"{path} names {name!r}, which is no optimizer of this comparison or of the house.{near}")
    found = {name: _own(f"{path} [{name}]", table, known[name]) for name, table in given.items() if name in known}
    return found, f"{path.name} {hashlib.sha256(content).hexdigest()[:12]}"


def _own(where: str, table: Any, numbers: Sequence[str]) -> Own:
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {table!r}; it must be a table of ranges.")
    ranges = {}
    for key, value in table.items():
        if key in ("source", "default"):
            continue
        if key not in numbers:
            near = did_you_mean(key, [*numbers, "source", "default"])
            raise ValueError(f"{where} has {key!r}, which the rule does not.{near} It has {', '.join(numbers)}.")
        ranges[key] = _range(f"{where} {key}", value)
    default, source = table.get("default"), table.get("source", "")
    if default is not None and not (_is_number(default) and default > 0):
        raise ValueError(f"{where} default is {default!r}; it must be a learning rate above 0.")
    if not isinstance(source, str):
        raise ValueError(f"{where} source is {source!r}; it must be a string.")
    return Own(ranges, default, source)


def _range(where: str, value: Any) -> Range:
    scale, ends = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
    if scale not in SCALES or not (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))):
        allowed = "{ log = [low, high] } or { one_minus_log = [low, high] }"
        raise ValueError(f"{where} is {value!r}; it must be {allowed}.")
    low, high = map(float, ends)
    if not 0 < low < high or (scale == "one_minus_log" and high > 1):
        limit = ", and at most 1" if scale == "one_minus_log" else ""
        raise ValueError(f"{where} goes from {low:g} to {high:g}; it must rise, from above 0{limit}.")
    return SCALES[scale](low, high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
