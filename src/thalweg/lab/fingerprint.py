"""What a task or a rule is, as a short hash: so that runs of changed code are never mixed with older ones.

The hash is made of the source of the functions, of everything of the user's that they refer to (functions,
classes, constants, values they closed over), and of the data as far as it can be seen. It does not depend on
where a file lies, and a comment between two functions changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from pathlib import Path, PurePath
from types import EllipsisType
from typing import Any

import numpy as np
import torch

import thalweg
from thalweg.lab.task import Task

# Of our own modules, those that hold what a run computes; the others are the same for every task and rule.
OURS = ("thalweg.workloads", "thalweg.rules", "thalweg.transforms", "thalweg.minimize")
# Of packages: values that their repr tells whole, and objects whose attributes are read.
TOLD = (np.generic, range, slice, Fraction, Decimal, date, time, timedelta, re.Pattern)
OPEN = (
    torch.utils.data.Dataset, torch.utils.data.DataLoader, torch.nn.Module, types.SimpleNamespace, argparse.Namespace,
)  # fmt: skip
DEEP = 12  # containers and objects inside each other are followed no further


def of_task(task: Task) -> str:
    """The hash of a task's code and data.

    >>> import dataclasses
    >>> from thalweg import workloads
    >>> digits = workloads.load("digits")
    >>> of_task(digits) == of_task(dataclasses.replace(digits, description="other words"))
    True
    >>> of_task(digits) == of_task(dataclasses.replace(digits, mode="min"))
    False
    """
    return _Reading().hash([task.model, task.train, task.loss, task.metric, task.validation, task.mode])


def of_function(*functions: Any) -> str:
    """The hash of functions: of a rule, say, with all that it calls.

    >>> from thalweg.rules.adam import adam
    >>> from thalweg.rules.adamw import adamw
    >>> len(of_function(adam)), of_function(adam) == of_function(adamw)
    (16, False)
    """
    return _Reading().hash(list(functions))


def is_users(module: Any) -> bool:
    """Whether a module is the user's own: not Python's, not installed, not ours."""
    place = Path(getattr(module, "__file__", None) or "")
    root = module.__name__.partition(".")[0]
    if root in sys.stdlib_module_names or root == thalweg.__name__:
        return False
    return not {"site-packages", "dist-packages"} & set(place.parts)


class _Reading:
    """Walks through what functions refer to, and writes down what it sees."""

    def __init__(self) -> None:
        self._digests: dict[int, str] = {}  # of what was read, by id
        self._kept: list[Any] = []  # as long as this lives, no id is given to a second object
        self._written = hashlib.sha256()

    def hash(self, things: Iterable[Any]) -> str:
        for thing in things:
            self._read(thing, 0)
        return self._written.hexdigest()[:16]

    def _write(self, *words: Any) -> None:
        for word in words:
            self._written.update(f"{word}\0".encode())

    def _read(self, thing: Any, depth: int) -> None:
        """Write what a thing is. Two references to one thing are written like two equal things."""
        if isinstance(thing, str | bytes | int | float | complex | torch.dtype | torch.device | None | EllipsisType):
            self._write(type(thing).__name__, repr(thing))
            return
        if id(thing) not in self._digests:
            self._digests[id(thing)] = "inside itself"
            self._kept.append(thing)
            self._digests[id(thing)] = self._digest(self._open, thing, depth)
        self._write(self._digests[id(thing)])

    def _digest(self, read: Callable[[Any, int], None], thing: Any, depth: int) -> str:
        outer, self._written = self._written, hashlib.sha256()
        read(thing, depth)
        digest, self._written = self._written.hexdigest(), outer
        return digest

    def _open(self, thing: Any, depth: int) -> None:
        if depth > DEEP:
            self._write("deep", type(thing).__qualname__)
        elif isinstance(thing, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer):
            self._write("lazy", str(thing.dtype))
        elif isinstance(thing, torch.Tensor | np.ndarray):
            self._write(*_numbers(thing))
        elif isinstance(thing, TOLD):
            self._write(type(thing).__qualname__, repr(thing))
        elif isinstance(thing, PurePath):  # a project may move
            self._write("path", thing.name if thing.is_absolute() else thing.as_posix())
        elif isinstance(thing, Mapping):
            self._write("mapping", len(thing))
            for key, value in thing.items():
                self._read(key, depth + 1)
                self._read(value, depth + 1)
        elif isinstance(thing, tuple | list | deque):
            self._write("list", len(thing))
            for each in thing:
                self._read(each, depth + 1)
        elif isinstance(thing, set | frozenset):
            self._write("set", *sorted(self._digest(self._read, each, depth + 1) for each in thing))
        elif isinstance(thing, partial):
            self._read([thing.func, list(thing.args), thing.keywords], depth)
        elif isinstance(thing, types.FunctionType):
            self._function(thing, depth)
        elif isinstance(thing, types.MethodType):
            self._read([thing.__func__, thing.__self__], depth)
        elif isinstance(thing, staticmethod | classmethod):
            self._read(thing.__func__, depth)
        elif isinstance(thing, property):
            self._read([thing.fget, thing.fset], depth)
        elif isinstance(thing, type):
            self._class(thing, depth)
        elif isinstance(thing, types.ModuleType):
            self._write("module", thing.__name__)
        elif inspect.isfunction(kept := inspect.getattr_static(thing, "__wrapped__", None)):  # behind a cache
            self._read(kept, depth)
        else:
            self._object(thing, depth)

    def _function(self, function: types.FunctionType, depth: int) -> None:
        self._write("function", function.__name__)
        if not _followed(function.__module__):
            self._write(function.__module__, function.__qualname__)
            return
        self._write(_source(function))
        self._read([function.__defaults__, function.__kwdefaults__], depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._write(name)
            try:
                self._read(cell.cell_contents, depth + 1)
            except ValueError:  # not filled yet
                self._write("empty")
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                self._write(name)
                self._global(function.__globals__[name], function.__code__, depth)

    def _global(self, value: Any, code: types.CodeType, depth: int) -> None:
        """What a global name stands for; of a user's module the parts that are named here."""
        if not isinstance(value, types.ModuleType) or not _followed(value.__name__):
            self._read(value, depth + 1)
            return
        for name in sorted(_names(code) & vars(value).keys()):
            self._write(name)
            self._read(vars(value)[name], depth + 1)

    def _class(self, kind: type, depth: int) -> None:
        self._write("class", kind.__qualname__)
        if not _followed(kind.__module__):
            self._write(kind.__module__)
            return
        self._read(list(kind.__bases__), depth)
        for name, value in sorted(vars(kind).items()):
            if name not in ("__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__"):
                self._write(name)
                self._read(value, depth + 1)

    def _object(self, thing: Any, depth: int) -> None:
        kind = type(thing)
        self._write("object", kind.__module__, kind.__qualname__)
        if isinstance(thing, torch.utils.data.Dataset) and not _followed(kind.__module__):
            self._write(len(thing) if hasattr(thing, "__len__") else "endless")  # type: ignore[arg-type]
        if isinstance(thing, torch.Generator):
            return  # its position moves while batches are drawn
        if _followed(kind.__module__):
            self._class(kind, depth)
        if isinstance(thing, OPEN) or _followed(kind.__module__):
            for name, value in sorted({**_slots(thing), **getattr(thing, "__dict__", {})}.items()):
                hooks = isinstance(thing, torch.nn.Module) and "_hooks" in name and isinstance(value, Mapping)
                self._write(name)
                self._read(list(value.values()) if hooks else value, depth + 1)  # their keys count all of a process


