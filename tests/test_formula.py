"""The printed formulas: what is expected here is written by hand, from the papers and the settings."""

from __future__ import annotations

import textwrap
import unicodedata

import numpy as np
import pytest
import torch
from matplotlib import mathtext

from thalweg import namesakes, rules
from thalweg.arguments import with_decay
from thalweg.ops import ema, log, matmul, norm, sign, sqrt, total, transpose, where
from thalweg.printing.formula import formula
from thalweg.printing.worked import value
from thalweg.signature import Slot, signature_of


def unicode(rule, **settings):
    return formula(rules.find(rule) if isinstance(rule, str) else rule, **settings).unicode


# ---- by hand: Unicode


def test_sgd():
    assert unicode("sgd") == ["p ← p − lr · g"]


def test_momentum():
    assert unicode("momentum") == ["push ← g", "v ← momentum · v + push", "p ← p − lr · v"]


def test_momentum_with_its_flags():
    assert unicode("momentum", dampening=0.1) == [
        "push ← {1 − dampening if t > 1, else 1} · g",
        "v ← momentum · v + push",
        "p ← p − lr · v",
    ]
    assert unicode("momentum", average=True, lr_in_velocity=True) == [
        "push ← lr · ((1 − momentum) · g)",
        "v ← momentum · v + push",
        "p ← p − v",
    ]


def test_adagrad():
    assert unicode("adagrad") == ["s ← s + g²", "rate ← lr", "root ← √s + ε", "p ← p − rate · g / root"]
    assert unicode("adagrad", lr_decay=0.1, eps_inside_root=True) == [
        "s ← s + g²",
        "rate ← lr / (1 + (t − 1) · lr_decay)",
        "root ← √(s + ε)",
        "p ← p − rate · g / root",
    ]


ADAM = [
    "m ← β₁ · m + (1 − β₁) · g",
    "v ← β₂ · v + (1 − β₂) · g²",
    "fullₘ ← 1 − β₁ᵗ",
    "fullᵥ ← 1 − β₂ᵗ",
    "m̂ ← m / fullₘ",
    "v̂ ← v / fullᵥ",
    "p ← p − lr · m̂ / (√v̂ + ε)",
]


def test_adam():
    assert unicode("adam") == ADAM


def test_adamw_is_the_decay_and_adam():
    printed = formula(rules.find("adamw"))
    assert printed.unicode == ["p ← p − lr · weight_decay · p", *ADAM]
    assert [line.part for line in printed.lines] == ["decoupled_decay"] + ["adam"] * 7
    assert str(printed).startswith("decoupled_decay:\n  p ← p − lr · weight_decay · p\nadam:\n  m ← ")


def test_adam_without_correction_has_no_full_weights():
    printed = formula(rules.find("adam"), bias_correction=False)
    assert printed.unicode[2:] == ["m̂ ← m", "v̂ ← v", "p ← p − lr · m̂ / (√v̂ + ε)"]


def test_amsgrad_has_its_maximum_and_the_comment_beside_it():
    printed = formula(rules.find("adam"), amsgrad=True)
    assert printed.unicode[6:8] == ["v_max ← max(v_max, v)", "v̂ ← v_max / fullᵥ"]
    assert printed.lines[6].note == "never forget the largest v"
    assert [line.note for line in formula(rules.find("adam")).lines][2:4] == [
        "both averages began at zero:",
        "give them their full weight",
    ]


def test_what_is_zero_is_left_out_and_named():
    rule = with_decay(rules.find("adam"))
    assert formula(rule).left_out == ["eps_root", "weight_decay"]
    shown = formula(rule, eps_root=1e-8, weight_decay=0.1)
    assert shown.left_out == []
    assert shown.unicode[0] == "g ← g + weight_decay · p"
    assert shown.unicode[-1] == "p ← p − lr · m̂ / (√(v̂ + ε_root) + ε)"
    assert shown.lines[0].part == "coupled_decay"


