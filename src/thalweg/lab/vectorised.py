"""A task's loss for the models of K members at once, by `torch.func.vmap`.

The user's loss calls a module. It gets one whose parameters and buffers are, while it runs, those of all members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thalweg.lab.batching import Batching

Loss = Callable[[nn.Module, Any], Tensor]


class Refused(Exception):
    """These runs cannot be trained as one; one sentence says why.

    Attributes:
        odd: those without which the others can; empty if it is not for one of them.
    """

    def __init__(self, why: str, odd: Sequence[Any] = ()):
        super().__init__(why)
        self.odd = tuple(odd)


SAID = {  # by vmap, to whom it may concern; and what it means for a task
    "called random operation while in randomness error mode": "the loss draws random numbers other than dropout's",
    "calling .item() on a Tensor": "the loss reads a number out of a tensor, by .item(), float() or an if",
    "data-dependent control flow": "the control flow of the loss depends on data: an if or a loop on a tensor",
}


def refusal(error: Exception) -> str:
    """One sentence about what cannot be done for all members at once.

    >>> refusal(RuntimeError("vmap: called random operation while in randomness error mode. Please ..."))
    "the loss draws random numbers other than dropout's"
    >>> refusal(RuntimeError("no rule for it"))
    'RuntimeError: no rule for it'
    """
    said = " ".join(str(error).split())
    return next((ours for theirs, ours in SAID.items() if theirs in said), f"{type(error).__name__}: {said[:300]}")


class Vectorised:
    """The losses of K members on their batches, followed by autograd down to the stacked tensors.

    Args:
        loss: the task's.
        template: a module like those of the members; its own numbers are not looked at.
        stacked: the full names of the parameters and buffers that members have for themselves. Tied ones stand once,
            under their first name. What is not here is the template's.
        batching: how a few operations go their own way.
    """

    def __init__(self, loss: Loss, template: nn.Module, stacked: Sequence[str], batching: Batching):
        self.loss, self.template, self.batching = loss, template.train(), batching
        places = places_of(template)
        self.places = [places[name] for name in stacked]

    def __call__(self, batch: Any, tensors: Sequence[Tensor]) -> Tensor:
        """The losses, of shape (K,).

        Args:
            batch: what all members get, or their batches merged (`merged`).
            tensors: those of `stacked`, in its order, each of shape (K, ...).

        Raises:
            Exception: whatever vmap says of an operation that it cannot do for all members at once.
        """
        leaves, form = pytree.tree_flatten(batch)
        apart = [isinstance(leaf, Apart) for leaf in leaves]
        moving = [leaf.tensor for leaf, own in zip(leaves, apart, strict=True) if own]

        def member(tensors: list[Tensor], moving: list[Tensor]) -> Tensor:
            for places, tensor in zip(self.places, tensors, strict=True):
                for held, key in places:
                    held[key] = tensor
            own = iter(moving)
            mine = [next(own) if is_own else leaf for leaf, is_own in zip(leaves, apart, strict=True)]
            return self.loss(self.template, pytree.tree_unflatten(mine, form))

        with self.batching:
            return torch.func.vmap(member, randomness="error")(list(tensors), moving)


class Apart:
    """A leaf of merged batches that is different for every member: (K, ...)."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class _Unread:
    """Stands for the strings that differ between members. A loss that leaves them alone, as a name that came along in a
    batch, is right for all; one that looks is refused."""

    def _refuse(self, *_: Any) -> Any:
        raise Refused("the loss reads a string that differs between the batches of different seeds")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks of any object
            raise AttributeError(name)
        self._refuse()

    __getitem__ = __len__ = __iter__ = __contains__ = __add__ = __radd__ = __mod__ = __mul__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __bool__ = __str__ = __repr__ = _refuse
    __format__ = __bytes__ = _refuse


UNREAD = _Unread()


def merged(batches: Sequence[Any]) -> Any:
    """One batch of the same form for K of them; leaves that differ are `Apart`, and strings `UNREAD`.

    Raises:
        Refused: they differ in form, shape, or in what is no tensor.
    """
    if _are_tuples(batches):  # as they usually are
        return tuple(_merged(rows) for rows in zip(*batches, strict=True))
    columns, form = [], None
    for batch in batches:
        leaves, own = pytree.tree_flatten(batch)
        if form is not None and own != form:
            raise Refused("the batches of different seeds differ in form")
        form = own
        columns.append(leaves)
    assert form is not None  # at least one batch
    return pytree.tree_unflatten([_merged(rows) for rows in zip(*columns, strict=True)], form)


def _are_tuples(batches: Sequence[Any]) -> bool:
    """Of as many tensors."""
    many = {len(batch) if type(batch) is tuple else None for batch in batches}
    return len(many) == 1 and None not in many and all(isinstance(leaf, Tensor) for batch in batches for leaf in batch)


def _merged(rows: Sequence[Any]) -> Any:
    first = rows[0]
    if all(row is first for row in rows):
        return first
    if not all(isinstance(row, Tensor) for row in rows):
        if all(isinstance(row, int | float | str | bytes | None) and row == first for row in rows):
            return first
        if all(isinstance(row, str | bytes) for row in rows):
            return UNREAD
        raise Refused(f"the batches of different seeds differ in a {type(first).__name__}")
    if any(row.shape != first.shape or row.dtype != first.dtype for row in rows):
        raise Refused("the batches of different seeds have different shapes")
    return Apart(torch.stack(list(rows)))


def places_of(module: nn.Module) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Where a module holds each parameter and buffer: by full name; one that is tied has several places."""
    found: dict[int, list[tuple[dict[str, Any], str]]] = {}
    names: dict[str, int] = {}
    for prefix, part in module.named_modules():
        for held in (part._parameters, part._buffers):
            for key, tensor in held.items():
                if tensor is not None:
                    names.setdefault(f"{prefix}.{key}".lstrip("."), id(tensor))
                    found.setdefault(id(tensor), []).append((held, key))
    first: dict[int, str] = {}
    for name, number in names.items():
        first.setdefault(number, name)
    return {name: found[number] for number, name in first.items()}
