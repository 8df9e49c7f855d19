"""The words a formula may use.

A closed set: ``+ - * / **`` and comparisons, the elementwise functions below, three sums that name their
scope (`row_mean`: a row, `norm`: this tensor, `total`: the whole model) and a few opaque matrix operations. Each
word means the same on Python floats, numpy values, torch tensors (also inside `torch.func.vmap`) and on whatever
brings its own meaning in a method ``__thalweg_op__(name, args)``: that is how a trace records a formula and how
a list of tensors runs it.

    >>> sqrt(9.0), sign(-2.0), ratio(1.0, 0.0)
    (3.0, -1.0, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

ELEMENTWISE = ("sqrt", "abs", "sign", "exp", "log", "tanh", "where", "minimum", "maximum", "equal")
REDUCTIONS = ("norm", "total")
ROWS = ("row_mean",)
MATRIX = ("matmul", "transpose", "orthogonal", "eigh", "qr")


def _numpy_orthogonal(x: np.ndarray) -> np.ndarray:
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def _row_mean(x: Any) -> Any:
    return x.mean(axis=tuple(range(1, x.ndim)), keepdims=True) if np.ndim(x) > 1 else 0.0


NUMPY: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "where": np.where,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "equal": np.equal,
    "row_mean": _row_mean,
    "norm": lambda x: np.sqrt(np.sum(np.square(x))),
    "total": np.sum,
    "matmul": np.matmul,
    "transpose": lambda x: np.swapaxes(x, -1, -2),
    "orthogonal": _numpy_orthogonal,
    "eigh": lambda x: tuple(np.linalg.eigh(x)),
    "qr": lambda x: tuple(np.linalg.qr(x)),
}


def _torch_pick(clamp: str, pick: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def call(a: Any, b: Any) -> torch.Tensor:
        if not isinstance(a, torch.Tensor):
            a, b = b, a
        return pick(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, **{clamp: b})

    return call


def _torch_orthogonal(x: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ vh


def _torch_where(condition: Any, a: Any, b: Any) -> Any:
    if not isinstance(condition, torch.Tensor):  # known on the host: no need to ask every element
        return a if condition else b
    if not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor):
        # 0-d and float64: precise, and never widens what it meets; filled there, where a copy would wait for a GPU
        a, b = (torch.full((), x, dtype=torch.float64, device=condition.device) for x in (a, b))
    return torch.where(condition, a, b)


TORCH: dict[str, Callable[..., Any]] = {
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": lambda x: torch.where(x != x, x, torch.sign(x)),  # torch's own says 0 for NaN
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "where": _torch_where,
    "minimum": _torch_pick("max", torch.minimum),
    "maximum": _torch_pick("min", torch.maximum),
    "equal": lambda a, b: a == b,
    "row_mean": lambda x: x.mean(dim=tuple(range(1, x.ndim)), keepdim=True) if x.ndim > 1 else x.new_zeros(()),
    "norm": lambda x: torch.sqrt(torch.sum(x * x)),
    "total": torch.sum,
    "matmul": torch.matmul,
    "transpose": lambda x: x.transpose(-1, -2),
    "orthogonal": _torch_orthogonal,
    "eigh": lambda x: tuple(torch.linalg.eigh(x)),
    "qr": lambda x: tuple(torch.linalg.qr(x)),
}


NUMPY_TYPES = (np.generic, np.ndarray)


def _call(name: str, *args: Any) -> Any:
    for arg in args:
        if hasattr(arg, "__thalweg_op__"):
            return arg.__thalweg_op__(name, args)
    if any(isinstance(arg, torch.Tensor) for arg in args):
        return TORCH[name](*args)
    if any(isinstance(arg, NUMPY_TYPES) for arg in args):
        return NUMPY[name](*args)
    return _of_numbers(name, *args)


def _of_numbers(name: str, *args: Any) -> Any:
    """Of plain numbers: numpy's IEEE answer (nan, inf) instead of Python's exceptions, as tensors would give it."""
    with np.errstate(all="ignore"):
        answer = NUMPY[name](*args)
    return answer.item() if isinstance(answer, NUMPY_TYPES) else answer


# ---- elementwise


def sqrt(x: Any) -> Any:
    """Square root; NaN for a negative number."""
    return _call("sqrt", x)


def abs(x: Any) -> Any:
    """Absolute value."""
    return _call("abs", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1; the sign of 0 is 0, of NaN NaN."""
    return _call("sign", x)


def exp(x: Any) -> Any:
    """The exponential function; inf where it overflows."""
    return _call("exp", x)


def log(x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below."""
    return _call("log", x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return _call("tanh", x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both are computed."""
    return _call("where", condition, a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of the two; NaN if either is."""
    return _call("minimum", a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of the two; NaN if either is."""
    return _call("maximum", a, b)


def equal(a: Any, b: Any) -> Any:
    """Whether the two are equal, element by element."""
    return _call("equal", a, b)


def ema(average: Any, x: Any, beta: Any) -> Any:
    """Exponentially weighted average: the old one weighs `beta`, the newcomer `1 - beta`."""
    return beta * average + (1 - beta) * x


def ratio(a: Any, b: Any) -> Any:
    """`a / b`, and 0 where b is 0."""
    nothing = equal(b, 0)
    return where(nothing, 0.0, a / where(nothing, 1.0, b))


# ---- sums that name their scope


def row_mean(x: Any) -> Any:
    """The mean of each row: over all dimensions but the first. Of a number or a vector, which has no rows: 0."""
    return _call("row_mean", x)


def norm(x: Any) -> Any:
    """Euclidean length of this tensor, all its elements as one vector: one number."""
    return _call("norm", x)


def total(x: Any) -> Any:
    """Sum over all elements of all tensors of the model: one number."""
    return _call("total", x)


# ---- matrices, opaque to the kernels


def matmul(a: Any, b: Any) -> Any:
    """Matrix product of (n, k) and (k, m)."""
    return _call("matmul", a, b)


def transpose(x: Any) -> Any:
    """The matrix with rows and columns exchanged."""
    return _call("transpose", x)


def orthogonal(x: Any) -> Any:
    """The nearest matrix with orthonormal rows or columns: U V^T of the singular value decomposition."""
    return _call("orthogonal", x)


def eigh(x: Any) -> Any:
    """Eigenvalues, ascending, and eigenvectors (as columns) of a symmetric matrix."""
    return _call("eigh", x)


def qr(x: Any) -> Any:
    """The factors (Q, R) of a matrix."""
    return _call("qr", x)
