"""Compile C++ to a shared library, once: the disk remembers."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
FLAGS += ("-fopenmp-simd", "-shared", "-fPIC")
if sys.platform == "darwin":
    FLAGS += ("-undefined", "dynamic_lookup")  # what plan.cpp calls is in the running Python


class NoCompiler(RuntimeError):
    """No C++ compiler was found, or it could not compile."""


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of the compiler: ``$CXX``, g++, clang++, or the one of the PyPI package ziglang.

    Raises:
        NoCompiler: none of them is there.
    """
    if os.environ.get("CXX"):
        return tuple(shlex.split(os.environ["CXX"]))
    for name in ("g++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    try:
        import ziglang  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise NoCompiler("no C++ compiler is there: install g++ or clang++, or 'pip install ziglang'.") from None
    return (sys.executable, "-m", "ziglang", "cc")  # its c++ would first build the C++ library, for minutes


@functools.cache
def _identity() -> str:
    """What a library depends on beside its source: compiler, flags and processor."""
    version = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=False).stdout
    try:
        features = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        features = platform.processor()
    return "\n".join([*compiler(), version, *FLAGS, platform.machine(), features])


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$THALWEG_CACHE``, or ``thalweg`` in the user's cache folder.

    Raises:
        PermissionError: somebody else could write there.
    """
    given = os.environ.get("THALWEG_CACHE")
    folder = Path(given) if given else platformdirs.user_cache_path("thalweg", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid"):
        facts = folder.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise PermissionError(
                f"{folder} can be written by others; kernels are loaded from a folder of your own only."
            )
    return folder


def library_path(source: str) -> Path:
    """The file that holds this source's library, whether or not it is there yet."""
    key = hashlib.sha256(f"{_identity()}\n{source}".encode()).hexdigest()[:24]
    return cache_folder() / f"{key}.so"


ENGINES = {".so": "cpu", ".py": "triton"}  # whose a kernel in the cache is, by the end of its name


def label(kernel: Path) -> tuple[str, str]:
    """What a kernel in the cache is of: the rule with its flags, and the types in memory; empty where of no rule."""
    source = kernel.with_suffix(".cpp") if kernel.suffix == ".so" else kernel
    first = source.read_text().partition("\n")[0] if source.exists() else ""
    rule, _, types = first.removeprefix("// ").removeprefix("# ").partition(" | ")
    return (rule, types) if types else ("", "")


def kernels() -> list[Path]:
    """What the cache holds: compiled C++, and Triton's printed sources, which Triton compiles itself."""
    return sorted(file for file in cache_folder().iterdir() if file.suffix in ENGINES)


@functools.lru_cache(maxsize=512)
def load(source: str, kind: type[ctypes.CDLL] = ctypes.CDLL) -> ctypes.CDLL:
    """The loaded library of a C++ source, compiled unless the disk has it.

    `kind` is `ctypes.PyDLL` for what calls back into Python.

    Written under a name of its own and renamed: processes that start at once may compile it twice, but none
    ever loads half a file.

    Raises:
        NoCompiler: there is none, or it refuses the source; says what it printed.
    """
    path = library_path(source)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            text, built = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
            text.write_text(source)
            command = [*compiler(), *FLAGS, str(text), "-o", str(built)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise NoCompiler(f"the compiler {command[0]!r} cannot be run: {error}.") from error
            if done.returncode:
                raise NoCompiler(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
            text.replace(path.with_suffix(".cpp"))
            built.replace(path)
    return kind(str(path))
