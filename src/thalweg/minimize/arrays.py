"""The few words in which minimizers are written, alike for numpy and torch, for one problem and for many.

One problem has points and gradients of shape (n,), and numbers that are scalars; B independent problems have a
leading axis: (B, n) and (B,). The shapes are written (..., n) and (...). Numbers that steer a decision are
float64 on the host; everything of length n stays where the points are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

Array = Any  # numpy.ndarray or torch.Tensor
Number = Any  # of one problem a numpy scalar or a tensor without axes, of many an Array (B,)
Rows = Any  # which of the problems: () for one problem, slice(None) for all of many, or the numbers of some
NUMPY, BOOLEAN = (np.ndarray, np.generic, float, int), (bool, np.bool_)  # no questions for torch's types: they are slow
EPSILON = {4: 2.0**-23, 8: 2.0**-52}  # by the bytes of a number
WITHOUT_DOUBLE = ("mps",)  # devices that have no float64
_einsum = lambda a, b: np.einsum("...i,...i->...", a, b)  # noqa: E731
_vecdot = getattr(np, "vecdot", _einsum)  # numpy 2.0


def namespace(x: Array) -> Any:
    """The library of an array: numpy or torch. The words used of it mean the same in both."""
    return np if isinstance(x, NUMPY) else torch


def dot(a: Array, b: Array) -> Number:
    """The inner products of the rows: (..., n), (..., n) -> (...)."""
    if a.ndim == 1:
        return a.dot(b)
    return _vecdot(a, b) if isinstance(a, np.ndarray) else torch.linalg.vecdot(a, b)


def matvec(matrix: Array, v: Array) -> Array:
    """(..., m, n), (..., n) -> (..., m)."""
    if v.ndim > 1:
        return (matrix @ v[..., None])[..., 0]
    return matrix.dot(v) if isinstance(v, np.ndarray) else matrix @ v


def vecmat(v: Array, matrix: Array) -> Array:
    """(..., m), (..., m, n) -> (..., n)."""
    if v.ndim > 1:
        return (v[..., None, :] @ matrix)[..., 0, :]
    return v.dot(matrix) if isinstance(v, np.ndarray) else v @ matrix


def outer(a: Array, b: Array) -> Array:
    """a b' of the rows: (..., m), (..., n) -> (..., m, n)."""
    if a.ndim == 1 and isinstance(a, np.ndarray):
        return a.reshape(-1, 1).dot(b.reshape(1, -1))
    return a[..., :, None] * b[..., None, :]


def with_row(matrix: Array, at: Number, row: Array) -> Array:
    """The matrices (..., m, n) with row `at` (...), a whole number, replaced by another (..., n)."""
    matrix = copied(matrix)
    if at.ndim:
        matrix[namespace(at).arange(len(at), **_place(at)), at] = row
    else:
        matrix[at if isinstance(at, np.generic) else at[None]] = row  # as a number a GPU's would have to be fetched
    return matrix


