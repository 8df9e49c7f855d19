"""Random streams: every run has its own, and leaves those of the process as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def streams(*generators: torch.Generator) -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How to read and to write the state of this process' random streams and of `generators`."""
    torches: list[Any] = [(g.get_state, g.set_state) for g in (torch.default_generator, *generators)]
    if torch.cuda.is_initialized():  # dropout on a GPU draws there
        torches.append((torch.cuda.get_rng_state, torch.cuda.set_rng_state))
    return [*torches, (np.random.get_state, np.random.set_state), (random.getstate, random.setstate)]


@contextmanager
def undisturbed(*generators: torch.Generator) -> Iterator[None]:
    """Put the random streams of torch, NumPy and random, and `generators`, back as they were.

    >>> before = torch.initial_seed()
    >>> with undisturbed():
    ...     _ = torch.manual_seed(before + 1)
    >>> torch.initial_seed() == before
    True
    """
    found = streams(*generators)
    states = [read() for read, _ in found]
    try:
        yield
    finally:
        for (_, write), state in zip(found, states, strict=True):
            write(state)
