"""How a few operations run for all members at once, where `torch.func.vmap` is slow or cannot know.

vmap turns convolutions with a kernel per member into one grouped convolution, which is slow on a CPU; here they
are one matrix product per member. So are linear layers, laid out so that no gradient has to be copied. And vmap
draws dropout for all members from one stream, while every run has a stream of its own: here each member draws from
its own, the numbers that its own run would draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch import pyfunctorch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# vmap's level has no public door. In a torch that has not this one, vmap alone serves.
_functorch: Any = getattr(torch._C, "_functorch", None)
temporarily_pop_interpreter_stack: Any = getattr(pyfunctorch, "temporarily_pop_interpreter_stack", None)


class Batching(TorchFunctionMode):
    """While it is entered, inside one vmap over members, these operations go their own way.

    Args:
        streams: each member's random stream, for dropout.
        products: whether linear layers and convolutions are one matrix product per member here. They round otherwise
            than torch's own, which a maximum over nearly equal values may tell.
    """

    def __init__(self, streams: Sequence[torch.Generator] = (), products: bool = True):
        super().__init__()
        self.streams, self.products = streams, products
        self.drew = False  # whether a member's stream has been asked

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for every function of its own."""
        rule = RULES.get(function)
        if rule is not None and _functorch is not None and _functorch.maybe_current_level() == 1:
            answer = rule(self, *args, **(kwargs or {}))
            if answer is not None:
                return answer
        return function(*args, **(kwargs or {}))


