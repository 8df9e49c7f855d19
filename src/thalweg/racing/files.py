"""A race as a file: what its ending says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.engine.trajectory import plain
from thalweg.lab.files import write
from thalweg.signature import did_you_mean

if TYPE_CHECKING:
    from thalweg.racing.race import Race

ENDINGS = ("png", "svg", "gif", "mp4", "csv", "json")
DPI = 160
Progress = Callable[[int, int], None]


def ending(path: Path, allowed: tuple[str, ...] = ENDINGS) -> str:
    """The file's ending, in lower case.

    Raises:
        ValueError: there is no such kind of file here.
    """
    found = path.suffix.lower().lstrip(".")
    if found not in allowed:
        raise ValueError(f"{str(path)!r} must end in .{', .'.join(allowed)}.{did_you_mean(found, allowed)}")
    return found


def save(race: Race, path: Path, theme: str = "light", progress: Progress | None = None) -> Path:
    """Write the race to the file."""
    kind = ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "json":
        write(path, json.dumps(race.data(), allow_nan=False) + "\n")
    elif kind == "csv":
        write(path, table(race))
    elif kind in ("gif", "mp4"):
        from thalweg.pictures.moving import gif, mp4

        (gif if kind == "gif" else mp4)(race, path, theme, race.description(), progress)
    else:
        write_picture(race.figure(theme), path, theme, f"A race on {race.landscape.name}", race.description())
    return path


def write_picture(drawn: Any, path: Path, theme: str, title: str, description: str) -> None:
    """A figure as png or svg, with its words inside: `title` and `description`."""
    from thalweg.pictures import theme as themes

    if ending(path, ("png", "svg")) == "svg":
        text = themes.page(drawn, themes.find(theme), name=path.stem, title=title, description=description)
        write(path, text)
    else:
        words = {"Title": title, "Description": description, "Software": "thalweg"}
        with themes.themed(themes.find(theme)):
            drawn.savefig(path, format="png", dpi=DPI, facecolor=themes.find(theme).paper, metadata=words)


def table(race: Race) -> str:
    """One line per optimizer and step: every number of the trajectories."""
    names = list(dict.fromkeys(name for run in race.runs for name in run.trajectory.values))
    rows: list[list[Any]] = []
    titles: dict[str, None] = {}
    for run in race.runs:
        for i, step in enumerate(run.trajectory.steps):
            cells: dict[str, Any] = {"optimizer": run.name, "lr": run.lr, "step": step}
            for name in names:
                if name not in run.trajectory.values:  # a minimizer has no rate
                    continue
                cells |= _cells(name, plain(run.trajectory[name][i]))
            titles |= dict.fromkeys(cells)
            rows.append([cells])
    out = io.StringIO()
    writer = csv.DictWriter(out, list(titles), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row[0] for row in rows)
    return out.getvalue()


def _cells(name: str, value: Any) -> dict[str, Any]:
    """A number under its name; the entries of a list or a matrix each under their own."""
    if not isinstance(value, list):
        return {name: value}
    return {key: each for i, item in enumerate(value) for key, each in _cells(f"{name}[{i}]", item).items()}
