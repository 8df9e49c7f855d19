"""Landscapes: their minima are minima, their gradients are right, and what people type is read, never run."""

import math

import pytest
import torch

from thalweg import landscapes, typed
from thalweg.landscape import Landscape

NAMES = landscapes.names()
# Values from the literature, at points that are not the minimum.
KNOWN = {
    "rosenbrock": ((-1.2, 1.0), 24.2),
    "beale": ((1.0, 1.0), 14.203125),
    "himmelblau": ((0.0, 0.0), 170.0),
    "booth": ((0.0, 0.0), 74.0),
    "rastrigin": ((1.0, 1.0), 2.0),
    "ackley": ((1.0, 1.0), 3.6253849384403627),
    "bowl": ((3.0, 4.0), 12.5),
    "valley": ((1.0, 1.0), 5.5),
    "saddle": ((0.0, 0.0), 0.0),
    "plateau": ((0.0, 0.0), 0.0),
}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_all_that_were_asked_for_are_there():
    wanted = "bowl valley saddle plateau rosenbrock beale himmelblau rastrigin ackley booth double_well bumpy_hill "
    wanted += "noisy_least_squares reddi factorisation associative_memory"
    assert sorted(wanted.split()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_landscape_says_what_it_is(name):
    place = landscapes.find(name)
    assert place.formula
    assert place.summary
    assert place.teaches
    assert place.is_matrix == (not place.domain)
    for (low, high), x in zip(place.domain, place.point().tolist(), strict=False):
        assert low < x < high


@pytest.mark.parametrize("name", NAMES)
def test_the_value_takes_any_leading_axes(name):
    place = landscapes.find(name)
    p = torch.randn(4, 3, *place.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = place.value(p)
    assert many.shape == (4, 3)
    assert float(many[2, 1]) == pytest.approx(float(place.value(p[2, 1])), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_slope(name):
    """Against central differences."""
    place = landscapes.find(name)
    p = place.point() + 0.1
    slope = place.gradient(p, t=5, seed=3)
    value = place.value if place.sample is None else lambda q: place.sample(q, 5, 3)  # type: ignore[misc]
    for i in range(p.numel()):
        step = torch.zeros_like(p).flatten()
        step[i] = 1e-5
        ahead, behind = value(p + step.reshape(p.shape)), value(p - step.reshape(p.shape))
        assert float(slope.flatten()[i]) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("name", "point", "value"), [(n, p, v) for n, (p, v) in KNOWN.items()])
def test_known_values(name, point, value):
    assert float(landscapes.find(name).value(double(point))) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if landscapes.find(n).minima])
def test_minima_are_minima(name):
    place = landscapes.find(name)
    for minimum in place.minima:
        at = double(minimum)
        assert float(place.value(at)) == pytest.approx(place.lowest, abs=1e-12)
        if place.sample is None:
            assert place.gradient(at).abs().max() < 1e-9
        around = at + 0.05 * torch.randn(200, len(minimum), generator=torch.Generator().manual_seed(0)).double()
        assert (place.value(place.project(around)) >= place.lowest - 1e-12).all()
    scattered = 3 * torch.randn(2000, len(place.minima[0]), generator=torch.Generator().manual_seed(1)).double()
    assert (place.value(place.project(scattered)) >= place.lowest).all()


def test_the_gradient_of_ackley_at_its_kink_is_a_number():
    assert landscapes.find("ackley").gradient(double([0.0, 0.0])).tolist() == [0, 0]


def test_the_matrices_have_their_minimum_where_they_say():
    place = landscapes.find("factorisation")
    assert float(place.gradient(torch.zeros(6, 3).double()).abs().max()) == 0  # the saddle
    p = place.point()
    for _ in range(2000):
        p = p - 0.1 * place.gradient(p)
    assert torch.linalg.svdvals(p).tolist() == pytest.approx(place.spectrum, abs=1e-9)
    memory = landscapes.find("associative_memory")
    assert memory.shape == (8, 8)
    assert float(memory.value(memory.point())) == pytest.approx(math.log(8))
    p = memory.point()
    for _ in range(100):
        p = p - 50 * memory.gradient(p)
    assert 0 < float(memory.value(p)) < 0.01


def test_batches_are_drawn_by_step_and_seed_and_average_to_all():
    single = landscapes.find("noisy_least_squares", batch="single")
    p = double([0.3, -0.2])
    assert torch.equal(single.gradient(p, 3, 1), single.gradient(p, 3, 1))
    assert not torch.equal(single.gradient(p, 3, 1), single.gradient(p, 4, 1))
    assert not torch.equal(single.gradient(p, 3, 1), single.gradient(p, 3, 2))
    mean = torch.stack([single.gradient(p, t) for t in range(4000)]).mean(0)
    full = landscapes.find("noisy_least_squares", batch="full")
    assert full.sample is None
    assert mean.tolist() == pytest.approx(full.gradient(p).tolist(), abs=0.15)


def test_rotation_turns_about_the_minimum():
    booth = landscapes.find("booth")
    turned = booth.rotated(90)
    assert turned.minima[0] == pytest.approx((1.0, 3.0))
    x, y = booth.start
    assert turned.point().tolist() == pytest.approx([1 - (y - 3), 3 + (x - 1)])
    assert float(turned.value(turned.point())) == pytest.approx(float(booth.value(booth.point())))
    assert booth.rotated(360) is booth
    assert landscapes.find("valley", rotation=30).point().tolist() == pytest.approx(
        landscapes.find("valley").rotated(30).point().tolist()
    )