def _dropout(
    batching: Batching, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor | None:
    if not training or not 0 < p < 1 or inplace or not _is_stacked(input) or not batching.streams:
        return None
    level = _functorch.maybe_get_level(input)
    batching.drew = True
    with temporarily_pop_interpreter_stack():
        x = _members(input)
        kept = torch.stack([torch.empty_like(x[0]).bernoulli_(1 - p, generator=own) for own in batching.streams])
        return _functorch._add_batch_dim(x * kept.div_(1 - p), 0, level)


def _cross_entropy(batching: Batching, input: Tensor, target: Tensor, *others: Any, **named: Any) -> Tensor | None:
    """Of scores (batch, classes) and class numbers, the mean: vmap would take it apart into a dozen steps."""
    whole = not isinstance(target, Tensor) or target.is_floating_point() or target.ndim != 1 or input.ndim != 2
    if whole or others or any(named.get(name) != value for name, value in PLAIN.items() if name in named):
        return None
    if set(named) - set(PLAIN) or not _is_stacked(input):
        return None
    apart = _functorch.is_batchedtensor(target)
    if apart and not _is_stacked(target):
        return None
    level = _functorch.maybe_get_level(input)
    with temporarily_pop_interpreter_stack():
        scores = _members(input)
        numbers = _members(target) if apart else target.expand(len(scores), -1)
        # With the classes before the batch, where a linear layer leaves them, a softmax of few classes is far cheaper.
        each = functional.cross_entropy(scores.mT, numbers, reduction="none")
        means = each.sum(1) / (numbers != PLAIN["ignore_index"]).sum(1)
        return _functorch._add_batch_dim(means, 0, level)


def _linear(batching: Batching, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """x (batch, in), w (out, in): with the batch last, weights and their gradients lie as the optimizer reads them."""
    if not batching.products or input.ndim != 2 or not _is_stacked(weight):
        return None
    shared = not _functorch.is_batchedtensor(input)
    if not (shared or _is_stacked(input)) or not (bias is None or _is_stacked(bias)):
        return None
    level = _functorch.maybe_get_level(weight)
    with temporarily_pop_interpreter_stack():
        w = _members(weight)
        x = input.mT.unsqueeze(0) if shared else _members(input).mT
        y = _products(w, x, None if bias is None else _members(bias))
        return _functorch._add_batch_dim(y.mT, 0, level)


def _products(w: Tensor, x: Tensor, b: Tensor | None) -> Tensor:
    """w (K, out, n) times x (K or 1, n, m), plus b (K, out): (K, out, m)."""
    if len(x) == 1:  # what all members see is read once, for the weights of all
        rows, seen = w.flatten(0, 1), x[0]
        y = rows @ seen if b is None else torch.addmm(b.reshape(-1, 1), rows, seen)
        return y.view(*w.shape[:2], -1)
    return w @ x if b is None else torch.baddbmm(b.unsqueeze(2), w, x)


def _convolution(dimensions: int) -> Callable[..., Tensor | None]:
    def convolution(
        batching: Batching, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1,
    ) -> Tensor | None:  # fmt: skip
        plain = batching.products and groups == 1 and not isinstance(padding, str)
        plain = plain and input.ndim == dimensions + 2
        if not plain or not _is_stacked(weight) or (bias is not None and not _is_stacked(bias)):
            return None
        level = _functorch.maybe_get_level(weight)
        shared = not _functorch.is_batchedtensor(input)
        if not shared and not _is_stacked(input):
            return None
        with temporarily_pop_interpreter_stack():
            w = _members(weight)
            b = None if bias is None else _members(bias)
            x = input.unsqueeze(0) if shared else _members(input)
            shape = _Windows(w.shape[3:], *(_each(value, dimensions) for value in (stride, padding, dilation)))
            return _functorch._add_batch_dim(_convolved(x, w, b, shape), 0, level)

    return convolution


def _convolved(x: Tensor, w: Tensor, b: Tensor | None, windows: _Windows) -> Tensor:
    """x (K or 1, batch, channels, ...), w (K, out, channels, ...), b (K, out) to (K, batch, out, ...).

    With the batch last, all that the windows copy is contiguous, and a product's rows come out as the next
    convolution wants them.
    """
    members, out = w.shape[:2]
    seen = _Seen.apply(x.movedim(1, -1), windows)  # (K or 1, channels, window, places, batch)
    places = seen.shape[-len(windows.size) - 1 :]
    y = _products(w.flatten(2), seen.reshape(len(seen), w[0, 0].numel(), -1), b)
    return y.view(members, out, *places).movedim(-1, 1)


class _Windows:
    """The windows of a convolution: what each of its places sees of the input; beyond its edges there are zeros."""

    def __init__(self, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]):
        self.size, self.stride, self.padding, self.dilation = tuple(size), stride, padding, dilation

    def places(self, lengths: Sequence[int]) -> list[int]:
        return [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(lengths, self.size, self.stride, self.padding, self.dilation, strict=True)
        ]

    def slices(self, lengths: Sequence[int]) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each element of the window, the places where it meets the input, and what it meets there."""
        axes = []
        numbers = zip(lengths, self.places(lengths), self.size, self.stride, self.padding, self.dilation, strict=True)
        for n, places, k, s, p, d in numbers:
            axes.append([])
            for before in (p - d * j for j in range(k)):  # so far before the input begins the first place's window
                first = max(0, -(-before // s))
                end = max(first, min(places, (n - 1 + before) // s + 1))
                met = slice(first * s - before, max(0, (end - 1) * s - before + 1), s) if end > first else slice(0, 0)
                axes[-1].append((slice(first, end), met))
        return [tuple(zip(*pairs, strict=True)) for pairs in itertools.product(*axes)]  # pyright: ignore[reportReturnType]


class _Seen(torch.autograd.Function):
    """(..., lengths, batch) to (..., window, places, batch): every element of the window in a row of its own."""

    @staticmethod
    def forward(x: Tensor, windows: _Windows) -> Tensor:
        axes = len(windows.size)
        lengths, outer, dots = x.shape[-axes - 1 : -1], x.shape[: -axes - 1], (slice(None),) * (x.ndim - axes - 1)
        places, slices = windows.places(lengths), windows.slices(lengths)
        seen = x.new_empty(*outer, len(slices), *places, x.shape[-1])
        for j, (here, met) in enumerate(slices):
            row = seen[(*dots, j)]
            if any(part != slice(0, many) for part, many in zip(here, places, strict=True)):
                row.zero_()
            row[(*dots, *here)] = x[(*dots, *met)]
        return seen

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.shape, ctx.windows = inputs[0].shape, inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), axes = gradients, len(ctx.windows.size)
        dots = (slice(None),) * (len(ctx.shape) - axes - 1)
        whole = gradient.new_zeros(ctx.shape)
        for j, (here, met) in enumerate(ctx.windows.slices(ctx.shape[-axes - 1 : -1])):
            # += would copy the sum onto itself
            whole[(*dots, *met)].add_(gradient[(*dots, j, *here)])
        return whole, None


def _is_stacked(x: Any) -> bool:
    """Whether a tensor is one per member, and nothing else is wrapped around it."""
    return _functorch.is_batchedtensor(x) and not _functorch.is_functorch_wrapped_tensor(_functorch.get_unwrapped(x))


def _members(x: Tensor) -> Tensor:
    """What is in it: (K, ...)."""
    held, place = _functorch.get_unwrapped(x), _functorch.maybe_get_bdim(x)
    return held.movedim(place, 0) if place else held


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) and len(value) > 1 else dimensions * (_first(value),)


def _first(value: Any) -> int:
    return value[0] if isinstance(value, Sequence) else value


PLAIN = {  # cross_entropy's defaults
    "weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "reduction": "mean",
    "label_smoothing": 0.0,
}  # fmt: skip
RULES: dict[Any, Callable[..., Tensor | None]] = {
    functional.cross_entropy: _cross_entropy,
    functional.dropout: _dropout,
    functional.linear: _linear,
    functional.conv1d: _convolution(1),
    functional.conv2d: _convolution(2),
    functional.conv3d: _convolution(3),
}
