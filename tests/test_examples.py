"""Every example does what its first lines say."""

from pathlib import Path

import numpy as np
import torch
from typer.testing import CliRunner

import thalweg as tw
from thalweg import contract, rules
from thalweg.cli.app import app

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_researchers_rule_keeps_the_contract():
    findings = contract.check(rules.load(EXAMPLES / "my_rule.py"))
    assert [f"{promise}: {seen}" for promise, seen in findings.items() if seen] == []


def test_the_researchers_rule_is_lion_as_printed():
    """Algorithm 2 by hand, in numpy: c = b1 m + (1 - b1) g; p -= lr (sign(c) + wd p); m = b2 m + (1 - b2) g."""
    generator = np.random.default_rng(0)
    p = generator.normal(size=5)
    parameter = torch.nn.Parameter(torch.tensor(p))
    optimizer = tw.optimizer(rules.load(EXAMPLES / "my_rule.py"))([parameter], lr=0.01, weight_decay=0.1)
    m = np.zeros(5)
    for _ in range(20):
        g = generator.normal(size=5)
        parameter.grad = torch.tensor(g)
        optimizer.step()
        c = 0.9 * m + (1 - 0.9) * g
        p = p - 0.01 * (np.sign(c) + 0.1 * p)
        m = 0.99 * m + (1 - 0.99) * g
    np.testing.assert_allclose(parameter.detach().numpy(), p, rtol=1e-13)


def test_the_commands_of_the_examples(tmp_path, monkeypatch):
    rule, task = str(EXAMPLES / "my_rule.py"), str(EXAMPLES / "my_task.py")
    monkeypatch.chdir(tmp_path)
    for command in (
        ["check", rule],
        ["explain", "--rule", rule, "--worked"],
        ["compare", task, "--rule", rule, "--optimizers", "adamw", "--steps", "5", "--jobs", "1", "--out", "out"],
        ["race", "--landscape", "valley", "--rule", rule, "--optimizers", "momentum,adam", "--steps", "5"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output)
    assert (tmp_path / "out" / "report.html").exists()
