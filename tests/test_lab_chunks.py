"""Trials trained as one: whoever shares the work, and whatever was lost, the numbers do not show it."""

from dataclasses import replace

import pytest

import toy_task
from ledgers import ledger
from test_faults import Clock, trial
from thalweg.lab.candidates import candidates
from thalweg.lab.chunks import Chunk, Stacking, Work, limited
from thalweg.lab.comparison import compare
from thalweg.lab.cost import Cost
from thalweg.lab.events import silent
from thalweg.lab.measured import PATIENCE, TIMES, UNKNOWN, limits
from thalweg.lab.pool import Trainer, solo
from thalweg.lab.stacked import Stack
from thalweg.lab.states import States
from thalweg.lab.way import Way


def test_divided_or_not_every_member_comes_to_the_same_bits(monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(32, 2, "asked for"))
    asked = {"optimizers": "sgd,adamw", "points": 7}
    one = compare(toy_task.task, **asked, jobs=1)
    assert not [note for note in one.decision["notes"] if "one after the other" in note]
    assert ledger(compare(toy_task.task, **asked, jobs=3).data) == ledger(one.data)


def test_where_only_one_member_is_refused_the_others_are_trained_without_it(monkeypatch):
    stage = [trial(seed, name, steps=20) for name in ("sgd", "momentum") for seed in range(3)]

    def ran(wanted):
        with solo(Work(Trainer(toy_task.task, candidates("sgd,momentum")))) as perform:
            stacking = Stacking(perform, Way(32, 2, "asked for"))
            stacking.stage = stage
            return stacking(wanted, silent)

    together, found = ran(stage), Stack.losses_and_gradients

    def disturbed(self):
        losses, gradients = found(self)
        return [loss + (training.seed == 0) for loss, training in zip(losses, self.trainings, strict=True)], gradients

    monkeypatch.setattr(Stack, "losses_and_gradients", disturbed)
    runs = ran(stage)
    why = "a member's first loss or gradient is not that of its own run"
    assert [run.alone for run in runs] == [why, None, None] * 2
    for each, run, known in zip(stage, runs, together, strict=True):
        if each.seed:
            assert run.curve == known.curve
    [again] = ran(stage[1:2])  # what a comparison that goes on asks for: its first companion is the odd one
    assert (again.curve, again.alone) == (runs[1].curve, None)


@pytest.mark.parametrize("lost", [[0], [0, 1], [0, 1, 2]])
def test_a_chunk_whose_states_were_half_written_comes_to_the_same_bits(lost, tmp_path):
    trainer = Trainer(toy_task.task, candidates("momentum,sgd"), States(tmp_path))
    work = Work(trainer)
    first, second = (
        Chunk(tuple(trial(seed, "momentum", steps=20, until=until) for seed in range(3))) for until in (7, None)
    )
    whole = Work(Trainer(toy_task.task, trainer.candidates))(second)
    assert len(work(first).runs) == 3
    for seed in lost:
        trainer.states.drop(second.trials[seed])
    found = work(second)
    assert found.refused == ""
    assert [run.curve for run in found.runs] == [run.curve for run in whole.runs]


@pytest.mark.parametrize("rates", [(0.01, 0.02, 0.03), (0.01, 0.02, 1e300)])  # the last one diverges
@pytest.mark.parametrize("left", [26, 15, 2])
def test_a_chunk_goes_on_from_its_last_checkpoint_to_the_same_bits(rates, left, tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.lab.stacked.time.monotonic", Clock())
    seen, killed_in = [], None

    def batch(step, seed):
        seen.append(step)
        if len(seen) == killed_in:
            raise KeyboardInterrupt  # what stops it: the states are all that is left
        return toy_task.rows(16, 1000 * seed + step)

    of, named = replace(toy_task.task, train=batch), candidates("momentum,sgd")
    trials = [replace(trial(seed, "momentum", steps=20), hyper=(("lr", lr),)) for seed, lr in enumerate(rates)]
    whole = Work(Trainer(of, named))(Chunk(tuple(trials)))
    killed_in = 2 * len(seen) - left
    work = Work(Trainer(of, named, States(tmp_path), interval=2.0))
    with pytest.raises(KeyboardInterrupt):
        work(Chunk(tuple(trials)))
    assert len(list(tmp_path.iterdir())) == 3
    before = len(seen)
    found = work(Chunk(tuple(trials)))
    assert found.refused == ""
    assert [(run.curve, run.final) for run in found.runs] == [(run.curve, run.final) for run in whole.runs]
    assert len(seen) - before <= left + 3 * 3  # and what three members did since the last checkpoint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "timeout", "alone", "of_eight"),
    [
        (1e-5, None, PATIENCE, PATIENCE),  # not eight minutes, where all eight should take a hundredth of a second
        (2.0, None, TIMES * 40, 8 * TIMES * 40),
        (None, None, UNKNOWN, 8 * UNKNOWN),
        (1e-5, 5.0, 5.0, 5.0),
        (0.01, 5.0, 5.0, 8 * TIMES * 0.2),
        (2.0, 5.0, 5.0, 8 * 5.0),
        (None, 5.0, 5.0, 8 * 5.0),
    ],
)
def test_a_chunk_may_take_what_its_work_takes_and_waits_for_a_hanging_one_no_longer(step, timeout, alone, of_eight):
    costs = {} if step is None else {"momentum": Cost(step, 0.0, 1.0, 5)}
    trials = tuple(trial(seed, "momentum", steps=20) for seed in range(8))
    limit = limited(limits(costs, timeout))
    assert limit(trials[0]) == pytest.approx(alone)
    assert limit(Chunk(trials)) == pytest.approx(of_eight)
