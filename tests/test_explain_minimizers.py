"""`thalweg explain bfgs`: the worked numbers against numpy, on the valley whose gradient is (x, 10 y)."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import thalweg as tw
from thalweg import landscapes
from thalweg.cli.app import app
from thalweg.minimize import METHODS, _choose
from thalweg.minimize.explanation import MethodExplanation, explain_method
from thalweg.printing import page

ROOT = Path(__file__).resolve().parent.parent
START = np.array([-1.7, 0.9])
A = np.diag([1.0, 10.0])


def strict(text: str):
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def value(p: np.ndarray) -> float:
    return float(p @ A @ p / 2)


def worked(name: str, steps: int = 3, **options):
    """The iterations as plain data, with arrays where there are lists."""
    done = strict(json.dumps(tw.explain(name, **options).worked(steps).data()))
    for each in done["iterations"]:
        each |= {key: np.array(each[key]) for key in "pgdsy"}
    return done


# ---- the numbers


@pytest.mark.parametrize("name", METHODS)
def test_every_iteration_hangs_together(name):
    done = worked(name, 6)
    p = START
    for each in done["iterations"]:
        assert each["p"] == pytest.approx(p)
        assert each["f"] == pytest.approx(value(p))
        assert each["g"] == pytest.approx(A @ p)
        assert each["y"] == pytest.approx(A @ each["s"])
        assert [trial["accepted"] for trial in each["trials"]] == [False] * (len(each["trials"]) - 1) + [True]
        for trial in each["trials"]:
            where = np.array(trial["p"])
            assert trial["f"] == pytest.approx(value(where), rel=1e-9, abs=1e-25)
            if "a" in trial["numbers"]:
                assert where == pytest.approx(p + trial["numbers"]["a"] * each["d"], abs=1e-12)
                assert trial["numbers"]["slope"] == pytest.approx(A @ where @ each["d"], abs=1e-12)
        p = np.array(each["trials"][-1]["p"])
        assert each["s"] == pytest.approx(p - each["p"])
    end = done["trajectory"]["values"]
    assert end["p"][-1] == pytest.approx(p)
    assert end["f"] == sorted(end["f"], reverse=True)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("landscape", ["valley", "rosenbrock", "himmelblau"])
def test_the_evaluations_add_up(name, landscape):
    place, seen = landscapes.load(landscape), []
    options = {"maxiter": 5, **({"matrix": 0} if name == "cg" else {})}
    alone = tw.minimize(lambda p: seen.append(1) or place.value(p), place.point(), method=name, options=options)
    done = strict(json.dumps(tw.explain(name).worked(5, landscape).data()))
    steps, result = done["iterations"], done["result"]
    assert 1 + sum(each["evaluations"] for each in steps) == result["nfev"] == alone.nfev
    assert sum(each["hessians"] for each in steps) == result["nhev"] == alone.nhev
    assert sum(each["products"] for each in steps) == result["nhvp"] == alone.nhvp
    assert len(steps) == result["nit"] == alone.nit
    assert done["trajectory"]["values"]["evaluations"][-1] == result["nfev"]
    assert done["trajectory"]["values"]["p"][-1] == pytest.approx(alone.x.tolist())  # recorded, not disturbed
    if not name.startswith("newton"):
        assert len(seen) == result["nfev"]


def test_the_first_iterations_of_bfgs():
    """The update of Nocedal and Wright, equation 6.17, from the shown s and y alone; c is Al-Baali's."""
    H, factors = None, []
    for each in worked("bfgs", 4)["iterations"]:
        s, y, g = each["s"], each["y"], each["g"]
        if H is not None:
            assert each["d"] == pytest.approx(-H @ g)
            factors.append(s @ np.linalg.solve(H, s) / (s @ y))
            H = H * max(1, factors[-1])
        else:
            assert each["d"] == pytest.approx(-g)
            H = s @ y / (y @ y) * np.eye(2)  # their equation 6.20
        rho = 1 / (s @ y)
        left = np.eye(2) - rho * np.outer(s, y)
        H = left @ H @ left.T + rho * np.outer(s, s)
        shown = np.array(each["learned"]["H"])
        assert shown == pytest.approx(H)
        assert shown @ y == pytest.approx(s)
    assert max(factors) > 1.01  # it was needed


@pytest.mark.parametrize("name", ["bfgs", "broyden", "lbfgs"])
def test_what_was_learned_explains_the_last_step(name):
    done = worked(name, 6)["iterations"]
    for each, following in zip(done, [*done[1:], None], strict=True):
        H = np.array(each["learned"]["H"])
        assert H @ each["y"] == pytest.approx(each["s"])
        assert np.linalg.eigvalsh(H).min() > 0
        if following:
            assert following["d"] == pytest.approx(-H @ following["g"])


