"""The result of a comparison, and what it leaves in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.lab.candidates import Candidate
from thalweg.lab.files import write
from thalweg.lab.task import Task
from thalweg.lab.winner import needed_pickles, winner_source


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a comparison found.

    Attributes:
        data: everything, as it is saved in result.json.
        task: what was trained.
        candidates: who competed, by name.
    """

    data: dict[str, Any]
    task: Task
    candidates: Mapping[str, Candidate]

    @property
    def verdict(self) -> str:
        """One sentence: winner, practical tie, undecided or stopped early, with its evidence."""
        return self.data["verdict"]

    @property
    def decision(self) -> dict[str, Any]:
        """Outcome, leader, recommended, and the comparisons with intervals."""
        return self.data["decision"]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Every run, in the order of the protocol."""
        return self.data["runs"]

    @property
    def winner(self) -> dict[str, Any] | None:
        """The recommended optimizer: its class, hyper_parameters, a seed and the final metric from there."""
        return self.data["winner"]

    def save(self, folder: str | Path) -> Path:
        """Write result.json, winner.py, report.html, report.md and paper/, each whole or not at all.

        winner.py is left out when there is nothing to recommend. A task or a rule that is a Python object,
        not a name or a file, is pickled beside it.

        Args:
            folder: made if it is missing; files of these names are replaced.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "result.json", json.dumps(self.data, indent=1, allow_nan=False) + "\n")
        if self.winner is not None:
            candidate = self.candidates[self.winner["optimizer"]]
            for name, content in needed_pickles(self.data, self.task, candidate).items():
                write(folder / name, content)
            write(folder / "winner.py", winner_source(self.data, candidate, folder))
        from thalweg.lab.report import write_report  # draws: not needed by those who only look at the verdict

        write_report(self.data, folder)
        return folder

    def __repr__(self) -> str:  # what a notebook shows: not every curve of every run
        return str(self)

    def __str__(self) -> str:
        metric, lines = self.data["task"]["metric"], [self.verdict, ""]
        for name, known in self.data["optimizers"].items():
            confirmed = known["confirmed"]
            if confirmed:
                interval = "" if confirmed["low"] is None else f" [{confirmed['low']:.4g}, {confirmed['high']:.4g}]"
                said = f"{metric} {confirmed['mean']:.4g}{interval}, n = {confirmed['n']}"
            elif known["search_best"] is not None:
                said = f"{metric} {known['search_best']:.4g} in the search, not confirmed"
            else:
                said = "no run ended without diverging"
            lines.append(f"  {name:12} {said}")
        return "\n".join(lines)
