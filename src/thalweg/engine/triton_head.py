"""What printed Triton sources begin with, and the one source that is the same for every rule."""

VALUES = 16  # what one launch writes into the table

HEAD = '''\
import triton
import triton.language as tl
from triton.language.extra.libdevice import exp, log, pow, tanh


@triton.jit
def wide(x, real: tl.constexpr):
    return x.to(real)


@triton.jit
def narrow(x, kind: tl.constexpr):
    return x.to(kind)


@triton.jit
def sign(x):
    return tl.where(x != x, x, (x > 0).to(x.dtype) - (x < 0).to(x.dtype))


@triton.jit
def smaller(a, b):
    return tl.where((a != a) | (a < b), a, b)


@triton.jit
def larger(a, b):
    return tl.where((a != a) | (a > b), a, b)


@triton.jit
def only(x, inside):
    return x if inside is None else tl.where(inside, x, 0.0)


@triton.jit
def rest(x, kept):
    """What a narrow value has not kept of x."""
    return tl.where(tl.abs(kept) < float("inf"), x - kept, 0.0)


@triton.jit
def mixed(x):
    x = (x ^ (x >> 16)) * 0x21F0AAAD
    x = (x ^ (x >> 15)) * 0x735A2D97
    return x ^ (x >> 15)


@triton.jit
def by_chance(x, draw):
    """Up or down to a bfloat16: as store.py says."""
    x = x.to(tl.float32)
    bits = x.to(tl.uint32, bitcast=True)
    cut = (((bits + (draw >> 16)) >> 16) << 16).to(tl.float32, bitcast=True)
    return tl.where((bits & 0x7F800000) != 0x7F800000, cut, x)


@triton.jit
def added(sums, begin, end, width: tl.constexpr, LANES: tl.constexpr):
    """What blocks have summed, lane by lane and then over the lanes: always in the same order."""
    lanes = tl.zeros([LANES], tl.float64)
    while begin < end:
        at = begin + tl.arange(0, LANES)
        lanes += tl.load(sums + at * width, mask=at < end, other=0.0)
        begin += LANES
    return tl.sum(lanes)
'''

_NAMES = [f"a{i}" for i in range(VALUES)]
# Values into a table, as arguments of a launch: nothing that the host would have to keep, or to wait for.
WRITE = f"""\
import triton
import triton.language as tl


@triton.jit(do_not_specialize={["count", *_NAMES]!r})
def write(table, count, {", ".join(f"{name}: tl.int64" for name in _NAMES)}):
""" + "".join(f"    tl.store(table + {i}, {name}.to(tl.int64), mask=count > {i})\n" for i, name in enumerate(_NAMES))
