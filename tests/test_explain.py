"""`tw.explain` and `thalweg explain`: what they say, in which form, and what they refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import thalweg as tw
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.cli.app import app
from thalweg.explanation import Explanation, Overview, explain
from thalweg.minimize.methods import METHODS
from thalweg.printing import page
from thalweg.signature import signature_of

ROOT = Path(__file__).resolve().parent.parent
MINE = '''"""A rule."""


def halving(p, g, m, *, t, lr=0.1, average=False):
    """Smaller and smaller steps."""
    m = m + g  # the sum so far
    rate = lr / 2**t
    p = p - rate * (m / t if average else g)
    return p, m
'''


def strict(text: str):
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# ---- in Python


def test_the_front_door():
    assert isinstance(tw.explain("adam"), Explanation)
    assert isinstance(tw.explain(), Overview)
    assert "explain" in tw.__all__
    assert tw.explain is explain


@pytest.mark.parametrize("given", ["adam", "Adam", tw.Adam, rules.find("adam")])
def test_a_name_a_class_or_a_rule(given):
    found = tw.explain(given)
    assert found.title == "Adam"
    assert found.file == "src/thalweg/rules/adam.py"
    assert found.symbols["m_hat"] == "m at its full weight"
    assert found.symbols["beta1"].startswith("how much of the running average of gradients is kept")
    assert found.symbols.keys() == set(found.formula.names)


def test_what_the_state_takes():
    state = {name: tw.explain(name).state for name in ("sgd", "momentum", "adam", "nadam")}
    assert [s["bytes_per_parameter"] for s in state.values()] == [0, 4, 8, 8]
    assert state["nadam"]["bytes_per_tensor"] == 8
    assert state["nadam"]["slots"] == {"m": 0.0, "v": 0.0, "mu_product": 1.0}
    assert tw.explain("adam", amsgrad=True).state["text"] == "m, v, v_max: 12 bytes per parameter in float32."
    assert tw.explain("adagrad", initial_accumulator_value=0.1).state["slots"] == {"s": 0.1}


def test_ranges_are_shown_as_values_also_where_one_minus_is_searched():
    settings = tw.explain("adam").settings
    assert settings["lr"] == {"value": 1e-3, "search": "1e-05 to 0.1", "meaning": settings["lr"]["meaning"]}
    assert settings["beta1"]["search"] == "0.5 to 0.98"
    assert settings["eps_root"]["search"] is None


def test_every_argument_has_a_meaning_and_every_symbol_is_named():
    for name in rules.names():
        rule = with_decay(rules.find(name))
        for flags in signature_of(rule).flag_settings():
            found = tw.explain(name, **flags)
            assert all(one["meaning"] not in ("", "see the rule") for one in found.settings.values()), name
            assert set(found.formula.names) - found.symbols.keys() == set(), (name, flags)


@pytest.mark.parametrize("name", rules.names())
def test_every_form_under_every_flag(name):
    made = tw.optimizer(rules.find(name))
    for flags in signature_of(made.rule).flag_settings():
        if flags.get("nesterov"):
            flags["momentum"] = 0.9
        found = tw.explain(name, **flags)
        known = strict(found.json())
        assert known["formula"]["unicode"] == found.formula.unicode
        assert known["chosen"] == flags
        assert found._repr_markdown_().startswith(f"# {found.title}\n")
        assert found._repr_latex_().startswith("$$\n\\begin{aligned}\n")
        assert str(found).startswith(f"{found.title}: {found.summary}"[:40])
        assert max(map(len, str(found).splitlines())) <= page.WIDTH + 10  # formulas are not broken
        strict(json.dumps(found.worked(steps=2).data()))
        strict(json.dumps(found.history(steps=4).data()))


def test_a_rule_of_ones_own(tmp_path):
    path = tmp_path / "halving.py"
    path.write_text(MINE)
    found = tw.explain(rules.load(path), average=True)
    assert found.summary == "Smaller and smaller steps."
    assert found.formula.unicode == ["m ← m + g", "rate ← lr / 2ᵗ", "p ← p − rate · (m / t)"]
    assert found.formula.lines[0].note == "the sum so far"
    assert found.file == str(path)
    assert "STRENGTHS" not in str(found)
    assert "weight_decay" in found.settings
    assert found.history(steps=3).rates == pytest.approx([0.5, 0.25, 0.125])


def test_worked_on_a_landscape():
    """The valley's gradient is (x, 10 y), and its start (-1.7, 0.9)."""
    done = tw.explain("sgd", lr=0.1).worked(steps=2, parameter="y", landscape="valley")
    assert done.trajectory["p"] == pytest.approx([0.9, 0.0, 0.0])
    assert done.trajectory["g"][1] == pytest.approx(9.0)
    assert tw.explain("sgd").worked(landscape="lambda x, y: 3 * x").trajectory["g"][1:] == [3.0, 3.0, 3.0]
    assert tw.explain("sgd").worked(landscape=lambda x: x**2).parameter == "x"
    assert tw.explain("sgd").worked(landscape="reddi", steps=1, lr=100).trajectory["p"][1] in (-1.0, 1.0)


