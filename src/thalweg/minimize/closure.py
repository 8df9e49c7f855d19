"""A closure over parameters as the loop sees it: points in, losses and gradients out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thalweg.minimize.arrays import Array, Number, Rows, namespace, same

if TYPE_CHECKING:
    from thalweg.minimize.optimizers import FullBatch

DIFFERENTIATING = torch.inference_mode(False)  # gradients on, also where the caller is in no_grad or inference_mode


def vector(tensors: Sequence[torch.Tensor]) -> Array:
    """All numbers of these tensors in a row, as the loop holds them."""
    flat = torch.cat([t.detach().reshape(-1) for t in tensors])
    return flat.numpy() if flat.device.type == "cpu" else flat


def put(parameters: Sequence[torch.Tensor], x: Array) -> None:
    """Write the numbers of a vector into the parameters."""
    flat = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
    with torch.no_grad():
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.copy_(part.view_as(p))


class ClosureProblem:
    """A closure over parameters, as the loop wants its problem.

    Args:
        optimizer: whose meter is told what an evaluation costs, and which says whether the closure calls backward.
        closure: what `FullBatch.step` got.
        parameters: those that are not frozen.
        known: what the state says of where the last step ended, or None.
        ended: the walk as the last step left it, or None.
    """

    def __init__(
        self,
        optimizer: FullBatch,
        closure: Callable[[], Any],
        parameters: Sequence[torch.Tensor],
        known: Any = None,
        ended: Any = None,
    ):
        self.optimizer, self.closure, self.parameters = optimizer, closure, parameters
        self.known, self.ended, self.paid = known, ended, False
        self.x: Array | None = None  # where the closure was last called

    def _loss(self, x: Array) -> torch.Tensor:
        put(self.parameters, x)
        self.x, before = x, [p._version for p in self.parameters]
        loss = self.closure()
        if [p._version for p in self.parameters] != before:  # something was written in place
            self.refuse_changes()
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise TypeError(f"closure returned {type(loss).__name__}; it must return the loss, a tensor of one number.")
        return loss

    def refuse_changes(self) -> None:
        """Refuse a closure that left the parameters elsewhere than where it was last called."""
        if self.x is None:
            return
        here = vector(self.parameters)
        if not same(here, self.x) and not ((here == self.x) | (self.x != self.x)).all():  # NaN is like nothing
            name = type(self.optimizer).__name__
            raise ValueError(
                f"closure changed the parameters, and {name} needs the loss where it put them: clamp or project inside "
                "the model, or between two calls of step."
            )

    def _charge(self, price: int) -> None:
        if self.optimizer.meter is not None and not self.paid:
            self.optimizer.meter(price)

    @DIFFERENTIATING
    def evaluate(self, x: Array, members: Rows) -> tuple[Number, Array]:
        """The loss and its gradient (n,) at x (n,)."""
        if self.optimizer.meter is not None:
            if self.known is None or not same(self.known["x"], x):
                self._charge(1)
            elif self.ended is not None:
                return self.ended.f, self.ended.g
        if self.optimizer.backward:
            self.optimizer.zero_grad()
        loss = self._loss(x)
        if self.optimizer.backward:
            if all(p.grad is None for p in self.parameters):
                raise ValueError(f"closure set no gradient; for {type(self.optimizer).__name__} it must call backward.")
            gradient = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in self.parameters]
        else:
            gradient = self._differentiated(loss, False)
        value = loss.detach().reshape(())
        return (value.double().numpy()[()] if isinstance(x, np.ndarray) else value), vector(gradient)

    def _differentiated(self, loss: torch.Tensor, graph: bool) -> list[torch.Tensor]:
        if not loss.requires_grad:
            raise ValueError("closure returned a loss without a graph; for Newton it must not call backward.")
        try:
            return list(torch.autograd.grad(loss, self.parameters, create_graph=graph, materialize_grads=True))
        except RuntimeError as error:
            if "backward through the graph a second time" not in str(error):
                raise
            raise ValueError("closure called backward; for Newton it must only return the loss.") from None

    def _gradient(self, x: Array) -> torch.Tensor:
        """With its graph."""
        return torch.cat([g.reshape(-1) for g in self._differentiated(self._loss(x), True)])

    @DIFFERENTIATING
    def product(self, x: Array, v: Array, members: Rows) -> Array:
        """The Hessian at x times v, (n,)."""
        self._charge(2)
        gradient = self._gradient(x)
        along = torch.from_numpy(v) if isinstance(v, np.ndarray) else v
        return vector(torch.autograd.grad(gradient, self.parameters, along, materialize_grads=True))

    @DIFFERENTIATING
    def hessian(self, x: Array, members: Rows) -> Array:
        """The Hessian at x, (n, n)."""
        self._charge(2 * x.shape[-1])
        gradient = self._gradient(x)
        rows = (torch.autograd.grad(g, self.parameters, retain_graph=True, materialize_grads=True) for g in gradient)
        return namespace(x).stack([vector(row) for row in rows])
