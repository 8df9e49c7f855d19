"""Under every lr scheduler of torch, every class takes the path of its namesake, 300 float64 steps."""

import inspect
import itertools
import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler as torchs
from torch.optim.swa_utils import SWALR

from torch_cases import PAIRS, STEPS, Case, difference, number, walk

pytestmark = pytest.mark.usefixtures("float64")
LR = {"Adadelta": 1.0, "Adagrad": 0.3}


def cycles(optimizer):
    """Whether torch lets a scheduler cycle this optimizer's momentum."""
    return "momentum" in optimizer.defaults or "betas" in optimizer.defaults


def sequential(o):
    three = [torchs.LinearLR(o, 0.1, 1.0, 30), torchs.ExponentialLR(o, 0.99), torchs.CosineAnnealingLR(o, 80)]
    return torchs.SequentialLR(o, three, milestones=[30, 200])


SCHEDULERS = {
    "LambdaLR": lambda o: torchs.LambdaLR(o, lambda t: 1 / (1 + t / 40)),
    "MultiplicativeLR": lambda o: torchs.MultiplicativeLR(o, lambda t: 0.98 if t % 3 else 1.01),
    "StepLR": lambda o: torchs.StepLR(o, 60, gamma=0.5),
    "MultiStepLR": lambda o: torchs.MultiStepLR(o, [40, 150], gamma=0.2),
    "ConstantLR": lambda o: torchs.ConstantLR(o, factor=0.3, total_iters=70),
    "LinearLR": lambda o: torchs.LinearLR(o, start_factor=0.05, total_iters=100),
    "ExponentialLR": lambda o: torchs.ExponentialLR(o, 0.99),
    "SequentialLR": sequential,
    "CosineAnnealingLR": lambda o: torchs.CosineAnnealingLR(o, T_max=120, eta_min=1e-4),
    "ChainedScheduler": lambda o: torchs.ChainedScheduler(
        [torchs.ConstantLR(o, factor=0.2, total_iters=50), torchs.ExponentialLR(o, 0.99)]
    ),
    "ReduceLROnPlateau": lambda o: torchs.ReduceLROnPlateau(o, factor=0.7, patience=6, cooldown=2),
    "CyclicLR": lambda o: torchs.CyclicLR(o, 1e-3, 0.1, step_size_up=25, cycle_momentum=cycles(o)),
    "CosineAnnealingWarmRestarts": lambda o: torchs.CosineAnnealingWarmRestarts(o, T_0=40, T_mult=2),
    "OneCycleLR": lambda o: torchs.OneCycleLR(o, 0.1, total_steps=STEPS + 1, cycle_momentum=cycles(o)),
    "PolynomialLR": lambda o: torchs.PolynomialLR(o, total_iters=200, power=2.0),
    "SWALR": lambda o: SWALR(o, swa_lr=0.01, anneal_epochs=40),
}


def test_every_scheduler_of_torch_is_tested():
    public = {n for n, c in vars(torchs).items() if inspect.isclass(c) and issubclass(c, torchs.LRScheduler)}
    public -= {"LRScheduler", "_LRScheduler"}
    assert len(public) >= 15
    assert public | {"SWALR"} == set(SCHEDULERS)


def scheduled(name, kind, settings, seen):
    """The case, and what it writes into `seen`: lr and momentum at every step."""

    def schedule(optimizer):
        scheduler = SCHEDULERS[kind](optimizer)

        def turn(t):
            group = optimizer.param_groups[0]
            seen.append((float(group["lr"]), group.get("momentum", group.get("betas"))))
            if kind == "ReduceLROnPlateau":
                scheduler.step(1 / (t + 1) if t < 30 else 0.1 + math.sin(t) ** 2)
            else:
                with warnings.catch_warnings():  # torch's own schedulers, called by torch's SequentialLR
                    warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
                    scheduler.step()

        return turn

    return Case(name, kind, settings, schedule=schedule)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("name", PAIRS)
def test_path_is_torchs(name, kind):
    takes_torchs_path(name, kind)


@pytest.mark.parametrize(("name", "kind"), list(zip(itertools.cycle(PAIRS), SCHEDULERS, strict=False)))
def test_path_of_the_rules_themselves_is_torchs(name, kind, monkeypatch):
    """Every class and every scheduler once: what a scheduler writes reaches a rule as it reaches its kernels."""
    monkeypatch.setenv("THALWEG_ENGINE", "eager")
    takes_torchs_path(name, kind)


def takes_torchs_path(name, kind):
    settings = {"lr": LR.get(name, 0.03)}
    ours, theirs = [], []
    path = walk(scheduled(name, kind, settings, ours), theirs=False)
    assert difference(path, walk(scheduled(name, kind, settings, theirs), theirs=True)) <= 1e-12
    assert ours == theirs
    assert len({lr for lr, _ in ours}) > 1, "the schedule did nothing"
    moved = len({momentum for _, momentum in ours if momentum is not None}) > 1
    assert moved == (kind in ("CyclicLR", "OneCycleLR") and name not in ("Adagrad", "Adadelta"))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", PAIRS)
def test_a_tensor_lr_is_scheduled_in_place(name):
    ours, theirs = [], []
    settings = {"lr": lambda: number(LR.get(name, 0.03))}
    path = walk(scheduled(name, "ExponentialLR", settings, ours), theirs=False)
    assert difference(path, walk(scheduled(name, "ExponentialLR", settings, theirs), theirs=True)) <= 1e-12
    assert ours == theirs
    assert ours[-1][0] < 0.1 * ours[0][0]


def test_a_changed_lr_does_not_trace_again():
    """A schedule must not cost a trace per step: the graph depends on flags alone."""
    from thalweg.engine import trace

    walk(Case("AdamW", "", {"lr": 0.01}), theirs=False, steps=5)
    before = trace._trace.cache_info().misses
    walk(scheduled("AdamW", "OneCycleLR", {"lr": 0.01}, []), theirs=False, steps=20)
    assert trace._trace.cache_info().misses == before
    assert torch.get_default_dtype() is torch.float64
