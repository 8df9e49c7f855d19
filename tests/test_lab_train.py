"""One run: what it measures, what counts as diverged, and that it leaves nothing behind."""

import math
import random
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

import thalweg
import toy_task
from thalweg import schedule
from thalweg.lab.candidates import candidates
from thalweg.lab.cost import cost_of, memory_of
from thalweg.lab.plan import Trial
from thalweg.lab.pool import Trainer
from thalweg.lab.run import curve_steps
from thalweg.lab.states import States
from thalweg.lab.task import Task
from thalweg.lab.train import Training, train
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
    assert "the mean loss of the first batches rose from" in run.why


def test_a_first_batch_that_was_easy_by_chance_is_no_divergence():
    class Guess(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(1))

    def target(step, seed):  # of the first batch what the model says already, then around 0
        return torch.tensor([1.0]) if step == 0 else torch.tensor([0.5 * (-1) ** step])

    def distance(model, batch):
        return (model.w - batch).square().mean()

    lucky = changed(
        model=lambda seed: Guess(), train=target, loss=distance, metric=distance, validation=torch.tensor([0.5, -0.5]),
        mode="min",
    )  # fmt: skip
    run = train(lucky, sgd(0.1), seed=0)
    assert run.curve[0].loss == 0
    assert run.why is None
    assert run.final < run.curve[0].metric


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


@pytest.mark.parametrize("name", ["sgd", "bfgs"])
def test_a_slow_task_is_timed_on_few_steps(name, monkeypatch):
    asked = []

    def loss(model, batch):
        asked.append(batch)
        return toy_task.mse(model, batch)

    configure = candidates([name], least=1)[0].configure({"lr": 0.1}, "constant")
    monkeypatch.setattr("thalweg.lab.cost.ENOUGH_SECONDS", 0.0)
    assert cost_of(changed(loss=loss), configure, 0).step > 0
    assert len(asked) <= 6  # two steps, of which one of a minimizer may take several evaluations


def test_memory_is_what_is_held_or_what_the_gpu_allocated(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    model[0].bias.requires_grad_(False)
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    assert memory_of(model, adam) == 4 * (15 + 6) + 4 * (12 + 6) + (4 * 6 + 8)  # gradients; a counter of 8 bytes
    model(torch.randn(8, 4)).square().sum().backward()
    adam.step()
    assert memory_of(model, adam) == 4 * (15 + 6) + 3 * 4 * (12 + 6) + (4 * 6 + 8)

    far = types.SimpleNamespace(parameters=lambda: [types.SimpleNamespace(is_cuda=True, device="cuda:1")])
    monkeypatch.setattr("torch.cuda.max_memory_allocated", {"cuda:1": 12345}.__getitem__)
    assert memory_of(far, adam) == 12345


# ---- stopped, kept and continued


class Everything(torch.nn.Module):
    """All that a state has to hold: weights, running averages, a buffer outside state_dict, a counter, dropout."""

    def __init__(self):
        super().__init__()
        self.line, self.norm, self.drop = torch.nn.Linear(4, 1), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.hidden += x.mean()
        return self.line(self.drop(self.norm(x))) + 0.01 * self.calls + 0.1 * self.hidden


class Tossed(torch.utils.data.Dataset):
    """Rows that are augmented from all three random streams."""

    def __len__(self):
        return 50

    def __getitem__(self, i):
        x, y = toy_task.rows(1, i)
        return x[0] + 0.1 * torch.randn(4) + 0.1 * random.random() + 0.1 * np.random.rand(), y[0]


def loader(generator=None):
    return torch.utils.data.DataLoader(Tossed(), batch_size=16, shuffle=True, generator=generator)


def adamw(parameters, steps):
    optimizer = thalweg.AdamW(parameters, lr=0.03)
    return optimizer, schedule.warmup_cosine(optimizer, steps)


def same(one, other):
    return (one.final, one.curve, one.steps, one.why) == (other.final, other.curve, other.steps, other.why)


@pytest.mark.parametrize(
    "train_data", [toy.train, loader(), loader(torch.Generator())], ids=["function", "loader", "own"]
)
@pytest.mark.parametrize("rungs", [(1,), (3, 9), (2, 6, 20), tuple(range(1, 21))])
def test_stopped_and_continued_comes_to_the_same_bits(train_data, rungs):
    everything = changed(model=lambda seed: Everything(), train=train_data)
    whole = Training(everything, adamw, seed=3)
    whole.advance()
    state, legs = None, []
    for until in rungs:
        torch.rand(7), np.random.rand(3), random.random()  # somebody else draws
        legs.append(train(everything, adamw, seed=3, until=until))
        part = Training(everything, adamw, seed=3)
        if state is not None:
            part.load(state)
        part.advance(until)
        assert same(part.run(), legs[-1])
        assert (legs[-1].steps, legs[-1].curve[-1].step) == (until, until)
        state = part.state()
    last = train(everything, adamw, seed=3, resume=state)
    assert same(last, whole.run())
    ended = Training(everything, adamw, seed=3)
    ended.load(state)
    ended.advance()
    assert ended.model.calls == whole.model.calls == 20
    assert all(torch.equal(a, b) for a, b in zip(ended.parameters, whole.parameters, strict=True))
    assert torch.equal(ended.model.hidden, whole.model.hidden)


def test_looking_at_a_run_that_has_risen_does_not_change_it():
    def rising(parameters, steps):  # uphill for 15 steps, then down
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: -0.01 if step < 15 else 0.1)

    batchnorm = changed(
        model=lambda seed: torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)),
        train=lambda step, seed: toy_task.rows(16, seed),
    )
    part = Training(batchnorm, rising, seed=0)
    part.advance(14)
    assert "the mean loss of the first batches rose" in part.run().why
    part.advance()
    assert same(part.run(), train(batchnorm, rising, seed=0))