def test_torchs_sgd_shows_the_rule_that_it_chooses():
    assert unicode(namesakes.sgd) == ["p ← p − lr · g"]
    assert unicode(namesakes.sgd, momentum=0.9, nesterov=True)[2:] == [
        "ahead ← momentum · v + push",
        "p ← p − lr · ahead",
    ]


# ---- by hand: LaTeX


def test_adam_in_latex():
    assert formula(rules.find("adam")).latex == [
        r"m \leftarrow \beta_{1} \cdot m + \left( 1 - \beta_{1} \right) \cdot g",
        r"v \leftarrow \beta_{2} \cdot v + \left( 1 - \beta_{2} \right) \cdot g^{2}",
        r"\mathrm{full}_{m} \leftarrow 1 - \beta_{1}^{t}",
        r"\mathrm{full}_{v} \leftarrow 1 - \beta_{2}^{t}",
        r"\hat{m} \leftarrow \frac{m}{\mathrm{full}_{m}}",
        r"\hat{v} \leftarrow \frac{v}{\mathrm{full}_{v}}",
        r"p \leftarrow p - \frac{\mathrm{lr} \cdot \hat{m}}{\sqrt{\hat{v}} + \epsilon}",
    ]


@pytest.mark.parametrize("name", rules.names())
def test_every_setting_of_every_rule_is_valid_latex_and_has_no_sign_that_markdown_eats(name):
    parser = mathtext.MathTextParser("path")
    rule = with_decay(rules.find(name))
    signature = signature_of(rule)
    for flags in signature.flag_settings():
        for numbers in ({}, {k: v or 0.1 for k, v in signature.numbers.items()}):
            printed = formula(rule, **flags, **numbers)
            assert not numbers or not printed.left_out
            for line in printed.latex:
                parser.parse(f"${line}$")
                assert not any(sequence in line for sequence in (r"\,", r"\_", r"\{", "$", "*", "|"))
            for line in printed.unicode:
                assert unicodedata.is_normalized("NFC", line.replace("\u0302", "").replace("\u0304", ""))


# ---- rules of a user's, and what is no formula


def helped(p, g, m, *, t, lr=0.1, beta=0.9, power=0.5, mode=True):
    """One step."""
    scale = 2.0
    a, b = 3.0, -0.5  # two constants
    q = halved(g, by=b)
    match mode:
        case True:
            m = ema(m, q, beta)
        case False:
            m = m + a * q
    first, second = m, sign(m)
    step = where(m > 0, first, -second) / (norm(g) + total(m * m)) ** power
    for _ in range(2):
        step = step / scale
    return p - lr * step, m


def halved(g, by):
    return g * by if by else g


def test_a_rule_with_helpers_constants_loops_and_a_match():
    assert unicode(helped) == [
        "q ← g · (−0.5)",
        "m ← β · m + (1 − β) · q",
        "first ← m",
        "second ← sign(m)",
        "step ← {first if m > 0, else −second} / (‖g‖ + Σ m²)^power",
        "step ← step / 2",
        "step ← step / 2",
        "p ← p − lr · step",
    ]
    assert unicode(helped, mode=False)[1] == "m ← m + 3 · q"


def swapped(p, g, m, v, *, t, lr=0.1):
    """One step."""
    m, v = v, m
    inner, m = other(p, m, v, lr=lr)
    return inner, m, v


def other(p, g, m, *, lr):
    g = g + m
    p = p - lr * g
    return p, g


def test_a_name_that_is_still_needed_is_never_overwritten():
    printed = formula(swapped)
    env = {"p": 1.0, "g": 2.0, "m": 3.0, "v": 5.0, "lr": 0.1, "t": 1}
    for line in printed.lines:
        env[line.targets[0]] = value(line.value, env)
    p, m, v = swapped(1.0, 2.0, 3.0, 5.0, t=1, lr=0.1)
    assert (env["p"], env["m"], env["v"]) == (p, m, v)


ADAMS = rules.find("adam")


