"""Find a task: by the name of a workload, or in a Python file of the user's."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from thalweg import workloads
from thalweg.lab.task import RAISED, Task, TaskError, accepts
from thalweg.signature import did_you_mean


def load_task(spec: str) -> Task:
    """A task by the name of a workload ("digits") or from a Python file ("my_task.py", "my_task.py:name").

    The file holds a `Task` or a function without arguments that returns one. Without a name it is the one
    called `task`, else the only one there is; functions count if they are annotated `-> Task`. The file runs
    as a script would, with its folder on `sys.path`. Raises `TaskError` where there is none.

        >>> load_task("digitz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        thalweg.lab.task.TaskError: there is no workload 'digitz'. Did you mean 'digits'? ...
    """
    path, name = file_of(spec)
    if path is not None:
        return _from_file(path, name)
    if spec not in workloads.names() and ("/" in spec or Path(spec).exists()):
        raise TaskError(f"{spec!r} is not a Python file; a task is a workload's name or a file like my_task.py")
    return workloads.load(spec)


def file_of(spec: str) -> tuple[Path | None, str | None]:
    """The file that a task is in, and its name there if it is said.

    >>> file_of("my_task.py:small") == (Path("my_task.py"), "small")
    True
    >>> file_of("digits")
    (None, None)
    """
    match = re.fullmatch(r"(.+\.py)(?::(.*))?", spec)
    return (Path(match[1]), match[2]) if match else (None, None)


def _from_file(path: Path, name: str | None) -> Task:
    if not path.is_file():
        raise TaskError(f"there is no file {str(path)!r}")
    found = _run(path)
    if name is None:
        name = _only(path, found)
    elif name not in found:
        near = did_you_mean(name, [key for key in found if not key.startswith("_")])
        raise TaskError(f"{path} defines no {name!r}.{near}")
    task = found[name]
    if not isinstance(task, Task) and callable(task):
        if not accepts(task, 0):
            raise TaskError(f"{path}:{name} needs arguments; it must be a Task or a function without any")
        try:
            task = task()
        except RAISED as error:
            raise TaskError(f"{path}:{name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise TaskError(f"{path}:{name} is a {type(task).__name__}; it must be a Task or return one")
    return task


def _run(path: Path) -> dict[str, Any]:
    """The names that a file defines. Its module is not kept, so that cloudpickle sends its code by value."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"thalweg_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path  # a path that ends in .py has one
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except RAISED as error:
        raise TaskError(f"running {path} raised {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[name]
    return vars(module)


def _is_task(annotation: Any) -> bool:
    """Also as text, which `from __future__ import annotations` makes of it: "Task", "tw.Task"."""
    return annotation is Task or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "Task")


def _only(path: Path, found: dict[str, Any]) -> str:
    if isinstance(found.get("task"), Task) or inspect.isfunction(found.get("task")):
        return "task"
    made = {id(value): key for key, value in found.items() if isinstance(value, Task)}
    makes = {
        id(value): key
        for key, value in found.items()
        if inspect.isfunction(value)
        and value.__module__ == found["__name__"]
        and _is_task(value.__annotations__.get("return"))
    }
    names = list((made or makes).values())
    if len(names) == 1:
        return names[0]
    if names:
        raise TaskError(f"{path} defines several tasks: {', '.join(names)}; choose one, as in {path}:{names[0]}")
    raise TaskError(f"{path} defines no Task; call a Task, or a function that returns one, `task`")
