"""The lab: which optimizer, with which settings, is best on the user's own model?

`compare` and `tune` run the protocol, `Task` says what is compared on, `Result` holds what came out. They are imported
when they are asked for: a workload that needs `thalweg.lab.task` shall not load the statistics.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.lab.comparison import compare
    from thalweg.lab.folder import load, resume
    from thalweg.lab.loading import load_task
    from thalweg.lab.result import Result
    from thalweg.lab.task import Task, TaskError
    from thalweg.lab.tuning import tune

__all__ = ["Result", "Task", "TaskError", "compare", "load", "load_task", "resume", "tune"]

_HOME = {
    "compare": "comparison",
    "Result": "result",
    "Task": "task",
    "TaskError": "task",
    "load": "folder",
    "load_task": "loading",
    "resume": "folder",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
