"""Triton on this machine: on which devices its kernels run, how they are compiled, and from a source to a module."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from thalweg.engine import build
from thalweg.engine.interpreted import words
from thalweg.extras import require


@functools.cache
def interpreting() -> bool:
    """Whether Triton's interpreter runs the kernels, on tensors of the CPU.

    Raises:
        MissingExtra: triton is not installed.
    """
    triton = require("triton", "triton")
    if hasattr(triton, "knobs"):
        return bool(triton.knobs.runtime.interpret)
    return os.environ.get("TRITON_INTERPRET", "0") == "1"  # all there is before triton 3.4


@functools.cache
def options() -> dict[str, Any]:
    """How Triton compiles: products and sums are rounded one by one, as in eager, and small numbers stay."""
    chosen = {"num_warps": 4, "enable_fp_fusion": False}
    if torch.version.cuda:
        known = require("triton.backends.nvidia.compiler", "triton").CUDAOptions.__dataclass_fields__
        chosen |= {"enable_reflect_ftz": False} if "enable_reflect_ftz" in known else {}
    return chosen


@functools.cache
def installed() -> bool:
    """Whether triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def runs_on(device: torch.device) -> bool:
    """Whether the kernels run on tensors of that device: a GPU, or the CPU where the interpreter is on."""
    return installed() and device.type == ("cpu" if interpreting() else "cuda")


def capturing(device: torch.device) -> bool:
    """Whether what is launched now goes into a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@contextlib.contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Launches go to this device's current stream; in the interpreter, numpy does not warn of infinities."""
    with torch.cuda.device(device) if device.type == "cuda" else np.errstate(all="ignore"):
        yield


@functools.lru_cache(maxsize=512)
def load(source: str) -> ModuleType:
    """The module of a printed source. It lies in the cache folder, for Triton reads a function's text from its file."""
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    path = build.cache_folder() / f"{key}.py"
    if not path.exists():
        handle, written = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "w") as file:
            file.write(source)
        Path(written).replace(path)
    spec = importlib.util.spec_from_file_location(f"thalweg_kernels_{key}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if interpreting():
        vars(module).update(words())
    return module
