"""What a stack asks of torch, recorded and played again: the same numbers to the last bit, or not at all."""

import math

import pytest
import torch
from torch import nn

from test_lab_stacked import Frozen, rows, task, trainings
from thalweg import schedule
from thalweg.lab import captured
from thalweg.lab.stacked import Stack
from thalweg.lab.vectorised import Refused


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch):
    monkeypatch.setattr("thalweg.lab.stacked.STEPS", 1)
    monkeypatch.setattr(captured, "SECONDS", math.inf)
    monkeypatch.setattr(captured, "SHARE", math.inf)


def advanced(of, capture=True, steps=12, **given):
    """A stack that has gone on, and how often its recording was played in place of the way."""
    made = trainings(of, **given)
    with torch.enable_grad():
        for training in made:
            training.begin()
        stack = Stack(of, made, schedule.warmup_cosine)
        if not capture:
            stack.capture = lambda steps: None
        asked = []
        ask = stack._pass
        stack._pass = lambda *args: asked.append(1) or ask(*args)
        stack.way = stack._pass
        stack.advance(steps, keep=lambda: None, interval=math.inf)
    return [p.detach().clone() for training in made for p in training.model.parameters()], len(asked)


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 0, 0)])
@pytest.mark.parametrize("build", [mlp, Frozen, lambda: nn.Sequential(nn.Linear(6, 1), nn.LayerNorm(1))])
def test_the_same_to_the_last_bit(build, seeds):
    plain, every = advanced(task(build), capture=False, seeds=seeds)
    played, asked = advanced(task(build), seeds=seeds)
    assert every == 12
    assert asked == (12 if build is Frozen else 1 + 1 + captured.TRIALS)  # timed, recorded, compared
    for a, b in zip(plain, played, strict=True):
        assert torch.equal(a, b)


def test_one_that_diverges_leaves_and_the_others_are_recorded_anew():
    hypers = [{"lr": 1e-3}, {"lr": 1e300}, {"lr": 1e-2}]
    plain, every = advanced(task(mlp), capture=False, hypers=hypers)
    played, asked = advanced(task(mlp), hypers=hypers)
    assert asked < every
    for a, b in zip(plain, played, strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.parametrize("build", [lambda: nn.Sequential(mlp(), nn.Dropout(0.5)), lambda: nn.BatchNorm1d(6)])
def test_what_draws_or_keeps_count_is_asked_every_time(build):
    of = task(lambda: nn.Sequential(build(), nn.Linear(1 if build().__class__ is nn.Sequential else 6, 1)))
    assert advanced(of)[1] == 12


def test_what_draws_is_known_also_when_one_has_left():
    of = task(lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 1)))
    hypers = [{"lr": 1e-3}, {"lr": 1e300}, {"lr": 1e-2}]
    plain, every = advanced(of, capture=False, hypers=hypers)
    asked_for, asked = advanced(of, hypers=hypers)
    assert asked == every
    for a, b in zip(plain, asked_for, strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.parametrize("change", [2, 4])
def test_a_loss_that_changes_by_itself_is_found(change, monkeypatch):
    monkeypatch.setattr(captured, "AGAIN", 4)
    factor = [1.0]

    def way(parameters, batch):
        losses = ((batch[0] @ parameters[0] - batch[1]) ** 2).mean((1, 2)) * factor[0]
        return losses, list(torch.autograd.grad(losses.sum(), parameters))

    seen = captured.Captured(way)
    parameters = [torch.randn(2, 6, 1, dtype=torch.float64, requires_grad=True)]
    for step in range(6):
        factor[0] = 1.0 if step < change else 1.1
        if step == change and change > 2:
            with pytest.raises(Refused, match="the loss is another one in later steps"):
                seen(parameters, rows(8, step))
            return
        answer, expected = (ask(parameters, rows(8, step)) for ask in (seen, way))
        assert torch.equal(answer[0], expected[0])
        assert torch.equal(answer[1][0], expected[1][0])
    assert seen.refused


def test_a_batch_of_another_size_is_not_played():
    of = task(mlp, train=lambda step, seed: rows(16 if step % 3 else 10, 1000 * seed + step))
    plain, _ = advanced(of, capture=False)
    played, asked = advanced(of)
    assert asked < 12
    for a, b in zip(plain, played, strict=True):
        assert torch.equal(a, b)
