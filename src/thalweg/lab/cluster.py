"""Trials on the machines of a Ray cluster, beside `solo` and `processes` of the pool. The numbers are the same.

A worker is a process of one thread, protected as those of `processes` are. Task and candidates are put into Ray's
object store once. No folder is shared: a run that may go on comes back with its state, which is kept in the folder
of the comparison and sent along when the run goes on, on whichever machine.

A worker may die, with its machine or without: what it was doing is begun again by another, twice at most.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import torch

import thalweg
from thalweg.engine.choice import kernels_can_be_built
from thalweg.extras import require
from thalweg.lab import worker
from thalweg.lab.chunks import Chunk, Work
from thalweg.lab.events import Perform
from thalweg.lab.faults import failed, hung, retried
from thalweg.lab.pickles import pickled_for_elsewhere
from thalweg.lab.plan import Trial
from thalweg.lab.pool import sent, shared
from thalweg.lab.run import Run
from thalweg.lab.states import States

OFF, LOCAL, HERE, CLIENT = "off", "local", "auto", "ray://"
AGAIN = 2  # times that work is begun again whose worker has died
CARRIED = 128 * 2**20  # bytes of states that travel with a trial or a chunk; where they are more, it begins again
SOON = 5.0  # seconds in which an address must answer
PATIENCE = 30.0  # seconds in which a machine must say what a worker has printed
LOST = "Lost: "


class ClusterError(ValueError):
    """A cluster cannot be used; the sentence says why, and what to do."""


# ---- which cluster


def check(cluster: str, jobs: int | None) -> int:
    """The number of workers: `jobs`, or as many as the cluster has CPUs.

    Args:
        cluster: "local": one that is started here, of as many CPUs as there are jobs. "auto": the one that this
            machine belongs to. "ray://HOST:PORT": one elsewhere.
        jobs: a number of workers, or None.

    Raises:
        ClusterError: it is no such name, or there is no cluster. MissingExtra: Ray is not installed.
    """
    _named(cluster)
    ray = require("ray", "cluster")
    if cluster == LOCAL and not ray.is_initialized():
        return jobs or require("loky").cpu_count()
    with connected(cluster):
        return jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))


def _named(cluster: str) -> None:
    parts = urlsplit(cluster)
    if cluster not in (LOCAL, HERE) and not (parts.scheme == "ray" and parts.hostname and parts.port):
        raise ClusterError(f"cluster is {cluster!r}; it must be 'off', 'local', 'auto' or 'ray://HOST:PORT'.")


@contextmanager
def connected(cluster: str, jobs: int = 1) -> Iterator[Any]:
    """Ray, connected to a cluster; one that this process is connected to already is taken as it is, and left so.

    Raises:
        ClusterError: there is none, or it has gone.
    """
    ray = require("ray", "cluster")
    quiet = {"log_to_driver": False, "logging_level": "CRITICAL"}
    own = not ray.is_initialized()
    if not own and cluster.startswith(CLIENT):
        raise ClusterError(f"cluster is {cluster!r}, and this process is in another Ray cluster; ray.shutdown() first.")
    if own:
        try:
            if cluster == LOCAL:
                ray.init(address=LOCAL, num_cpus=jobs, include_dashboard=False, **quiet)
            else:
                if cluster.startswith(CLIENT):
                    _knock(cluster)
                    require("grpc", "cluster")
                ray.init(address=cluster, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            sentence = str(error).partition("\n")[0]
            if cluster.startswith(CLIENT) and "timeout" in sentence:  # Ray's own sentence says nothing of tokens
                sentence += "; if it asks for a token, set RAY_AUTH_MODE=token"
            raise ClusterError(f"no Ray cluster answers at {cluster!r}: {sentence}") from error
        _hush(ray)
    try:
        yield ray
    except (ConnectionError, ray.exceptions.RayError) as error:
        sentence = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ClusterError(f"the Ray cluster {cluster!r} has gone ({sentence}); thalweg resume goes on.") from error
    finally:
        if own:
            ray.shutdown()


def _hush(ray: Any) -> None:
    """Ray tells of every dead worker on stdout, which is not its place beside --json; it has no switch for that."""
    if hasattr(ray._private.worker, "_worker_logs_enabled"):
        ray._private.worker._worker_logs_enabled = False


def _knock(cluster: str) -> None:
    """Find out soon whether anybody listens: Ray would try for minutes."""
    parts = urlsplit(cluster)
    socket.create_connection((parts.hostname or "", parts.port or 0), SOON).close()


# ---- what a worker does


@dataclass(frozen=True)
class Returned:
    """What came of a trial or a chunk, and the states of runs that may go on."""

    answer: Any
    states: dict[str, bytes]


@dataclass(frozen=True)
class Away:
    """Work where the folder of the comparison is not."""

    work: Work

    def __call__(self, given: tuple[Any, dict[str, bytes]]) -> Returned:
        """Do it, from the states that came with it."""
        work, states = given
        with TemporaryDirectory(prefix="thalweg-", ignore_cleanup_errors=True) as folder:
            here = States(Path(folder))
            here.unpack(states)
            trainer = replace(self.work.trainer, states=here, interval=float("inf"))
            answer = replace(self.work, trainer=trainer)(work)
            return Returned(answer, here.packed(_trials(work), CARRIED))


def _trials(work: Any) -> Sequence[Trial]:
    """Those of a chunk, the one, or none of a measurement."""
    return work.trials if isinstance(work, Chunk) else (work,) if isinstance(work, Trial) else ()


@dataclass(frozen=True)
class Place:
    """Where a worker is, and what it computes with."""

    host: str
    node: str
    process: int
    log: str
    versions: dict[str, str]


class Worker:
    """A process of the cluster: Ray makes an actor of it."""

    def __init__(self, payload: bytes, engine: str | None):
        if engine is not None:
            os.environ["THALWEG_ENGINE"] = engine
        ray = require("ray", "cluster")
        self.node = ray.get_runtime_context().get_node_id()
        cpus = next((n["Resources"].get("CPU", 1) for n in ray.nodes() if n["NodeID"] == self.node), 1)
        free = worker.available()
        log, self.log = tempfile.mkstemp(prefix="thalweg-", suffix=".log")
        os.close(log)
        worker.begin(payload, self.log, None if free is None else int(free / max(cpus, 1)), os.getppid())

    def ready(self) -> Place:
        """Load what runs need."""
        return Place(socket.gethostname(), self.node, worker.ready(), self.log, versions())

    def work(self, work: Any, states: dict[str, bytes]) -> Any:
        """What came of it, or the exception as text."""
        return worker.work((work, states))

    def leave(self) -> None:
        """Leave nothing behind."""
        Path(self.log).unlink(missing_ok=True)


def last_words(log: str, process: int | None) -> str:
    """What a worker has printed, asked on its machine after its end, or before it."""
    said = worker.last_words(Path(log), process)
    Path(log).unlink(missing_ok=True)
    return said


def versions() -> dict[str, str]:
    """What must be the same for the numbers to be."""
    compiled = os.environ.get("THALWEG_ENGINE") != "eager" and kernels_can_be_built("auto")
    return {
        "thalweg": f"{thalweg.__version__} (code {_code()})",
        "torch": torch.__version__,
        "steps": "compiled" if compiled else "eager",
    }


@cache
def _code() -> str:
    files = sorted(Path(thalweg.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


# ---- seen from the comparison


@contextmanager
def workers(
    work: Work, cluster: str, jobs: int, states: States, limit: Callable[[Any], float] | None = None
) -> Iterator[Perform]:
    """Run on a cluster, in `jobs` workers of one thread each; they are ended, busy or not, with the context.

    Args:
        work: makes a run of a trial.
        cluster: as for `check`.
        jobs: number of workers; where the cluster has fewer CPUs free, the others wait.
        states: where the states of runs that may go on are kept.
        limit: seconds after which a run is stopped. Default: never.

    Raises:
        ClusterError: there is no cluster, it has gone, or a worker computes with other versions.
    """
    payload = sent(Away(work), work.task, pickled_for_elsewhere)
    with connected(cluster, jobs) as ray:
        kind = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker)
        once = ray.put(payload)
        slots = [_Slot(ray, kind, once, states) for _ in range(jobs)]
        try:
            yield retried(lambda trials, report: shared(slots, trials, report, limit), _lost, AGAIN)
        finally:
            for slot in slots:
                slot.end()


def _lost(answer: Any) -> bool:
    return isinstance(answer, Run) and (answer.error or "").startswith(LOST)


class _Slot:
    """A place for one run at a time, in a worker of its own; a worker that has died is replaced."""

    def __init__(self, ray: Any, kind: Any, payload: Any, states: States):
        self._ray, self._kind, self._payload, self._states = ray, kind, payload, states
        self._actor: Any = None
        self._ready: Any = None
        self._place: Place | None = None
        self._work: Any = None
        self._begun = 0.0

    def open(self) -> Future:
        """Ask for a worker, if there is none; what has come when it is ready."""
        if self._actor is None:
            self._actor = self._kind.remote(self._payload, os.environ.get("THALWEG_ENGINE"))
            self._ready = self._actor.ready.remote().future()
        return self._ready

    def begin(self, work: Any) -> Future:
        """Begin a run."""
        self._begun = time.monotonic()
        if self._ready.exception() is not None:  # it has died on the way; `run` will say so
            return self._ready
        place: Place = self._ready.result()
        self._place = place
        _check_same(place)
        self._work = work
        return self._actor.work.remote(work, self._states.packed(_trials(work), CARRIED)).future()

    def run(self, future: Future) -> Any:
        """What came of it: a run, or a failed one. A future that has not ended is one that takes too long."""
        seconds, work, self._work = time.monotonic() - self._begun, self._work, None
        if not future.done():
            said = self._last_words(alive=True)
            self.end()
            return hung(said, seconds)
        try:
            came = future.result()
        except Exception as error:  # Ray's: those of the task come back as text
            said = self._last_words(alive=False)
            self.end()
            sentence = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return failed(f"{LOST}its worker has died, {1 + AGAIN} times in a row; {sentence}", said, seconds)
        if not isinstance(came, Returned):
            sentence, details = came
            return failed(sentence, details, seconds)
        for trial in _trials(work):
            self._states.drop(trial)
        self._states.unpack(came.states)
        return came.answer

    def end(self) -> None:
        """End the worker, busy or not; the next run gets a new one."""
        if self._actor is None:
            return
        with suppress(Exception):  # it may be gone, and so may the cluster
            if self._work is None and self._place is not None:
                self._ray.get(self._actor.leave.remote(), timeout=SOON)
            self._ray.kill(self._actor)
        self._actor = self._place = None

    def _last_words(self, alive: bool) -> str:
        """What it has printed, from a second process on its machine, if that is still there."""
        if self._place is None:
            return ""
        strategies = require("ray.util.scheduling_strategies", "cluster")
        there = strategies.NodeAffinitySchedulingStrategy(self._place.node, soft=False)
        ask = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(last_words)
        process, log, self._place = self._place.process if alive else None, self._place.log, None
        try:
            return self._ray.get(ask.remote(log, process), timeout=PATIENCE)
        except Exception:
            return ""


def _check_same(place: Place) -> None:
    """Refuse a worker whose numbers would be others."""
    for what, here in versions().items():
        there = place.versions[what]
        if there != here:
            raise ClusterError(
                f"the worker on {place.host} has {what} {there}, and this machine {here}; install the same everywhere, "
                "so that the numbers of a run do not depend on where it was made."
            )
