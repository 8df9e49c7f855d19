"""Functions to walk on: one file, one landscape, found by discovery.

>>> names()[:4]
['ackley', 'associative_memory', 'beale', 'booth']
>>> find("valley", condition=100).minima
((0.0, 0.0),)
>>> load("lambda x, y: x**2 + 10 * y**2").coordinates
('x', 'y')
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from thalweg import typed
from thalweg.landscape import Landscape, of_function
from thalweg.signature import did_you_mean


def names() -> list[str]:
    """Every landscape of the house, by discovery: a new file is a new landscape."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str, **parameters: Any) -> Landscape:
    """The landscape of that name, with its parameters: `find("valley", condition=100)`.

    Raises:
        ValueError: there is none, it has no such parameter, or cannot take that value; says what it could be.
    """
    known = names()
    key = name.lower().replace("-", "_")
    if key not in known:
        raise ValueError(f"there is no landscape {name!r}.{did_you_mean(key, known)} Known: {', '.join(known)}.")
    build = getattr(importlib.import_module(f"{__name__}.{key}"), key)
    allowed = inspect.signature(build).parameters
    for each in parameters:
        if each not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise ValueError(f"landscape {key} has no parameter {each!r}; {has}.{did_you_mean(each, allowed)}")
    try:
        made = build(**parameters)
    except TypeError:
        raise ValueError(f"{typed.Call(key, parameters)}: a parameter has a value of the wrong kind.") from None
    return replace(made, name=str(typed.Call(key, parameters)))


def load(given: str | Landscape | Any) -> Landscape:
    """A landscape however it is given.

    Args:
        given: a name, `"valley(condition=100)"`, a formula `"lambda x, y: ..."` (parsed, never evaluated),
            `"path/to/file.py:function"` (imported), a function of one or two tensors, or a landscape.

    Raises:
        ValueError: it is none of these. FileNotFoundError: no such file.
    """
    if isinstance(given, Landscape):
        return given
    if callable(given):
        return of_function(given, getattr(given, "__name__", "function"))
    text = str(given).strip()
    if text.startswith("lambda"):
        return of_function(typed.function(text), text, formula=text.partition(":")[2].strip())
    path, _, wanted = text.rpartition(":")
    if path.endswith(".py"):
        return _from_file(Path(path), wanted)
    if text.endswith(".py"):
        raise ValueError(f"landscape {text!r}: say which function of the file, as in {text}:height.")
    call = typed.call(text)
    return find(call.name, **call.arguments)


def _from_file(path: Path, wanted: str) -> Landscape:
    if not path.is_file():
        raise FileNotFoundError(f"there is no landscape file {str(path)!r}.")
    module_name = f"thalweg_landscape_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    found = getattr(module, wanted, None)
    if isinstance(found, Landscape):
        return found
    if not callable(found):
        known = [name for name, each in vars(module).items() if callable(each)]
        raise ValueError(f"{str(path)!r} has no function {wanted!r}.{did_you_mean(wanted, known)}")
    return of_function(found, wanted)
