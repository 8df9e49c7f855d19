"""Compile C++ to a shared library, once: the disk remembers."""

from __future__ import annotations

import contextlib
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
import warnings
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
    version = _run([*compiler(), "--version"]).stdout
    try:
        features = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        features = platform.processor()
    return "\n".join([*compiler(), version, *FLAGS, platform.machine(), features])


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$THALWEG_CACHE``, or ``thalweg`` in the user's cache folder.

    Raises:
        OSError: it cannot be made. PermissionError: somebody else could write there.
    """
    given = os.environ.get("THALWEG_CACHE")
    folder = Path(given) if given else platformdirs.user_cache_path("thalweg", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OSError(f"{folder} is no folder, and cannot be made: {error.strerror}.") from error
    if hasattr(os, "getuid"):
        facts = folder.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise PermissionError(
                f"{folder} can be written by others; kernels are loaded from a folder of your own only."
            )
    return folder


def library_path(source: str) -> Path:
    """The file that holds this source's library, whether or not it is there yet."""
    return cache_folder() / _file_name(source)


def _file_name(source: str) -> str:
    return hashlib.sha256(f"{_identity()}\n{source}".encode()).hexdigest()[:24] + ".so"


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

    Compiled again if it is damaged there. Where the cache cannot be used (nobody may write there, or everybody, or the
    disk is full) it is compiled for this process alone, and a warning says so once.

    Raises:
        NoCompiler: there is none, or it refuses the source; says what it printed.
    """
    name = _file_name(source)
    with contextlib.suppress(OSError, RuntimeError):  # not there, or damaged, or no folder for it
        return kind(str(cache_folder() / name))
    with tempfile.TemporaryDirectory() as folder:
        built = _compiled(source, Path(folder))
        try:
            path = _kept(built, cache_folder() / name)
        except (OSError, RuntimeError) as error:
            _say_that_nothing_is_kept(getattr(error, "strerror", None) or str(error))
            path = built
        return kind(str(path))


def _compiled(source: str, folder: Path) -> Path:
    text, built = folder / "kernel.cpp", folder / "kernel.so"
    text.write_text(source)
    command = [*compiler(), *FLAGS, str(text), "-o", str(built)]
    done = _run(command)
    if done.returncode:
        raise NoCompiler(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
    return built


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoCompiler(f"the compiler {command[0]!r} cannot be run: {error}.") from error


def _kept(built: Path, path: Path) -> Path:
    """Source and library in the cache, written under names of their own and renamed.

    Processes that start at once may compile it twice, but none ever loads half a file.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for end in (".cpp", ".so"):
            Path(shutil.copy(built.with_suffix(end), folder)).replace(path.with_suffix(end))
    return path


@functools.cache
def _say_that_nothing_is_kept(why: str) -> None:
    warnings.warn(
        f"every process compiles its kernels anew, for their cache cannot be used: {why.rstrip('.')}. "
        "THALWEG_CACHE may name another folder, which only you can write.",
        stacklevel=3,
    )
