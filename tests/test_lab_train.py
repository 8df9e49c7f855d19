"""One run: what it measures, what counts as diverged, and that it leaves nothing behind."""

import math
import random

import numpy as np
import pytest
import torch

import toy_task
from thalweg import schedule
from thalweg.lab.cost import cost_of
from thalweg.lab.task import Task
from thalweg.lab.train import curve_steps, train
from toy_task import task as toy


def sgd(lr):
    def configure(parameters, steps):
        optimizer = torch.optim.SGD(parameters, lr=lr)
        return optimizer, schedule.warmup_cosine(optimizer, steps)

    return configure


def changed(**parts):
    fields = ("model", "train", "loss", "validation", "metric", "mode", "steps", "name", "metric_name")
    return Task(**{**{name: getattr(toy, name) for name in fields}, **parts})


def test_a_run_is_the_loop_that_one_would_write():
    torch.manual_seed(5)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = schedule.warmup_cosine(optimizer, 20)
    losses = []
    for step in range(20):
        optimizer.zero_grad()
        loss = toy_task.mse(model, toy_task.rows(16, 5000 + step))
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        scheduler.step()
    run = train(toy, sgd(0.1), seed=5, data="reports")
    assert run.final == toy_task.metric(model, toy.reports)
    assert (run.steps, run.diverged) == (20, False)
    assert [p.step for p in run.curve] == list(range(0, 21, 2))
    assert run.curve[0].loss == losses[0]
    assert run.curve[-1].loss == pytest.approx((losses[18] + losses[19]) / 2)
    assert run.curve[-1].metric == run.final
    assert train(toy, sgd(0.1), seed=5).final == toy_task.metric(model, toy.selects)


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 11, 1000])
def test_the_curve_ends_with_the_run(steps):
    marks = curve_steps(steps)
    assert max(marks) == steps
    assert min(marks) >= 1
    assert len(marks) == min(10, steps)


def test_a_loss_that_is_not_finite_stops_the_run_at_once():
    run = train(toy, sgd(1e30), seed=0)
    assert run.diverged
    assert run.final is None
    assert run.steps < 20
    assert "the loss is" in run.why


def test_a_parameter_that_is_not_finite_is_a_divergence():
    class Lazy(torch.nn.Module):  # the loss sees only the first weight
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(2))

        def forward(self, x):
            return (x[:, :1] * self.weight[0]).sum(1, keepdim=True)

    def spoil(parameters, steps):
        optimizer = torch.optim.SGD(parameters, lr=0.0)
        optimizer.register_step_post_hook(lambda *_: parameters[0].data[1:].fill_(math.nan))
        return optimizer, schedule.constant(optimizer, steps)

    run = train(changed(model=lambda seed: Lazy()), spoil, seed=0)
    assert run.why == "a parameter is not finite after step 2"
    assert run.steps == 2


def test_a_metric_that_is_not_finite_is_a_divergence():
    def metric(model, data):
        value = toy_task.metric(model, data)
        return value if value > 5 else math.nan

    run = train(changed(metric=metric), sgd(0.1), seed=0)
    assert run.final is None
    assert "the metric is not finite after step" in run.why
    assert run.curve[-1].metric is None


def test_ending_clearly_above_the_start_is_a_divergence_though_finite():
    run = train(toy, sgd(2.0), seed=0)
    assert run.diverged
    assert run.steps == 20
    assert "the loss on the first batch rose from" in run.why


@pytest.mark.parametrize("lr", [0.0, 1e-12, 1e-6])
def test_an_lr_that_does_nothing_never_counts_as_diverged(lr):
    noisy = changed(  # single rows, heavy tails, dropout: as noisy as it gets
        model=lambda seed: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)),
        train=lambda step, seed: tuple(3 ** (step % 5) * part for part in toy_task.rows(1, 1000 * seed + step)),
        steps=15,
    )
    assert not any(train(noisy, sgd(lr), seed=seed).diverged for seed in range(100))


def test_the_seed_decides_everything():
    dropout = changed(model=lambda seed: torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Dropout(0.3)))
    runs = [train(dropout, sgd(0.1), seed=seed) for seed in (1, 1, 2)]
    assert runs[0].curve == runs[1].curve
    assert runs[0].final != runs[2].final


def test_random_streams_and_gradients_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with torch.no_grad():
        train(toy, sgd(0.1), seed=3, steps=2)
        assert not torch.is_grad_enabled()
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_metric_that_draws_random_numbers_does_not_change_the_training():
    dropout = changed(model=lambda seed: torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Dropout(0.3)))

    def drawing(model, data):
        torch.rand(17)
        return toy_task.metric(model, data)

    drawn = changed(model=dropout.model, metric=drawing)
    assert train(dropout, sgd(0.1), seed=1).curve == train(drawn, sgd(0.1), seed=1).curve


def test_an_exception_is_not_a_divergence():
    def loss(model, batch):
        raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError, match="the user's own"):
        train(changed(loss=loss), sgd(0.1), seed=0)


def test_cost_counts_what_an_optimizer_keeps():
    def adam(parameters, steps):
        optimizer = torch.optim.Adam(parameters)
        return optimizer, schedule.constant(optimizer, steps)

    plain, kept = cost_of(toy, sgd(0.1), 0), cost_of(toy, adam, 0)
    assert (plain.parameters, plain.state, kept.state) == (5, 0.0, 2.0)
    assert plain.step > 0
    assert plain.run(20) == pytest.approx(20 * plain.step + 11 * plain.metric)
