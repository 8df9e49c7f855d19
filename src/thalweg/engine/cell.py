"""One tensor's share of a step: what every engine takes and gives back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from thalweg.signature import Signature, SlotSpec


class Cell(NamedTuple):
    """A parameter, its gradient, its slots by name, and its step number (from 1)."""

    p: torch.Tensor
    g: torch.Tensor
    slots: dict[str, torch.Tensor]
    t: int = 1


def start(slot: SlotSpec, p: torch.Tensor, hyper: dict[str, Any]) -> torch.Tensor:
    """A slot's first value beside this parameter."""
    if slot.start == "p":
        return p.detach().clone()
    value = hyper[slot.start] if isinstance(slot.start, str) else slot.start
    if slot.shape == "number":
        return torch.tensor(float(value), dtype=torch.float64)
    kept = torch.empty_like(p, memory_format=torch.preserve_format).detach()
    (torch.view_as_real(kept) if kept.is_complex() else kept).fill_(value)
    return kept


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """16-bit values are computed with in float32; everything else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def plain(value: Any) -> float:
    """A hyper-parameter as a Python number, also where it is a tensor that autograd follows."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


def arguments(signature: Signature, cell: Cell) -> list[torch.Tensor | None]:
    """The rule's positional arguments: p, g, and each slot or None where it is not kept."""
    slots = [cell.slots.get(name) for name in signature.slots]
    return [widened(cell.p), widened(cell.g), *(None if s is None else widened(s) for s in slots)]


def stored(signature: Signature, cell: Cell, result: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The new parameter and slots, rounded once to the types they are kept in."""
    new_p, *new = result if isinstance(result, tuple) else (result,)
    after = dict(zip(signature.slots, new, strict=True))
    return new_p.to(cell.p.dtype), {name: after[name].to(old.dtype) for name, old in cell.slots.items()}
