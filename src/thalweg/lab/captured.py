"""A stack's losses and gradients as the list of tensor operations that they come to, played again at every step.

Between two operations of a small model, vmap, the module calls and autograd's bookkeeping take more time than the
operations. They do the same at every step; so they are asked once, by `make_fx`, and what they asked of torch is kept.
The numbers are the same to the last bit, or the recording is not used: it is held against the way itself in two
steps, with two batches, and in every hundredth step after them: a loss may change by itself. And it must be faster.

Recording takes as long as some fifty steps, so it is for small models and many steps.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thalweg.lab.vectorised import Apart, Refused

Answer = tuple[Tensor, list[Tensor]]  # the losses (K,), and the gradients of the stacked parameters
TRIALS = 2  # steps in which both ways are taken
STEPS = 200  # fewer are not worth a recording
SECONDS = 0.1  # of a step, above which what is between the operations no longer counts
AGAIN = 100  # steps after which both are taken again
SHARE = 1.0  # of the way's time that playing may take


class Captured:
    """Records in the first step, compares in the next ones, and then answers in place of the way itself.

    Args:
        way: from the stacked parameters and a batch (merged, see `vectorised.merged`) to losses and gradients.
    """

    def __init__(self, way: Callable[[Sequence[Tensor], Any], Answer]):
        self.way, self.refused = way, False
        self.played = 0
        self.seconds = {"way": 0.0, "played": 0.0}
        self._timed = False
        self._play: Callable[..., Any] | None = None
        self._kind: Any = None

    @property
    def settled(self) -> bool:
        """Whether it is known which of the two is taken from now on."""
        return self.refused or self.played >= TRIALS

    def __call__(self, parameters: Sequence[Tensor], batch: Any) -> Answer:
        """The losses and gradients.

        Raises:
            Refused: what was played since the last comparison was no longer right.
        """
        if self.refused:
            return self.way(parameters, batch)
        if not self._timed:
            return self._first(parameters, batch)
        leaves, form = pytree.tree_flatten(batch)
        kind = form, [_kind(leaf) for leaf in leaves]
        tensors = _tensors(leaves)
        if self._play is None:
            self._record(parameters, leaves, form)
            self._kind = kind
        if self._play is None or kind != self._kind:
            return self.way(parameters, batch)
        self.played += 1
        if self.played > TRIALS and self.played % AGAIN:
            return self._played(parameters, tensors)
        began = time.process_time()
        answer = self.way(parameters, batch)
        between = time.process_time()
        played = self._played(parameters, tensors)
        self.seconds["way"] += between - began
        self.seconds["played"] += time.process_time() - between
        self.refused = not _same(answer, played)
        if self.refused and self.played > TRIALS:
            raise Refused("the loss is another one in later steps")
        self.refused |= self.played == TRIALS and self.seconds["played"] > SHARE * self.seconds["way"]
        return answer

    def _first(self, parameters: Sequence[Tensor], batch: Any) -> Answer:
        """The way's answer; it is not recorded if it takes long."""
        began = time.process_time()
        answer = self.way(parameters, batch)
        self._timed, self.refused = True, time.process_time() - began > SECONDS
        return answer

    def _record(self, parameters: Sequence[Tensor], leaves: Sequence[Any], form: Any) -> None:
        def whole(*tensors: Tensor) -> tuple[Tensor, ...]:
            own = [p.requires_grad_() for p in tensors[: len(parameters)]]
            rest = iter(tensors[len(parameters) :])
            mine = [_like(leaf, next(rest)) if _is_tensor(leaf) else leaf for leaf in leaves]
            with torch.enable_grad():
                losses, gradients = self.way(own, pytree.tree_unflatten(mine, form))
            return losses, *gradients

        try:
            from torch.fx.experimental.proxy_tensor import make_fx  # in no torch for ever

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                recorded = make_fx(whole)(*(p.detach() for p in parameters), *_tensors(leaves))
            _without_detours(recorded)
        except Exception:  # of many types: a branch on a value, an operation that cannot be recorded
            self.refused = True
            return
        self._play = recorded.forward

    def _played(self, parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Answer:
        assert self._play is not None
        with torch.no_grad():
            losses, *gradients = self._play(*parameters, *tensors)
        return losses, gradients


def _without_detours(recorded: torch.fx.GraphModule) -> None:
    """Leave out what nobody reads, what only autograd asked for, and views that undo each other."""
    aten = torch.ops.aten
    for node in list(recorded.graph.nodes):
        before: Any = node.args[0] if node.args else None
        if node.target is aten.detach.default:
            node.replace_all_uses_with(before)
        elif node.target is aten.transpose.int is before.target and _swapped(node) == _swapped(before):
            node.replace_all_uses_with(before.args[0])
    recorded.graph.eliminate_dead_code()
    recorded.recompile()


def _swapped(transpose: torch.fx.Node) -> set[int]:
    """The dimensions that it swaps."""
    many: Any = transpose.meta["val"].ndim
    return {int(axis) % many for axis in transpose.args[1:]}  # pyright: ignore[reportArgumentType]


def _kind(leaf: Any) -> Any:
    """What the recording depends on."""
    if _is_tensor(leaf):
        tensor = _tensor(leaf)
        return type(leaf), tensor.shape, tensor.dtype, tensor.stride()
    return leaf


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor | Apart)


def _tensor(leaf: Any) -> Tensor:
    return leaf.tensor if isinstance(leaf, Apart) else leaf


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [_tensor(leaf) for leaf in leaves if _is_tensor(leaf)]


def _like(leaf: Any, tensor: Tensor) -> Any:
    return Apart(tensor) if isinstance(leaf, Apart) else tensor


def _same(answer: Answer, played: Answer) -> bool:
    """To the last bit; NaN is NaN."""
    pairs = zip([answer[0], *answer[1]], [played[0], *played[1]], strict=True)
    return all(bool(((a == b) | (a.isnan() & b.isnan())).all()) for a, b in pairs)
