"""Runs trained as one against the plain loop: the same numbers up to rounding, or one sentence why not."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg import schedule
from thalweg.lab import batching, captured, stacked
from thalweg.lab.candidates import Candidate
from thalweg.lab.chunks import Chunk, Chunked, Stacking
from thalweg.lab.events import Finished
from thalweg.lab.plan import Trial
from thalweg.lab.run import Run
from thalweg.lab.stacked import train_together
from thalweg.lab.task import Task
from thalweg.lab.train import Training
from thalweg.lab.vectorised import Refused
from thalweg.lab.way import Way

STEPS = 12


@pytest.fixture(params=["asked", "recorded"], autouse=True)
def operations(request, monkeypatch):
    """Whether a stack may record its operations; here also where that is not worth it."""
    if request.param == "recorded":
        monkeypatch.setattr(stacked, "STEPS", 1)
        monkeypatch.setattr(captured, "SECONDS", math.inf)
        monkeypatch.setattr(captured, "SHARE", math.inf)
    return request.param


RATES = [{"lr": lr} for lr in (1e-3, 1e-2, 3e-2)]


def rows(n: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    return x, x.sum(1, keepdim=True).sin()


def mse(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def task(build, loss=mse, train=lambda step, seed: rows(16, 1000 * seed + step)) -> Task:
    def model(seed):
        return build().double()

    return Task(
        model=model, train=train, loss=loss, validation=rows(40, -1), metric=mse, mode="min", steps=STEPS, name="toy"
    )


def trainings(of: Task, hypers=RATES, seeds=(0, 1, 2), optimizer="adamw"):
    candidate = Candidate(optimizer, optimizer)
    return [
        Training(of, candidate.configure(hyper, "warmup_cosine"), seed=seed, steps=STEPS)
        for hyper, seed in zip(hypers, seeds, strict=True)
    ]


def both_ways(of: Task, hypers=RATES, seeds=(0, 1, 2), optimizer="adamw", until=None):
    alone, together = (trainings(of, hypers, seeds, optimizer) for _ in range(2))
    for training in alone:
        training.advance(until)
    train_together(of, together, schedule.warmup_cosine, until)
    return alone, together


def same(alone, together, tolerance=1e-9):
    for one, other in zip(alone, together, strict=True):
        a, b = one.run(), other.run()
        assert (a.why is None, a.steps) == (b.why is None, b.steps)
        assert [p.step for p in a.curve] == [p.step for p in b.curve]
        for p, q in zip(a.curve, b.curve, strict=True):
            assert p.metric == pytest.approx(q.metric, rel=tolerance)
            assert p.loss == pytest.approx(q.loss, rel=tolerance)
        for (name, x), (_, y) in zip(one.model.state_dict().items(), other.model.state_dict().items(), strict=True):
            torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance, msg=name)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.last = nn.Linear(6, 1)

    def forward(self, x):
        return self.last(self.second(self.first(x).tanh()).tanh())


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(6, 1)
        self.calls = 0

    def forward(self, input):
        self.calls += 1
        return super().forward(input) * (1 + 0.1 * self.calls)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.last = nn.Linear(6, 8).requires_grad_(False), nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.features(x).relu())


class Images(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, (2, 3), stride=(1, 2), padding=(1, 2)), nn.Tanh(),
            nn.Conv2d(3, 2, 2, bias=False, dilation=(2, 1)), nn.Flatten(), nn.LazyLinear(1),
        )  # fmt: skip
        self(torch.zeros(1, 6))


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)),
    "no bias": lambda: nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False)),
    "rows of rows": lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Linear(3, 4), nn.Flatten(), nn.Linear(8, 1)),
    "tied": Tied,
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.ReLU(), nn.Linear(8, 1)),
    "frozen": Frozen,
    "images": Images,
    "curves": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(9, 1)
    ),
}


@pytest.mark.parametrize("seeds", [(0, 1, 2), (5, 5, 5)], ids=["seeds", "one seed"])
@pytest.mark.parametrize("name", MODELS)
def test_every_member_is_its_own_run(name, seeds):
    same(*both_ways(task(MODELS[name]), seeds=seeds))


def test_a_torch_without_the_private_door_has_vmap_alone(monkeypatch):
    monkeypatch.setattr(batching, "_functorch", None)
    same(*both_ways(task(MODELS["mlp"])))
    with pytest.raises(Refused, match="random"):
        both_ways(task(MODELS["dropout"]))


@pytest.mark.parametrize(
    ("optimizer", "hypers"),
    [
        ("momentum", [{"lr": 0.1, "momentum": m} for m in (0.5, 0.9, 0.99)]),
        ("nadam", [{"lr": 1e-2, "beta1": b} for b in (0.5, 0.9, 0.99)]),
        ("lamb", RATES),
        ("sgd", RATES),
        ("adagrad", RATES),
        ("adamw", [{"lr": 0.01, "clip_norm": bound} for bound in (0.01, 0.1, 1.0)]),
        ("sgd", [{"lr": 0.1}, {"lr": 0.1, "clip_norm": 0.01}, {"lr": 0.001, "maximize": True}]),
        ("rmsprop", [{"lr": 0.01}, {"lr": 0.01, "momentum": 0.9}, {"lr": 0.02}]),  # one keeps momentum, others do not
    ],
)
def test_every_kind_of_optimizer(optimizer, hypers):
    same(*both_ways(task(MODELS["mlp"]), hypers, optimizer=optimizer))


MIXED = (("adamw", 0.01, 0), ("adamw", 0.02, 1), ("momentum", 0.01, 0), ("lamb", 0.01, 0), ("lamb", 0.03, 2))


def mixed(of: Task):
    return [trainings(of, [{"lr": lr}], [seed], optimizer)[0] for optimizer, lr, seed in MIXED]


@pytest.mark.parametrize("name", ["mlp", "dropout"])
def test_optimizers_of_different_classes_share_a_stack(name):
    of = task(MODELS[name])
    alone, together = mixed(of), mixed(of)
    for training in alone:
        training.advance()
    train_together(of, together, schedule.warmup_cosine)
    same(alone, together)
    _, by_class = both_ways(of, [{"lr": 0.01}, {"lr": 0.02}], seeds=(0, 1))
    for one, other in zip(together, by_class, strict=False):  # whoever is beside it, to the bit
        assert all(map(torch.equal, one.parameters, other.parameters))


def trial(optimizer: str, lr: float, **known) -> Trial:
    return Trial(optimizer, (("lr", lr),), 0, STEPS, "selects", "constant", "search", **known)


def test_trials_of_all_optimizers_share_chunks_and_minimizers_do_not():
    stage = [trial(name, lr) for lr in range(1, 7) for name in ("sgd", "adamw", "bfgs")]
    chunks = Way(members=32, least=3).chunks(stage, apart={"bfgs"})
    assert sorted(len(chunk) for chunk in chunks) == [6, 12]
    assert next([t.optimizer for t in chunk] for chunk in chunks) == 6 * ["sgd"] + 6 * ["adamw"]
    assert len(Way(members=32, least=3).chunks([trial("sgd", lr) for lr in range(33)], jobs=2)) == 2
    assert len(Way(members=32, least=3).chunks([trial("sgd", lr) for lr in range(16)], jobs=2)) == 2
    assert len(Way(members=32, least=9).chunks([trial("sgd", lr) for lr in range(16)], jobs=2)) == 1


def test_an_optimizer_that_is_refused_leaves_the_others_together():
    done = []

    def perform(work, report):
        answers = []
        for each in work:
            done.append(each)
            trials = each.trials if isinstance(each, Chunk) else (each,)
            odd = isinstance(each, Chunk) and "odd" in each.optimizers
            runs = tuple(Run(t.hyper[0][1], (), 0.0, STEPS) for t in trials)
            answers.append(Chunked(refused="it is odd") if odd else Chunked(runs) if len(trials) > 1 else runs[0])
            report(Finished(each, answers[-1]))
        return answers

    stage = [trial(name, lr) for name in ("sgd", "odd", "adamw") for lr in (1.0, 2.0)]
    stacking = Stacking(perform, Way(members=32))
    told = []
    runs = stacking(stage, told.append)
    assert [run.final for run in runs] == 3 * [1.0, 2.0]
    assert {event.trial for event in told if isinstance(event, Finished)} == set(stage)
    assert [run.alone for run in runs] == [None, None, "it is odd", "it is odd", None, None]
    assert [event.run for event in told if isinstance(event, Finished) and event.trial.optimizer == "odd"] == runs[2:4]
    assert [len(work.trials) if isinstance(work, Chunk) else 1 for work in done] == [6, 2, 2, 2, 1, 1]
    done.clear()
    stacking([trial(name, lr) for name in ("sgd", "odd", "adamw") for lr in (3.0, 4.0)], told.append)
    assert [work.optimizers for work in done if isinstance(work, Chunk)] == [["sgd", "adamw"], ["odd"]]


def classes(model, batch):
    x, _ = batch
    numbers = torch.where(x[:, 1] > 1, -100, (x[:, 0] > 0).long())  # some are ignored
    return nn.functional.cross_entropy(model(x), numbers)


@pytest.mark.parametrize("seeds", [(0, 1, 2), (5, 5, 5)])
def test_cross_entropy(seeds):
    of = task(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), loss=classes)
    same(*both_ways(dataclasses.replace(of, metric=classes), seeds=seeds))


@pytest.mark.parametrize("seeds", [(0, 1, 2), (5, 5, 5), (3, 0, 3)])
def test_a_data_loader_is_walked_in_each_seeds_own_order(seeds):
    loader = DataLoader(TensorDataset(*rows(40, 3)), batch_size=16, shuffle=True)
    same(*both_ways(task(MODELS["mlp"], train=loader), seeds=seeds))


def test_a_member_that_diverges_leaves_the_others_as_they_are():
    hypers = [{"lr": 0.01}, {"lr": 1e200}, {"lr": 0.02}]
    alone, together = both_ways(task(MODELS["mlp"]), hypers, optimizer="sgd")
    assert [t.why is None for t in together] == [True, False, True]
    assert together[1].why == alone[1].why
    same([alone[0], alone[2]], [together[0], together[2]])


@pytest.mark.parametrize("others", [1, 3])
def test_the_last_one_that_is_left_comes_to_the_same_bits(others):
    of = task(MODELS["mlp"])
    hypers = [{"lr": 0.01}, *[{"lr": 1e200}] * others]
    alone, together = both_ways(of, hypers, seeds=range(1 + others), optimizer="sgd")
    assert [t.why is None for t in together] == [True] + others * [False]
    same(alone[:1], together[:1])
    _, beside = both_ways(of, [{"lr": 0.01}, {"lr": 0.02}], seeds=range(2), optimizer="sgd")
    for p, q in zip(together[0].parameters, beside[0].parameters, strict=True):
        assert torch.equal(p, q)


def test_the_data_of_a_seed_are_asked_for_once(operations):
    asked = []

    def train(step, seed):
        asked.append((step, seed))
        return rows(16, 1000 * seed + step)

    of = task(MODELS["mlp"], train=train)
    train_together(of, trainings(of, seeds=(4, 7, 4)), schedule.warmup_cosine)
    assert asked == [(step, seed) for step in range(STEPS) for seed in (4, 7)]


@pytest.mark.parametrize("seeds", [(0, 1, 2), (3, 0, 3)])
def test_a_leg_can_be_continued_either_way(seeds):
    of = task(MODELS["dropout"])
    alone, together = both_ways(of, seeds=seeds, until=5)
    same(alone, together)
    later = trainings(of, seeds=seeds)
    for training, before in zip(later, together, strict=True):
        training.load(before.state())
    for training in alone[:1]:
        training.advance()
    later[0].advance()
    same(alone[:1], later[:1])
    for training in alone[1:]:
        training.advance()
    train_together(of, later[1:], schedule.warmup_cosine)
    same(alone[1:], later[1:])


def test_random_streams_are_as_before():
    before = torch.get_rng_state()
    both_ways(task(MODELS["dropout"]))
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(nn.Linear):
    def __init__(self):
        super().__init__(6, 1)

    def forward(self, input):
        return super().forward(input + torch.randn_like(input))


class Branching(nn.Linear):
    def __init__(self):
        super().__init__(6, 1)

    def forward(self, input):
        return super().forward(input) if self.weight.sum() > 0 else -super().forward(input)


class Hidden(nn.Linear):
    def __init__(self):
        super().__init__(6, 1)
        self.shift = torch.randn(6, dtype=torch.float64)

    def forward(self, input):
        return super().forward(input + self.shift)


def item(model, batch):
    loss = mse(model, batch)
    return loss * (1 + 0 * loss.item())


def numpy_noise(model, batch):
    import numpy as np

    return mse(model, batch) * (1 + 0.1 * np.random.rand())


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (task(Noisy), "random"),
        (task(Branching), "control flow of the loss depends on data"),
        (task(Hidden), "shift"),
        (task(Counting), "counts"),
        (task(MODELS["mlp"], loss=item), "item"),
        (task(MODELS["mlp"], loss=numpy_noise), "NumPy"),
    ],
    ids=["noise", "branch", "hidden tensor", "counter", "item", "numpy"],
)
def test_what_cannot_be_right_is_refused(of, says):
    with pytest.raises(Refused, match=says):
        both_ways(of)


def test_batches_of_different_shapes_are_refused():
    of = task(MODELS["mlp"], train=lambda step, seed: rows(16 + seed, 1000 * seed + step))
    with pytest.raises(Refused, match="different shapes"):
        both_ways(of)


def named(step, seed):
    return {"x": rows(16, 1000 * seed + step), "name": [f"{seed}/{step}.png", "all"], "kind": "photo"}


def test_a_string_that_comes_along_in_a_batch_hinders_nothing():
    of = task(MODELS["mlp"], lambda model, batch: mse(model, batch["x"]) * len(batch["kind"]), named)
    same(*both_ways(of))


@pytest.mark.parametrize(
    "read",
    [
        lambda name: {"0/0.png": 2.0}.get(name, 1.0),
        lambda name: 1.0 + (name == "0/0.png"),
        lambda name: float(name[0]),
        lambda name: float(name.split("/")[0]),
        lambda name: float(f"{name}"[0]),
        lambda name: 1.0 + ("0/" in name),
    ],
    ids=["looked up", "compared", "indexed", "split", "printed", "searched"],
)
def test_a_string_that_the_loss_reads_is_refused_where_it_differs(read):
    of = task(MODELS["mlp"], lambda model, batch: mse(model, batch["x"]) * read(batch["name"][0]), named)
    with pytest.raises(Refused, match="reads a string that differs"):
        both_ways(of)


def test_autocast_is_right_or_refused():
    def cast(model, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return mse(model, batch).float()

    of = dataclasses.replace(
        task(MODELS["mlp"], loss=cast), model=lambda seed: MODELS["mlp"](),
        validation=tuple(x.float() for x in rows(40, -1)),
        train=lambda step, seed: tuple(x.float() for x in rows(16, 1000 * seed + step)),
    )  # fmt: skip
    try:
        alone, together = both_ways(of)
    except Refused:
        return
    same(alone, together, 1e-2)


@pytest.mark.parametrize(
    ("length", "size", "stride", "padding", "dilation"),
    [
        *((7, 3, 1, 0, 1), (7, 3, 2, 1, 1), (8, 2, 3, 0, 1), (5, 3, 1, 4, 2)),
        *((6, 1, 4, 2, 1), (9, 4, 2, 3, 3), (3, 5, 2, 3, 1)),
    ],
)
def test_a_convolution_sees_what_torchs_sees(length, size, stride, padding, dilation):
    x, w = torch.randn(2, 4, 3, length).double(), torch.randn(2, 5, 3, size).double().requires_grad_()
    x.requires_grad_()
    windows = batching._Windows((size,), (stride,), (padding,), (dilation,))
    found = batching._convolved(x, w, None, windows)
    torches = [nn.functional.conv1d(a, b, None, stride, padding, dilation) for a, b in zip(x, w, strict=True)]
    torch.testing.assert_close(found, torch.stack(torches))
    ours, theirs = (torch.autograd.grad(y.sin().sum(), (x, w)) for y in (found, torch.stack(torches)))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
