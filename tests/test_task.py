"""A task: its halves, its data order, every mistake that `check` explains, and where tasks are found."""

import doctest
import os
import random
import sys
from collections import namedtuple
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from thalweg import extras
from thalweg.lab import task as task_module
from thalweg.lab.loading import load_task
from thalweg.lab.randomness import undisturbed
from thalweg.lab.task import Task, TaskError


def mse(model, batch):
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


def rows(n, number):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(number))
    return x, x.sum(1, keepdim=True)


def make(**changes):
    fields = {
        "model": lambda seed: nn.Linear(3, 1),
        "train": lambda step, seed: rows(8, 1000 * seed + step),
        "loss": mse,
        "validation": rows(21, -1),
        "metric": mse,
        "mode": "min",
        "steps": 10,
    }
    return Task(**(fields | changes))


# ---- fields


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "mni"}, r"task 'task': mode is 'mni'; it must be 'min' or 'max'. Did you mean 'min'\?"),
        ({"mode": None}, r"mode is None; it must be 'min' or 'max'$"),
        ({"steps": 0}, r"steps is 0; it must be a whole number of training steps, at least 1"),
        ({"steps": 10.0}, r"steps is 10.0"),
        ({"steps": True}, r"steps is True"),
        (
            {"model": nn.Sequential(nn.Linear(3, 1))},
            r"model is Sequential\( \(0\).*; it must be a function of a seed",
        ),
        ({"model": None}, r"model is None"),
        (
            {"train": [1, 2]},
            r"train is \[1, 2\]; it must be a function \(step, seed\) -> batch or a torch DataLoader",
        ),
        ({"loss": "mse"}, r"loss is 'mse'; it must be a function \(model, batch\)"),
        ({"metric": 3}, r"metric is 3; it must be a function \(model, data\) -> float"),
        ({"name": 5}, r"name is 5; it must be a string"),
        ({"licence": None}, r"licence is None; it must be a string"),
    ],
)
def test_a_wrong_field_is_named(changes, sentence):
    with pytest.raises(TaskError, match=sentence):
        make(**changes)


def test_fields_are_keywords_and_fixed():
    with pytest.raises(TypeError):
        Task(lambda seed: nn.Linear(3, 1))  # type: ignore[misc]
    with pytest.raises(AttributeError):
        make().steps = 5  # type: ignore[misc]
    assert replace(make(), steps=5).steps == 5


# ---- halves


def numbers(data):
    """The rows of any form of validation, each marked by its number."""
    if isinstance(data, DataLoader):
        return [n for x, _ in data for n in x.flatten().tolist()]
    if isinstance(data, torch.utils.data.Dataset):
        return [int(data[i][0]) for i in range(len(data))]
    if isinstance(data, dict):
        return numbers(data["x"])
    if isinstance(data, tuple):
        assert torch.equal(torch.as_tensor(data[0]) * 2, torch.as_tensor(data[1]))  # columns stay together
        return numbers(data[0])
    if isinstance(data, list):
        return [n for batch in data for n in numbers(batch)]
    return [int(n) for n in data]


X = torch.arange(21)
PAIRS = TensorDataset(X, 2 * X)
Named = namedtuple("Named", "x y")


@pytest.mark.parametrize(
    "validation",
    [
        X,
        X.numpy(),
        (X, 2 * X),
        (X.numpy(), 2 * X.numpy()),
        Named(X, 2 * X),
        {"x": X, "y": 2 * X},
        PAIRS,
        DataLoader(PAIRS, batch_size=4),
        DataLoader(PAIRS, batch_size=4, shuffle=True, drop_last=True),
        DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 4, False)),
        DataLoader(PAIRS, batch_size=None),
        [(X[i : i + 2], 2 * X[i : i + 2]) for i in range(0, 21, 2)],
        [{"x": X[:5]}, {"x": X[5:]}],
    ],
    ids=[
        *("tensor", "array", "tuple", "arrays", "named", "dict", "dataset", "loader", "shuffled", "sampler"),
        *("unbatched", "batches", "dicts"),
    ],
)
def test_halves_are_disjoint_and_cover_everything(validation):
    task = make(validation=validation)
    selects, reports = numbers(task.selects), numbers(task.reports)
    assert sorted(selects + reports) == list(range(21))
    assert type(task.selects) is type(validation) or validation is PAIRS
    if not isinstance(validation, list):
        assert len(selects) == 10
        assert selects == sorted(selects)  # rows keep their order
        assert selects != list(range(10))  # but are not the first ones
    again = make(validation=validation)
    torch.manual_seed(1)
    assert numbers(again.selects) == selects  # no run's seed touches the split
    assert task.selects is task.selects


