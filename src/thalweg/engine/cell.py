"""One tensor's share of a step: what every engine takes and gives back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from thalweg.engine.graph import Graph
from thalweg.engine.store import Store, read, widened, write
from thalweg.signature import Rule, Signature, SlotSpec, signature_of

AS_TORCH = Store()
Memory = tuple[tuple[str, str], ...]  # how p, g and all that is kept lie in memory, by name


class Cell(NamedTuple):
    """A parameter, its gradient, what is kept beside it by name, and its step number (from 1).

    `slots` holds the rule's slots, and what the store keeps beside the parameter. `tensor` is the parameter's
    place in the optimizer: with `t` it decides the store's random bits.
    """

    p: torch.Tensor
    g: torch.Tensor
    slots: dict[str, torch.Tensor]
    t: int = 1
    store: Store = AS_TORCH
    tensor: int = 0

    @property
    def kept(self) -> dict[str, torch.Tensor]:
        """All that is kept between steps."""
        return {"p": self.p, **self.slots}


def in_memory(x: torch.Tensor) -> bool:
    """Whether its elements lie at its address: those of a wrapper (DTensor, FakeTensor) do not, and freed ones."""
    return not x.numel() or x.data_ptr() != 0


def check_alike(name: str, x: torch.Tensor, p: torch.Tensor) -> None:
    """Refuse a gradient or a slot that has not an element for each of the parameter's: kernels read without asking.

    Raises:
        ValueError: the shapes differ, or one of the two is complex.
    """
    if x.shape != p.shape or x.is_complex() != p.is_complex():
        found, wanted = (f"{'complex' if y.is_complex() else 'real'}, of shape {tuple(y.shape)}" for y in (x, p))
        raise ValueError(f"{name} is {found}; it must be as its parameter is: {wanted}.")


def order(x: torch.Tensor) -> list[tuple[int, int]]:
    """Stride and size of each dimension that has more than one element."""
    return [(stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1]


def laid_out_alike(graph: Graph, cell: Cell, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether the n-th element in the memory of p is the n-th in that of these tensors, its gradient and slots.

    That is: all are contiguous; or, where neither rows nor an element's place count (random bits go by it), in any
    order without gaps that they share (``channels_last``, a transposed matrix).
    """
    if all(x.is_contiguous() for x in tensors):
        return True
    if graph.by_rows or cell.store.stochastic or not _without_gaps(cell.p):
        return False
    return all(x.numel() == 1 or order(x) == order(cell.p) for x in tensors)


def _without_gaps(x: torch.Tensor) -> bool:
    """Whether the tensor fills its memory, each element once."""
    expected = 1
    for stride, size in sorted(order(x)):
        if stride != expected:
            return False
        expected *= size
    return True


def like(p: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The gradient in the order of its parameter; a copy where it lies otherwise, or is spread out."""
    if g.layout is not torch.strided or order(p) == order(g) or p.shape != g.shape or not _without_gaps(p):
        return g
    return torch.empty_like(p, dtype=g.dtype).copy_(g)


def row_length(x: torch.Tensor) -> int:
    """The elements of a row, which is all dimensions but the first; 0 where there are no rows."""
    return x[0].numel() if x.ndim > 1 and x.numel() else 0


def alike(cells: Sequence[Cell], memory_of: Callable[[Cell], Memory], own: Sequence[str]) -> dict[Any, list[Cell]]:
    """The cells that one launch can take, by what they share: device, memory, seed, t, the host's own numbers.

    Where t is a tensor, it and these numbers are read on the device, each tensor's own.
    """
    groups: dict[Any, list[Cell]] = defaultdict(list)
    for cell in cells:
        numbers = None if isinstance(cell.t, torch.Tensor) else (cell.t, *(float(cell.slots[name]) for name in own))
        groups[cell.p.device, memory_of(cell), cell.store.seed, numbers].append(cell)
    return groups


def copied(cell: Cell) -> Cell:
    """The cell with a parameter and slots of its own, for an engine that works in place."""

    def copy(x: torch.Tensor) -> torch.Tensor:
        return x.detach().clone(memory_format=torch.contiguous_format)

    return cell._replace(
        p=copy(cell.p), g=cell.g.contiguous(), slots={name: copy(slot) for name, slot in cell.slots.items()}
    )


def start(slot: SlotSpec, p: torch.Tensor, hyper: dict[str, Any], store: Store = AS_TORCH) -> torch.Tensor:
    """A slot's first value beside this parameter, in the type that the store keeps it in."""
    value = hyper[slot.start] if isinstance(slot.start, str) and slot.start != "p" else slot.start
    if slot.shape == "number":
        return torch.tensor(float(value), dtype=torch.float64)
    like = store.shaped(p.detach())
    if value == "p":
        return like.to(store.state or like.dtype, copy=True)
    kept = torch.empty_like(like, dtype=store.state or like.dtype, memory_format=torch.preserve_format)
    (torch.view_as_real(kept) if kept.is_complex() else kept).fill_(value)
    return kept


def counted(steps: float) -> torch.Tensor:
    """A parameter's step count, in the type that torch keeps it in."""
    double = torch.get_default_dtype() is torch.float64
    return torch.tensor(float(steps), dtype=torch.float64 if double else torch.float32)


def starts(rule: Rule, hyper: dict[str, Any], p: torch.Tensor, store: Store = AS_TORCH) -> dict[str, torch.Tensor]:
    """What is kept beside a parameter under these settings, as it is before the first step."""
    slots = {name: start(slot, p, hyper, store) for name, slot in signature_of(rule).kept(hyper).items()}
    return slots | store.beside(p)


def plain(value: Any) -> float:
    """A hyper-parameter as a Python number, also where it is a tensor that autograd follows."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


def arguments(signature: Signature, cell: Cell) -> list[torch.Tensor | None]:
    """The rule's positional arguments: p, g, and each slot or None where it is not kept."""
    kept = cell.kept
    slots = [read(name, kept) if name in kept else None for name in signature.slots]
    return [read("p", kept), widened(cell.g, cell.p.dtype), *slots]


def stored(signature: Signature, cell: Cell, result: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The new parameter and slots, rounded once to the types they are kept in."""
    new = result if isinstance(result, tuple) else (result,)
    kept, after = cell.kept, {}
    for place, (name, value) in enumerate(zip(("p", *signature.slots), new, strict=True)):
        if name in kept:
            after |= write(name, value, kept, cell.store, (cell.t, place, cell.tensor))
    return after.pop("p"), after
