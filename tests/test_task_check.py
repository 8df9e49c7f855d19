"""A task's fields, and every mistake in them that `check` explains."""

import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    TensorDataset,
)

from task_cases import make, mse, rows, streams
from thalweg.lab import task as task_module
from thalweg.lab.task import Task, TaskError


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
