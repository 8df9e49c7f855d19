"""The command line in a process of its own: where it finds the package, and Ctrl-C in the middle of its search."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import thalweg


def environment(*paths, **more):
    """What a process needs to find the package, and what lies in `paths`."""
    found = [str(Path(thalweg.__file__).parents[1]), *map(str, paths)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found), **more}


def interrupted(folder, task, *arguments, env):
    """`thalweg compare`, stopped as a terminal stops it: what it said, without a traceback. Its result is in `mine`."""
    # A shell's background jobs begin with Ctrl-C ignored, and the tests may be one: take it back.
    code = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from thalweg.cli import main; main()"
    command = [sys.executable, "-c", code, "compare", task, "--steps", "2000", *arguments]
    command += ["--jobs", "2", "--out", "mine", "--optimizers", "sgd,momentum,adamw"]
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("search"):
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    return errors
