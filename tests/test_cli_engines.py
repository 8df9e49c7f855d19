"""`thalweg check` and `thalweg kernels`."""

import os
import time

import pytest
import torch
from typer.testing import CliRunner

import thalweg as tw
from thalweg import contract
from thalweg.cli.app import app
from thalweg.engine import build, choice, compiled, cpu, eager, plan, triton, triton_machine


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def rule_file(tmp_path, body):
    path = tmp_path / "my_rule.py"
    path.write_text(f"def my_rule(p, g, m, *, t, lr=0.1, beta=0.9):\n{body}")
    return str(path)


def test_check_says_that_a_good_rule_keeps_everything(tmp_path):
    done = call("check", rule_file(tmp_path, "    m = beta * m + (1 - beta) * g\n    return p - lr * m, m\n"))
    assert done.exit_code == 0, done.output
    assert f"my_rule: {len(contract.PROMISES)} of {len(contract.PROMISES)} promises hold" in done.stdout
    engines = done.stdout.splitlines()[-1]
    assert engines.startswith("engines: eager, foreach")
    runs = triton_machine.installed() and (triton_machine.interpreting() or torch.cuda.is_available())
    assert ("triton" in engines) == runs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_check_goes_through_torch_compile_where_it_is_asked_for(tmp_path, monkeypatch):
    body = "    m = beta * m + (1 - beta) * g\n    return p - lr * m, m\n"
    done = call("check", "--compiled", rule_file(tmp_path, body))
    assert done.exit_code == 0, done.output
    assert "holds   torch compile agrees with eager" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(", compiled")

    def off(rule, cells, hyper):
        return [(p + 1e-3, slots) for p, slots in eager.step(rule, cells, hyper)]

    monkeypatch.setattr(compiled, "step", off)
    done = call("check", "--compiled", rule_file(tmp_path, body))
    assert "BROKEN  torch compile agrees with eager: compiled is" in done.stdout


def test_check_does_justice_to_a_rule_that_only_looks_at_signs(tmp_path):
    lion = (
        "from thalweg.ops import ema, sign\n\n"
        "def lion(p, g, m, *, t, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):\n"
        "    p = p - lr * (sign(ema(m, g, beta1)) + weight_decay * p)\n"
        "    return p, ema(m, g, beta2)\n"
    )
    (tmp_path / "lion.py").write_text(lion)
    done = call("check", str(tmp_path / "lion.py"))
    assert done.exit_code == 0, done.stdout


def test_check_names_the_broken_promise_and_exits_with_1(tmp_path):
    done = call("check", rule_file(tmp_path, "    m = beta * m + (1 - beta) * g\n    return p - lr * m - 0.1, m\n"))
    assert done.exit_code == 1
    assert "BROKEN  stays put without gradient: zero gradients moved the parameter" in done.stdout


def test_check_says_once_what_breaks_many_promises(tmp_path):
    done = call("check", rule_file(tmp_path, "    m = beta * m + g.clamp(-1, 1)\n    return p - lr * m, m\n"))
    assert done.exit_code == 1
    assert done.stdout.count("may not use .clamp") == 1
    assert 'BROKEN  engines agree with eager: as "runs on plain floats"' in done.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    return p +\n", "raised SyntaxError: invalid syntax (my_rule.py, line 2)."),
        ("    return p\nimport not_a_package\n", "raised ModuleNotFoundError: No module named 'not_a_package'."),
    ],
)
def test_check_of_a_file_that_does_not_run(tmp_path, body, words):
    done = call("check", rule_file(tmp_path, body))
    assert done.exit_code == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith(f"{words}\n")


def test_check_says_why_a_function_is_no_rule(tmp_path):
    (tmp_path / "mine.py").write_text("def mine(p, g, *, t, betas=(0.9, 0.99)):\n    return p\n")
    done = call("check", str(tmp_path / "mine.py"))
    assert done.exit_code == 2
    assert "the default of betas is (0.9, 0.99); a hyper-parameter is a number" in done.stderr


def test_check_of_what_is_no_rule(tmp_path):
    done = call("check", "adm")
    assert done.exit_code == 2
    assert "Did you mean 'adam'" in done.stderr
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert call("check", str(tmp_path / "empty.py")).exit_code == 2


