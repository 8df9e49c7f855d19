"""A process of the lab's own, seen from inside: what protects the others from the run it makes.

Its memory is limited, its output goes to a file that is bounded, it ends when its parent has ended, and where
it stood when it died or hung can be read from that file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from thalweg.extras import require
from thalweg.lab.arithmetic import settle

PRINTED = 16 * 2**20  # bytes that a run may print; more is a mistake, and would fill a disk
TAIL = 4000  # characters of them that are shown
TICK = 0.5  # seconds between two looks at parent and output

_payload: bytes = b""
_trainer: Any = None
_log, _path = -1, Path()


class PrintedTooMuch(RuntimeError):
    """A run has printed more than anybody will read."""


def begin(payload: bytes, log: str, memory: int | None, parent: int) -> None:
    """Prepare a process: called once, before its first run.

    Args:
        payload: the pickled function of a trial.
        log: path of the file that it prints to.
        memory: bytes that it may take for data, or None for no limit.
        parent: the process to end with; it may have ended by now.
    """
    global _payload, _log, _path
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    settle()
    _payload = payload
    _path = Path(log)
    _log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(_log, standard)
    sys.stdout = sys.stderr = _Bounded()
    faulthandler.enable(_log)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, file=_log, chain=False)  # where it stands, for `last_words`
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if memory is not None:
        _limit(memory)


def ready() -> int:
    """Load what runs need, which takes seconds that no run shall answer for; the number of this process."""
    with contextlib.suppress(Exception):  # the first run will meet it, and tell
        importlib.import_module("torch._dynamo")  # the first optimizer would, for over a second
        _load()
    return os.getpid()


def _load() -> Any:
    global _trainer
    if _trainer is None:
        _trainer = require("cloudpickle").loads(_payload)
    return _trainer


def work(trial: Any) -> Any:
    """The run of a trial, or the exception on its way home: as text, since not every exception can be sent."""
    os.ftruncate(_log, 0)
    sys.stdout.written = 0  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return _load()(trial)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # the task's own: Ctrl-C does not come here
        sentence, details = f"{type(error).__name__}: {error}", traceback.format_exc()
    if said := last_words(_path):
        details = f"{details}\nIt had printed:\n{said}"
    return sentence, details


class _Bounded(io.TextIOBase):
    """Standard output as a file that takes only so much."""

    written = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _log

    def write(self, text: str) -> int:
        self.written += len(text)
        if self.written > PRINTED:
            raise PrintedTooMuch(f"the run has printed more than {PRINTED / 2**20:.0f} MB")
        os.write(_log, text.encode(errors="replace"))
        return len(text)


def _watch(parent: int) -> None:
    """End with the parent, also when it is killed; end when code that is not Python prints without end."""
    while True:
        time.sleep(TICK)
        if os.getppid() != parent:
            os._exit(1)
        if os.fstat(_log).st_size > 2 * PRINTED:
            os.ftruncate(_log, 0)
            os.write(_log, f"the run has printed more than {2 * PRINTED / 2**20:.0f} MB\n".encode())
            os._exit(1)


# ---- memory


def _limit(memory: int) -> None:
    """Let an allocation fail, in this process alone, rather than the machine."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # there is none on Windows

        status = Path("/proc/self/status").read_text()
        now = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = now + memory
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))


def available() -> int | None:
    """Bytes of memory that are free for us: of the machine, and of the container if we are in one; None: unknown."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            root = Path("/sys/fs/cgroup")
            found.append(int((root / limit).read_text()) - int((root / used).read_text()))
    return min(found) if found else None


# ---- seen from the parent


def last_words(log: Path, process: int | None = None) -> str:
    """What a run has printed, the end of it; if its process is named, with where it stands."""
    if process is not None and hasattr(signal, "SIGUSR1"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGUSR1)
            time.sleep(0.2)  # the signal's handler writes at once; there is no answer to wait for
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode(errors="replace").strip()
    return ""
