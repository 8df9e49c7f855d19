"""The arguments of a comparison, written down so that another process can prepare the same comparison again."""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.lab.pickles import pickled

PLAIN = str | int | float | bool | None


def recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON: plain values as they are, everything else pickled with its code.

    Paths are kept from the working folder on, so that a project may move, and in full where they lie outside it.
    """
    rules = arguments.get("rules") or []
    rules = [rules] if isinstance(rules, str | Path) or callable(rules) else rules
    files = {"rules": [Path(rule) if isinstance(rule, str) else rule for rule in rules]}
    return {"folder": os.getcwd(), "arguments": {k: _written(v) for k, v in {**arguments, **files}.items()}}


def restored(record: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments from what `recorded` gave; a path that is not absolute is one from its folder.

    A pickle runs code when it is read: restore only what you recorded.
    """
    return {name: _read(value) for name, value in record["arguments"].items()}


def _written(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Path):
        path, here = value.resolve(), Path.cwd()
        return {"path": str(path.relative_to(here) if path.is_relative_to(here) else path)}
    if isinstance(value, list | tuple):
        return [_written(each) for each in value]
    functions = [getattr(value, name, None) for name in ("model", "train", "loss", "metric")]
    return {"pickle": base64.b64encode(pickled(value, value, *functions)).decode("ascii")}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if isinstance(value, Mapping):
        kind, content = next(iter(value.items()))
        return Path(content) if kind == "path" else pickle.loads(base64.b64decode(content))
    return value