def test_list_of_tensors_is_columns_or_batches():
    assert [len(x) for x in make(validation=[X, 2 * X]).selects] == [10, 10]
    assert len(make(validation=[X[:5], X[5:]]).selects) == 1


def test_a_loader_keeps_its_batch_size_and_its_part_of_the_data():
    part = [1, 3, 5, 7, 9, 11]
    generator = torch.Generator().manual_seed(5)
    state = generator.get_state()
    loader = DataLoader(PAIRS, batch_size=2, sampler=SubsetRandomSampler(part, generator=generator))
    task = make(validation=loader)
    assert sorted(numbers(task.selects) + numbers(task.reports)) == part
    assert task.selects.batch_size == 2
    assert torch.equal(generator.get_state(), state)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))

    def __len__(self):
        return 3


class Strange(BatchSampler):
    def __init__(self):
        pass

    def __iter__(self):
        return iter([[0, 1], [2]])

    def __len__(self):
        return 2


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        (None, r"validation is a NoneType that cannot be split in two; it must be a tensor, a tuple"),
        (torch.tensor(1.0), r"validation is a Tensor"),
        ((torch.ones(3), torch.ones(4)), r"validation is a tuple"),
        ({"x": torch.ones(3), "y": 4}, r"validation is a dict"),
        (Endless(), r"validation is a Endless"),
        (DataLoader(Endless()), r"validation is a DataLoader"),
        (DataLoader(PAIRS, batch_sampler=Strange()), r"batch sampler without a batch_size"),
        (torch.ones(1, 5), r"validation holds 1 item; it needs 2 or more"),
        ([], r"validation holds 0 items"),
    ],
)
def test_validation_that_cannot_be_halved(validation, sentence):
    with pytest.raises(TaskError, match=sentence):
        _ = make(validation=validation).selects


# ---- what a run asks for


def test_build_seeds_torch():
    task = make()
    torch.manual_seed(99)
    a = task.build(4).weight
    torch.manual_seed(98)
    assert torch.equal(task.build(4).weight, a)
    assert not torch.equal(task.build(5).weight, a)


def test_batches_of_a_function_count_from_zero():
    batches = make(train=lambda step, seed: (step, seed)).batches(6)
    assert [next(batches) for _ in range(3)] == [(0, 6), (1, 6), (2, 6)]