def test_two_runs_side_by_side_do_not_meet():
    dropout = changed(model=lambda seed: torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Dropout(0.3)))
    one, two = (Training(dropout, adamw, seed=seed) for seed in (1, 2))
    for step in range(1, 21):
        one.advance(step)
        two.advance(step)
    assert same(one.run(), train(dropout, adamw, seed=1))
    assert same(two.run(), train(dropout, adamw, seed=2))


def test_a_step_that_is_none_is_refused():
    with pytest.raises(ValueError, match="until is 21; it must be a step of the run, from 0 to 20"):
        train(toy, adamw, seed=0, until=21)


@pytest.mark.parametrize("fate", ["kept", "lost", "torn"])
def test_a_lost_state_costs_time_and_nothing_else(tmp_path, fate):
    trainer = Trainer(toy, candidates("adamw,momentum"), States(tmp_path))
    whole = Trial("adamw", (("lr", 0.03),), 3, 20, "selects", "warmup_cosine", "search")
    leg = trainer(replace(whole, until=7))
    (file,) = tmp_path.iterdir()
    assert (leg.steps, leg.curve[-1].step) == (7, 7)
    assert leg.final == leg.curve[-1].metric
    if fate == "lost":
        file.unlink()
    elif fate == "torn":
        file.write_bytes(file.read_bytes()[:-100])
    assert same(trainer(whole), Trainer(toy, trainer.candidates)(whole))
    assert not list(tmp_path.iterdir())  # a run that has ended leaves nothing


def test_a_model_that_cannot_be_pickled_begins_again(tmp_path):
    class Closed(torch.nn.Linear):
        def get_extra_state(self):
            return lambda: None

        def set_extra_state(self, state):
            pass

    closed = changed(model=lambda seed: Closed(4, 1))
    trainer = Trainer(closed, candidates("adamw,momentum"), States(tmp_path))
    whole = Trial("adamw", (("lr", 0.03),), 3, 20, "selects", "warmup_cosine", "search")
    trainer(replace(whole, until=7))
    assert not list(tmp_path.iterdir())
    assert same(trainer(whole), Trainer(toy, trainer.candidates)(whole))


def test_states_of_others_are_dropped(tmp_path):
    trainer = Trainer(toy, candidates("adamw,momentum"), States(tmp_path))
    legs = [Trial("adamw", (("lr", lr),), 0, 20, "selects", "constant", "search", until=5) for lr in (0.01, 0.1)]
    for leg in legs:
        trainer(leg)
    assert len(list(tmp_path.iterdir())) == 2
    trainer.states.drop_all_but([replace(legs[0], until=None)])
    assert len(list(tmp_path.iterdir())) == 1
