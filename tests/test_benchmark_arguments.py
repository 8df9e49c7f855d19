"""What the benchmarks are asked for by name: in any case, and a name that there is not is one sentence."""

import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

import thalweg as tw
from thalweg import rules

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu_step  # noqa: E402
from steps.peers import listed  # noqa: E402


def test_names_are_found_in_any_case_and_once():
    assert listed(["SGD", "AdamW", "Lion"])("sgd,ADAMW,SGD") == ["SGD", "AdamW"]


@pytest.mark.parametrize(
    ("word", "hint"), [("adamv", " Did you mean 'adamw'?"), ("", ""), ("sgd ", " Did you mean 'sgd'?")]
)
def test_a_name_that_there_is_not_is_one_sentence(word, hint):
    with pytest.raises(ArgumentTypeError) as raised:
        listed(["SGD", "AdamW"])(f"sgd,{word}")
    assert str(raised.value) == f"{word!r} is not known; it must be one of SGD, AdamW.{hint}"


@pytest.mark.parametrize("script", ["step", "clipping", "gpu_step", "vectorised"])
def test_a_benchmark_says_what_it_does_not_know(script):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), "--models=mpl"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "argument --models: 'mpl' is not known; it must be one of " in done.stderr.splitlines()[-1]


def test_every_elementwise_rule_is_measured_on_a_gpu_and_lamb():
    named = {rule: tw.optimizer(rules.find(rule)) for rule in rules.names()}
    elementwise = {cls.__name__ for rule, cls in named.items() if tw.trace(cls.rule).elementwise}
    assert {"Momentum", "Nesterov"} < elementwise
    assert set(gpu_step.CLASSES) == elementwise | {"LAMB"}