class Augmented(torch.utils.data.Dataset):
    """Every item carries draws from the three streams, as augmentation does."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return torch.tensor([i, random.random(), np.random.rand(), torch.rand(()).item()])


def loaders():
    return {
        "shuffled": DataLoader(Augmented(), batch_size=4, shuffle=True),
        "generator": DataLoader(Augmented(), batch_size=4, shuffle=True, generator=torch.Generator()),
        "sampler": DataLoader(
            Augmented(), batch_size=4, sampler=SubsetRandomSampler(range(10), generator=torch.Generator())
        ),
    }


def taken(task, seed, n=7):
    batches = task.batches(seed)
    return torch.cat([next(batches) for _ in range(n)])


@pytest.mark.parametrize("kind", loaders())
def test_the_order_of_a_loader_depends_on_the_seed_alone(kind):
    task = make(train=loaders()[kind])
    first = taken(task, 3)
    torch.manual_seed(1234)
    random.seed(5)
    np.random.seed(6)
    assert torch.equal(taken(task, 3), first)  # again, from another state of the world
    assert torch.equal(taken(make(train=loaders()[kind]), 3), first)  # by another loader
    assert not torch.equal(taken(task, 4), first)
    assert sorted(first[:10, 0].tolist()) == list(range(10))  # an epoch is the whole data set
    assert first[:10, 0].tolist() != first[10:20, 0].tolist()  # and the next one has another order


@pytest.mark.parametrize("kind", loaders())
def test_runs_with_one_loader_do_not_disturb_each_other(kind):
    task = make(train=loaders()[kind])
    alone = [taken(task, 3), taken(task, 4)]
    one, two = task.batches(3), task.batches(4)
    mixed = []
    for _ in range(7):
        mixed.append((next(one), next(two)))
        torch.rand(3)  # dropout, say
    for i in range(2):
        assert torch.equal(torch.cat([pair[i] for pair in mixed]), alone[i])


@pytest.mark.parametrize("kind", loaders())
def test_a_loader_leaves_the_random_streams_alone(kind):
    loader = loaders()[kind]
    given = loader.generator or getattr(loader.sampler, "generator", None)
    before = streams(given)
    taken(make(train=loader), 3)
    assert streams(given) == before


class Where(Augmented):
    def __getitem__(self, i):
        return torch.tensor([i, os.getpid()])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_a_loader_starts_no_workers_unless_it_prepares_them():
    def processes(**others):
        loader = DataLoader(Where(), batch_size=5, num_workers=1, persistent_workers=True, timeout=60, **others)
        task = make(train=loader, validation=loader)
        return {int(row[1]) for data in (taken(task, 0, n=2), *task.selects) for row in data}

    assert processes() == {os.getpid()}
    assert os.getpid() not in processes(worker_init_fn=id)
    plain, working = (make(train=DataLoader(Augmented(), 4, shuffle=True, num_workers=n)) for n in (0, 2))
    assert torch.equal(taken(plain, 3), taken(working, 3))


def streams(*generators):
    torches = [g.get_state() for g in (torch.default_generator, *generators) if g is not None]
    _, keys, place, *_ = np.random.get_state()
    return [state.numpy().tobytes() for state in torches], keys.tobytes(), place, random.getstate()


def test_undisturbed_restores_after_an_error():
    def draw():
        return torch.rand(1) + np.random.rand() + random.random() / 0

    before = streams()
    with pytest.raises(ZeroDivisionError), undisturbed():
        draw()
    assert streams() == before


# ---- check: one mistake each


def test_check_passes_and_leaves_no_trace():
    before = streams()
    make(model=lambda seed: nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))).check()
    make(train=DataLoader(TensorDataset(*rows(9, 0)), batch_size=4, shuffle=True)).check()
    make(metric=lambda model, data: torch.rand(()) + random.random() + np.random.rand()).check()
    assert streams() == before


def test_check_restores_the_streams_after_a_mistake():
    before = streams()
    with pytest.raises(TaskError):
        make(metric=lambda model, data: torch.rand(3)).check()
    assert streams() == before


def test_check_calls_in_the_right_modes():
    seen = []

    def watched(where):
        def function(model, batch):
            seen.append((where, model.training, torch.is_grad_enabled(), len(batch[0])))
            return mse(model, batch)

        return function

    with torch.no_grad():
        make(loss=watched("loss"), metric=watched("metric")).check()
    assert seen == [("loss", True, True, 8), ("metric", False, False, 10)]


def frozen(seed):
    return nn.Linear(3, 1).requires_grad_(False)


def unlucky(seed):
    model = nn.Linear(3, 1)
    nn.init.normal_(model.weight, generator=WORLD)
    return model


def unsteady(step, seed):
    return rows(8, int(torch.randint(10**6, (), generator=WORLD)))


WORLD = torch.Generator()
SHARED = nn.Linear(3, 1)


def stubborn(seed):
    torch.manual_seed(42)
    return nn.Linear(3, 1)


def fails(*arguments):
    raise KeyError("images")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": lambda: nn.Linear(3, 1)}, r"model does not accept a seed; .*lambda seed: Net\(\)"),
        (
            {"model": lambda seed: [nn.Linear(3, 1)]},
            r"model\(0\) returned a list; it must return a torch.nn.Module",
        ),
        ({"model": lambda seed: nn.LazyLinear(1)}, r"model\(0\) has lazy parameters"),
        ({"model": lambda seed: nn.ReLU()}, r"model\(0\) has no trainable parameters"),
        ({"model": frozen}, r"model\(0\) has no trainable parameters"),
        ({"model": lambda seed: SHARED}, r"model returned the same module twice"),
        ({"model": unlucky}, r"model\(0\) started differently the second time"),
        ({"model": stubborn}, r"model\(0\) and model\(1\) start identically: the model ignores its seed"),
        ({"model": fails}, r"model\(0\) raised KeyError: 'images'"),
        ({"train": lambda step, seed: None}, r"train\(0, 0\) gave nothing: None"),
        ({"train": lambda step, seed: ()}, r"train\(0, 0\) gave nothing: \(\)"),
        ({"train": lambda step, seed: rows(0, 0)}, r"train\(0, 0\) gave nothing"),
        ({"train": DataLoader([])}, r"the DataLoader in train gives no batch"),
        ({"train": unsteady}, r"train\(0, 0\) gave a different batch the second time"),
        ({"train": lambda step: None}, r"train\(0, 0\) raised TypeError: .*takes 1 positional argument"),
        ({"train": fails}, r"train\(0, 0\) raised KeyError"),
        ({"loss": lambda model, batch: mse(model, batch).item()}, r"loss\(model, batch\) returned a float"),
        (
            {"loss": lambda model, batch: (mse(model, batch),) * 2},
            r"returned a tuple; .* one loss, so return their sum",
        ),
        ({"loss": lambda model, batch: sys.exit(1)}, r"loss\(model, batch\) raised SystemExit: 1"),
        ({"loss": lambda model, batch: model(batch[0])}, r"has shape \(8, 1\), not \(\); add \.mean\(\)"),
        (
            {"loss": lambda model, batch: mse(model, batch)[None]},
            r"has shape \(1,\), not \(\); add \.squeeze\(\)",
        ),
        ({"loss": lambda model, batch: mse(model, batch) * torch.inf}, r"is inf before the first step"),
        (
            {"loss": lambda model, batch: mse(model, batch).detach()},
            r"has no gradient: it reaches no parameter",
        ),
        (
            {"loss": lambda model, batch: torch.ones(3, requires_grad=True).sum()},
            r"has no gradient: it reaches no parameter",
        ),
        ({"loss": fails}, r"loss\(model, batch\) raised KeyError"),
        (
            {"metric": lambda model, data: "good"},
            r"metric\(model, data\) returned a str; it must be one number",
        ),
        ({"metric": lambda model, data: None}, r"metric\(model, data\) returned a NoneType"),
        ({"metric": lambda model, data: model(data[0])}, r"metric\(model, data\) has shape \(10, 1\)"),
        ({"metric": lambda model, data: float("nan")}, r"metric\(model, data\) is nan before the first step"),
        ({"metric": lambda model, data: -np.inf}, r"metric\(model, data\) is -inf"),
        ({"metric": fails}, r"metric\(model, data\) raised KeyError"),
        ({"validation": 5}, r"validation is a int"),
    ],
)
def test_check_explains(changes, sentence):
    with pytest.raises(TaskError, match=sentence) as caught:
        make(**changes).check()
    assert "\n" not in str(caught.value)
    if "raised" in str(caught.value):
        assert isinstance(caught.value.__cause__, KeyError | TypeError | SystemExit)


class Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("no way back")


def test_check_explains_a_gradient_that_fails():
    with pytest.raises(TaskError, match=r"the gradient of loss\(model, batch\) raised RuntimeError: no way back"):
        make(loss=lambda model, batch: Blocked.apply(mse(model, batch))).check()


@pytest.mark.parametrize("value", [1, 1.5, np.float32(2), np.int64(3), torch.tensor(4.0), np.array(5.0)])
def test_metrics_that_are_numbers(value):
    make(metric=lambda model, data: value).check()


def test_check_compares_batches_of_any_form():
    class Opaque:
        pass

    def train(step, seed):
        return {
            "x": [torch.tensor([torch.nan])],
            "y": (np.ones(2), "a", 1.0, None),
            "z": Opaque(),
            "rows": rows(8, 0),
        }

    make(train=train, loss=lambda model, batch: mse(model, batch["rows"])).check()
    for change in ({"x": [torch.rand(1, generator=WORLD)]}, {"y": torch.rand(2, generator=WORLD).numpy()}):
        assert not task_module._same(train(0, 0), train(0, 0) | change)
    assert not task_module._same({"a": 1}, {"b": 1})
    assert not task_module._same([1], [1, 2])
    assert not task_module._same("a", "b")


# ---- files and names


FILE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from thalweg.lab.task import Task
from sibling import WIDTH

@dataclass
class Width:
    n: int = WIDTH

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(Width().n, 1)
    def forward(self, x):
        return self.layer(x)

def train(step, seed):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed * 1000 + step))

def loss(model, x):
    return model(x).square().mean()

def make(steps=7) -> Task:
    return Task(model=lambda seed: Net(), train=train, loss=loss, validation=torch.randn(6, 3), metric=loss,
                mode="min", steps=steps)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "sibling", raising=False)
    (tmp_path / "sibling.py").write_text("WIDTH = 3\n")
    yield tmp_path
    sys.modules.pop("sibling", None)


def write(folder, more, name="my_task.py"):
    path = folder / name
    path.write_text(FILE + more)
    return str(path)


@pytest.mark.parametrize(
    ("more", "name", "steps"),
    [
        ("", "", 7),  # the only function annotated -> Task
        ("", ":make", 7),
        ("from thalweg.workloads.digits import task as other\n", "", 7),  # not what is only imported
        ("best = make(9)\n", "", 9),  # the only Task
        ("best = other = make(9)\n", "", 9),
        ("import thalweg as tw\nmake.__annotations__ = {}\ndef other() -> tw.Task:\n    return make(8)\n", "", 8),
        ("task = make(9)\nother = make(3)\n", "", 9),  # the one called task
        ("def task():\n    return make(8)\nother = make(3)\n", "", 8),
        ("a = make(1)\nb = make(2)\n", ":b", 2),
    ],
)
def test_load_task_from_a_file(folder, more, name, steps):
    task = load_task(write(folder, more) + name)
    assert task.steps == steps
    task.check()


@pytest.mark.parametrize(
    ("more", "name", "sentence"),
    [
        ("a = make(1)\nb = make(2)\n", "", r"defines several tasks: a, b; choose one, as in .*my_task.py:a"),
        (
            "del make\n",
            "",
            r"my_task.py defines no Task; call a Task, or a function that returns one, `task`",
        ),
        ("best = make()\n", ":bset", r"my_task.py defines no 'bset'. Did you mean 'best'\?"),
        ("best = make()\n", ":", r"my_task.py defines no ''"),
        ("best = 3\n", ":best", r"my_task.py:best is a int; it must be a Task or return one"),
        ("def task(x): pass\n", "", r"my_task.py:task needs arguments"),
        ("def task(): return 3\n", "", r"my_task.py:task is a int"),
        ("def task(): return 1 / 0\n", "", r"my_task.py:task\(\) raised ZeroDivisionError"),
        ("def task(): raise SystemExit('no data')\n", "", r"my_task.py:task\(\) raised SystemExit: no data"),
        ("import sys\nsys.exit(3)\n", "", r"running .*my_task.py raised SystemExit: 3"),
        ("1 / 0\n", "", r"running .*my_task.py raised ZeroDivisionError: division by zero"),
        ("def f(:\n", "", r"running .*my_task.py raised SyntaxError"),
    ],
)
def test_load_task_explains(folder, more, name, sentence):
    with pytest.raises(TaskError, match=sentence):
        load_task(write(folder, more) + name)
    assert "thalweg_task_my_task" not in sys.modules


def test_load_task_without_a_file(tmp_path):
    with pytest.raises(TaskError, match=r"there is no file '.*none.py'"):
        load_task(str(tmp_path / "none.py"))
    with pytest.raises(TaskError, match=r"is not a Python file; a task is a workload's name or a file"):
        load_task(str(tmp_path))


def test_load_task_by_name():
    assert load_task("poisson_pinn").name == "poisson_pinn"
    with pytest.raises(TaskError, match=r"no workload 'digit'. Did you mean 'digits'\? The workloads are breast_c"):
        load_task("digit")


def test_cloudpickle_round_trip(folder):
    """To a process that has never seen the file."""
    task = load_task(write(folder, "best = make()\n"))
    _ = task.selects
    sent = cloudpickle.dumps(task)
    copy = cloudpickle.loads(sent)
    assert torch.equal(copy.selects, task.selects)
    assert torch.equal(copy.reports, task.reports)
    assert torch.equal(next(copy.batches(3)), next(task.batches(3)))
    for a, b in zip(copy.build(2).parameters(), task.build(2).parameters(), strict=True):
        assert torch.equal(a, b)
    copy.check()
    assert b"thalweg_task_my_task" in sent  # by value: the module is not importable there
    assert "thalweg_task_my_task" not in sys.modules


def test_cloudpickle_with_a_loader():
    task = make(train=DataLoader(TensorDataset(*rows(9, 0)), batch_size=4, shuffle=True))
    copy = cloudpickle.loads(cloudpickle.dumps(task))
    a, b = task.batches(1), copy.batches(1)
    for _ in range(4):
        assert torch.equal(next(a)[0], next(b)[0])


# ---- extras


def test_require():
    assert extras.require("json.decoder").__name__ == "json.decoder"
    with pytest.raises(extras.MissingExtra, match=r"^nothing_here is not installed: pip install 'thalweg\[lab\]'$"):
        extras.require("nothing_here.part")
    with pytest.raises(ImportError, match=r"'thalweg\[dev\]'"):
        extras.require("nothing_here", "dev")


def test_require_uses_the_name_that_pip_knows(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    with pytest.raises(extras.MissingExtra, match=r"^scikit-learn is not installed"):
        extras.require("sklearn.datasets")


def test_require_does_not_hide_a_broken_package(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_else_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="something_else_missing") as caught:
        extras.require("broken_package")
    assert not isinstance(caught.value, extras.MissingExtra)


def test_locate():
    assert (extras.locate("json") / "decoder.py").is_file()
    with pytest.raises(extras.MissingExtra, match=r"nothing_here is not installed"):
        extras.locate("nothing_here")


@pytest.mark.parametrize("module", ["thalweg.extras", "thalweg.lab.task", "thalweg.workloads"])
def test_examples(module):
    found = doctest.testmod(extras.require(module))
    assert found.attempted
    assert not found.failed