def test_settings_may_be_changed_later():
    found = tw.explain("momentum", momentum=0.5)
    assert found.history().memories["step"].shares[1] == 0.5
    assert found.history(momentum=0.25).memories["step"].shares[1] == 0.25
    assert found.worked(steps=1, lr=1.0).steps[0][-1].numbers.startswith("-1.7 - 1 * ")


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda: tw.explain("adm"), ValueError, "there is no optimizer 'adm'. Did you mean 'adam'"),
        (lambda: tw.explain("adam", bta1=0.5), TypeError, "adam has no argument bta1. Did you mean 'beta1'"),
        (lambda: tw.explain("adam", lr=-1), ValueError, "lr is -1; it must be at least 0"),
        (lambda: tw.explain("adam", amsgrad="yes"), ValueError, "amsgrad is 'yes'; it must be one of False, True"),
        (lambda: tw.explain("momentum", momentum=0, dampening=0.1), ValueError, "nothing to dampen"),
        (lambda: tw.explain("sgd").worked(lr=-1), ValueError, "lr is -1"),
        (lambda: tw.explain("sgd").worked(parameter="z"), ValueError, "parameter is 'z'; valley has x, y"),
        (lambda: tw.explain("sgd").worked(parameter=2), ValueError, "parameter is 2; it must be from 0 to 1"),
        (lambda: tw.explain("sgd").worked(landscape="vally"), ValueError, "Did you mean 'valley'"),
        (lambda: tw.explain(lambda x: x), TypeError, "its signature must begin with"),
    ],
)
def test_mistakes_are_said_in_a_sentence(ask, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        ask()


def test_the_overview_lists_all():
    overview = tw.explain()
    rows = strict(overview.json())
    assert [row["name"] for row in rows if row["kind"] == "rule"] == rules.names()
    listed = str(overview).partition("\n\n")[0].splitlines()
    assert listed[-1] == "sgd          Step against the gradient, by lr times its length."
    assert overview._repr_markdown_().partition("\n\n")[0].count("\n| ") == len(rules.names())


def test_torch_and_numpy_are_enough():
    missing = ("rich", "typer", "matplotlib", "scipy", "jinja2", "loky", "sklearn")
    code = f"import sys\nsys.modules.update(dict.fromkeys({missing}))\nimport thalweg as tw\ne = tw.explain('adam')\n"
    code += "str(e), e.json(), e.markdown(), str(e.worked()), str(e.history()), str(tw.explain())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- at the command line


def run(*arguments: str):
    return CliRunner().invoke(app, ["explain", *arguments])


def test_piped_output_is_plain_text():
    done = run("adam", "--worked", "--history", "--set", "lr=0.1")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("Adam: Momentum in units of the gradient's own size.\n\nFORMULA\n  m ← β₁ · m")
    assert (
        "\nWORKED ON VALLEY\nstep 1   p = x = -1.7   g = -1.7\n  m <- 0.9 * 0 + 0.1 * (-1.7) = -0.17\n" in done.stdout
    )
    assert "STRENGTHS" not in done.stdout


def test_all_sections_without_numbers():
    headings = [line for line in run("adamw").stdout.splitlines() if line.isupper() and not line.startswith(" ")]
    assert headings == [
        "FORMULA", "SYMBOLS", "INTUITION", "STRENGTHS", "WEAKNESSES", "WHEN", "WHEN NOT", "SETTINGS", "STATE",
        "CONVENTIONS", "KIN", "SOURCE",
    ]  # fmt: skip


def test_json_holds_what_was_asked_for():
    plain = strict(run("momentum", "--json").stdout)
    assert plain == tw.explain("momentum").data()
    more = strict(run("momentum", "--set", "momentum=0.5", "--history", "--worked", "--steps", "4", "--json").stdout)
    assert more["history"]["memories"]["step"]["shares"] == [1.0, 0.5, 0.25, 0.125]
    assert len(more["worked"]["steps"]) == 4
    assert more["chosen"] == {"momentum": 0.5}
    assert strict(run("--json").stdout) == tw.explain().rows()


def test_latex_and_markdown():
    assert (
        run("sgd", "--latex").stdout == "\\begin{aligned}\np &\\leftarrow p - \\mathrm{lr} \\cdot g\n\\end{aligned}\n"
    )
    assert run("sgd", "--markdown").stdout == tw.explain("sgd").markdown()
    assert "\n## Worked\n\n```text\nstep 1 " in run("sgd", "--markdown", "--worked").stdout
    assert run("--markdown").stdout.startswith("| optimizer |")


def test_a_rule_file_and_its_flags(tmp_path):
    path = tmp_path / "halving.py"
    path.write_text(MINE)
    done = run("--rule", str(path), "--set", "average=true")
    assert done.exit_code == 0
    assert "p ← p − rate · (m / t)" in done.stdout


def test_the_list():
    assert run().stdout == f"{tw.explain()}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["adm"], "there is no optimizer 'adm'. Did you mean 'adam'?"),
        (["adam", "--set", "lr"], "--set is 'lr'; it must be like lr=0.1."),
        (["adam", "--set", "lr=fast"], "lr is 'fast'; it must be a number."),
        (["adam", "--worked", "--parameter", "z"], "parameter is 'z'; valley has x, y."),
        (["adam", "--worked", "--landscape", "vally"], "Did you mean 'valley'?"),
        (["adam", "--latex", "--json"], "ask for one of them."),
        (["adam", "--latex", "--worked"], "--latex prints the formula of one optimizer"),
        (["--worked"], "name is missing: which optimizer?"),
        (["adam", "--rule", "mine.py"], "give one of them."),
        (["--rule", "nowhere.py"], "there is no rule file 'nowhere.py'."),
    ],
)
def test_mistakes_at_the_command_line(arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


# ---- the pages


def test_the_pages_are_fresh_and_there_is_no_other():
    for name in rules.names():
        found = tw.explain(name)
        text = (ROOT / f"docs/optimizers/{name}.md").read_text(encoding="utf-8")
        assert text == found.markdown(rule_file=f"../../{found.file}", page_of="{name}.md")
        assert f"](../../src/thalweg/rules/{name}.py)" in text
        assert text.count("$$") == 2 * len(found.formula.lines)
        for relative in found.kin:
            assert f"]({relative}.md)" in text
    written = {path.stem for path in (ROOT / "docs/optimizers").glob("*.md")}
    assert written == {*rules.names(), *METHODS, "README"}