# ---- what people type


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("valey", "Did you mean 'valley'"),
        ("valley(conditon=3)", "Did you mean 'condition'"),
        ("valley(condition=-3)", "condition is -3"),
        ("valley(condition='x')", "wrong kind"),
        ("bowl, valley", "names 2 things"),
        ("valley(3)", "needs its name"),
        ("valley(**{})", "needs its name"),
        ("valley(condition=[1])", "a setting is a number"),
        ("__import__('os').system('true')", "must be a name"),
        ("noisy_least_squares(batch=0)", "batch is 0"),
        ("reddi(c=1)", "c is 1"),
        ("file.py", "which function"),
    ],
)
def test_what_is_no_landscape_is_refused_in_a_sentence(text, said):
    with pytest.raises(ValueError, match=r".") as error:
        landscapes.load(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("formula", "at", "value"),
    [
        ("lambda x, y: x**2 + 10 * y**2", (3.0, 1.0), 19.0),
        ("lambda a: -a + +2", (5.0,), -3.0),
        ("lambda x: where(x < 0, 0 * x, x)", (-2.0,), 0.0),
        ("lambda x: max(min(x, 1), -1) + 0*x", (3.0,), 1.0),
        ("lambda x, y: sin(pi * x) + exp(log(y)) + abs(-y) / sqrt(4 + 0*y)", (0.0, 3.0), 4.5),
    ],
)
def test_formulas_are_computed(formula, at, value):
    place = landscapes.load(formula)
    assert float(place.value(double(at))) == pytest.approx(value)
    assert place.coordinates == tuple(formula[7 : formula.index(":")].replace(" ", "").split(","))


ATTACKS = {
    "lambda x: __import__('os').system('true')": "Attribute",
    "lambda x: x.__class__": "Attribute",
    "lambda x: open('/etc/passwd')": "'open'",
    "lambda x: (lambda: 1)()": "Lambda",
    "lambda x: [x for x in (1,)][0]": "Subscript",
    "lambda x: [x for x in (1,)]": "ListComp",
    "lambda x: 'a' * 10": "Constant",
    "lambda x: True": "Constant",
    "lambda x: 1j": "Constant",
    "lambda x: eval('1')": "'eval'",
    "lambda x: x if x > 0 else -x": "where(condition, a, b)",
    "lambda x: x and 1": "nest one where",
    "lambda x: x ^ 2": "a power is written **",
    "lambda x: x % 2": "Mod",
    "lambda x: x @ x": "MatMult",
    "lambda x: ~x": "Invert",
    "lambda x: 0 < x < 1": "Compare",
    "lambda x: (y := x)": "NamedExpr",
    "lambda x: f'{x}'": "JoinedStr",
    "lambda x: {}": "Dict",
    "lambda x: sin(*[x])": "sin takes 1 argument",
    "lambda x: sin(x=x)": "sin takes 1 argument",
    "lambda x: torch": "'torch'",
    "lambda x: sine(x)": "Did you mean 'sin'",
    "lambda x: (yield x)": "Yield",
    "lambda x: 1" + "0" * 400: "number as large",
    "lambda x=1: x": "one or two plain names",
    "lambda *x: x": "one or two plain names",
    "lambda: 1": "one or two plain names",
    "lambda x, y, z: x": "one or two plain names",
    "lambda x: x +": "cannot be read",
    "lambda x: x\0": "cannot be read",
    "lambda x: " + "(" * 300 + "x" + ")" * 300: "cannot be read",
    "lambda x: " + "-" * 3000 + "x": "characters",
    "lambda x: 3": "depends on x",
    "lambda x: x, 1": "it must be like",
}


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_everything_else_in_a_formula_is_refused_and_named(text):
    with pytest.raises(ValueError, match=r".") as error:
        landscapes.load(text)
    assert ATTACKS[text] in str(error.value)


def test_towers_of_powers_take_no_time():
    with pytest.raises(ValueError, match="depends on x"):
        landscapes.load("lambda x: 9**9**9**9**9")
    assert float(landscapes.load("lambda x: x * 9**9**9").value(double([1.0]))) == math.inf


def test_a_function_in_a_file_is_imported(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def height(a, b):\n    return a**2 + b**4\n\ndef odd(a, b, c):\n    return a\n")
    place = landscapes.load(f"{path}:height")
    assert place.coordinates == ("a", "b")
    assert float(place.value(double([2.0, 1.0]))) == 5
    with pytest.raises(ValueError, match="Did you mean 'height'"):
        landscapes.load(f"{path}:heigth")
    with pytest.raises(ValueError, match="one or two"):
        landscapes.load(f"{path}:odd")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        landscapes.load(f"{tmp_path / 'nowhere.py'}:height")


def test_functions_and_landscapes_are_taken_as_they_are():
    place = landscapes.load(lambda u, v: u * u + v * v)
    assert isinstance(place, Landscape)
    assert landscapes.load(place) is place
    with pytest.raises(ValueError, match="cannot be evaluated on tensors: TypeError"):
        landscapes.load(lambda x: x + None)


def test_calls_are_read():
    assert [str(call) for call in typed.calls("sgd, adam(lr=-1e-3, amsgrad=true, word=abc)")] == [
        "sgd", "adam(lr=-0.001, amsgrad=True, word='abc')",
    ]  # fmt: skip
    assert typed.value("7") == 7
    assert typed.value("none") is None