def test_the_diagonal_of_lbfgs():
    """The diagonal of BFGS' update of B, written out (Nocedal and Wright, equation 6.19)."""
    H0 = None
    for each in worked("lbfgs", 4)["iterations"]:
        s, y = each["s"], each["y"]
        H0 = s @ y / (y @ y) * np.eye(2) if H0 is None else H0 * (s @ y) / (y @ H0 @ y)
        B = np.linalg.inv(H0)
        B = B - B @ np.outer(s, s) @ B / (s @ B @ s) + np.outer(y, y) / (s @ y)
        H0 = np.diag(1 / np.diag(B))
        assert each["learned"]["H0"] == pytest.approx(np.diag(H0))


@pytest.mark.parametrize("diagonal", [False, True])
def test_lbfgs_with_one_pair(diagonal):
    """With a memory of one the matrix is one update of H0."""
    for each in worked("lbfgs", 4, memory=1, diagonal=diagonal)["iterations"]:
        s, y, H0 = each["s"], each["y"], np.diag(each["learned"]["H0"])
        if not diagonal:
            np.testing.assert_allclose(H0, (s @ y) / (y @ y) * np.eye(2))
        left = np.eye(2) - np.outer(s, y) / (s @ y)
        H = left @ H0 @ left.T + np.outer(s, s) / (s @ y)
        assert np.array(each["learned"]["H"]) == pytest.approx(H)


@pytest.mark.parametrize(
    ("beta", "formula"),
    [
        ("hybrid", lambda g, old, d: max(0, min(g @ (g - old), g @ g) / (d @ (g - old)))),
        ("fletcher_reeves", lambda g, old, d: g @ g / (old @ old)),
        ("polak_ribiere", lambda g, old, d: max(0, g @ (g - old) / (old @ old))),
        ("dai_yuan", lambda g, old, d: g @ g / (d @ (g - old))),
    ],
)
def test_beta_from_the_shown_gradients(beta, formula):
    done = worked("cg", 5, beta=beta)["iterations"]
    assert done[0]["d"] == pytest.approx(-done[0]["g"])
    for each, following in pairwise(done):
        expected = formula(following["g"], each["g"], each["d"])
        if (expected * each["d"] - following["g"]) @ following["g"] >= 0:
            expected = 0  # that way is up: the walk begins anew along -g
        assert each["learned"]["beta"] == pytest.approx(expected)
        assert following["d"] == pytest.approx(expected * each["d"] - following["g"])


def test_newton_along_a_line_needs_one_step():
    done = worked("newton-line")
    [only] = done["iterations"]
    assert only["known"] == {"H": A.tolist(), "D": [1.0, 10.0]}
    assert only["trials"][0]["numbers"]["a"] == 1
    assert only["p"] + only["s"] == pytest.approx([0, 0], abs=1e-15)
    assert done["result"]["success"]


def test_newton_in_its_ball():
    """The first step is as long as the radius, and mu says how much the ball bent it; the second is Newton's own."""
    first, second = worked("newton")["iterations"]
    bent, free = first["trials"][0]["numbers"], second["trials"][0]["numbers"]
    assert np.linalg.norm(first["s"]) == pytest.approx(bent["radius"], rel=1e-5)
    assert bent["mu"] > 0
    assert (A + bent["mu"] * np.eye(2)) @ first["s"] == pytest.approx(-first["g"], rel=1e-5)
    assert free["length"] < free["radius"] == first["learned"]["radius"] > bent["radius"]
    assert free["mu"] == 0
    assert second["p"] + second["s"] == pytest.approx([0, 0], abs=1e-15)
    for each in (bent, free):  # on a quadratic the model is the function
        assert each["ratio"] == pytest.approx(1)
        assert each["gained"] == pytest.approx(each["foretold"])


def test_a_rejected_trial_shrinks_the_ball():
    done = tw.explain("newton").worked(40, "rosenbrock")
    retried = [pair for each in done.iterations for pair in pairwise(each.trials)]
    assert retried
    for trial, retry in retried:
        assert not trial.accepted
        assert trial.numbers["ratio"] < 1e-4
        assert retry.numbers["radius"] < trial.numbers["radius"]
    assert "   refused\n  trial 2   radius = " in str(done)


