"""The runs of a comparison for other tools: CSV, Optuna, TensorBoard."""

from __future__ import annotations

import csv as files
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from thalweg.extras import MissingExtra, require
from thalweg.lab.folder import Folder
from thalweg.lab.plan import SEARCHED


def csv(folder: Folder) -> list[Path]:
    """`runs.csv`, a row for every run, and `curves.csv`, one for every point of every curve."""
    tables = {"runs.csv": folder.table, "curves.csv": folder.points}
    return [_table(folder.path / name, rows) for name, rows in tables.items()]


def _table(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = files.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def optuna(folder: Folder) -> list[Path]:
    """`optuna.db`: a study for each optimizer's search, with its runs, each as far as it came.

    The runs at fresh seeds are studies of their own ("adamw, confirmation"): among them the best of a few settings is
    the luckiest seed, and `best_trial` shall be the search's. A run that halving stopped is a trial that was pruned,
    one that diverged or failed is a trial that failed there; what it was stands in its user attributes.
    """
    package = require("optuna", "optuna")
    package.logging.set_verbosity(package.logging.WARNING)
    states = package.trial.TrialState
    path = folder.path / "optuna.db"
    path.unlink(missing_ok=True)
    direction = "maximize" if folder.mode == "max" else "minimize"
    studies: dict[str, list[dict[str, Any]]] = {}
    for row in folder.furthest:
        phase = "" if row["phase"] in SEARCHED else f", {row['phase']}"
        studies.setdefault(f"{row['optimizer']}{phase}", []).append(row)
    for name, rows in studies.items():
        study = package.create_study(storage=f"sqlite:///{path}", study_name=name, direction=direction)
        for row in rows:
            run, ended = row["run"], datetime.fromisoformat(row["ended"]).replace(tzinfo=None)
            hyper = dict(row["hyper"])
            real = package.distributions.FloatDistribution
            about = {name: row[name] for name in ("phase", "seed", "data", "schedule", "steps")}
            trial = package.trial.create_trial(
                state=states.FAIL if run.final is None else states.PRUNED if row["until"] else states.COMPLETE,
                value=run.final,
                params=hyper,
                distributions={key: real(min(value, 0.0), max(value, 1e3)) for key, value in hyper.items()},
                intermediate_values={p.step: p.metric for p in run.curve if p.metric is not None},
                user_attrs={**about, "why": run.why or run.error},
            )
            trial.datetime_complete, trial.datetime_start = ended, ended - timedelta(seconds=run.seconds)
            study.add_trial(trial)
    return [path]


def tensorboard(folder: Folder) -> list[Path]:
    """`tensorboard/OPTIMIZER/KEY`: loss and metric of every run, to be shown by `tensorboard --logdir`."""
    try:
        writer = require("torch.utils.tensorboard").SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard is not installed: pip install tensorboard") from None
    root = folder.path / "tensorboard"
    shutil.rmtree(root, ignore_errors=True)
    for row in folder.furthest:
        with writer(str(root / row["optimizer"] / row["key"])) as out:
            for point in row["run"].curve:
                for name in ("loss", "metric"):
                    if getattr(point, name) is not None:
                        out.add_scalar(name, getattr(point, name), point.step)
    return [root]
