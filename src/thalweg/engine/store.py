"""How a value is kept between steps: in which type, how it is rounded, and what is kept beside it.

Arithmetic is always wide (float32, or float64 for float64 parameters). What lies in memory may be narrower, and
a store says which tensors hold a value, how they are read, and how a new value is written into them. Every engine
asks here, so that a rule never knows.

An engine of your own needs four things: `memory` names how each tensor lies in memory, `read` and `write` are the
meaning, and `key` with `draws` are the random bits, the same on every machine and in every engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.signature import check_flag

COMPENSATION = "p_compensation"  # the tensor that holds what a narrow parameter cannot
STOCHASTIC = "bfloat16 stochastic"  # the memory type of a bfloat16 tensor that is rounded up or down by chance
NARROW = (torch.bfloat16, torch.float16)
_MASK, _ODD = 0xFFFFFFFF, 0x9E3779B9


@dataclass(frozen=True)
class Store:
    """How an optimizer keeps its state, and its parameters if they are narrow.

    Args:
        state: the dtype of the slots, ``torch.float32`` or ``torch.bfloat16``. Default None: the parameter's.
        rounding: ``"nearest"`` (default), or ``"stochastic"``: what is kept in bfloat16 is rounded up or down by
            chance, so that it is right on average and small changes are not lost.
        kahan: keep beside each bfloat16 or float16 parameter a second tensor of its dtype with what rounding
            took from it (Kahan 1965), and add it again before the next step. Default False.
        seed: of the random bits. They depend on it, the step, the parameter's place and the element only.

    Raises:
        ValueError: a dtype or rounding that there is not. TypeError: a seed that is no integer.

    Example: AdamW with half the state, for a model in bfloat16.
        >>> import thalweg as tw
        >>> p = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        >>> store = Store(state=torch.bfloat16, rounding="stochastic", kahan=True)
        >>> optimizer = tw.AdamW([p], store=store)
        >>> p.grad = torch.ones_like(p)
        >>> optimizer.step()
        >>> sorted(optimizer.state[p])
        ['exp_avg', 'exp_avg_sq', 'p_compensation', 'step']
    """

    state: torch.dtype | None = None
    rounding: str = "nearest"
    kahan: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.state not in (None, torch.float32, torch.bfloat16):
            raise ValueError(f"state is {self.state!r}; it must be torch.float32, torch.bfloat16 or None.")
        check_flag("rounding", self.rounding, ("nearest", "stochastic"))
        check_flag("kahan", self.kahan, (False, True))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise TypeError(f"seed is {self.seed!r}; it must be an integer.")

    @property
    def stochastic(self) -> bool:
        """Whether it draws random bits, and so needs the step's number."""
        return self.rounding == "stochastic"

    def refuses(self, p: torch.Tensor, differentiable: bool = False) -> str | None:
        """Why this store cannot keep a parameter, in one sentence, or None."""
        if differentiable and (self.stochastic or self.kahan):
            return "differentiable is True; it must be False with a store that rounds by chance or compensates."
        if self.stochastic and p.dtype is torch.float16:
            return "store.rounding is 'stochastic'; it must be 'nearest' beside float16 parameters: it is for bfloat16."
        return None

    def shaped(self, p: torch.Tensor) -> torch.Tensor:
        """The parameter as its slots are shaped: a complex one as pairs, if the state has a dtype of its own."""
        return torch.view_as_real(p) if self.state and p.is_complex() else p

    def beside(self, p: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is kept beside the parameter itself, at its start."""
        return {COMPENSATION: torch.zeros_like(p).detach()} if self.kahan and p.dtype in NARROW else {}

    def memory(self, name: str, kept: Mapping[str, torch.Tensor]) -> str:
        """How a tensor lies in memory: its dtype, and ``stochastic`` where it is written by chance.

        Args:
            name: ``p``, a slot, or what is kept beside ``p``.
            kept: all of them by name.
        """
        dtype = str(kept[name].dtype).removeprefix("torch.")
        nearest = name == "p" and COMPENSATION in kept  # the compensation takes what is left
        return STOCHASTIC if dtype == "bfloat16" and self.stochastic and not nearest else dtype


# ---- reading and writing: what every engine has to do


def read(name: str, kept: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A value as the rule gets it: 16-bit values in float32, and everything in float64 beside a float64 parameter."""
    value = widened(kept[name], kept["p"].dtype)
    return value + widened(kept[COMPENSATION]) if name == "p" and COMPENSATION in kept else value


def widened(tensor: torch.Tensor, beside: torch.dtype = torch.float32) -> torch.Tensor:
    """The tensor in the type of the arithmetic beside a parameter of that dtype."""
    if tensor.dtype is torch.float64:
        return tensor
    return tensor.to(torch.float64 if beside is torch.float64 else torch.float32)


def write(
    name: str, new: torch.Tensor, kept: Mapping[str, torch.Tensor], store: Store, where: tuple[int, int, int]
) -> dict[str, torch.Tensor]:
    """The tensors that hold a new value, rounded once.

    Args:
        name: ``p`` or a slot. new: its value. kept: the old tensors by name.
        where: the step, the value's place in the rule (p is 0), and the tensor's in the optimizer.
    """
    bits = key(store.seed, *where) if store.stochastic else 0
    value = _rounded(new, kept[name].dtype, store.memory(name, kept), bits)
    if name != "p" or COMPENSATION not in kept:
        return {name: value}
    wide = new.float()
    rest = torch.where(torch.isfinite(value), wide - value.float(), 0.0)
    old = kept[COMPENSATION]
    return {name: value, COMPENSATION: _rounded(rest, old.dtype, store.memory(COMPENSATION, kept), bits)}


def _rounded(value: torch.Tensor, dtype: torch.dtype, memory: str, bits: int) -> torch.Tensor:
    if memory != STOCHASTIC:
        return value.to(dtype)
    x = value.to(torch.float32)
    cut = (x.view(torch.int32) + (draws(x.shape, bits, x.device) >> 16).to(torch.int32)) & ~0xFFFF
    return torch.where(torch.isfinite(x), cut.view(torch.float32), x).to(dtype)


# ---- random bits: a hash of where and when, nothing that would have to be saved


def key(seed: int, t: int, place: int, tensor: int) -> int:
    """32 bits that stand for a seed, a step, a value's place in the rule (p is 0) and a tensor."""
    return step_key(seed, t, place) ^ tensor_key(tensor)


def step_key(seed: int, t: int, place: int) -> int:
    """The part of `key` that changes with every step."""
    k = _mixed(seed & _MASK)
    for part in (seed >> 32, t, place):
        k = _mixed((k + _ODD & _MASK) ^ (part & _MASK))
    return k


def tensor_key(tensor: int) -> int:
    """The part of `key` that is the tensor's own."""
    return _mixed(tensor ^ _ODD)


def draws(shape: torch.Size, key: int, device: torch.device) -> torch.Tensor:
    """32 random bits for every element, as int64: the same on every device, and in every engine."""
    index = torch.arange(math.prod(shape), device=device).reshape(shape) & _MASK
    return _mixed(_mixed(index) ^ key)


def _mixed(x: Any) -> Any:
    """Every bit of 32 spread over all of them (lowbias32 of Chris Wellons' hash prospector)."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)
