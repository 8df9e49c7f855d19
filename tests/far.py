"""A device that is not there: its tensors lie elsewhere, and what crosses to and from it is counted.

It stands for a GPU where there is none. Its tensors say that they are on the device "meta" and hold their numbers on
the CPU; an operation on tensors of both places is refused, as between a GPU and the CPU.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
AWAY = torch.device("meta")
WAITS = (aten.equal.default, aten.nonzero.default, aten.is_nonzero.default)  # the host needs their answer
COPIES = (aten.copy_.default, aten._foreach_copy_.default)  # what they are given first says where they write
INDEXES = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)  # they may take an index of the host


class Far(torch.Tensor):
    """A tensor that is elsewhere; `near` holds its numbers."""

    world: World

    @staticmethod
    def __new__(cls, near):
        return torch.Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), dtype=near.dtype, device=AWAY, storage_offset=near.storage_offset()
        )

    def __init__(self, near):
        self.near = near

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with Far.world:
            return func(*args, **(kwargs or {}))


class World(TorchDispatchMode):
    """Inside it there is such a device.

    Attributes:
        double: whether it has numbers of float64.
        fetched: how often the host waited for numbers of the device.
        sent: how often numbers of the host went there.
    """

    def __init__(self, double=True):
        super().__init__()
        self.double, self.fetched, self.sent = double, 0, 0
        Far.world = self

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, to = dict(kwargs or {}), (kwargs or {}).get("device")
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        here = [each for each in tensors if not isinstance(each, Far)]
        away = len(here) < len(tensors)
        if func is aten._local_scalar_dense.default and away:
            self.fetched += 1
            return args[0].near.item()
        self.fetched += away and func in WAITS
        if func is aten._to_copy.default and to is not None:
            goes = torch.device(to) == AWAY
            self.fetched, self.sent = self.fetched + (away and not goes), self.sent + (goes and not away)
            away = goes
        elif func in COPIES:
            goes = isinstance(tree_leaves(args[0])[0], Far)
            self.fetched, self.sent = self.fetched + (away and not goes), self.sent + (goes and bool(here))
            away = goes
        elif func in INDEXES:
            self.sent += away and bool(here)
        elif away and any(each.ndim for each in here):
            raise RuntimeError(f"{func} is called with tensors of two devices")
        else:
            away = away or to == AWAY
        if to == AWAY:
            kwargs["device"] = "cpu"
        near, named = tree_map(lambda each: each.near if isinstance(each, Far) else each, (args, kwargs))
        found = func(*near, **named)
        if not away:
            return found
        if not self.double and any(getattr(each, "dtype", None) == torch.float64 for each in tree_leaves(found)):
            raise TypeError(f"{func} makes numbers of float64, which this device does not have")
        found = tree_map(lambda each: Far(each) if isinstance(each, torch.Tensor) else each, found)
        return return_and_correct_aliasing(func, args, kwargs, found)


def near(x):
    """What a tensor of the device holds."""
    return x.near if isinstance(x, Far) else x
