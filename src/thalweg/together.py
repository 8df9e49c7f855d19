"""K optimizers of one class that step as one, each with the settings of its own group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from thalweg.engine.cell import plain
from thalweg.engine.stacked import Stack
from thalweg.optimizer import LATER, Optimizer
from thalweg.signature import signature_of


def kind(optimizer: Optimizer) -> Hashable:
    """Optimizers of one kind may step as one: class, transforms, names of what is kept per parameter, and flags.

    >>> import thalweg as tw
    >>> of = lambda **settings: kind(tw.RMSprop([torch.nn.Parameter(torch.ones(2))], **settings))
    >>> of(lr=0.1) == of(lr=0.2), of(momentum=0.5) == of(momentum=0.9), of() == of(momentum=0.9)
    (True, True, False)
    """
    group, arguments = optimizer.param_groups[0], optimizer.arguments
    hyper, flags = arguments.read(group), arguments.signature.flags
    kept = tuple(arguments.signature.kept(hyper))
    return type(optimizer), arguments.rule_of(group), kept, tuple((name, hyper[name]) for name in flags)


class Together:
    """The same step for K models of one shape, whose parameters lie together as stacked tensors.

    The optimizers keep their groups, which schedulers may go on changing, and their state: while they are together,
    each one's tensors are its part of the stacked ones.

    Args:
        optimizers: K of one class, of one group each and without state dtypes of their own.
        params: of each optimizer, those that get gradients, in the same order.
        stacked: the same parameters together, each of shape (K, ...).

    Raises:
        ValueError: they differ in what cannot be a number per member; the sentence says in what.

    Example:
        >>> import thalweg as tw
        >>> w = torch.ones(2, 3)
        >>> ps = [torch.nn.Parameter(row) for row in w]
        >>> optimizers = [tw.SGD([p], lr=lr) for p, lr in zip(ps, (0.1, 0.2))]
        >>> Together(optimizers, [[p] for p in ps], [w]).step([torch.ones(2, 3)])
        >>> w[:, 0]
        tensor([0.9000, 0.8000])
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], params: Sequence[Sequence[torch.Tensor]], stacked: list[torch.Tensor]
    ):
        self.optimizers, self.params = list(optimizers), [list(own) for own in params]
        first = self.optimizers[0]
        self.arguments, self.groups = first.arguments, [optimizer.param_groups[0] for optimizer in optimizers]
        self.settings = [self.arguments.read(group) for group in self.groups]
        kept = self.arguments.signature.kept(self.settings[0])
        flags = {name: self.settings[0][name] for name in self.arguments.signature.flags}
        if any(type(o) is not type(first) or len(o.param_groups) > 1 or o.engine == "eager" for o in optimizers):
            raise ValueError("the optimizers are of different classes, have several groups, or ask for engine='eager'.")
        if any(o.store != type(o.store)() for o in optimizers):
            raise ValueError("an optimizer has a store of its own.")
        if len(set(map(kind, optimizers))) > 1:
            raise ValueError("the optimizers' flags or transforms differ, or what they keep.")
        if any(group.get(name) for group in self.groups for name in ("differentiable", "foreach")):
            raise ValueError("an optimizer asks for differentiable or foreach.")
        counts = {self._walked(o, p) for o, own in zip(optimizers, self.params, strict=True) for p in own}
        if len(counts) != 1:
            raise ValueError("the optimizers have taken different numbers of steps.")
        self.t = counts.pop()
        for optimizer, group, own, hyper in zip(self.optimizers, self.groups, self.params, self.settings, strict=True):
            for p in own:
                optimizer._prepare(p, group, hyper, kept)
        self.keys = {name: first._spelled(name) for name in kept}
        slots = [
            {
                name: torch.stack([o.state[own[i]][key] for o, own in zip(optimizers, self.params, strict=True)])
                for name, key in self.keys.items()
            }
            for i in range(len(stacked))
        ]
        self._hand_out(slots)
        rule = self.arguments.rule_of(self.groups[0])
        signature = signature_of(rule)
        whens = {slot.when for slot in signature.slots.values()}
        switches = {name: self.settings[0][name] for name in signature.numbers if name in whens}
        self.stack = Stack(rule, stacked, slots, **flags, **switches)
        self.varying = {name: np.array([plain(hyper[name]) for hyper in self.settings]) for name in signature.numbers}
        for name, values in self.varying.items():
            if len(set(values.tolist())) == 1:
                self.varying[name] = values[0]

    @staticmethod
    def _walked(optimizer: Optimizer, p: torch.Tensor) -> int:
        """The steps that an optimizer has taken with a parameter; as good as one where it keeps no count."""
        state = optimizer.state.get(p)
        return (int(state["step"]) if "step" in state else LATER - 1) if state else 0

    def _hand_out(self, slots: Sequence[dict[str, torch.Tensor]]) -> None:
        for i, columns in enumerate(slots):
            for name, values in columns.items():
                for k, optimizer in enumerate(self.optimizers):
                    optimizer.state[self.params[k][i]][self.keys[name]] = values[k]

    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Update all members; of the settings, only the learning rates are read anew.

        Args:
            gradients: one for each stacked parameter, of its shape.
        """
        self.t += 1
        rates = np.array([plain(group["lr"]) for group in self.groups])
        self.stack.step(gradients, {**self.varying, "lr": rates}, self.t)

    def part(self) -> None:
        """Let every optimizer have its state to itself, as if it had stepped alone."""
        for optimizer, own in zip(self.optimizers, self.params, strict=True):
            optimizer._plans.clear()
            for p in own:
                state = optimizer.state.get(p, {})
                for key, value in state.items():
                    if key == "step":
                        value.fill_(self.t)
                    else:
                        state[key] = value.clone()
