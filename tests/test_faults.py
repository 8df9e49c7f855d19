"""What may go wrong in a run: one failed run each, and the comparison goes on to its end."""

import dataclasses
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

import toy_task
from commands import environment
from thalweg.lab.candidates import candidates
from thalweg.lab.chunks import Chunk, Stacking, Work
from thalweg.lab.comparison import compare
from thalweg.lab.events import Finished, Started
from thalweg.lab.faults import RunError, failed, retried
from thalweg.lab.folder import load
from thalweg.lab.plan import Trial
from thalweg.lab.pool import Trainer, processes, solo
from thalweg.lab.states import States
from thalweg.lab.task import Task
from thalweg.lab.train import train
from thalweg.lab.way import Way


def misbehave(what):
    if what == "raise":
        raise ZeroDivisionError("the user's own")
    if what == "hang":
        time.sleep(3600)
    if what == "allocate":
        torch.empty(2**44, dtype=torch.uint8)
    if what == "hoard":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(2**20)) * 64)
    if what == "print":
        for _ in range(2**10):
            print("x" * 2**20)
    if what == "print below Python":
        while True:
            os.write(1, b"x" * 2**20)
    if what == "exit":
        os._exit(3)
    if what == "sys.exit":
        sys.exit("no data")
    if what == "crash":
        os.kill(os.getpid(), 11)


def breaking(when):
    """The toy task; a run from a seed in `when` does what stands there in its second step."""

    def batch(step, seed):
        what = when.get(seed) if step == 1 else None
        misbehave(what)
        x, y = toy_task.rows(16, 1000 * seed + step)
        return x * (float("nan") if what == "nan" else 1.0), y

    kept = ("model", "loss", "validation", "metric", "mode", "steps", "name")
    return Task(**{name: getattr(toy_task.task, name) for name in kept}, train=batch)


def trial(seed, optimizer="sgd", steps=4, **others):
    return Trial(optimizer, (("lr", 0.01),), seed, steps, "selects", "constant", "search", **others)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setenv("THALWEG_ENGINE", "eager")  # nothing is compiled: these runs must take no time


FAULTS = {
    1: ("raise", "ZeroDivisionError: the user's own", ", in misbehave"),
    2: ("hang", r"Hung: still running after", "in misbehave"),  # the stack of where it hung
    3: ("allocate", r"RuntimeError: .*can't allocate memory", "in misbehave"),
    4: ("print", "PrintedTooMuch: the run has printed more than 16 MB", "It had printed:\nxxxx"),
    5: ("exit", r"Died: its process ended \(exit code 3\)", ""),
    6: ("crash", r"Died: its process ended \(SIGSEGV\)", "Fatal Python error: Segmentation fault"),
    7: ("sys.exit", "SystemExit: no data", "in misbehave"),
}


def test_every_fault_is_one_failed_run_and_the_others_end():
    trainer = Trainer(breaking({seed: what for seed, (what, *_) in FAULTS.items()}), candidates("sgd,momentum"))
    trials = [trial(seed) for seed in range(10)]
    told = []
    with processes(trainer, 2, lambda t: 3.0 if t.seed == 2 else 300.0) as perform:  # loading takes longer
        runs = perform(trials, told.append)
        again = perform([trial(10)], told.append)  # every process that broke was replaced
    for seed, run in enumerate(runs):
        if seed in FAULTS:
            _, sentence, details = FAULTS[seed]
            assert run.failed
            assert (run.final, run.diverged, run.curve) == (None, False, ())
            assert re.match(sentence, run.error), run.error
            assert details in run.details
            assert len(run.details) < 10_000
        else:
            assert run.error is None
            with solo(trainer) as alone:
                assert run.curve == alone([trials[seed]], lambda event: None)[0].curve
    assert again[0].final is not None
    assert sum(isinstance(e, Started) for e in told) == sum(isinstance(e, Finished) for e in told) == 11


@pytest.mark.parametrize(
    "faults",
    [
        {"allocate": "RuntimeError: .*can't allocate memory", "nan": None},
        pytest.param(
            {"exit": r"Died: its process ended \(exit code 3\)", "hang": "Hung: still running after"},
            marks=pytest.mark.slow,  # every process that ends is made anew, twice for each
        ),
    ],
)
def test_a_member_of_a_stack_that_breaks_is_one_failed_run_and_the_others_end(faults, monkeypatch):
    monkeypatch.delenv("THALWEG_ENGINE")  # stacks have an engine of their own
    breaks = {10 * i: what for i, what in enumerate(faults)}
    trainer, tried = Trainer(breaking(breaks), candidates("sgd,momentum")), []

    def limit(work):
        hangs = breaks.get(min(each.seed for each in (work.trials if isinstance(work, Chunk) else [work]))) == "hang"
        return 5.0 if hangs else 300.0

    with processes(Work(trainer), 1, limit) as perform, solo(trainer) as plain:

        def noted(work, report):
            tried.append([len(each.trials) if isinstance(each, Chunk) else 1 for each in work])
            return perform(work, report)

        for first, what in breaks.items():
            trials, said = [trial(first + i) for i in range(4)], faults[what]
            tried.clear()
            broken, *others = Stacking(noted, Way(4, 2, "asked for"))(trials, lambda event: None)
            assert tried == ([[4]] if said is None else [[4], [1, 1, 1, 1]])  # together, and then one after the other
            for run in (broken, *others):
                assert (run.alone is None) if said is None else re.match(said, run.alone), run.alone
            assert broken.diverged if said is None else re.match(said, broken.error), broken.error
            for run, alone in zip(others, plain(trials[1:], lambda event: None), strict=True):
                assert run.error is None
                assert run.final == pytest.approx(alone.final, rel=1e-5)


