"""`compare` as a whole, on a task of milliseconds."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import thalweg
import toy_task
from commands import environment
from ledgers import ledger
from thalweg.lab.candidates import SHORT_LIST, candidates
from thalweg.lab.comparison import compare, prepared
from thalweg.lab.events import Finished, Planned, Stage, Started
from thalweg.lab.task import Task, TaskError
from thalweg.lab.train import train
from thalweg.lab.way import Way

TOY = str(Path(toy_task.__file__))
SMALL = {"points": 3, "jobs": 1, "stack": "off"}
MY_RULE = '''"""Steps of one size."""
from thalweg.ops import sqrt


def steady(p, g, m, *, t, lr=0.03, beta=0.9):
    m = beta * m + (1 - beta) * g
    return p - lr * m / (sqrt(m * m) + 1e-8), m
'''


def run_winner(folder):
    command = [sys.executable, str(Path(folder) / "winner.py")]
    done = subprocess.run(command, env=environment(), cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.fixture(scope="module")
def result():
    return compare(TOY, "sgd,adamw,momentum", **SMALL)


def test_the_result_has_what_was_agreed(result):
    data = result.data
    assert re.match(r"(Winner|Practical tie|Undecided): ", result.verdict)
    assert "n = 5" in result.verdict
    assert "80 % power" in result.verdict
    assert result.decision["outcome"] in ("winner", "practical tie", "undecided")
    assert list(data["optimizers"]) == ["sgd", "adamw", "momentum"]
    assert data["task"]["parameters"] == 5
    assert (data["task"]["selects"], data["task"]["reports"]) == (32, 32)
    assert len({own["search_steps"] for own in data["budget"]["ledger"].values()}) == 1
    assert data["optimizers"]["adamw"]["state_per_parameter"] == 2.0
    assert {name: known["memory"] for name, known in data["optimizers"].items()} == {
        "sgd": 40,
        "adamw": 80,
        "momentum": 60,
    }
    assert data["optimizers"]["momentum"]["title"] == "Momentum"
    assert all(0 <= c["ahead_low"] <= c["ahead"] <= c["ahead_high"] <= 1 for c in data["decision"]["comparisons"])
    for run in data["runs"]:
        assert run["hyper_parameters"]["lr"] > 0
        assert run["data"] == ("reports" if run["phase"] == "confirmation" else "selects")
        assert (run["reported"] is not None) == (run["phase"] == "choice" and not run["diverged"])
        assert (run["final"] is None) == run["diverged"] == (run["why"] is not None)
    for curve in data["tuning_curves"].values():
        assert [n for n, _ in curve] == [1, 2, 3]  # the points of the sequence, without the defaults
        assert all(b[1] <= a[1] for a, b in itertools.pairwise(curve))


def test_confirmed_numbers_are_those_of_the_runs(result):
    for name, known in result.data["optimizers"].items():
        values = [r["final"] for r in result.runs if r["optimizer"] == name and r["phase"] == "confirmation"]
        if known["promoted"]:
            assert known["confirmed"]["values"] == values
            assert known["confirmed"]["mean"] == pytest.approx(sum(values) / 5)
        else:
            assert (known["confirmed"], values) == (None, [])
    leader, against = result.decision["leader"], result.decision["comparisons"][0]
    means = {name: o["confirmed"]["mean"] for name, o in result.data["optimizers"].items() if o["confirmed"]}
    assert leader == min(means, key=means.__getitem__)
    assert against["difference"] == pytest.approx(means[leader] - means[against["rival"]])


def test_the_choice_is_measured_on_the_half_that_reports_as_well(result):
    run = next(run for run in result.runs if run["phase"] == "choice")
    [candidate] = [c for c in candidates("sgd,adamw,momentum") if c.name == run["optimizer"]]
    again = train(
        toy_task.task, candidate.configure(run["hyper_parameters"], run["schedule"]), seed=run["seed"], data="reports"
    )
    assert run["reported"] == again.final != run["final"]


def test_the_same_for_any_number_of_processes(result):
    assert ledger(compare(TOY, "sgd,adamw,momentum", points=3, jobs=2, stack="off").data) == ledger(result.data)


@pytest.mark.parametrize("jobs", [1, 2])
def test_trained_together_the_numbers_are_the_same_up_to_rounding(result, jobs, monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(8, 2, "asked for"))
    together = compare(TOY, "sgd,adamw,momentum", points=3, jobs=jobs)
    assert together.data["together"]["members"] == 8
    assert not [note for note in together.decision["notes"] if "one after the other" in note]
    assert len(together.runs) == len(result.runs)
    for one, other in zip(result.runs, together.runs, strict=True):
        assert {k: one[k] for k in ("optimizer", "seed", "phase")} == {
            k: other[k] for k in ("optimizer", "seed", "phase")
        }
        final = other["final"]  # None where it diverged
        assert one["final"] == (final if final is None else pytest.approx(final, rel=1e-4))
    assert together.decision["outcome"] == result.decision["outcome"]


def branching(model, data):
    loss = toy_task.mse(model, data)
    return loss if loss.item() > 0 else -loss


def test_what_could_not_be_trained_together_is_said_also_by_a_comparison_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(8, 2, "asked for"))
    task = dataclasses.replace(toy_task.task, loss=branching)
    whole = compare(task, "sgd,momentum", points=3, jobs=1)
    ended = []

    def stop(event):
        ended.extend([event] * isinstance(event, Finished))
        if len(ended) == 10:
            raise KeyboardInterrupt

    compare(task, "sgd,momentum", points=3, jobs=1, out=tmp_path, progress=stop)
    again = compare(task, "sgd,momentum", points=3, jobs=1, out=tmp_path)
    assert again.decision == whole.decision


def test_a_task_that_cannot_be_vectorised_is_trained_one_after_the_other(monkeypatch):
    task = dataclasses.replace(toy_task.task, loss=branching)
    found = compare(task, "sgd,momentum", points=3, jobs=1)
    assert found.data["together"]["members"] == 1
    assert found.data["together"]["why"] == "the loss reads a number out of a tensor, by .item(), float() or an if"
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(8, 2, "asked for"))
    forced = compare(task, "sgd,momentum", points=3, jobs=1)
    assert [r["final"] for r in forced.runs] == [r["final"] for r in found.runs]
    [note] = [note for note in forced.decision["notes"] if "one after the other" in note]
    assert note.startswith("runs of momentum, sgd were trained one after the other: the loss reads a number")


def test_stack_is_auto_or_off():
    with pytest.raises(ValueError, match="stack is 'of'"):
        compare(TOY, "sgd,momentum", stack="of")


def test_another_seed_is_another_comparison(result):
    other = compare(TOY, "sgd,adamw,momentum", seed=1, **SMALL)
    assert {r["seed"] for r in other.runs}.isdisjoint(r["seed"] for r in result.runs)


def test_saved_files_are_strict_and_the_winner_reproduces(result, tmp_path):
    folder = result.save(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["paper", "report.html", "report.md", "result.json", "winner.py"]

    def refuse(constant):
        raise AssertionError(constant)

    saved = json.loads((folder / "result.json").read_text(), parse_constant=refuse)
    assert saved == result.data
    best = saved["winner"]
    assert best["final"] in [r["final"] for r in saved["runs"] if r["seed"] == best["seed"]]
    assert run_winner(folder) == repr(best["final"])
    source = (folder / "winner.py").read_text()
    assert f"optimizer = tw.{best['class']}(parameters, lr={best['hyper_parameters']['lr']!r}" in source
    assert "scheduler = warmup_cosine(optimizer, steps)" in source


def test_a_task_and_a_rule_given_as_objects_are_saved_beside_the_winner(tmp_path):
    def own(p, g, *, t, lr=0.05):
        return p - lr * g

    result = compare(toy_task.task, "sgd", rules=[own], **SMALL)
    own_run = next(r for r in result.runs if r["optimizer"] == "own" and r["final"] and not r["pruned"])
    result.data["winner"] |= {k: own_run[k] for k in SAVED} | {"class": "own"}  # the test is about the rule
    folder = result.save(tmp_path)
    assert {"task.pkl", "rule.pkl"} <= {p.name for p in folder.iterdir()}
    assert run_winner(folder) == repr(result.winner["final"])


SAVED = ("optimizer", "hyper_parameters", "schedule", "seed", "final", "data", "steps")


def test_a_rule_of_the_users_by_its_path(tmp_path):
    path = tmp_path / "my_rule.py"
    path.write_text(MY_RULE)
    result = compare(TOY, "sgd", rules=[path], points=3, jobs=2)  # workers find it too
    assert list(result.data["optimizers"]) == ["sgd", "steady"]
    finals = [r["final"] for r in result.runs if r["optimizer"] == "steady"]
    assert sum(f is not None for f in finals) >= 3
    assert result.winner["rule"] == {"sgd": None, "steady": "steady"}[result.winner["optimizer"]]
    run = next(r for r in result.runs if r["optimizer"] == "steady" and r["final"] and not r["pruned"])
    result.data["winner"] = {"class": "steady", **{k: run[k] for k in SAVED}}
    assert run_winner(result.save(tmp_path / "out")) == repr(run["final"])


def test_a_task_by_its_path_is_that_file():
    assert prepared(Path(TOY), "sgd,adamw").spec == TOY


def test_the_default_candidates_are_at_most_six_and_all_is_all():
    assert [c.name for c in candidates()] == list(SHORT_LIST)
    assert len(SHORT_LIST) <= 6
    assert {c.name for c in candidates("all")} == set(thalweg.rules.names())
    assert [c.name for c in candidates(["AdamW", " sgd"])] == ["adamw", "sgd"]


def test_rules_of_one_name_are_told_apart(tmp_path):
    path = tmp_path / "sgd.py"
    path.write_text("def sgd(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    assert [c.name for c in candidates("sgd", [path, path])] == ["sgd", "sgd-2", "sgd-3"]


def test_a_learning_rate_that_is_too_large_is_counted(tmp_path):
    path = tmp_path / "wild.py"
    path.write_text("def wild(p, g, *, t, lr=1e6):\n    return p - (lr * 1e6) * g\n")
    result = compare(TOY, "sgd,adamw", rules=[path], **SMALL)
    wild = result.data["optimizers"]["wild"]
    assert wild["diverged"] >= 2
    assert wild["trials"] == result.data["optimizers"]["sgd"]["trials"]
    lost = [r for r in result.runs if r["optimizer"] == "wild" and r["diverged"]]
    assert all(r["final"] is None and r["why"] for r in lost)
    assert result.decision["leader"] != "wild"
    result.save(tmp_path / "out")


def test_everything_diverged_is_said(tmp_path):
    path = tmp_path / "wild.py"
    path.write_text("def wild(p, g, *, t, lr=1e30):\n    return p - (lr * 1e30) * g\n")
    result = compare(TOY, [], rules=[path, path], **SMALL)
    assert result.verdict.startswith("Undecided: no run has ended without diverging")
    assert result.winner is None
    assert "winner.py" not in [p.name for p in result.save(tmp_path / "out").iterdir()]
    json.dumps(result.data, allow_nan=False)


def breaking(**parts):
    fields = ("model", "train", "loss", "validation", "metric", "mode", "steps", "name")
    return Task(**{**{name: getattr(toy_task.task, name) for name in fields}, **parts})


def interrupt_at(phase, count=1):
    seen = []

    def tell(event):
        if isinstance(event, Finished) and event.trial.phase == phase:
            seen.append(event)
            if len(seen) == count:
                raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize(("phase", "count"), [("default", 1), ("search", 4), ("choice", 2), ("confirmation", 7)])
def test_ctrl_c_still_reports_what_is_known(phase, count, tmp_path):
    result = compare(TOY, "sgd,momentum", progress=interrupt_at(phase, count), **SMALL)
    assert result.data["interrupted"] is True
    assert result.decision["outcome"] == "stopped"
    assert result.verdict.startswith("Stopped early: ")
    assert sum(r["phase"] == phase for r in result.runs) == count
    n = count // 2 if phase == "confirmation" else 0
    assert f"n = {n}" in result.verdict
    folder = result.save(tmp_path)
    assert run_winner(folder) == repr(result.winner["final"]) if phase == "confirmation" else True
    assert (folder / "report.html").exists()


def test_ctrl_c_with_processes():
    result = compare(TOY, "sgd,momentum", points=3, jobs=2, progress=interrupt_at("search", 3))
    assert result.decision["outcome"] == "stopped"
    assert sum(r["phase"] == "search" for r in result.runs) == 3


def test_events_tell_the_whole_story():
    events = []
    result = compare(TOY, "sgd,momentum", progress=events.append, **SMALL)
    planned, *others = events
    assert isinstance(planned, Planned)
    assert planned.seconds[0] > 0
    spent = sum(own["total_steps"] for own in result.data["budget"]["ledger"].values()) / result.data["task"]["steps"]
    assert planned.work[0] - 0.3 <= spent <= planned.work[1] + 0.3  # rungs are whole steps
    assert [e.trial for e in others if isinstance(e, Started)] == [e.trial for e in others if isinstance(e, Finished)]
    legs = [e.trial for e in others if isinstance(e, Started)]
    assert sum(e.runs for e in others if isinstance(e, Stage)) == len(legs)
    assert len({dataclasses.replace(trial, until=None) for trial in legs}) == len(result.runs)


def test_the_library_prints_nothing_and_leaves_threads_alone(capfd):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare(TOY, "sgd,momentum", points=2, steps=2, jobs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"optimizers": "adamw,nadan"}, r"there is no rule 'nadan'\. Did you mean 'nadam'"),
        ({"optimizers": "adamw"}, r"optimizers is 'adamw'; a comparison needs at least two"),
        ({"optimizers": "adamw,sgd,adamw"}, r"optimizers names 'adamw' twice"),
        ({"budget": "quik"}, r"budget is 'quik'.*Did you mean 'quick'"),
        ({"points": 1}, r"points is 1; a comparison needs at least 2"),
        ({"steps": 0}, r"steps is 0; it must be a whole number, at least 1"),
        ({"seed": -1}, r"seed is -1; it must be a whole number, from 0 to"),
        ({"jobs": 0}, r"jobs is 0; it must be a whole number, at least 1"),
        ({"margin": -0.1}, r"margin is -0\.1; it must be a number"),
        ({"schedule": "wsd(warmup=2)"}, r"schedule is 'wsd\(warmup=2\)'; it must be one of .* or like warmup_cosine"),
        (
            {"schedule": "cosine"},
            r"schedule is 'cosine'; it must be one of warmup_cosine, warmup_linear, wsd, constant",
        ),
    ],
)
def test_mistakes_cost_nothing_and_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(TOY, **arguments)


def test_a_task_is_checked_before_anything_runs():
    def ignores_its_seed(seed):
        torch.manual_seed(0)
        return torch.nn.Linear(4, 1)

    with pytest.raises(TaskError, match=r"model\(0\) and model\(1\) start identically"):
        compare(breaking(model=ignores_its_seed), jobs=1)
    with pytest.raises(ValueError, match="task is 3; it must be a Task"):
        compare(3)


def test_a_task_that_cannot_be_sent_says_so():
    lock = __import__("threading").Lock()
    held = breaking(metric=lambda model, data: toy_task.metric(model, data) + 0 * lock.locked())
    with pytest.raises(TaskError, match=r"task 'toy' cannot be sent to other processes.*use jobs=1"):
        compare(held, "sgd,momentum", points=2, steps=2, jobs=2)


def test_a_rule_without_lr_is_refused():
    def fixed(p, g, *, t, rate=0.1):
        return p - rate * g

    with pytest.raises(ValueError, match="rule 'fixed' has no lr"):
        compare(TOY, "sgd", rules=[fixed], **SMALL)
