"""Every op means the same on floats, numpy, torch, under vmap, on lists and on trace nodes."""

import inspect
import math

import numpy as np
import pytest
import torch

from thalweg import ops
from thalweg.engine.foreach import TensorList
from thalweg.engine.trace import trace

UNARY = {"sqrt": math.sqrt, "abs": math.fabs, "exp": math.exp, "log": math.log, "tanh": math.tanh}
VALUES = [0.3, 1.0, 2.5, 7.0]


def sign(x):
    return (x > 0) - (x < 0)


CASES = [
    *((name, (x,), reference(x)) for name, reference in UNARY.items() for x in VALUES),
    *(("sign", (x,), sign(x)) for x in (-2.0, 0.0, 3.0)),
    *(("minimum", (a, b), min(a, b)) for a, b in ((1.0, 2.0), (3.0, -1.0))),
    *(("maximum", (a, b), max(a, b)) for a, b in ((1.0, 2.0), (3.0, -1.0))),
    *(("ema", (a, b, beta), beta * a + (1 - beta) * b) for a, b, beta in ((1.0, 2.0, 0.9), (0.0, -4.0, 0.25))),
    *(("ratio", (a, b), want) for a, b, want in ((6.0, 3.0, 2.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0))),
    *(("equal", (a, b), a == b) for a, b in ((1.0, 1.0), (1.0, 2.0))),
    *(("where", (c, a, b), a if c else b) for c, a, b in ((True, 1.0, 2.0), (False, 1.0, 2.0))),
]  # fmt: skip
KINDS = {
    "float": float,
    "numpy scalar": np.float64,
    "numpy array": lambda x: np.array([x]),
    "tensor": lambda x: torch.tensor([x], dtype=torch.float64),
    "list of tensors": lambda x: TensorList([torch.tensor([x], dtype=torch.float64)]),
}


def number(value):
    value = value.tensors[0] if isinstance(value, TensorList) else value
    return float(value) if np.ndim(value) == 0 else float(value[0])


def spelled(name, args, kind):
    return [bool(args[0]), *map(kind, args[1:])] if name == "where" else [kind(arg) for arg in args]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "args", "want"), CASES)
def test_every_kind_of_value(name, args, want, kind):
    got = getattr(ops, name)(*spelled(name, args, KINDS[kind]))
    assert number(got) == pytest.approx(float(want), rel=1e-15)


@pytest.mark.parametrize(("name", "args", "want"), CASES)
def test_under_vmap(name, args, want):
    columns = [
        torch.tensor([arg, arg]) if isinstance(arg, bool) else torch.tensor([arg, arg + 1], dtype=torch.float64)
        for arg in args
    ]
    got = torch.func.vmap(getattr(ops, name))(*columns)
    assert float(got[0]) == pytest.approx(float(want), rel=1e-15)
    alone = getattr(ops, name)(*(column[1] for column in columns))
    assert torch.equal(got[1], torch.as_tensor(alone))


@pytest.mark.parametrize(("name", "args", "want"), CASES)
def test_on_trace_nodes(name, args, want):
    def rule(p, g, *, t, lr=0.1, a=1.0, b=1.0):
        three = [p > 0, a, b] if name == "where" else [p, a, b][: len(args)]
        return getattr(ops, name)(*three) + 0 * g

    graph = trace(rule)
    values = dict(zip(("p", "a", "b"), args, strict=False))
    if name == "where":
        values["p"] = 1.0 if args[0] else -1.0
    assert float(graph.run(g=1.0, t=1, **values)["p"]) == pytest.approx(float(want), rel=1e-15)


def test_case_list_covers_the_elementwise_set():
    assert {name for name, *_ in CASES} == {*ops.ELEMENTWISE, "ema", "ratio"}


def test_every_op_has_one_body_per_backend():
    assert set(ops.NUMPY) == set(ops.TORCH) == {*ops.ELEMENTWISE, *ops.ROWS, *ops.REDUCTIONS, *ops.MATRIX}
    public = {name for name, f in inspect.getmembers(ops, inspect.isfunction) if not name.startswith("_")}
    assert public == {*ops.ELEMENTWISE, *ops.ROWS, *ops.REDUCTIONS, *ops.MATRIX, "ema", "ratio"}


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [("sqrt", -1.0, math.nan), ("log", 0.0, -math.inf), ("log", -1.0, math.nan), ("exp", 1e4, math.inf)],
)
def test_plain_floats_answer_as_tensors_do_beyond_the_domain(name, x, want):
    on_float = getattr(ops, name)(x)
    on_tensor = float(getattr(ops, name)(torch.tensor(x, dtype=torch.float64)))
    assert (math.isnan(on_float) and math.isnan(on_tensor)) if math.isnan(want) else on_float == on_tensor == want
    assert type(on_float) is float


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_nan_is_not_swallowed(name):
    op = getattr(ops, name)
    assert math.isnan(op(math.nan, 1.0))
    assert math.isnan(op(1.0, math.nan))
    assert math.isnan(float(op(torch.tensor(math.nan), 1.0)))
    assert math.isnan(float(ops.ratio(1.0, math.nan)))
    assert math.isnan(ops.sign(math.nan))
    assert math.isnan(float(ops.sign(torch.tensor(math.nan))))


def test_a_float32_tensor_stays_float32_beside_scalars_and_numbers():
    x = torch.ones(3)
    number64 = torch.tensor(0.5, dtype=torch.float64)
    for value in (ops.ema(x, x, number64), ops.ratio(x, 2.0), ops.maximum(x, number64), ops.where(x > 0, x, 0.0)):
        assert value.dtype == torch.float32


def test_where_of_two_plain_numbers_keeps_double_precision():
    picked = ops.where(torch.tensor([True, False]), 0.1, 0.2)
    assert picked.tolist() == [0.1, 0.2]


def test_norm_is_of_this_tensor_and_total_of_the_whole_model():
    a, b = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([[12.0]], dtype=torch.float64)
    both = TensorList([a, b])
    assert [float(x) for x in ops.norm(both).tensors] == [5.0, 12.0]
    assert float(ops.total(both)) == 19.0
    assert float(ops.norm(a)) == 5.0
    assert float(ops.total(a)) == 7.0
    assert ops.norm(-3.0) == 3.0
    assert float(ops.norm(np.array([3.0, 4.0]))) == 5.0


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_matrix_ops_against_linear_algebra(kind):
    rows = np.random.default_rng(0).normal(size=(4, 3))
    x = kind(rows)
    u, _, vh = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(np.asarray(ops.orthogonal(x)), u @ vh, atol=1e-12)
    np.testing.assert_allclose(np.asarray(ops.matmul(ops.transpose(x), x)), rows.T @ rows, atol=1e-12)
    values, vectors = ops.eigh(ops.matmul(ops.transpose(x), x))
    np.testing.assert_allclose(np.asarray(values), np.linalg.eigvalsh(rows.T @ rows), atol=1e-12)
    np.testing.assert_allclose(np.asarray(vectors * values) @ np.asarray(vectors).T, rows.T @ rows, atol=1e-12)
    q, r = ops.qr(x)
    np.testing.assert_allclose(np.asarray(q) @ np.asarray(r), rows, atol=1e-12)
