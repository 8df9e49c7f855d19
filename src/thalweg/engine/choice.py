"""Which engine runs a step: what was asked for, and what this machine can do."""

from __future__ import annotations

import functools
import os
import warnings

from thalweg.engine import build
from thalweg.signature import check_flag

ENGINES = ("auto", "eager", "cpu")


def chosen(engine: str) -> str:
    """The engine asked for, by the argument or else by ``THALWEG_ENGINE``."""
    check_flag("engine", engine, ENGINES)
    if engine == "auto" and "THALWEG_ENGINE" in os.environ:
        engine = os.environ["THALWEG_ENGINE"]
        check_flag("THALWEG_ENGINE", engine, ENGINES)
    if engine == "cpu":
        build.compiler()
    return engine


@functools.cache
def kernels_can_be_built(engine: str) -> bool:
    """Whether a compiler works here and its libraries can be loaded; if not, say once what to do."""
    try:
        build.load('extern "C" int works() { return 1; }')
    except (RuntimeError, OSError) as error:  # no compiler, no home, no folder of our own
        if engine == "cpu":
            raise
        warnings.warn(f"steps run eagerly, several times slower than compiled ones: {error}", stacklevel=2)
        return False
    return True