def _slots(thing: Any) -> dict[str, Any]:
    """What an object keeps in slots."""
    found: dict[str, Any] = {}
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                found[name] = getattr(thing, name)
    return found


@cache
def _followed(module: str | None) -> bool:
    """Whether code of that module is read; of the rest the name must do."""
    if module is None:
        return False
    if module.startswith(OURS):
        return True
    found = sys.modules.get(module)  # a task's file is not there any more
    return is_users(found if found is not None else types.ModuleType(module))


def _source(function: types.FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        return repr(list(_instructions(function.__code__)))


def _instructions(code: types.CodeType) -> Iterable[Any]:
    yield code.co_code, code.co_names, code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
        else:
            yield repr(constant)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function, and the functions inside it, look up: globals and attributes."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _numbers(array: torch.Tensor | np.ndarray) -> tuple[str, ...]:
    """Form and content of an array. Content to four digits: another processor rounds random numbers differently."""
    shape, kind = str(tuple(array.shape)), str(array.dtype)
    values = array.detach().cpu() if isinstance(array, torch.Tensor) else array
    if isinstance(values, torch.Tensor):
        values = values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    if values.dtype == object or values.dtype.kind in "USMm":
        return shape, kind, hashlib.sha256(repr(values.tolist()).encode()).hexdigest()
    real = values.astype(complex).view(float) if values.dtype.kind == "c" else values.astype(float)
    real = real.ravel()
    place = np.arange(real.size) % 97 + 1.0  # so that another order is another content
    above, below = np.maximum(real, 0), np.maximum(-real, 0)  # sums without cancellation
    totals = (above.sum(), below.sum(), (real * real).sum(), (above * place).sum(), (below * place).sum())
    return shape, kind, *(f"{float(total):.4g}" for total in totals)
