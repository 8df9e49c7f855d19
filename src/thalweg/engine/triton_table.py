"""What a launch of a Triton kernel has to know of its tensors, in the device's memory from step to step."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from itertools import accumulate

import torch

from thalweg.engine.cell import Cell
from thalweg.engine.store import tensor_key
from thalweg.engine.triton_head import VALUES, WRITE
from thalweg.engine.triton_machine import capturing, load
from thalweg.engine.triton_source import TENSOR_KEY, Printed

KEPT = 256  # maps of the process, and tables of a program, that are remembered: one for each parameter group, with room
BLOCK = 1024  # elements of one tensor that one program of a launch updates


class Map:
    """Which block of a launch updates which chunk of which tensor, and which program takes the mean of which row.

    Args:
        sizes: how many elements each tensor has. `lengths`: and each of its rows, where rows matter; 0: it has none.
        device: where the map lies.
    """

    def __init__(self, sizes: tuple[int, ...], lengths: tuple[int, ...], device: torch.device):
        if capturing(device):
            raise RuntimeError("a step is captured that has never run: take one step before the capture.")
        each = [-(-size // BLOCK) for size in sizes]
        self.blocks = sum(each)
        owners = [k for k, count in enumerate(each) for _ in range(count)]
        chunks = [chunk for count in each for chunk in range(count)]
        self.sizes = torch.tensor(sizes, dtype=torch.int64, device=device)
        self.owners = torch.tensor(owners, dtype=torch.int32, device=device)
        self.chunks = torch.tensor(chunks, dtype=torch.int32, device=device)
        self.firsts = torch.tensor([0, *accumulate(each)], dtype=torch.int32, device=device)
        self.block, self.count = BLOCK, len(sizes)
        rows = [size // length if length else 0 for size, length in zip(sizes, lengths, strict=False)]
        owners = [k for k, count in enumerate(rows) for _ in range(count)]
        begins = [row * length for count, length in zip(rows, lengths, strict=True) for row in range(count)]
        self.rows = sum(rows)
        self.row_owners = torch.tensor(owners, dtype=torch.int32, device=device)
        self.row_begins = torch.tensor(begins, dtype=torch.int64, device=device)
        self.row_firsts = torch.tensor([0, *accumulate(rows)], dtype=torch.int64, device=device)
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=device)


mapped = functools.lru_cache(maxsize=KEPT)(Map)
REPLAYED: set[Map] = set()  # which captured graphs read, however long they live


class Table:
    """The addresses of a launch's tensors in the device's memory, and behind them the step's scalars.

    Column by column: what stays, then temporaries and gradients, then the scalars, so that what changes from step to
    step lies together.

    Args:
        printed: the kernels. `sizes`: how many elements each tensor has. `places`: what stays, column by column.
        map: of these sizes, on the device where the table is to lie.
        item: how many bytes an element of a temporary has.
    """

    def __init__(self, printed: Printed, sizes: tuple[int, ...], places: tuple[int, ...], map: Map, item: int):
        self.printed, self.map, device = printed, map, map.sizes.device
        if capturing(device):
            REPLAYED.add(map)
        moving = len(sizes) * (len(printed.columns) - len(printed.fixed))
        self.begin = len(places)
        end = (self.begin + moving + 1) // 2 * 2  # scalars begin at a multiple of 16 bytes
        self.padding = end - self.begin - moving
        entries = end + len(printed.scalars) + len(printed.draws) + 1
        self.data = torch.empty(entries, dtype=torch.int64, device=device)
        self.scalars = self.data[end:].view(torch.float64)
        self.numbers = torch.empty(max(1, len(sizes) * len(printed.numbers)), dtype=torch.float64, device=device)
        room = [-(-size * item // 16) * 16 for size in sizes] * (moving // len(sizes) - ("g" in printed.columns))
        self.offsets, self.room = list(accumulate([0, *room]))[:-1], sum(room)  # of temporaries between two kernels
        self.moving: list[int] = []
        self.aligned = False
        addresses = [places[i] for i in range(len(places)) if printed.fixed[i // len(sizes)] != TENSOR_KEY]
        self.still = all(place % 16 == 0 for place in addresses)
        self.write(0, list(places))

    def fill(self, gradients: list[int], spare: int, scalars: list[float]) -> None:
        """Write what has changed since the last step."""
        moving = [spare + offset for offset in self.offsets]
        if "g" in self.printed.columns:
            moving += gradients
        self.aligned = self.still and all(place % 16 == 0 for place in moving)
        bits = struct.unpack(f"{len(scalars)}q", struct.pack(f"{len(scalars)}d", *scalars))
        values = [*moving, *[0] * self.padding, *bits]
        same = 0  # often the gradients lie where they lay
        for new, old in zip(values, self.moving, strict=False):
            if new != old:
                break
            same += 1
        self.write(self.begin + same, values[same:])
        self.moving = values

    def write(self, begin: int, values: list[int]) -> None:
        """Put values into the table, as arguments of launches."""
        for at in range(0, len(values), VALUES):
            part = values[at : at + VALUES]
            padded = [*part, *[0] * (VALUES - len(part))]
            load(WRITE).write[(1,)](self.data[begin + at :], len(part), *padded)


def column(cells: Sequence[Cell], name: str) -> list[int]:
    """What stands in the table for each tensor: an address, or its own key of random bits."""
    if name == TENSOR_KEY:
        return [tensor_key(cell.tensor) for cell in cells]
    if name == "p":
        return [cell.p.data_ptr() for cell in cells]
    return [cell.slots[name].data_ptr() for cell in cells]
