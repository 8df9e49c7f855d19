"""The few words in which minimizers are written, alike for numpy and torch.

Everything has a leading axis of independent problems: points and gradients are (B, n), numbers (B,). One
problem is B = 1. Numbers that steer a decision are float64 numpy arrays on the host; everything of length n
stays where the points are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

Array = Any  # numpy.ndarray or torch.Tensor
_einsum = lambda a, b: np.einsum("bi,bi->b", a, b)  # noqa: E731
_vecdot = getattr(np, "vecdot", _einsum)  # numpy 2.0


def namespace(x: Array) -> Any:
    """The library of an array: numpy or torch. The words used of it mean the same in both."""
    return torch if isinstance(x, torch.Tensor) else np


def dot(a: Array, b: Array) -> Array:
    """The inner products of the rows: (B, n), (B, n) -> (B,)."""
    return torch.linalg.vecdot(a, b) if isinstance(a, torch.Tensor) else _vecdot(a, b)


def matvec(matrix: Array, v: Array) -> Array:
    """(B, m, n), (B, n) -> (B, m)."""
    return (matrix @ v[..., None])[..., 0]


def vecmat(v: Array, matrix: Array) -> Array:
    """(B, m), (B, m, n) -> (B, n)."""
    return (v[..., None, :] @ matrix)[..., 0, :]


def host(*numbers: Array) -> list[np.ndarray]:
    """Several (B,) arrays as float64 numpy arrays, in one transfer from the device."""
    if isinstance(numbers[0], torch.Tensor):
        return list(torch.stack([number.double() for number in numbers]).cpu().numpy())
    return [number if number.dtype == np.float64 else number.astype(np.float64) for number in numbers]


def beside(numbers: np.ndarray, x: Array) -> Array:
    """Numbers of the host as a column (B, 1) of the device and dtype of x."""
    if isinstance(x, torch.Tensor):
        return torch.from_numpy(numbers).to(x)[:, None]
    return numbers[:, None] if x.dtype == np.float64 else numbers.astype(x.dtype)[:, None]


def every(mask: Array) -> bool:
    """Whether all of a mask (B,) is true; one problem, the usual case, need not wait for a reduction."""
    return bool(mask[0]) if len(mask) == 1 else bool(mask.all())


def some(mask: Array) -> bool:
    """Whether any of a mask (B,) is true."""
    return bool(mask[0]) if len(mask) == 1 else bool(mask.any())


def surely(mask: Array) -> bool:
    """Whether all of a mask is known to be true; on a GPU never, since asking would wait for it."""
    return isinstance(mask, np.ndarray) and every(mask)


def perhaps(mask: Array) -> bool:
    """Whether any of a mask may be true; on a GPU always, since asking would wait for it."""
    return not isinstance(mask, np.ndarray) or some(mask)


def largest(x: Array) -> Array:
    """The largest magnitude in each row: (B, n) -> (B,)."""
    return abs(x).max(-1) if isinstance(x, np.ndarray) else torch.amax(abs(x), -1)


def replaced(array: Array, rows: Any, values: Array) -> Array:
    """The array with other values in these rows, the old one untouched."""
    array = array.copy() if isinstance(array, np.ndarray) else array.clone()
    array[rows] = values
    return array


def epsilon(x: Array) -> float:
    """The distance from 1 to the next number of its dtype."""
    return float(namespace(x).finfo(x.dtype).eps)


def saved(value: Any) -> Any:
    """An array of a walk as a state_dict keeps it: numbers per problem as a list, which torch does not cast."""
    if isinstance(value, dict):
        return {name: saved(one) for name, one in value.items()}
    if value.ndim == 1:
        return value.tolist()
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value.clone()


def loaded(value: Any, like: Any) -> Any:
    """The array again, of the kind of another."""
    if isinstance(value, dict):
        return {name: loaded(one, like[name]) for name, one in value.items()}
    if isinstance(like, np.ndarray):
        return np.array(value.cpu().numpy() if isinstance(value, torch.Tensor) else value, dtype=like.dtype)
    return torch.as_tensor(value).to(like) + (0 if like.dtype != torch.bool else False)


class Told(NamedTuple):
    """What a walk makes of its trials; a problem whose search failed may have gone back to a lower point.

    Attributes:
        x, f, g: the trial points, or those lower ones; f is infinite where anything is not finite.
        norm: the largest entry of the gradient there.
        moved: which problems now stand there.
        stuck: which problems can get no further.
    """

    x: Any
    f: Any
    g: Any
    norm: Any
    moved: Any
    stuck: Any


class Line(NamedTuple):
    """Where a line search begins.

    Attributes:
        f: the value.
        slope: the derivative along the line, negative.
        noise: a change of f too small to be told from rounding.
    """

    f: Any
    slope: Any
    noise: Any
