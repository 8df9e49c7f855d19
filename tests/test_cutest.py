"""The benchmark on CUTEst problems ends its runs by counts, which are the same on every machine."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

CUTEST = Path(__file__).parents[1] / "benchmarks" / "cutest"
sys.path.insert(0, str(CUTEST))
import read  # noqa: E402
import run  # noqa: E402


class BOWL:
    """A problem as S2MPJ's files hold them."""

    n, x0 = 2, np.array([[3.0], [4.0]])

    def fgx(self, x):
        return (x.T @ x).item() / 2, x

    def fgHx(self, x):
        return (*self.fgx(x), np.eye(2))

    def fHxv(self, x, v):
        return v


@pytest.fixture
def problem(monkeypatch):
    module: Any = ModuleType("BOWL")
    module.BOWL = BOWL
    monkeypatch.setitem(sys.modules, "BOWL", module)
    monkeypatch.setattr(read, "home", lambda: CUTEST)
    return lambda **caps: read.Problem("BOWL", **caps)


@pytest.mark.parametrize("what", ["evaluations", "hessians", "products"])
def test_a_run_ends_at_a_count_and_says_at_which(problem, what):
    bowl = problem(cap=7)
    ask = {
        "evaluations": lambda i: bowl.both(bowl.x0 / (i + 1)),
        "hessians": lambda i: bowl.hessian(bowl.x0),
        "products": lambda i: bowl.product(bowl.x0, bowl.x0),
    }[what]
    one = run.run(lambda problem: [ask(i) for i in range(100)], bowl)
    assert one[what] == 7
    assert one["said"].lower() == f"7 {what}"
    assert not run.by_clock(one)


def test_a_run_that_hangs_is_ended_and_is_no_figure(problem):
    bowl = problem(guard=-1.0)
    one = run.run(lambda problem: problem.both(problem.x0), bowl)
    assert one["said"] == "-1 s"
    assert run.by_clock(one)


def test_what_a_clock_has_cut_off_is_named_and_run_anew():
    figures = json.loads((CUTEST / "figures.json").read_text())
    old = {"evaluations": 5822, "hessians": 0, "products": 0, "said": "out of budget"}
    figures["tw bfgs"]["BARD"] |= old
    figures["tw newton"]["BARD"] |= old | {"evaluations": 10_000}  # that was a count
    figures["tw newton-cg"]["BARD"] |= old | {"products": 10_001, "said": ""}
    given = SimpleNamespace(all=False, cut=True, only=["BARD"], solvers=[])
    assert run.chosen(given, list(figures["tw bfgs"]), figures) == [("tw bfgs", "BARD"), ("tw newton-cg", "BARD")]
    assert any(line.startswith("tw bfgs: ended by a clock") and "BARD" in line for line in run.table(figures))
    given.cut = False
    assert [solver for solver, _ in run.chosen(given, [], figures)] == list(run.OURS)


def test_the_figures_are_written_as_they_are_read():
    text = (CUTEST / "figures.json").read_text()
    assert run.written(json.loads(text)) == text
