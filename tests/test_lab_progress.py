"""What is told while a comparison runs."""

import dataclasses
import io
import json
import re

import pytest
from rich.console import Console

import toy_task
from test_faults import trial
from thalweg.lab.comparison import prepared
from thalweg.lab.events import Finished, Planned, Stage, Started, Stopped
from thalweg.lab.progress import STOPPED, Tally, estimate, json_lines, lines, live
from thalweg.lab.run import Run


def planned(**horizons):
    plan = dataclasses.replace(prepared(toy_task.task, "sgd,momentum", jobs=1).plan, horizons=horizons)
    return Planned(plan, "mse", (10.0, 20.0), (60.0, 120.0), 2)


def test_what_is_equal_is_said_before_the_start():
    assert estimate(planned()) == (
        "2 optimizers, equal steps; work of 10 to 20 runs of 20 steps: about 1 min 0 s to 2 min 0 s on 2 processes"
    )
    assert "equal seconds; work of 10 to 20 runs of sgd 1,200, momentum 800 steps" in estimate(
        planned(sgd=1200, momentum=800)
    )


def test_it_is_said_that_it_was_stopped_and_what_follows(capsys):
    stream = io.StringIO()
    lines(stream)(Stopped())
    assert stream.getvalue() == f"{STOPPED}\n"
    with live(Console(file=stream, force_terminal=True, width=120)) as tell:
        tell(Stopped())
    assert stream.getvalue().count(STOPPED) == 2
    json_lines(Stopped())
    assert json.loads(capsys.readouterr().out)["event"] == "stopped"


def test_ctrl_c_is_told_once_and_no_run_after_it():
    events = []

    def tell(event):
        events.append(event)
        if isinstance(event, Finished):
            raise KeyboardInterrupt

    prepared(toy_task.task, "sgd,momentum", jobs=1, steps=2).run(tell)
    assert [type(event) for event in events] == [Planned, Stage, Started, Finished, Stopped]


def finished(seed, why=None, final=1.0, **others):
    return Finished(trial(seed, steps=20), Run(None if why else final, (), 1.0, 20, why), **others)


def test_the_time_left_is_reckoned_from_what_was_made_not_from_what_was_remembered(monkeypatch):
    tally = Tally()
    monkeypatch.setattr("thalweg.lab.progress.time.monotonic", lambda: 1000.0)
    tally.add(planned())
    for seed in range(10):
        tally.add(finished(seed, known=True))
    assert tally.left is None
    monkeypatch.setattr("thalweg.lab.progress.time.monotonic", lambda: 1030.0)
    tally.add(finished(10))
    tally.add(finished(11, why="the loss is inf in step 2"))
    assert tally.left == pytest.approx(30 / 2 * (20 - 12))  # two were made in 30 seconds, eight are left
    assert tally.diverged["sgd"] / tally.runs["sgd"] == pytest.approx(1 / 12)


def test_the_live_table_shows_the_best_the_share_diverged_and_the_time_left(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("thalweg.lab.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    whole, leg = trial(0, "momentum", steps=20), trial(1, "momentum", steps=20, until=5)
    with live(Console(file=stream, force_terminal=True, color_system=None, width=120)) as tell:
        for event in [
            planned(),
            Stage("search", 5),
            *[finished(seed, final=final) for seed, final in ((0, 0.5), (1, 0.25), (2, 0.75))],
            finished(3, why="the loss is inf in step 2"),
            Finished(whole, Run(0.125, (), 1.0, 20)),
            Finished(
                dataclasses.replace(whole, seed=300, phase="confirmation"), Run(0.03, (), 1.0, 20)
            ),  # chooses nothing
            Finished(leg, Run(0.01, (), 1.0, 5)),  # it was only a quarter of the way
            Started(trial(4, "momentum", steps=20)),
        ]:
            tell(event)
            now[0] += 5.0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    last = drawn[drawn.rindex("optimizer ") :].splitlines()
    assert [line.split() for line in last[:3]] == [
        ["optimizer", "runs", "best", "mse", "diverged", "running"],
        ["sgd", "4", "0.25", "25%"],
        ["momentum", "3", "0.125", "0%", "lr=0.01"],
    ]
    # 6.25 full runs were made in 45 seconds
    assert last[3].endswith("search and pruning: work of 6 of at most 20 full runs, at most 1 min 39 s left")