def test_sys_exit_in_a_task_ends_its_run_and_not_the_comparison():
    with solo(Trainer(breaking({1: "sys.exit"}), candidates("sgd,momentum"))) as perform:
        bad, good = perform([trial(1), trial(2)], lambda event: None)
    assert bad.error == "SystemExit: no data"
    assert good.final is not None


@pytest.mark.slow
@pytest.mark.parametrize(("what", "error"), [("hoard", "MemoryError|Died"), ("print below Python", "Died")])
def test_slow_faults_end_too(what, error, monkeypatch):
    monkeypatch.setattr("thalweg.lab.worker.available", lambda: 2**31)
    trainer = Trainer(breaking({1: what}), candidates("sgd,momentum"))
    with processes(trainer, 2) as perform:
        bad, good = perform([trial(1), trial(2)], lambda event: None)
    assert re.match(error, bad.error), bad.error
    assert good.final is not None


def test_a_comparison_with_failed_runs_ends_and_says_so(tmp_path):
    task = breaking({100: "raise", 201: "raise", 300: "exit", 301: "nan"})
    result = compare(task, "sgd,momentum", points=2, steps=4, jobs=2, out=tmp_path)
    by_seed = {}
    for run in result.runs:
        by_seed.setdefault(run["seed"], []).append(run)
    for seed in (100, 201):
        assert all(r["error"] == "ZeroDivisionError: the user's own" and not r["diverged"] for r in by_seed[seed])
    assert all(r["error"].startswith("Died") for r in by_seed[300])
    assert all(r["diverged"] and r["error"] is None for r in by_seed[301])
    assert all(r["error"] is None for seed, runs in by_seed.items() for r in runs if seed not in (100, 201, 300))
    notes = " ".join(result.decision["notes"])
    for name, known in result.data["optimizers"].items():
        own = [r for r in result.runs if r["optimizer"] == name]
        lost = sum(r["error"] is not None for r in own)
        assert known["failed"] == lost > 0
        assert f"{lost} of {len(own)} runs of {name} failed, twice each, and count for nothing" in notes
        assert known["confirmed"]["n"] == 4  # 300 is missing, 301 stands with the worst value
    kept = load(tmp_path).runs
    assert kept.error.notna().sum() == sum(r["error"] is not None for r in result.runs)
    assert kept[kept.seed == 201].details.str.contains("in misbehave").all()


@pytest.mark.parametrize("jobs", [1, 2])
def test_where_everything_fails_alike_it_stops_with_the_traceback(jobs):
    task = breaking(dict.fromkeys(range(1000), "raise"))
    told = []
    with pytest.raises(RunError, match=r"every run has failed; the run of .*: ZeroDivisionError: the user's own") as it:
        compare(task, "sgd,momentum,adamw,nadam,adagrad", points=9, jobs=jobs, progress=told.append)
    assert ", in misbehave" in it.value.details
    assert sum(isinstance(e, Finished) for e in told) < 5  # not the whole budget


