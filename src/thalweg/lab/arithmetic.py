"""How every run of the lab computes: in one thread, and with numbers below the smallest normal one taken for zero.

Sums in another order end elsewhere, so the number of threads is part of a result. And the gradients of a classifier
that is sure of its answers underflow to denormal numbers (below 1.2e-38 in float32), with which a processor computes
up to a hundred times as slowly: on the digits, the later steps of good settings took three times the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def settle() -> None:
    """Let this thread compute as runs of the lab do, from now on."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # where the processor cannot, nothing happens


@contextmanager
def settled() -> Iterator[None]:
    """Let this thread compute as runs of the lab do; then as it did before.

    >>> with settled():
    ...     torch.get_num_threads()
    1
    """
    threads, flushed = torch.get_num_threads(), flushes()
    settle()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def flushes() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return not torch.tensor(1e-38).mul(0.1).item()
