"""A function to walk on: its value, where to begin, where it is lowest, and what it teaches.

>>> bowl = Landscape("bowl", of_coordinates(lambda x, y: x**2 + y**2), start=(3.0, 4.0), domain=((-5, 5), (-5, 5)))
>>> bowl.value(bowl.point()), bowl.gradient(bowl.point())
(tensor(25., dtype=torch.float64), tensor([6., 8.], dtype=torch.float64))
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

Value = Callable[[Tensor], Tensor]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Landscape:
    """A function of one or two coordinates, or of a matrix.

    Args:
        name: what it is called, with the parameters that were given.
        value: the loss at p; takes any leading axes, so (K, n) gives (K,) and a matrix (K, r, c) gives (K,).
        start: where a walk begins: a sensible place, from which there is something to see.
        domain: what a picture shows, (low, high) per coordinate; empty for a matrix. No walk is kept inside.
        minima: the global minima, where they are known and not infinitely many.
        lowest: the value there (the infimum where none is reached); None where it is not known.
        formula: the function, for people.
        summary: what it is. teaches: what to look at. source: where it is from.
        coordinates: the names of the coordinates.
        sample: the loss of step t on its own batch, ``sample(p, t, seed)``; None where every step sees `value`.
        bounds: an interval per coordinate onto which a walk is projected after every step, in the open; empty
            for none.
        decay: how the lr falls over the steps, "constant" or "sqrt" (lr / sqrt(t)), unless a race says otherwise.
        optimizers: who races here, unless a race says otherwise.
        spectrum: a matrix: the singular values at the minimum.
    """

    name: str
    value: Value
    start: Any
    domain: tuple[Interval, ...] = ()
    minima: tuple[tuple[float, ...], ...] = ()
    lowest: float | None = None
    formula: str = ""
    summary: str = ""
    teaches: str = ""
    source: str = ""
    coordinates: tuple[str, ...] = ("x", "y")
    sample: Callable[[Tensor, int, int], Tensor] | None = None
    bounds: tuple[Interval, ...] = ()
    decay: Literal["constant", "sqrt"] = "constant"
    optimizers: str = ""
    spectrum: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.point().shape)

    @property
    def is_matrix(self) -> bool:
        """Whether a point is a matrix: then there is nothing to draw a map of."""
        return len(self.shape) == 2

    def point(self) -> Tensor:
        """The start as a float64 tensor."""
        return torch.as_tensor(self.start, dtype=torch.float64)

    def slope(self, p: Tensor, t: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
        """The loss and the gradient at p; the gradient is that of step t's batch, the loss never is."""
        with torch.enable_grad():
            place = p.detach().clone().requires_grad_()
            loss = self.value(place)
            seen = loss if self.sample is None else self.sample(place, t, seed)
            (gradient,) = torch.autograd.grad(seen.sum(), place)
        return loss.detach(), gradient

    def gradient(self, p: Tensor, t: int = 1, seed: int = 0) -> Tensor:
        """The gradient at p, by autograd; of step t's batch where there are batches."""
        return self.slope(p, t, seed)[1]

    def project(self, p: Tensor) -> Tensor:
        """The nearest point within the bounds: p itself where there are none."""
        if not self.bounds:
            return p
        low, high = (torch.tensor(ends, dtype=p.dtype) for ends in zip(*self.bounds, strict=True))
        return torch.minimum(torch.maximum(p, low), high)

    def rotated(self, degrees: float) -> Landscape:
        """The landscape turned about its (first) minimum, counter-clockwise, with its start and minima.

        Raises:
            ValueError: it has not two coordinates, or has bounds: they would not turn with it.
        """
        if degrees % 360 == 0:
            return self
        if self.shape != (2,) or self.bounds:
            why = "it has bounds" if self.bounds else "only two coordinates can be turned"
            raise ValueError(f"rotate is {degrees:g}; {self.name} cannot be turned: {why}.")
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        centre = torch.tensor(self.minima[0] if self.minima else (0.0, 0.0), dtype=torch.float64)
        value, sample = self.value, self.sample

        def back(p: Tensor) -> Tensor:
            return centre + (p - centre) @ turn.to(p.dtype)

        def turned(p: Tensor) -> Tensor:
            return centre + turn @ (p - centre)

        return replace(
            self,
            name=f"{self.name}, turned {degrees:g}°",
            value=lambda p: value(back(p)),
            sample=None if sample is None else lambda p, t, seed: sample(back(p), t, seed),
            start=tuple(turned(self.point()).tolist()),
            minima=tuple(tuple(turned(torch.tensor(m, dtype=torch.float64)).tolist()) for m in self.minima),
        )


def of_coordinates(height: Callable[..., Any]) -> Value:
    """The value of a function that is written in coordinates, ``height(x, y)``."""
    return lambda p: height(*p.unbind(-1))


def arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the coordinates of a function that somebody wrote.

    Raises:
        ValueError: it has not one or two arguments without a default.
    """
    given = inspect.signature(function).parameters.values()
    names = tuple(q.name for q in given if q.default is q.empty and q.kind is q.POSITIONAL_OR_KEYWORD)
    others = [q.name for q in given if q.default is q.empty and q.kind is not q.POSITIONAL_OR_KEYWORD]
    if len(names) not in (1, 2) or others:
        shown = getattr(function, "__name__", "the function")
        raise ValueError(f"{shown} has the arguments ({', '.join(q.name for q in given)}); a landscape has one or two.")
    return names


def of_function(function: Callable[..., Any], name: str, formula: str = "") -> Landscape:
    """A landscape of a function of the user's: f(x) or f(x, y) on tensors.

    It is shown from -3 to 3, and a walk begins in the upper left, unless a race says otherwise.

    Raises:
        ValueError: it has not one or two arguments, or does not give a tensor that depends on them.
    """
    names = arguments(function)
    start = (-2.4, 1.8)[: len(names)]
    made = Landscape(name, of_coordinates(function), start, ((-3.0, 3.0),) * len(names), formula=formula or name)
    made = replace(made, coordinates=names, summary="A function of yours.")
    place = made.point().expand(3, -1).clone().requires_grad_()
    try:
        seen = made.value(place)
    except Exception as error:  # the user's own code: whatever it is, say where it came from
        raise ValueError(f"{name} cannot be evaluated on tensors: {type(error).__name__}: {error}.") from error
    if not isinstance(seen, Tensor) or seen.shape != (3,) or not seen.requires_grad:
        raise ValueError(f"{name} must give one number for each point, a tensor that depends on {' and '.join(names)}.")
    return made
