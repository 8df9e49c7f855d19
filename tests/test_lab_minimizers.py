"""Minimizers in the lab: an evaluation is a step of the ledger, and none is made beyond the horizon."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import thalweg as tw
from thalweg import workloads
from thalweg.lab.candidates import MINIMIZERS, Candidate
from thalweg.lab.comparison import prepared
from thalweg.lab.run import Run
from thalweg.lab.search import rung
from thalweg.lab.task import Task, TaskError
from thalweg.lab.train import Training, train

NAMES = sorted(MINIMIZERS)


def regression(seen: list[int], n: int = 3) -> Task:
    """Least squares on 20 rows, whose every evaluation is noted; it needs no other package."""
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(20, n, dtype=torch.float64, generator=numbers)
    y = (x.sum(1, keepdim=True)).tanh()

    def model(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(n, 1, bias=False), torch.nn.Tanh()).double()

    def loss(net: torch.nn.Module, batch: tuple) -> torch.Tensor:
        seen.append(1)
        return (net(batch[0]) - batch[1]).square().mean()

    def metric(net: torch.nn.Module, data: tuple) -> float:
        return (net(data[0]) - data[1]).square().mean().item()

    return Task(
        model=model, train=lambda step, seed: (x, y), loss=loss, validation=(x, y), metric=metric, mode="min", steps=40
    )


def configure(name: str, lr: float = 1.0):
    return Candidate(name, name).configure({"lr": lr}, "warmup_cosine")


def better(run: Run) -> float:
    """The last metric as a share of the first."""
    first = run.curve[0].metric
    assert run.final is not None
    assert first is not None
    return run.final / first


@pytest.mark.parametrize("name", ["bfgs", "broyden", "cg", "lbfgs"])
@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 23])
def test_evaluations_are_steps_and_the_horizon_is_never_overstepped(name, horizon):
    seen: list[int] = []
    run = train(regression(seen), configure(name), seed=0, steps=horizon)
    assert len(seen) <= horizon
    assert run.steps == horizon
    assert [point.step for point in run.curve][-1] == horizon
    assert run.final == run.curve[-1].metric
    loss, start = run.curve[-1].loss, run.curve[0].loss
    assert loss is not None
    assert start is not None
    assert loss <= start
    assert horizon < 7 or loss < start


@pytest.mark.parametrize(("name", "price"), [("newton", 2 * 3), ("newton-cg", 2)])
def test_second_derivatives_have_their_price(name, price):
    """A Hessian of n unknowns is n products of two evaluations each; what is not paid is not computed."""
    task = regression([])
    training = Training(task, configure(name), seed=0, steps=40)
    prices: list[int] = []
    optimizer = training.optimizer
    told = []

    class Noting(list):
        def __call__(self, asked: int) -> None:
            prices.append(asked)

    optimizer.meter = Noting()
    for group in optimizer.param_groups:
        group["max_iter"] = 4

    def closure() -> torch.Tensor:
        told.append(1)
        return task.loss(training.model, next(task.batches(0)))

    optimizer.step(closure)
    assert set(prices) == {1, price}
    assert len(prices) == len(told)
    run = train(task, configure(name), seed=0, steps=40)
    assert better(run) < 1e-2


def test_nothing_is_done_where_the_first_hessian_is_too_dear():
    seen: list[int] = []
    run = train(regression(seen), configure("newton"), seed=0, steps=6)  # 1 + 6 would be needed
    assert len(seen) == 1
    assert (run.steps, run.why) == (6, None)
    assert run.final == run.curve[0].metric


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("until", [1, 12, 13])
def test_a_run_in_two_legs_is_the_run_in_one(name, until):
    task = regression([])
    whole = train(task, configure(name, 0.3), seed=1, steps=40)
    first = Training(task, configure(name, 0.3), seed=1, steps=40)
    first.advance(until)
    leg = first.run()
    assert leg.steps == until
    second = Training(task, configure(name, 0.3), seed=1, steps=40)
    second.load(first.state())
    second.advance()
    first.advance()
    assert first.run().curve == second.run().curve == whole.curve
    assert [p for p in leg.curve if p.step < until] == [p for p in whole.curve if p.step < until]


def test_the_curve_stands_at_accepted_points():
    run = train(regression([]), configure("bfgs", 10.0), seed=0, steps=40)  # a first trial that is far too long
    losses = [point.loss for point in run.curve if point.loss is not None]
    assert len(losses) == 11
    assert losses == sorted(losses, reverse=True)


def test_mini_batches_and_dropout_are_refused_in_one_sentence():
    with pytest.raises(TaskError, match=r"bfgs needs all the data in every step .* of task 'digits'"):
        tw.compare("digits", "bfgs,adamw")
    with pytest.raises(TaskError, match=r"lbfgs needs all the data .* loss without chance"):
        tw.compare("poisson_pinn", "adamw,lbfgs")
    prepared("poisson_pinn_fixed", "adamw,lbfgs")


def test_names():
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        prepared("breast_cancer", "bfgs,adamv")
    assert {Candidate(name, name).title for name in NAMES} >= {"BFGS", "L-BFGS"}


def test_a_loss_that_is_not_finite_is_a_divergence():
    task = regression([])
    broken = Task(
        model=task.model, train=task.train, loss=lambda net, batch: task.loss(net, batch) / 0,
        validation=task.validation, metric=task.metric, mode="min", steps=5,
    )  # fmt: skip
    run = train(broken, configure("bfgs"), seed=0)
    assert run.final is None
    assert "the loss is inf in step 1" in str(run.why)


def test_a_comparison_with_minimizers(tmp_path):
    """The whole way: equal budgets, a verdict, a report, and a winner.py that comes to the same number."""
    result = tw.compare("breast_cancer", "bfgs,lbfgs,newton,adamw", points=2, steps=100, jobs=1, out=tmp_path)
    ledger = result.data["budget"]["ledger"]
    assert len({one["search_steps"] for one in ledger.values()}) == 1
    assert len({one["search_runs"] for one in ledger.values()}) == 1
    for run in result.data["runs"]:
        assert run["steps"] == (rung(100, 1) if run["pruned"] else 100)
    assert result.data["winner"]["optimizer"] in ("bfgs", "lbfgs", "newton")
    assert "BFGS" in (tmp_path / "report.html").read_text(encoding="utf-8")
    said = subprocess.run([sys.executable, str(tmp_path / "winner.py")], capture_output=True, text=True, check=True)
    assert repr(result.data["winner"]["final"]) in said.stdout
    assert "constant(optimizer, steps)" in (tmp_path / "winner.py").read_text(encoding="utf-8")


def test_the_network_with_fixed_points_is_a_workload():
    task = workloads.load("poisson_pinn_fixed", steps=60, inside=32, boundary=16)
    run = train(task, configure("lbfgs"), seed=0, steps=60)
    assert run.steps == 60
    assert better(run) < 1
    assert next(iter(task.build(0).parameters())).dtype == torch.float64
