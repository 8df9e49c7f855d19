"""Tasks and rules that are Python objects, as bytes for another process, with the code that it may not have."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from thalweg.extras import require
from thalweg.lab.fingerprint import is_users
from thalweg.lab.task import Task, TaskError


def pickled(content: Any, *functions: Any) -> bytes:
    """Pickled with the code of these functions' modules, for a process that cannot import them.

    Modules of installed packages are left as references.

    Raises:
        TaskError: it holds something that cannot be pickled.
    """
    names = {getattr(f, "__module__", None) for f in functions}
    try:
        return _with_code(content, [m for name in names if name and (m := sys.modules.get(name)) and is_users(m)])
    except Exception as error:
        said = "a task" if isinstance(content, Task) else "a rule"
        raise TaskError(
            f"{said} cannot be kept in a folder ({type(error).__name__}: {error}); "
            "one in a file can, as in compare('my_task.py', rules=['my_rule.py'])"
        ) from error


def pickled_for_elsewhere(content: Any) -> bytes:
    """Pickled with whatever it takes of the user's own modules, for a machine that has none of them."""
    loaded = [m for name, m in list(sys.modules.items()) if name == getattr(m, "__name__", None) != "__main__"]
    return _with_code(content, [m for m in loaded if getattr(m, "__file__", None) and is_users(m)])


def _with_code(content: Any, modules: Iterable[ModuleType]) -> bytes:
    cloudpickle = require("cloudpickle")
    registered = []
    try:
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
        return cloudpickle.dumps(content)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
