"""The folder of a comparison: go on with it, look at what is in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.extras import require
from thalweg.lab.arguments import restored
from thalweg.lab.comparison import Comparison, prepared
from thalweg.lab.events import Progress
from thalweg.lab.loading import file_of
from thalweg.lab.result import Result
from thalweg.lab.store import StoreError, reading


def resume(
    out: str | Path, *, jobs: int | None = None, cluster: str | None = None, progress: Progress | None = None
) -> Result:
    """Go on with the comparison in a folder: after Ctrl-C, a crash, a reboot.

    Runs that are known are not repeated, and what was measured to decide is read, not measured again: the
    result is that of a comparison that was never interrupted, but for the times.

    Args:
        out: the folder that `compare(..., out=...)` was given.
        jobs: processes. Default: as many as the comparison was given.
        cluster: where the runs are made, as for `compare`. Default: where the comparison was made so far.
        progress: called with every event (thalweg.lab.events). Default: nobody is told.

    Raises:
        StoreError: there is no comparison in the folder, another process works there, or the task has changed.

    Example:
        >>> from thalweg.lab import resume  # doctest: +SKIP
        >>> resume("out/").verdict          # doctest: +SKIP
    """
    return prepared_again(out, jobs=jobs, cluster=cluster).run_in(out, progress)


def prepared_again(out: str | Path, **others: Any) -> Comparison:
    """The comparison in a folder, ready to run; arguments in `others` that are not None replace its own.

    It works where it began: a task may open files by paths from there.
    """
    with reading(out) as store:
        record = store.arguments
    if record is None:
        raise StoreError(f"{str(out)!r} holds no comparison yet; begin one with thalweg compare TASK --out {out}.")
    began = Path(record["folder"])
    with contextlib.chdir(began if began.is_dir() else "."):  # it is gone where a project was moved
        arguments = restored(record)
        _check_files(str(out), arguments, began)
        return prepared(**{**arguments, **{name: value for name, value in others.items() if value is not None}})


def _check_files(out: str, arguments: Mapping[str, Any], began: Path) -> None:
    """Refuse to go on from here where a file of the comparison is not there."""
    task = arguments["task"]
    files = [file_of(task)[0] if isinstance(task, str) else None, *arguments["rules"], arguments["spaces"]]
    for path in [Path(file) for file in files if isinstance(file, str | Path)]:
        if path.is_file():
            continue
        needs = f"the comparison in {out!r} needs {str(path)!r}"
        if path.is_absolute():
            raise StoreError(f"{needs}, which is not there any more; put it back.")
        if began.is_dir():
            raise StoreError(f"{needs}, which is not in {str(began)!r} any more, where it began; put it back there.")
        raise StoreError(
            f"{needs}, and the folder that it began in, {str(began)!r}, is gone; resume it from the folder that has "
            f"{str(path)!r} now: {str(Path.cwd())!r} has not."
        )


def load(out: str | Path) -> Folder:
    """What is in the folder of a comparison, also while it runs.

    Raises:
        StoreError: there is no comparison in it.

    Example:
        >>> from thalweg import lab                         # doctest: +SKIP
        >>> lab.load("out/").runs.groupby("optimizer").min()  # doctest: +SKIP
    """
    with reading(out) as store:
        return Folder(Path(out), tuple(store.rows()), tuple(store.sessions()), store.mode)


@dataclass(frozen=True, eq=False, repr=False)
class Folder:
    """A comparison that was, or is being, made.

    Attributes:
        path: the folder.
        rows: every run, as a dictionary with its Run under "run", in the order in which they ended; one that went on
            from a rung has a row for each of its legs.
        sessions: every process that worked here: begun, ended, machine, versions.
        mode: which way the metric is better.
    """

    path: Path
    rows: Sequence[dict[str, Any]]
    sessions: Sequence[dict[str, Any]]
    mode: str = "min"

    def __repr__(self) -> str:  # what a notebook shows
        names = dict.fromkeys(row["optimizer"] for row in self.rows)
        many = len(self.furthest)
        return f"{self.path}: {many} run{'s' * (many != 1)} of {', '.join(names) or 'nobody'}; .runs, .curves, .result"

    @property
    def result(self) -> dict[str, Any]:
        """What stands in result.json.

        Raises:
            StoreError: the comparison has not ended.
        """
        path = self.path / "result.json"
        if not path.is_file():
            raise StoreError(f"{str(self.path)!r} holds no result yet; thalweg resume {self.path} goes on.")
        return json.loads(path.read_text("utf-8"))

    @property
    def furthest(self) -> list[dict[str, Any]]:
        """Of every run its last row, which holds all of its curve."""
        last: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            run = repr([row[name] for name in ("optimizer", "hyper", "seed", "steps", "data", "schedule")])
            known = last.get(run)
            if known is None or (row["until"] or row["steps"]) >= (known["until"] or known["steps"]):
                last[run] = row
        return list(last.values())

    @property
    def runs(self) -> Any:
        """A pandas frame with a row for every run, as far as it came; each hyper-parameter has a column of its own.

        Columns: those of a trial (optimizer, seed, steps of its schedule, until, where it was pruned, data, schedule,
        phase), those of its run (final, seconds, taken steps, diverged, why, error, details, reported, memory in bytes,
        alone), the hyper-parameters as the rule spells them ("hyper.steps" where that is a column already), and key,
        session and ended, which tell it from others.
        """
        return require("pandas", "frames").DataFrame(self.table)

    @property
    def curves(self) -> Any:
        """A pandas frame with a row for every point of every run: key, optimizer, phase, seed, step, loss, metric."""
        return require("pandas", "frames").DataFrame(self.points)

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows of `runs`."""
        return [_flat(row) for row in self.furthest]

    @property
    def points(self) -> list[dict[str, Any]]:
        """The rows of `curves`."""
        about = ("key", "optimizer", "phase", "seed")
        return [{**{n: row[n] for n in about}, **vars(point)} for row in self.furthest for point in row["run"].curve]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    run, hyper = row["run"], dict(row["hyper"])
    about = {name: value for name, value in row.items() if name not in ("run", "hyper")}
    came = {name: value for name, value in vars(run).items() if name not in ("curve", "steps")}
    came |= {"diverged": run.diverged, "taken": run.steps}
    named = {f"hyper.{name}" if name in about or name in came else name: value for name, value in hyper.items()}
    return {**about, **named, **came}
