"""What the user's functions returned or raised, checked: what is no number becomes one sentence."""

from __future__ import annotations

from numbers import Real
from traceback import walk_tb
from typing import Any

import numpy as np
import torch

from thalweg.minimize.arrays import Array

SINGLE: Any = (torch.Tensor, np.ndarray, Real)  # what may hold one number

REFUSED = {  # what torch says where autograd cannot go through fun, and what is to be done
    "Can't call numpy()": "fun uses numpy on x and jac is None; a numpy function must bring its gradient.",
    "leaf Variable that requires grad": "fun changes x in place; it must make new tensors.",
    "vmap: It looks like": "fun asks for a number of x, by .item() or in an if, and batched is True; torch.where "
    "chooses for each problem, and with vectorized=True fun gets them all.",
    "vmap: called random": "fun draws random numbers; it must be the same function at every call.",
    "Inference tensors cannot be saved": "fun uses a tensor made under torch.inference_mode(), which autograd refuses; "
    "give it a clone made outside.",
}


def refusal(error: BaseException) -> str | None:
    """What is to be done where autograd cannot go through fun; None if that is not why it raised."""
    if isinstance(error, TypeError) and in_numpy(error):  # np.sum of a tensor and its kin
        return REFUSED["Can't call numpy()"]
    return next((said for part, said in REFUSED.items() if part in str(error)), None)


def in_numpy(error: BaseException) -> bool:
    """Whether it was raised in numpy, or by what numpy called."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return any(name.partition(".")[0] == "numpy" for name in frames)


def real(value: Any, what: str) -> np.ndarray:
    """What the user's function returned, in a copy, if it holds real numbers."""
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} holds {array.dtype}; it must hold real numbers.")
    return array


def argument(arg: Any, device: torch.device) -> torch.Tensor:
    """One of args, as vmap wants it."""
    if isinstance(arg, torch.Tensor):
        return arg
    try:
        return torch.from_numpy(np.array(arg)).to(device)
    except (TypeError, ValueError):
        raise TypeError(f"args holds {type(arg).__name__}; many problems at once need tensors or arrays.") from None


def number(value: Any) -> float:
    """One number of a 0-d array, a tensor or an array of one entry."""
    if isinstance(value, float):
        return value
    if not isinstance(value, SINGLE):
        raise TypeError(f"fun returned {type(value).__name__}; it must return one number.")
    size = value.numel() if isinstance(value, torch.Tensor) else np.size(value)
    if size != 1:
        raise ValueError(f"fun returned the shape {np.shape(value)}; it must return one number.")
    return float(value if np.ndim(value) == 0 else value.reshape(()))


def with_graph(value: torch.Tensor) -> torch.Tensor:
    """What fun returned, if there is something to differentiate."""
    if not value.requires_grad:
        raise ValueError("fun returned a value without a graph; it must be computed from x by torch operations.")
    return value


def as_many(values: Any, x: Array) -> Any:
    """What a vectorized fun returned for the points x, if it is as many numbers."""
    if tuple(np.shape(values)) != (len(x),):
        raise ValueError(f"fun returned the shape {tuple(np.shape(values))}; vectorized, it must return {(len(x),)}.")
    return values