def test_one_broken_rule_does_not_stop_the_others(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def broken(p, g, *, t, lr=0.1):\n    return p - lr * g.no_such_thing\n")
    result = compare(toy_task.task, "sgd,momentum", rules=[path], points=2, steps=4, jobs=1)
    known = result.data["optimizers"]["broken"]
    assert known["failed"] == known["trials"]
    assert known["diverged"] == 0
    assert known["milliseconds_per_step"] is None
    assert "broken" not in [result.decision["leader"], result.decision["recommended"]]
    assert any("runs of broken failed" in note for note in result.decision["notes"])
    result.save(tmp_path / "out")


def test_a_task_that_hangs_while_it_is_measured_hangs_nothing_else(monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.PATIENCE", 4.0)

    def batch(step, seed):  # ten steps are timed, and the runs take four
        if step >= 6:
            time.sleep(3600)
        return toy_task.rows(16, 1000 * seed + step)

    task = dataclasses.replace(toy_task.task, train=batch)
    result = compare(task, "sgd,momentum", points=2, steps=4, jobs=2, timeout=4.0)
    assert not any(run["error"] for run in result.runs)
    assert result.data["together"]["why"] == "its steps could not be timed"
    assert [known["milliseconds_per_step"] for known in result.data["optimizers"].values()] == [None, None]


@pytest.mark.slow
def test_a_task_that_always_hangs_is_failed_runs_and_the_comparison_ends(monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.PATIENCE", 4.0)
    task = breaking(dict.fromkeys(range(1000), "hang"))
    with pytest.raises(RunError, match=r"every run has failed; the run of .*: Hung: still running after") as it:
        compare(task, "sgd,momentum", budget="20m", jobs=2, timeout=4.0)
    assert "in misbehave" in it.value.details


def test_a_run_that_failed_is_made_once_more():
    asked = []

    def perform(trials, report):
        runs = []
        for each in trials:
            asked.append(each.seed)
            lost = each.seed == 2 or (each.seed == 1 and asked.count(1) == 1)
            run = failed("E: e", "where") if lost else train_toy(each.seed)
            runs.append(run)
            report(Finished(each, run))
        return runs

    told = []
    runs = retried(perform)([trial(0), trial(1), trial(2)], told.append)
    assert asked == [0, 1, 2, 1, 2]
    assert [run.failed for run in runs] == [False, False, True]
    assert [e.trial.seed for e in told] == [0, 1, 2]


def train_toy(seed):
    return train(toy_task.task, candidates("sgd,momentum")[0].configure({"lr": 0.01}, "constant"), seed=seed, steps=4)


# ---- checkpoints


class Clock:
    """Every look at it takes a second."""

    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("killed_in", [3, 12, 19])
def test_a_long_run_goes_on_from_its_last_checkpoint(killed_in, tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.lab.pool.time.monotonic", Clock())
    seen = []

    def batch(step, seed):
        seen.append(step)
        if len(seen) == killed_in:
            raise KeyboardInterrupt  # what stops it: the states are all that is left
        return toy_task.rows(16, 1000 * seed + step)

    kept = ("model", "loss", "validation", "metric", "mode", "steps", "name")
    task = Task(**{name: getattr(toy_task.task, name) for name in kept}, train=batch)
    trainer = Trainer(task, candidates("momentum,sgd"), States(tmp_path), interval=2.0)
    asked = trial(0, "momentum", steps=20)
    with pytest.raises(KeyboardInterrupt):
        trainer(asked)
    before = len(seen)
    assert len(list(tmp_path.iterdir())) == 1
    run = trainer(asked)
    assert 20 - killed_in < len(seen) - before < 20
    assert list(tmp_path.iterdir()) == []
    alone = Trainer(toy_task.task, candidates("momentum,sgd"))(asked)
    assert (run.curve, run.final) == (alone.curve, alone.final)


def test_a_state_that_is_too_far_on_is_not_used(tmp_path):
    trainer = Trainer(toy_task.task, candidates("momentum,sgd"), States(tmp_path))
    trainer(trial(0, "momentum", steps=20, until=12))
    short = trial(0, "momentum", steps=20, until=5)
    assert trainer(short).curve == Trainer(toy_task.task, candidates("momentum,sgd"))(short).curve


def test_workers_end_with_their_parent(tmp_path):
    code = f"""
        import sys; sys.path.insert(0, {str(Path(toy_task.__file__).parent)!r})
        import os, time
        from test_faults import Trainer, breaking, candidates, processes, trial
        def hang(step, seed):
            open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
            time.sleep(3600)
        task = breaking({{}})
        object.__setattr__(task, "train", hang)
        with processes(Trainer(task, candidates("sgd,momentum")), 2) as perform:
            perform([trial(0), trial(1)], lambda event: None)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment())
    until = time.monotonic() + 300  # a busy machine takes its time to start
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < until
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    wait_for_the_end_of(int((tmp_path / "pid").read_text()), until)


def test_a_worker_whose_parent_is_gone_before_it_has_begun_ends_too(tmp_path):
    code = f"""
        import os
        from pathlib import Path
        from thalweg.lab.pool import _Slot
        slot = _Slot(b"", Path({str(tmp_path / "log")!r}), None)
        slot.open()
        print(*slot._executor._processes, flush=True)
        os.kill(os.getpid(), 9)
    """
    parent = [sys.executable, "-c", textwrap.dedent(code)]
    with (tmp_path / "pid").open("w") as said:  # a pipe would be held open by the worker
        subprocess.run(parent, env=environment(), stdout=said, check=False)
    wait_for_the_end_of(int((tmp_path / "pid").read_text()), time.monotonic() + 120)


def wait_for_the_end_of(process, until):
    status = Path(f"/proc/{process}/status")
    while status.exists() and "\nState:\tZ" not in status.read_text():
        assert time.monotonic() < until
        time.sleep(0.1)
