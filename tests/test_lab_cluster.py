"""The Ray cluster: the same numbers, whoever dies on the way."""

import dataclasses
import json
import os
import re
import signal
import socket
import sys
import time

import pytest
import ray

import toy_task
from commands import interrupted
from ledgers import ledger
from test_faults import breaking, trial
from test_lab_store import environment
from thalweg.extras import MissingExtra
from thalweg.lab import cluster
from thalweg.lab.candidates import candidates
from thalweg.lab.chunks import Chunk, Work
from thalweg.lab.cluster import AGAIN, Away, ClusterError, connected, workers
from thalweg.lab.comparison import compare
from thalweg.lab.events import Finished, Started
from thalweg.lab.folder import load, resume
from thalweg.lab.pool import Trainer, solo
from thalweg.lab.states import States
from thalweg.lab.way import Way

ASKED = {"optimizers": "sgd,momentum", "points": 3}
HERE = os.getpid()


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setenv("THALWEG_ENGINE", "eager")


@pytest.fixture(scope="module")
def two():
    """A cluster of two workers, the same for all tests: it takes seconds to start."""
    with connected("local", 2):
        yield


def dying(mark, times, when):
    """The toy task, but in a worker that comes to this step of this seed: it is killed, so many times in all."""

    def batch(step, seed):
        if (step, seed) == when and os.getpid() != HERE:
            died = len(list(mark.iterdir()))
            if died < times:
                (mark / str(died)).write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
        return toy_task.rows(16, 1000 * seed + step)

    return dataclasses.replace(toy_task.task, train=batch)


def silent(event):
    pass


# ---- two workers, one of them killed


@pytest.mark.parametrize("stack", ["off", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_worker_is_killed_in_the_middle_and_the_ledger_is_that_of_one_process(two, stack, tmp_path, monkeypatch):
    if stack == "auto":  # only kernels step many at once
        monkeypatch.delenv("THALWEG_ENGINE")
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(3, 2, "asked for"))
    (tmp_path / "died").mkdir()
    task = dying(tmp_path / "died", 1, (12, 0))  # in the second leg of a search run: it had a state
    whole = compare(task, **ASKED, stack=stack, jobs=1)
    assert not list((tmp_path / "died").iterdir())
    events = []
    killed = compare(task, **ASKED, stack=stack, jobs=2, cluster="local", out=tmp_path / "out", progress=events.append)
    assert len(list((tmp_path / "died").iterdir())) == 1
    assert ledger(killed.data) == ledger(whole.data)
    assert not [e for e in events if isinstance(e, Finished) and e.run.failed]
    assert not [row for row in load(tmp_path / "out").rows if row["run"].failed]
    assert ledger(resume(tmp_path / "out", cluster="off", jobs=1).data) == ledger(whole.data)


@pytest.mark.slow  # every worker that ends is replaced by one that loads torch
def test_what_a_task_does_is_a_failed_run_and_a_worker_is_lost_three_times_at_most(two, tmp_path):
    task = breaking({1: "raise", 2: "hang", 3: "exit", 4: "print"})
    work, told = Work(Trainer(task, candidates("sgd,momentum"))), []
    with workers(work, "local", 2, States(tmp_path), lambda t: 3.0 if t.seed == 2 else 300.0) as perform:
        runs = perform([trial(seed) for seed in range(6)], told.append)
    errors = {seed: run.error for seed, run in enumerate(runs) if run.failed}
    assert errors.keys() == {1, 2, 3, 4}
    assert errors[1] == "ZeroDivisionError: the user's own"
    assert ", in misbehave" in runs[1].details
    assert errors[2].startswith("Hung: still running after")
    assert "in misbehave" in runs[2].details  # the stack of where it hung, from a process beside it
    assert re.match(r"Lost: its worker has died, 3 times in a row; ActorDiedError: ", errors[3])
    assert "printed more than 16 MB" in errors[4]
    with solo(work) as alone:
        assert [runs[seed].curve for seed in (0, 5)] == [r.curve for r in alone([trial(0), trial(5)], silent)]
    assert sum(isinstance(e, Finished) for e in told) == 6
    assert sum(isinstance(e, Started) for e in told) == 6 + AGAIN


def test_a_worker_with_another_torch_is_refused(two, monkeypatch, tmp_path):
    there = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: {**there, "torch": "0.4.1"})
    work = Work(Trainer(toy_task.task, candidates("sgd,momentum")))
    with (
        pytest.raises(ClusterError, match=rf"the worker on .* has torch {re.escape(there['torch'])}, and .* 0\.4\.1;"),
        workers(work, "local", 1, States(tmp_path)) as perform,
    ):
        perform([trial(0)], silent)


# ---- what travels


def test_a_run_goes_on_elsewhere_from_the_state_that_travels(tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_ENGINE")
    seen = []

    def batch(step, seed):
        seen.append(step)
        return toy_task.rows(16, 1000 * seed + step)

    task = dataclasses.replace(toy_task.task, train=batch)
    trainer = Trainer(task, candidates("momentum,sgd"))
    legs = [Chunk(tuple(trial(seed, "momentum", steps=20, until=until) for seed in (0, 1))) for until in (7, None)]
    away = Away(Work(trainer))
    first = away((legs[0], {}))
    assert len(first.states) == 2
    States(tmp_path).unpack(first.states)
    seen.clear()
    second = away((legs[1], States(tmp_path).packed(legs[1].trials, 10**6)))
    assert set(seen) == set(range(7, 20))
    assert second.states == {}
    begun_again = away((legs[1], States(tmp_path).packed(legs[1].trials, 10)))  # too large to travel
    assert 0 in seen
    assert [run.curve for run in second.answer.runs] == [run.curve for run in begun_again.answer.runs]


# ---- no cluster


def test_an_address_where_nothing_answers_is_one_sentence_soon(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begun = time.monotonic()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"no Ray cluster answers at '{address}': .*refused"):
            cluster.check(address, 2)
    assert time.monotonic() - begun < 30


def test_without_grpc_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    sentence = r"grpcio is not installed: pip install 'thalweg\[cluster\]'"
    with socket.create_server(("127.0.0.1", 0)) as anything, pytest.raises(MissingExtra, match=sentence):
        cluster.check(f"ray://127.0.0.1:{anything.getsockname()[1]}", 2)


@pytest.mark.parametrize("name", ["locl", "ray://head", "head:10001", "ray://:10001", ""])
def test_what_is_no_cluster_is_one_sentence(name):
    with pytest.raises(ClusterError, match=rf"cluster is '{name}'; it must be 'off', 'local', 'auto' or 'ray://HOST"):
        compare(toy_task.task, **ASKED, cluster=name)


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ray is not installed: pip install 'thalweg\[cluster\]'"):
        compare(toy_task.task, **ASKED, cluster="local")


# ---- Ctrl-C


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_keeps_what_is_known(tmp_path):
    interrupted(tmp_path, toy_task.__file__, "--stack", "off", "--cluster", "local", env=environment())
    assert json.loads((tmp_path / "mine" / "result.json").read_text())["verdict"].startswith("Stopped early: ")