def eigh(H: Array) -> tuple[Array, Array]:
    """Eigenvalues (..., n) and eigenvectors (..., n, n) of symmetric matrices.

    One that does not converge fails all that are beside it; then each is done by itself, on the host. What nothing
    is known of even there is taken for a multiple of the unit matrix.
    """
    try:
        values, vectors = namespace(H).linalg.eigh(H)
        return values, vectors
    except (np.linalg.LinAlgError, torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
        matrices = H.cpu().numpy() if isinstance(H, torch.Tensor) else H
        found = [_eigh_of_one(matrix) for matrix in matrices.reshape(-1, *H.shape[-2:])]
    values, vectors = (np.stack(parts).astype(matrices.dtype) for parts in zip(*found, strict=True))
    values, vectors = values.reshape(H.shape[:-1]), vectors.reshape(H.shape)
    return (torch.from_numpy(values).to(H), torch.from_numpy(vectors).to(H)) if H is not matrices else (values, vectors)


def _eigh_of_one(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        values, vectors = np.linalg.eigh(matrix.astype(np.float64))
        return values, vectors
    except np.linalg.LinAlgError:
        n = len(matrix)
        return np.full(n, abs(matrix).sum(-1).max()), np.eye(n)


def finest(x: Array) -> torch.dtype:
    """The finest numbers that the device of a tensor has."""
    return torch.float32 if x.device.type in WITHOUT_DOUBLE else torch.float64


def root(numbers: Number) -> Number:
    """The square root; ``** 0.5`` of a numpy scalar is not that of an array in the last digit."""
    return namespace(numbers).sqrt(numbers)


def largest(x: Array) -> Number:
    """The largest magnitude in each row: (..., n) -> (...)."""
    size = abs(x)
    if not isinstance(x, np.ndarray):
        return torch.amax(size, -1)
    return size[size.argmax()] if x.ndim == 1 else np.maximum.reduce(size, -1)


def epsilon(x: Array) -> float:
    """The distance from 1 to the next number of its dtype."""
    return EPSILON[x.itemsize]


def identity(x: Array) -> Array:
    """The unit matrix for each row: (..., n) -> (..., n, n)."""
    return namespace(x).eye(x.shape[-1], dtype=x.dtype, **_place(x)) + x[..., None] * 0


def _place(x: Array) -> dict[str, Any]:
    """Where a new array is to lie, for the function that makes it."""
    return {} if isinstance(x, NUMPY) else {"device": x.device}


def same(a: Array, b: Array) -> bool:
    """Whether two arrays, of whichever library, hold the same numbers."""
    return torch.equal(*(torch.from_numpy(each) if isinstance(each, np.ndarray) else each for each in (a, b)))


# ---- numbers


def host(*numbers: Number) -> list[Any]:
    """Several numbers as float64 on the host, in one transfer from the device."""
    if not isinstance(numbers[0], NUMPY):
        return list(torch.stack(numbers).cpu().double().numpy())  # there: not every device has float64
    return [n if isinstance(n, float) else n.astype(np.float64, copy=False) for n in numbers]


def placed(numbers: Any, x: Array) -> Any:
    """Numbers of the host where x is, and of its dtype; one number as Python's, which fits anywhere."""
    if not numbers.ndim:
        return float(numbers)
    return torch.from_numpy(numbers).to(x) if isinstance(x, torch.Tensor) else numbers.astype(x.dtype, copy=False)


def placed_together(x: Array, *numbers: Any) -> list[Any]:
    """Several numbers of the host where x is, in one transfer to the device."""
    return [*placed(np.stack(numbers), x)] if numbers[0].ndim else [float(n) for n in numbers]


def beside(numbers: Number, x: Array) -> Any:
    """Numbers so that they multiply the vectors (..., n), or matrices (..., n, n), of x."""
    return numbers.reshape(numbers.shape + (1,) * (x.ndim - 1)) if getattr(numbers, "ndim", 0) else numbers


def where(mask: Any, a: Any, b: Any) -> Any:
    """Numbers or arrays: a where the mask is true, else b."""
    if isinstance(mask, BOOLEAN):
        return a if mask else b
    return namespace(mask).where(mask, a, b)


def every(mask: Any) -> bool:
    """Whether all of a mask is true."""
    return bool(mask) if isinstance(mask, BOOLEAN) else bool(mask.all())


def some(mask: Any) -> bool:
    """Whether any of a mask is true."""
    return bool(mask) if isinstance(mask, BOOLEAN) else bool(mask.any())


def surely(mask: Any) -> bool:
    """Whether all of a mask is known to be true; on a GPU never, since asking would wait for it."""
    return isinstance(mask, NUMPY) and every(mask)


def perhaps(mask: Any) -> bool:
    """Whether any of a mask may be true; on a GPU always, since asking would wait for it."""
    return not isinstance(mask, NUMPY) or some(mask)


# ---- some of the problems


def copied(x: Array) -> Array:
    """An array of its own."""
    return x.copy() if isinstance(x, np.ndarray) else x.clone()


def everyone(numbers: Number) -> Rows:
    """All problems that these numbers are of."""
    return slice(None) if numbers.ndim else ()


def rows(mask: Any) -> Rows:
    """The problems for which a mask of the host is true; some are."""
    return np.flatnonzero(mask) if mask.ndim else ()


def there(which: Rows, x: Array) -> Any:
    """The same problems as an index of arrays that lie where x does, sent there once."""
    some = isinstance(which, np.ndarray) and isinstance(x, torch.Tensor)
    return torch.from_numpy(which).to(x.device) if some else which


def each(which: Rows) -> Any:
    """One problem after the other: of one problem ()."""
    return [()] if isinstance(which, tuple) else which


def put(array: Any, which: Rows, values: Any) -> Any:
    """The array, with other values written into it for these problems; of one problem the values."""
    if isinstance(which, tuple):
        return values
    array[which] = values
    return array


def replaced(array: Any, which: Rows, values: Any) -> Any:
    """A copy of the array with other values for these problems; of one problem the values."""
    return values if isinstance(which, tuple) else put(copied(array), which, values)


def merged(mask: Any, new: Any, old: Any) -> Any:
    """The new array for the problems for which a mask of the host is true, else the old one."""
    if every(mask):
        return new
    if not some(mask):
        return old
    which = there(rows(mask), new)
    return replaced(old, which, new[which])


# ---- state


def saved(value: Any) -> Any:
    """What a walk knows as a state_dict keeps it: numbers as Python's, which torch does not cast."""
    if isinstance(value, dict):
        return {name: saved(one) for name, one in value.items()}
    if not value.ndim:
        return value.item()
    value = copied(value)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def loaded(value: Any, like: Any) -> Any:
    """The array or number again, of the kind of another."""
    if isinstance(value, dict):
        return {name: loaded(one, like[name]) for name, one in value.items()}
    if isinstance(like, torch.Tensor):
        return torch.as_tensor(value).to(like).reshape(like.shape).clone()
    value = value.cpu().numpy() if isinstance(value, torch.Tensor) else value
    return np.array(value, dtype=like.dtype).reshape(like.shape)[()]


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
