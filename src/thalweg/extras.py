"""Packages that only some parts need: imported where they are used, asked for by name when missing.

>>> require("math").sqrt(4.0)
2.0
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

# Where pip's name of a package is not the name one imports.
PACKAGES = {"sklearn": "scikit-learn", "grpc": "grpcio"}


class MissingExtra(ImportError):
    """An optional package is not installed; the sentence says which command installs it."""


def _missing(module: str, extra: str) -> MissingExtra:
    root = module.partition(".")[0]
    command = f"pip install 'thalweg[{extra}]'"
    return MissingExtra(f"{PACKAGES.get(root, root)} is not installed: {command}", name=root)


def require(module: str, extra: str = "lab") -> ModuleType:
    """Import and return `module` ("sklearn.datasets", "scipy", ...), which the extra `extra` brings.

    Raises `MissingExtra` where its package is not installed; any other failure inside the package is
    passed on as it is.

        >>> require("no_such_package")
        Traceback (most recent call last):
        thalweg.extras.MissingExtra: no_such_package is not installed: pip install 'thalweg[lab]'
    """
    root = module.partition(".")[0]
    try:
        importlib.import_module(root)
    except ModuleNotFoundError as error:
        if error.name != root:  # it is there, but broken: not ours to explain
            raise
        raise _missing(module, extra) from None
    return importlib.import_module(module)


def locate(package: str, extra: str = "lab") -> Path:
    """The folder of an installed package, found without importing it: for data that lies beside its code.

    Raises `MissingExtra` where it is not installed.

        >>> locate("email").name
        'email'
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package, extra)
    return Path(next(iter(spec.submodule_search_locations)))
