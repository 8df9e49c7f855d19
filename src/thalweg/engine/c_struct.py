"""Structs for plan.cpp: every field is 64 bits, a number or an address, and what it points to lives as long."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

POINTER, INTEGER = ctypes.c_void_p, ctypes.c_int64


class Struct:
    """A C struct, given by name what its fields hold: a number, an array, or a `reference`.

    >>> struct = Struct(("length", "values"), length=2, values=doubles([0.5, 2.0]))
    >>> struct.words[0], struct.words[1] == ctypes.addressof(struct.values["values"])
    (2, True)
    """

    def __init__(self, fields: Sequence[str], **values: Any):
        if set(fields) != set(values):
            raise TypeError(f"not the struct's fields: {sorted(set(fields) ^ set(values))}.")
        self.values = values
        self.words = (INTEGER * len(fields))(*(_word(values[name]) for name in fields))
        self.address = ctypes.addressof(self.words)


def _word(value: Any) -> int:
    if isinstance(value, ctypes.py_object):
        return id(value.value)
    return ctypes.addressof(value) if isinstance(value, ctypes.Array) else int(value)


reference = ctypes.py_object  # one Python object


def integers(values: Sequence[int]) -> Any:
    """An array of them."""
    return (INTEGER * len(values))(*values)


def doubles(values: Sequence[float]) -> Any:
    """An array of them."""
    return (ctypes.c_double * len(values))(*values)


def addresses(values: Sequence[int]) -> Any:
    """An array of pointers."""
    return (POINTER * len(values))(*values)


def rows(values: Sequence[Sequence[int]]) -> Any:
    """An array of pointers to arrays of integers."""
    return (ctypes.POINTER(INTEGER) * len(values))(*map(integers, values))


def references(values: Sequence[Any]) -> Any:
    """An array of Python objects; None becomes NULL."""
    array = (ctypes.py_object * len(values))()
    for i, value in enumerate(values):
        if value is not None:
            array[i] = value
    return array


def address_of(function: Any) -> int:
    """Where a function of a loaded library lies."""
    return ctypes.cast(function, POINTER).value or 0