def test_a_run_that_gets_stuck_keeps_its_last_trials():
    """A gradient of the wrong sign: every trial is higher, and the only iteration ends nowhere."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, *grads):
            return -grads[0]

    done = tw.explain("bfgs").worked(3, lambda x, y: Wrong.apply(x**2 + y**2))
    assert not done.result.success
    [only] = done.iterations
    assert only.s is None
    assert 1 + len(only.trials) == done.result.nfev
    assert not any(trial.accepted for trial in only.trials)
    assert done.trajectory["evaluations"] == [done.result.nfev]
    strict(json.dumps(done.data()))
    assert str(done).endswith("larger gtol.")


def test_where_there_is_nothing_to_do():
    done = tw.explain("bfgs").worked(3, lambda x: (x + 2.4) ** 2)
    assert done.data()["iterations"] == []
    assert str(done).startswith("then   x = -2.4   f = 0   g = 0\nThe gradient is small enough")


# ---- the words


@pytest.mark.parametrize("name", METHODS)
def test_every_form(name):
    found = tw.explain(name)
    assert isinstance(found, MethodExplanation)
    known = strict(found.json())
    assert known["formula"]["unicode"] == found.formula.unicode
    assert found._repr_markdown_().startswith(f"# {found.title}\n")
    assert found._repr_latex_().startswith("$$\n\\begin{aligned}\n")
    assert max(map(len, str(found).splitlines())) <= page.WIDTH
    for part in (found.summary, found.intuition, found.when, found.when_not, found.cost, found.paper, found.kin):
        assert part, name
    assert found.strengths
    assert found.weaknesses
    assert all(found.symbols.values())
    assert (ROOT / found.file).read_text().count("card = MethodCard(") == 1
    assert found.kin.keys() <= METHODS.keys() - {name}
    assert found.search["paper"] in str(found).replace("\n         ", " ")
    strict(json.dumps(found.worked(steps=2, landscape="rosenbrock").data()))
    with pytest.raises(ValueError, match=f"{name} is a minimizer: .* first-order rules"):
        found.history()


@pytest.mark.parametrize("name", METHODS)
def test_the_formula_is_the_cards_and_its_latex_can_be_drawn(name):
    mathtext = pytest.importorskip("matplotlib.mathtext")
    found, card = tw.explain(name), METHODS[name](1000).card
    assert ",  ".join(found.formula.lines) == card.formula
    for line in found.formula.latex:
        mathtext.MathTextParser("path").parse(f"${line}$")
    letters = set(
        re.findall(r"\b(?:[A-Za-z]|beta|mu|phi|tau)\b", re.sub("([A-Zv-ys])(?=[A-Zv-ys]|')", r"\1 ", card.formula))
    )
    assert letters <= found.symbols.keys()


def test_the_kin_know_each_other():
    near = {name: tw.explain(name).kin for name in METHODS}
    for one, other in [("bfgs", "lbfgs"), ("bfgs", "cg"), ("lbfgs", "cg"), ("newton", "newton-cg")]:
        assert other in near[one]
        assert one in near[other]
    assert "newton" in near["bfgs"]


def test_settings_are_those_of_minimize():
    for name in METHODS:
        shown = {key: one["value"] for key, one in tw.explain(name).settings.items()}
        for n in (2, 60):
            _, limits = _choose(name, n, None, None, None, None)
            assert float(shown["gtol"]) == limits.gtol
            assert eval(shown["maxiter"].replace("200 n", f"200 * {n}")) == limits.maxiter
            assert (shown["maxfun"], limits.maxfun) == ("no limit", float("inf"))
            assert int(shown["patience"]) == limits.patience
    assert tw.explain("bfgs").settings["search"]["value"] == "wolfe"
    assert tw.explain("newton-line").settings["search"]["value"] == "armijo"
    assert "search" not in tw.explain("newton").settings
    assert tw.explain("newton").search["name"] == "trust region"
    assert tw.explain("bfgs", search="armijo").search["name"] == "Armijo backtracking"
    assert tw.explain("cg", beta="dai_yuan").chosen["beta"].__name__ == "dai_yuan"


def test_conjugate_gradients_are_shown_also_for_few_unknowns():
    """minimize puts BFGS in their place there; whoever asks what cg does wants to see cg."""
    found = tw.explain("cg")
    assert found.file.endswith("conjugate_gradient.py")
    assert found.source["dai_yuan"].startswith("g'g / d'y")
    assert "beta" in found.worked().iterations[0].learned
    as_bfgs = found.worked(matrix=11)
    assert "H" in as_bfgs.iterations[0].learned
    assert "d <- -H g = " in str(as_bfgs)


@pytest.mark.parametrize(("given", "name"), [("BFGS", "bfgs"), ("Newton_CG", "newton-cg"), ("newton-cg", "newton-cg")])
def test_spellings(given, name):
    assert tw.explain(given).name == name


def test_classes():
    names = [tw.explain(each).name for each in (tw.BFGS, tw.LBFGS, tw.ConjugateGradient, tw.Newton)]
    assert names == ["bfgs", "lbfgs", "cg", "newton"]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: tw.explain("bgfs"), "there is no optimizer 'bgfs'. Did you mean 'bfgs'? Known: adadelta, "),
        (lambda: tw.explain("newtn"), "Did you mean 'newton'?"),
        (lambda: tw.explain("bfgs", memory=3), "options has 'memory'; bfgs takes"),
        (lambda: tw.explain("bfgs", search="wolf"), "search is 'wolf'; it must be one of"),
        (lambda: tw.explain("bfgs", gtol=-1), "gtol is -1; it must be a number, at least 0."),
        (lambda: tw.explain("cg", beta="dai_yuen"), "Did you mean 'dai_yuan'?"),
        (lambda: tw.explain("bfgs").worked(0), "steps is 0; it must be at least 1."),
        (
            lambda: tw.explain("bfgs").worked(landscape="reddi"),
            "bfgs cannot walk on reddi: a minimizer knows no bounds.",
        ),
        (lambda: explain_method("bgfs"), "method is 'bgfs'"),
    ],
)
def test_mistakes_are_said_in_a_sentence(ask, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        ask()


def test_the_overview_has_a_section_of_them():
    rows = tw.explain().rows()
    assert [row["name"] for row in rows if row["kind"] == "minimizer"] == list(METHODS)
    text, table = str(tw.explain()), tw.explain().markdown("{name}.md")
    below = text.partition("\n\nMinimizers")[2].splitlines()[1:]
    assert [line.split()[0] for line in below] == list(METHODS)
    assert [f"[{name}]({name}.md)" in table.partition("## Minimizers")[2] for name in METHODS] == [True] * len(METHODS)


# ---- at the command line


def run(*arguments: str):
    return CliRunner().invoke(app, ["explain", *arguments])


def test_worked_at_the_command_line():
    done = run("bfgs", "--worked", "--steps", "1")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("BFGS: Learn the inverse Hessian")
    assert "\nWORKED ON VALLEY\niteration 1   (x, y) = (-1.7, 0.9)   f = 5.495   g = (-1.7, 9)\n" in done.stdout
    assert "\n  d <- -g = (1.7, -9)\n  g'd <- -1.7 * 1.7 + 9 * (-9) = -83.89\n" in done.stdout
    assert re.search(r"\n  H y = \(0\.2\d+, -1\.1\d+\), and s is \(0\.2\d+, -1\.1\d+\)\n", done.stdout)
    assert "STRENGTHS" not in done.stdout


def test_the_other_forms():
    plain = strict(run("lbfgs", "--worked", "--set", "memory=2", "--landscape", "rosenbrock", "--json").stdout)
    assert plain["chosen"] == {"memory": 2}
    assert len(plain["worked"]["iterations"]) == 3
    assert run("newton", "--markdown").stdout == tw.explain("newton").markdown()
    assert run("bfgs", "--latex").stdout.startswith("\\begin{aligned}\nH^{+} &= (I - s y^{\\top}/y^{\\top}s) c H")
    headings = [line for line in run("newton-cg").stdout.splitlines() if line.isupper() and not line.startswith(" ")]
    assert headings == [
        "FORMULA", "SYMBOLS", "INTUITION", "STRENGTHS", "WEAKNESSES", "WHEN", "WHEN NOT", "SETTINGS", "STEP LENGTH",
        "COST", "KIN", "SOURCE",
    ]  # fmt: skip
    assert run("bfgs", "--worked", "--landscape", "associative_memory").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bfg"], "Did you mean 'bfgs'?"),
        (["bfgs", "--history"], "bfgs is a minimizer: how much each past gradient counts"),
        (["bfgs", "--worked", "--parameter", "y"], "--parameter is 'y'; bfgs moves all at once, and all are shown."),
        (["bfgs", "--set", "lr=0.1"], "options has 'lr'; bfgs takes"),
    ],
)
def test_mistakes_at_the_command_line(arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert sentence in done.stderr


# ---- the pages


@pytest.mark.parametrize("name", METHODS)
def test_the_pages_are_fresh(name):
    found = tw.explain(name)
    text = (ROOT / f"docs/optimizers/{name}.md").read_text(encoding="utf-8")
    assert text == found.markdown(rule_file=f"../../{found.file}", page_of="{name}.md")
    assert text.count("$$") == 2 * len(found.formula.lines)
    for relative in found.kin:
        assert f"]({relative}.md)" in text


def test_the_list_is_fresh():
    text = (ROOT / "docs/optimizers/README.md").read_text(encoding="utf-8")
    assert text.endswith(tw.explain().markdown("{name}.md"))
