"""The batches of a run: endless, decided by the seed alone, and with a position that one can return to."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from thalweg.lab.randomness import streams, undisturbed


class Batches:
    """The batches of one run, one after the other.

    A `train` function is called with step 0, 1, 2, ...; a `DataLoader` is walked epoch after epoch. The loader
    draws (its order, augmentation by torch, NumPy or random in this process) from streams of its own that start
    from the seed: whatever else draws random numbers meanwhile, the model's dropout or a second run, changes
    nothing, and a generator that it was given is put back after every batch.

    Args:
        train: a function `(step, seed) -> batch`, or a loader.
        seed: of the run.
        position: where to begin, as `position` gave it; None is the first batch. A loader's epoch is walked
            again from its beginning up to there.
        empty: made and raised when a loader gives no batch.

    Example:
        >>> counted = Batches(lambda step, seed: 10 * seed + step, seed=3)
        >>> next(counted), next(counted)
        (30, 31)
        >>> next(Batches(counted.train, seed=3, position=counted.position))
        32
    """

    def __init__(
        self,
        train: Callable[[int, int], Any] | DataLoader,
        seed: int,
        position: Any = None,
        empty: Callable[[], Exception] = StopIteration,
    ):
        self.train, self.seed = in_process(train) if isinstance(train, DataLoader) else train, seed
        self._empty = empty
        self._taken = 0  # of a loader: in this epoch
        if not isinstance(train, DataLoader):
            self._taken = position or 0
            return
        holders = (train, train.sampler, train.batch_sampler)
        given = {id(g): g for h in holders if isinstance(g := getattr(h, "generator", None), torch.Generator)}
        self._generators = tuple(given.values())
        self._streams = streams(*self._generators)
        self._epoch: Iterator[Any] = iter(())
        if position is None:
            with undisturbed(*self._generators):
                random.seed(seed)
                np.random.seed(seed % 2**32)
                for generator in (torch.default_generator, *self._generators):
                    generator.manual_seed(seed)
                self._own = [read() for read, _ in self._streams]
            self._epoch_own = self._own
        else:
            self._own, taken = position
            for _ in range(taken):
                self._from_loader()
            self._epoch_own = position[0]

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        if isinstance(self.train, DataLoader):
            return self._from_loader()
        self._taken += 1
        return self.train(self._taken - 1, self.seed)

    @property
    def position(self) -> Any:
        """Where the next batch is: can be pickled, and given to another `Batches` of the same loader and seed."""
        return (self._epoch_own, self._taken) if isinstance(self.train, DataLoader) else self._taken

    def _from_loader(self) -> Any:
        end = object()
        with undisturbed(*self._generators):
            for (_, write), state in zip(self._streams, self._own, strict=True):
                write(state)
            batch = next(self._epoch, end)
            if batch is end:
                self._epoch_own, self._taken = [read() for read, _ in self._streams], 0
                self._epoch = iter(self.train)  # type: ignore[arg-type]  # a loader here
                batch = next(self._epoch, end)
            if batch is end:
                raise self._empty()
            self._own = [read() for read, _ in self._streams]
        self._taken += 1
        return batch


def in_process(loader: DataLoader) -> DataLoader:
    """The same loader without its worker processes: runs have all cores, and many of them may be trained as one.

    One that prepares its workers, by `worker_init_fn`, keeps them.
    """
    if loader.worker_init_fn is not None:
        return loader
    alike = copy.copy(loader)
    alike.num_workers, alike.timeout = 0, 0
    return alike
