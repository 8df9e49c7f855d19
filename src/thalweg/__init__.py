"""thalweg: optimizers whose formulas are written once, and a lab that finds the best one for your model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.engine.store import Store
from thalweg.engine.trace import trace
from thalweg.minimize import minimize  # now: later, the package of that name would stand in its place
from thalweg.optimizer import Optimizer
from thalweg.optimizers import *  # noqa: F403  a new rule's class is here without an edit
from thalweg.optimizers import __all__ as _classes
from thalweg.rule_class import optimizer
from thalweg.signature import Slot

if TYPE_CHECKING:
    from thalweg.explanation import explain
    from thalweg.lab.comparison import compare
    from thalweg.lab.loading import load_task
    from thalweg.lab.result import Result
    from thalweg.lab.task import Task
    from thalweg.lab.tuning import tune
    from thalweg.minimize.optimizers import BFGS, LBFGS, ConjugateGradient, Newton
    from thalweg.racing.race import race
    from thalweg.racing.rates import map as map  # not in __all__: a star import shall not take Python's own away

__version__ = "0.1.0"
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *_classes,
    "BFGS",
    "Bowl",
    "Card",
    "ConjugateGradient",
    "LBFGS",
    "Log",
    "Namesake",
    "Newton",
    "OneMinusLog",
    "Optimizer",
    "Result",
    "Slot",
    "Store",
    "Task",
    "compare",
    "explain",
    "load_task",
    "minimize",
    "optimizer",
    "race",
    "trace",
    "tune",
]

# The lab is loaded when it is first asked for: it needs more than torch and numpy.
_LATER = {
    "BFGS": "thalweg.minimize.optimizers",
    "ConjugateGradient": "thalweg.minimize.optimizers",
    "LBFGS": "thalweg.minimize.optimizers",
    "Newton": "thalweg.minimize.optimizers",
    "explain": "thalweg.explanation",
    "Task": "thalweg.lab.task",
    "load_task": "thalweg.lab.loading",
    "compare": "thalweg.lab.comparison",
    "Result": "thalweg.lab.result",
    "tune": "thalweg.lab.tuning",
    "race": "thalweg.racing.race",
    "map": "thalweg.racing.rates",
}


def __getattr__(name: str) -> Any:
    if name == "lab":
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
