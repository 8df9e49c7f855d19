"""The roofline: a bare C++ loop over as many streams of memory as a rule's kernel reads and writes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from thalweg.engine import build
from thalweg.engine.graph import Graph


def streams(graph: Graph) -> tuple[int, int]:
    """How many tensors of the parameter's size the only kernel reads and writes."""
    (kernel,) = graph.kernels
    return len(kernel.reads), len(kernel.writes)


def bare(reads: int, writes: int, shapes: list[tuple[int, ...]]) -> Callable[[], None]:
    """A function that runs the loop once over tensors of these shapes."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    tensors = [[torch.rand(size) for size in sizes] for _ in range(reads)]
    table = (ctypes.c_void_p * (reads * len(sizes)))(
        *(column[k].data_ptr() for k in range(len(sizes)) for column in tensors)
    )
    loop = build.load(source(reads, writes)).loop
    loop.argtypes = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    ends = (ctypes.c_int64 * len(sizes))(*sizes)

    def run(_keep=tensors) -> None:
        loop(len(sizes), ends, table)

    return run


def reading(tensors: list[torch.Tensor]) -> Callable[[], None]:
    """A function that only reads these float32 tensors once, in eight places at once: as fast as one core can."""
    function = build.load(READ).largest
    function.argtypes, function.restype = [ctypes.c_int64, ctypes.c_void_p], ctypes.c_float
    arguments = [(x.numel(), x.data_ptr()) for x in tensors]

    def run(_keep=tensors) -> None:
        for size, place in arguments:
            function(size, place)

    return run


READ = """\
#include <cstdint>
extern "C" float largest(int64_t size, const float* x) {
    const int64_t part = size / 512 * 64;  // what is left over is not read
    float all[64] = {};
    for (int64_t i = 0; i < part; i += 64)
        for (int place = 0; place < 8; ++place) {
            const float* y = x + place * part + i;
            for (int line = 0; line < 64; line += 16) __builtin_prefetch(y + line + 512);
            for (int j = 0; j < 64; ++j) all[j] = all[j] < y[j] ? y[j] : all[j];
        }
    float found = 0;
    for (int j = 0; j < 64; ++j) found = found < all[j] ? all[j] : found;
    return found;
}
"""


def source(reads: int, writes: int) -> str:
    """Every stream is read, the first ones are written; one addition per stream."""
    pointers = "\n".join(f"        float* __restrict x{c} = (float*)table[k * {reads} + {c}];" for c in range(reads))
    values = " + ".join(f"x{c}[i]" for c in range(reads))
    stores = " ".join(f"x{c}[i] = 0.5f * all;" for c in range(writes))
    return f"""\
#include <cstdint>
extern "C" void loop(int64_t tensors, const int64_t* sizes, void* const* table) {{
    for (int64_t k = 0; k < tensors; ++k) {{
{pointers}
        for (int64_t i = 0; i < sizes[k]; ++i) {{ const float all = {values}; {stores} }}
    }}
}}
"""
