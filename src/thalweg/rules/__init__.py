"""The formulas: one file, one rule, one card.

>>> names()[:3]
['adadelta', 'adagrad', 'adam']
>>> find("adamw").__name__
'adamw'
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path

from thalweg.signature import Rule, did_you_mean, signature_of


def names() -> list[str]:
    """Every rule of the house, by discovery: a new file is a new rule."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Rule:
    """The rule of that name, in any spelling of its case.

    Raises:
        ValueError: there is none; says which there are, and the nearest.
    """
    known = names()
    if name.lower() not in known:
        raise ValueError(f"there is no rule {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return getattr(importlib.import_module(f"{__name__}.{name.lower()}"), name.lower())


class RuleFileError(ValueError):
    """A rule's file raised as it ran; its cause is what was raised."""


def named(name: str) -> Rule:
    """The rule of that name, or in that file if the name ends in ``.py``; raises as `find` and `load` do."""
    return load(name) if name.endswith(".py") else find(name)


def load(path: str | Path) -> Rule:
    """The rule in a file of the user's: the one function there that begins with ``(p, g``.

    With several, it is the one named like the file. Its card, if it has one, stands in the same file.

    Raises:
        FileNotFoundError: no such file. RuleFileError: it raised. ValueError: no rule in it, or no telling which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no rule file {str(path)!r}.")
    module_name = f"thalweg_rule_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{str(path)!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RuleFileError(f"running {str(path)!r} raised {type(error).__name__}: {error}.") from error
    found: dict[str, Rule] = {}
    refused = ""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module_name and callable(value) and not isinstance(value, type):
            try:
                signature_of(value)
            except TypeError as error:
                if [*inspect.signature(value).parameters][:2] == ["p", "g"]:
                    refused = f" {error}"
                continue
            found[name] = value
    if len(found) > 1 and path.stem in found:
        return found[path.stem]
    if len(found) != 1:
        which = ", ".join(found) or "none"
        raise ValueError(
            f"{str(path)!r} must define one rule: a function (p, g, slots ..., *, t, lr=...). Found: {which}.{refused}"
        )
    return next(iter(found.values()))
