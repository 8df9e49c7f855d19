"""Trials trained as one: whoever shares the work, and whatever was lost, the numbers do not show it."""

import pytest

import toy_task
from ledgers import ledger
from test_faults import trial
from thalweg.lab.candidates import candidates
from thalweg.lab.chunks import Chunk, Work
from thalweg.lab.compare import compare
from thalweg.lab.pool import Trainer
from thalweg.lab.states import States
from thalweg.lab.way import Way


def test_divided_or_not_every_member_comes_to_the_same_bits(monkeypatch):
    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(32, 2, "asked for"))
    asked = {"optimizers": "sgd,adamw", "points": 7}
    one = compare(toy_task.task, **asked, jobs=1)
    assert not [note for note in one.decision["notes"] if "one after the other" in note]
    assert ledger(compare(toy_task.task, **asked, jobs=3).data) == ledger(one.data)


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
