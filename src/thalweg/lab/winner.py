"""winner.py: the answer as code to paste, which run alone shows that it is the answer."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.lab.candidates import Candidate
from thalweg.lab.loading import file_of
from thalweg.lab.pickles import pickled
from thalweg.lab.task import Task
from thalweg.schedule import called

TASK_PICKLE, RULE_PICKLE = "task.pkl", "rule.pkl"


def winner_source(data: Mapping[str, Any], candidate: Candidate, folder: Path) -> str:
    """The source of winner.py, to stand in `folder`."""
    best = data["winner"]
    schedule, given = called(best["schedule"])
    lengths = "".join(f", {name}={value}" for name, value in given.items())
    arguments = ", ".join(f"{key}={_literal(value)}" for key, value in best["hyper_parameters"].items())
    house = isinstance(candidate.origin, str)
    name = f"tw.{best['class']}" if house else _identifier(best["class"])
    imports = ["import thalweg as tw", f"from thalweg.schedule import {schedule}"]
    making = "" if house else f"\n{_made(name, candidate, folder, imports)}\n"
    task_imports, task = _task(data["task"]["spec"], folder)
    half = "that chose the settings" if best["data"] == "selects" else "that chose nothing"
    said = "\n".join(textwrap.wrap(data["verdict"].replace("\\", " ").replace('"', "'"), 100))
    return f'''"""{said}

`configure` is what to paste; run alone, this file trains the task with it once more.
"""

{_sorted_imports(imports)}
{making}

def configure(parameters, steps):
    """The optimizer, and its schedule over `steps` steps: call scheduler.step() after every optimizer.step()."""
    optimizer = {name}(parameters, {arguments})
    scheduler = {schedule}(optimizer, steps{lengths})
    return optimizer, scheduler


if __name__ == "__main__":
{textwrap.indent(task_imports, "    ")}

    settle()  # one thread, no denormal numbers, as every run of the comparison: it ends elsewhere otherwise
    task = {task}
    # The same seed, on the half of the validation data {half}.
    run = train(task, configure, seed={best["seed"]}, steps={best["steps"]}, data="{best["data"]}")
    print(f"{{task.metric_name}} {{run.final!r}}")
'''


def needed_pickles(data: Mapping[str, Any], task: Task, candidate: Candidate) -> dict[str, bytes]:
    """Files that winner.py needs beside it: what was given as an object, not by name or path."""
    files = {}
    if data["task"]["spec"] is None:
        files[TASK_PICKLE] = pickled(task, task.model, task.train, task.loss, task.metric)
    if not isinstance(candidate.origin, str | Path):
        files[RULE_PICKLE] = pickled(candidate.origin, candidate.origin)
    return files


def _made(name: str, candidate: Candidate, folder: Path, imports: list[str]) -> str:
    """The lines that make the class of a rule that is not the house's."""
    if isinstance(candidate.origin, Path):
        imports[:0] = ["from pathlib import Path"]
        imports += ["from thalweg.rules import load"]
        return f"{name} = tw.optimizer(load({_path(candidate.origin, folder)}))"
    imports[:0] = ["import pickle", "from pathlib import Path"]
    return f'{name} = tw.optimizer(pickle.loads(Path(__file__).with_name("{RULE_PICKLE}").read_bytes()))'


def _sorted_imports(lines: list[str]) -> str:
    standard = sorted(line for line in lines if "thalweg" not in line)
    ours = sorted((line for line in lines if "thalweg" in line), key=lambda line: (line.startswith("from"), line))
    return "\n".join([*standard, *([""] if standard else []), *ours])


def _task(spec: str | None, folder: Path) -> tuple[str, str]:
    """What winner.py's second half begins with, and the expression that gives the task."""
    settle, train = "from thalweg.lab.arithmetic import settle", "from thalweg.lab.train import train"
    load, path = "from thalweg.lab.loading import load_task", "from pathlib import Path"
    if spec is None:
        unpickled = f'pickle.loads(Path(__file__).with_name("{TASK_PICKLE}").read_bytes())'
        return f"import pickle\n{path}\n\n{settle}\n{train}", unpickled
    file, name = file_of(spec)
    if file is not None:
        place = f"str({_path(file.resolve(), folder)})"
        named = f" + {f':{name}'!r}" if name else ""
        there = (
            f"os.chdir({_path(Path.cwd(), folder)})  # where the comparison began: the task may open files from there"
        )
        return f"import os\n{path}\n\n{settle}\n{load}\n{train}\n\n{there}", f"load_task({place}{named})"
    return f"{settle}\n{load}\n{train}", f'load_task("{spec}")'


def _path(target: Path, folder: Path) -> str:
    """An expression for a file: relative to winner.py, so that a project may move, where there is such a way."""
    try:
        relative = Path(os.path.relpath(target, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return f"Path({str(target)!r})"
    return f"Path(__file__).resolve().parent / {relative!r}"


def _identifier(name: str) -> str:
    made = re.sub(r"\W", "_", name)
    return made if made.isidentifier() else f"Rule_{made}"


def _literal(value: Any) -> str:
    """A value of result.json as it is written in Python: betas are a tuple again."""
    if isinstance(value, list):
        return f"({', '.join(map(repr, value))})"
    return repr(value)