def kin_of_adam(p, g, m, v, *, t, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8):
    """LAMB in short: Adam's direction at p = 0 and lr = 1, as long as p."""
    direction, m, v, _ = ADAMS(0, g, m, v, None, t=t, lr=1, beta1=beta1, beta2=beta2, eps=eps)
    p = p + lr * norm(p) * direction
    return p, m, v


def test_a_rule_that_calls_its_kin_shows_the_kins_lines():
    assert unicode(kin_of_adam)[4:] == [
        "m̂ ← m / fullₘ",
        "v̂ ← v / fullᵥ",
        "direction ← −(m̂ / (√v̂ + ε))",
        "p ← p + lr · ‖p‖ · direction",
    ]


def muon(p, g, m, *, t, lr=0.1, momentum=0.9):
    """A matrix rule."""
    m = momentum * m + g
    d = matmul(matmul(m, transpose(m)), m)
    p = p - lr * d
    return p, m


def test_matrices():
    printed = formula(muon)
    assert printed.unicode[1] == "d ← m mᵀ m"
    mathtext.MathTextParser("path").parse(f"${printed.latex[1]}$")


def lines_with(body: str, tmp_path):
    path = tmp_path / "mine.py"
    head = "from thalweg.ops import *\nimport math\n\n\ndef mine(p, g, m, *, t, lr=0.1, kind=False):\n"
    path.write_text(head + textwrap.indent(body, "    "))
    return unicode(rules.load(path))


def test_module_constants_and_numbers(tmp_path):
    assert lines_with("p = p - lr / math.tau * g - 1e-8 * p ** 3\nreturn p, m", tmp_path) == [
        "p ← p − lr / 6.28319 · g − 1e−08 · p³"
    ]


def test_a_slot_that_is_reset_keeps_its_line(tmp_path):
    assert lines_with("return p - lr * m, 0 * g", tmp_path) == ["p ← p − lr · m", "m ← 0"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("while kind:\n    pass\nreturn p - g, m", "'while kind:' cannot be printed"),
        ("p = p - sum([g])\nreturn p, m", r"'sum\(\[g\]\)' is no word of a formula"),
    ],
)
def test_what_is_no_formula_is_said_in_a_sentence(body, sentence, tmp_path):
    with pytest.raises(TypeError, match=sentence):
        lines_with(body, tmp_path)


def test_a_rule_without_a_source_says_so():
    space = {}
    exec("def nowhere(p, g, *, t, lr=0.1):\n    return p - lr * g", space)
    with pytest.raises(TypeError, match="the source of nowhere cannot be read"):
        formula(space["nowhere"])


def test_an_unknown_setting_gets_a_hint():
    with pytest.raises(TypeError, match="Did you mean 'amsgrad'"):
        formula(rules.find("adam"), amsgrads=True)


# ---- the lines are the rule


@pytest.mark.parametrize("name", rules.names())
def test_the_lines_give_what_the_rule_gives(name):
    rule = with_decay(rules.find(name))
    signature = signature_of(rule)
    for flags in signature.flag_settings():
        for numbers in (signature.numbers, {k: v or 0.1 for k, v in signature.numbers.items()}):
            hyper = {**numbers, **flags}
            kept = signature.kept(hyper)
            slots = {name: 0.3 + 0.1 * i for i, name in enumerate(kept)}
            env = {"p": 1.5, "g": -0.7, "t": 3, **numbers, **slots}
            for line in formula(rule, **hyper).lines:
                env[line.targets[0]] = value(line.value, env)
            wanted = rule(1.5, -0.7, *(slots.get(s) for s in signature.slots), t=3, **hyper)
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            for output, result in zip(("p", *signature.slots), wanted, strict=True):
                assert result is None or np.isclose(env[output], result, rtol=1e-14), (output, hyper)


def test_reading_a_formula_does_not_run_it_on_tensors():
    assert torch.is_grad_enabled()
    assert unicode(lambda_free) == ["s ← s + log(1 + g²)", "p ← p − lr · g / √s"]


def lambda_free(p, g, s=Slot(start=1.0), *, t, lr=0.1):
    """One step."""
    s = s + log(1 + g * g)
    p = p - lr * g / sqrt(s)
    return p, s