@pytest.fixture
def cache(tmp_path, monkeypatch):
    try:
        build.compiler()
    except build.NoCompiler as none:
        pytest.skip(str(none))
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "kernels"))
    forget()
    yield tmp_path / "kernels"
    forget()


def forget():
    """As in a new process."""
    for remembered in (build.load, cpu.program, plan.library, choice.kernels_can_be_built):
        remembered.cache_clear()


def test_kernels_are_built_listed_and_cleared(cache):
    done = call("kernels", "build", "sgd", "momentum", "--dtype", "float64")
    assert done.exit_code == 0, done.output
    assert "sgd: 1 built" in done.stdout
    assert len(list(cache.glob("*.so"))) == 1 + 4 + 2  # momentum has two flags; whether it works, and planned steps
    listed = call("kernels", "list").stdout
    assert "momentum average=False lr_in_velocity=True" in listed
    assert "p float64 g float64 v float64" in listed
    assert "7 kernels deleted" in call("kernels", "clear").stdout
    assert list(cache.iterdir()) == []


def test_a_step_after_build_compiles_nothing(cache, monkeypatch):
    assert call("kernels", "build", "adam").exit_code == 0
    forget()
    monkeypatch.setattr(build, "_compiled", lambda *_: pytest.fail("something is compiled"))
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.Adam([p], engine="cpu")
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
    assert optimizer._plans


def test_build_without_a_compiler_is_one_sentence(cache, monkeypatch):
    def none():
        raise build.NoCompiler("no C++ compiler is there.")

    monkeypatch.setattr(build, "compiler", none)
    build._identity.cache_clear()
    done = call("kernels", "build", "sgd")
    build._identity.cache_clear()
    assert done.exit_code == 2
    assert done.stderr == "thalweg: no C++ compiler is there.\n"


def test_tritons_kernels_are_built_listed_and_cleared(cache):
    pytest.importorskip("triton")
    triton_machine.load.cache_clear()
    triton.program.cache_clear()
    done = call("kernels", "build", "momentum", "sgd", "--engine", "triton")
    assert done.exit_code == 0, done.output
    assert "momentum: 4 built" in done.stdout
    listed = call("kernels", "list").stdout.splitlines()
    ours = [line.split() for line in listed if "momentum average=True lr_in_velocity=False" in line]
    assert [line[0] for line in ours] == ["triton"]
    assert {"p", "float32", "v"} < set(ours[0])
    assert ours[0][-1] in ("s", "min")
    assert sum(line.startswith("triton") for line in listed) >= 4 + 1
    assert "kernels deleted" in call("kernels", "clear").stdout
    assert list(cache.glob("*.*")) == []
    triton_machine.load.cache_clear()  # its files are gone
    triton.program.cache_clear()


def test_the_list_says_what_acts_in_front_of_a_rule_and_how_old_a_kernel_is(cache):
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    tw.AdamW([p], clip_norm=1.0, centralise=True, engine="cpu").step()
    for file in cache.glob("*.so"):
        os.utime(file, (time.time() - 50 * 3600,) * 2)
    listed = call("kernels", "list").stdout
    assert "adamw after clip_by_global_norm, centralise amsgrad=False" in listed
    assert "2 d" in listed
    assert "(of no rule)" in listed  # whether a compiler works is found out by a library


def test_show_prints_the_c_of_a_rule():
    shown = call("kernels", "show", "sgd", "--dtype", "bfloat16").stdout
    assert 'extern "C" void kernel0(' in shown
    assert "bf16* __restrict x0" in shown
    assert "const float s0" in shown.replace("real", "float")


def test_show_prints_the_triton_of_a_rule():
    shown = call("kernels", "show", "sgd", "--engine", "triton").stdout
    assert "@triton.jit" in shown
    assert "tl.pointer_type(tl.float32)" in shown


@pytest.mark.parametrize("command", ["list", "clear", "build"])
def test_kernels_without_a_folder_for_them_say_so(tmp_path, monkeypatch, command):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "file"))
    done = call("kernels", command)
    assert done.exit_code == 2
    assert "is no folder, and cannot be made: File exists." in done.stderr


def test_kernels_refuse_what_they_do_not_know():
    done = call("kernels", "show", "sgd", "--dtype", "float23")
    assert done.exit_code == 2
    assert "dtype is 'float23'; it must be one of" in done.stderr
