"""Tasks in files and by name: how they are found, what is said where they are not, and sent to a process."""

import sys

import cloudpickle
import pytest
import torch

from thalweg.lab.loading import load_task
from thalweg.lab.task import TaskError

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
