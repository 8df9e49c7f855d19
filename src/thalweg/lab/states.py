"""States of runs that will go on: a folder that all processes of a comparison share.

A run that is stopped at a rung leaves its state here and continues from it. Nothing depends on that: a state that
is missing, unreadable or was never written means that the run begins again and comes to the same numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.lab.files import write

if TYPE_CHECKING:
    from thalweg.lab.plan import Trial
    from thalweg.lab.train import Training


@dataclass(frozen=True)
class States:
    """One file for each run that is under way, replaced whole or not at all."""

    folder: Path

    def has(self, trial: Trial) -> bool:
        """Whether a run was left here."""
        return self._path(trial).exists()

    def load(self, trial: Trial, training: Training) -> bool:
        """Let a training that has not begun go on from where its run was left; False if it stays where it is."""
        try:
            training.load(self._path(trial).read_bytes())
        except Exception:  # of whatever kind: pickles raise anything
            return False
        return True

    def keep(self, trial: Trial, training: Training) -> None:
        """Keep where a run is. One that cannot be pickled, or finds no room, is not kept."""
        with contextlib.suppress(Exception):
            write(self._path(trial), training.state())

    def keep_all(self, pairs: Iterable[tuple[Trial, Training]]) -> None:
        """Keep where runs are that go on together; written in one go, for only states of one step are of use."""
        with contextlib.suppress(Exception):
            for path, state in [(self._path(trial), training.state()) for trial, training in pairs]:
                write(path, state)

    def drop(self, trial: Trial) -> None:
        """The run has ended."""
        self._path(trial).unlink(missing_ok=True)

    def drop_all_but(self, trials: Iterable[Trial]) -> None:
        """Nobody but these will go on."""
        wanted = {self._path(trial) for trial in trials}
        for path in self.folder.glob("*.state"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    def packed(self, trials: Iterable[Trial], most: int) -> dict[str, bytes]:
        """The states of trials for another machine; none at all if they are more than so many bytes."""
        paths = [path for trial in trials if (path := self._path(trial)).is_file()]
        if sum(path.stat().st_size for path in paths) > most:
            return {}
        return {path.name: path.read_bytes() for path in paths}

    def unpack(self, states: Mapping[str, bytes]) -> None:
        """Keep what another machine has packed."""
        for name, state in states.items():
            write(self.folder / name, state)

    def _path(self, trial: Trial) -> Path:
        whole = (trial.optimizer, trial.hyper, trial.seed, trial.steps, trial.data, trial.schedule)
        return self.folder / f"{hashlib.sha256(repr(whole).encode()).hexdigest()[:32]}.state"
