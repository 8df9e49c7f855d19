"""`tw.minimize`: SciPy's habits, every form of argument, and what must never happen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg.minimize import METHODS, along_lines
from thalweg.minimize.direction.bfgs import bfgs
from thalweg.minimize.search.wolfe import loose_wolfe

EVERY = sorted(METHODS)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def rosenbrock_numpy(x):
    a, b = 1 - x[0], x[1] - x[0] ** 2
    return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])


def hessian_numpy(x):
    return np.array([[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200]])


START = torch.tensor([-1.2, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("method", [None, *EVERY])
def test_torch_in_torch_out(method):
    before = START.clone()
    result = tw.minimize(rosenbrock, START, method=method)
    assert result.success is True
    assert result.status == 0
    assert (result.x - 1).abs().max() < 1e-4
    assert result.grad.abs().max() <= 1e-5
    assert result.fun == pytest.approx(float(rosenbrock(result.x)))
    assert result.nfev == result.ngev > result.nit > 0
    assert torch.equal(START, before)
    assert not result.x.requires_grad


@pytest.mark.parametrize("method", EVERY)
def test_numpy_in_numpy_out(method):
    x0 = np.array([-1.2, 1.0])
    extra = {"hess": hessian_numpy} if "newton" in method else {}
    result = tw.minimize(rosenbrock_numpy, x0, jac=True, method=method, **extra)
    assert isinstance(result.x, np.ndarray)
    assert isinstance(result.grad, np.ndarray)
    np.testing.assert_allclose(result.x, 1, atol=1e-4)
    apart = tw.minimize(lambda x: rosenbrock_numpy(x)[0], [-1.2, 1], jac=lambda x: rosenbrock_numpy(x)[1], **extra)
    assert apart.success
    np.testing.assert_array_equal(x0, [-1.2, 1.0])


def test_autograd_and_given_derivatives_take_the_same_path():
    for method in EVERY:
        extra = {"hess": hessian_numpy} if "newton" in method else {}
        given = tw.minimize(rosenbrock_numpy, np.array([-1.2, 1.0]), jac=True, method=method, **extra)
        own = tw.minimize(rosenbrock, START, method=method)
        np.testing.assert_allclose(given.x, own.x.numpy(), rtol=1e-6)
        assert abs(given.nit - own.nit) <= 1


def test_products_alone_are_enough_for_newton_cg():
    result = tw.minimize(rosenbrock_numpy, [-1.2, 1.0], jac=True, hessp=lambda x, v: hessian_numpy(x) @ v)
    assert (result.method, result.success, result.nhev) == ("newton-cg", True, 0)
    assert result.nhvp > 0


def test_the_default_method():
    assert tw.minimize(rosenbrock, START).method == "bfgs"
    assert tw.minimize(lambda x: (x * x).sum(), torch.ones(501, dtype=torch.float64)).method == "lbfgs"
    assert tw.minimize(rosenbrock_numpy, [-1.2, 1.0], jac=True, hess=hessian_numpy).method == "newton"


def test_args_and_a_pytree():
    x = torch.linspace(0, 2, 20, dtype=torch.float64)
    y = 3 * torch.exp(-0.7 * x)

    def loss(p, x, y):
        return (p["a"] * torch.exp(-p["rate"][0] * x) - y).square().sum()

    start = {"a": torch.tensor(1.0, dtype=torch.float64), "rate": [torch.tensor(0.1, dtype=torch.float64)]}
    for method in EVERY:
        fit = tw.minimize(loss, start, args=(x, y), method=method)
        assert fit.success
        assert float(fit.x["a"]) == pytest.approx(3, abs=1e-4)
        assert float(fit.x["rate"][0]) == pytest.approx(0.7, abs=1e-4)
        assert fit.grad["rate"][0].shape == ()


def test_a_single_extra_argument_need_not_be_a_tuple():
    assert tw.minimize(lambda x, c: (x - c).square().sum(), START, args=3.0).x.tolist() == pytest.approx([3, 3])


def test_any_shape_and_float32():
    result = tw.minimize(lambda x: (x - 2).square().sum(), torch.zeros(2, 3), tol=1e-3)
    assert result.x.shape == (2, 3)
    assert result.x.dtype == torch.float32
    assert result.success
    array = np.zeros((2, 2), dtype=np.float32)
    result = tw.minimize(lambda x: (((x - 2) ** 2).sum(), 2 * (x - 2)), array, jac=True, tol=1e-3)
    assert result.x.shape == (2, 2)
    assert result.x.dtype == np.float32


def test_scipys_spelling_of_the_result():
    result = tw.minimize(rosenbrock, START)
    assert result["x"] is result.x
    assert result["jac"] is result.jac is result.grad
    assert result["njev"] == result.njev == result.ngev
    assert "success: True" in repr(result)
    assert "x" in result
    assert "none" not in result
    assert result.get("hess") is None
    assert dict(result)["x"] is result.x
    with pytest.raises(KeyError):
        result["none"]


def test_close_to_scipy():
    scipy = pytest.importorskip("scipy.optimize")
    theirs = scipy.minimize(rosenbrock_numpy, [-1.2, 1.0], jac=True, method="BFGS", tol=1e-8)
    ours = tw.minimize(rosenbrock_numpy, [-1.2, 1.0], jac=True, method="bfgs", tol=1e-8)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-7)


# ---- stopping


@pytest.mark.parametrize("method", EVERY)
def test_success_means_exactly_that_the_gradient_is_small(method):
    for tol in (1e-1, 1e-3, 1e-9):
        result = tw.minimize(rosenbrock, START, method=method, tol=tol)
        assert result.success == (float(result.grad.abs().max()) <= tol)
    result = tw.minimize(rosenbrock, START, method=method, options={"gtol": 1e-1})
    assert result.grad.abs().max() <= 1e-1


@pytest.mark.parametrize("method", EVERY)
def test_limits_are_said(method):
    result = tw.minimize(rosenbrock, START, method=method, options={"maxiter": 3})
    assert (result.success, result.status, result.nit) == (False, 1, 3)
    assert "maxiter" in result.message
    result = tw.minimize(rosenbrock, START, method=method, options={"maxfun": 5})
    assert (result.success, result.status, result.nfev) == (False, 2, 5)
    assert "maxfun" in result.message


@pytest.mark.parametrize("method", EVERY)
def test_the_best_point_seen_is_returned(method):
    seen = []

    def fun(x):
        value = rosenbrock(x)
        seen.append(float(value.detach()))
        return value

    extra = {"hess": lambda x: torch.tensor(hessian_numpy(x.tolist()))} if "newton" in method else {}
    for most in range(2, 30, 3):
        seen.clear()
        result = tw.minimize(fun, START, method=method, options={"maxfun": most}, **extra)
        assert result.fun == min(seen)
        assert float(rosenbrock(result.x)) == pytest.approx(result.fun, rel=1e-12)


def test_a_start_that_is_the_answer():
    result = tw.minimize(lambda x: (x * x).sum(), torch.zeros(3, dtype=torch.float64))
    assert (result.success, result.nit, result.nfev) == (True, 0, 1)


@pytest.mark.parametrize("method", EVERY)
def test_the_callback_sees_every_step_and_may_stop(method):
    points = []
    result = tw.minimize(rosenbrock, START, method=method, callback=lambda xk: points.append(xk))
    assert len(points) == result.nit
    values = []

    def stop(intermediate_result):
        values.append(intermediate_result.fun)
        if len(values) == 4:
            raise StopIteration

    result = tw.minimize(rosenbrock, START, method=method, callback=stop)
    assert (result.success, result.status, result.nit) == (False, 4, 4)
    assert result.fun == min(values)
    assert tw.minimize(rosenbrock, START, method=method, callback=lambda intermediate_result: True).nit == 1


@pytest.mark.parametrize("method", EVERY)
def test_an_interrupt_gives_the_best_so_far(method):
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return rosenbrock(x)

    result = tw.minimize(fun, START, method=method)
    assert (result.success, result.status) == (False, 5)
    assert result.fun < float(rosenbrock(START))


# ---- what is not finite


@pytest.mark.parametrize("method", EVERY)
def test_a_step_into_the_forbidden_is_shortened(method):
    def barrier(x):  # NaN where x[0] >= 1, and its minimum near there
        return -torch.log(1 - x[0]) - 30 * x[0] + x[1] ** 2

    result = tw.minimize(barrier, torch.tensor([-40.0, 3.0], dtype=torch.float64), method=method)
    assert result.success
    assert float(result.x[0]) == pytest.approx(29 / 30, abs=1e-6)


@pytest.mark.parametrize("method", EVERY)
def test_infinite_walls(method):
    def wall(x):
        inside = (x - 0.9).square().sum()
        return torch.where(x.abs().max() > 1, torch.inf, inside)

    result = tw.minimize(wall, torch.full((2,), -0.9, dtype=torch.float64), method=method)
    assert result.success


@pytest.mark.parametrize("method", EVERY)
def test_no_success_is_claimed_falsely(method):
    cases = [
        (lambda x: x.abs().sum(), [1.0, 0.7]),  # a kink at the minimum
        (lambda x: -x.sum(), [1.0, 1.0]),  # no minimum
        (lambda x: torch.exp(-x).sum() - x.sum() ** 3, [1.0, 1.0]),  # falls ever faster
        (lambda x: x.square().sum().sqrt(), [1e-3, 3.0]),
        (lambda x: rosenbrock(x) + 1e12, [-1.2, 1.0]),  # the digits that matter are lost
    ]
    for fun, start in cases:
        x0 = torch.tensor(start, dtype=torch.float64)
        result = tw.minimize(fun, x0, method=method, options={"maxiter": 300, "maxfun": 3000})
        assert result.success == bool(result.grad.abs().max() <= 1e-5)
        assert result.fun <= float(fun(x0))
        assert math.isfinite(result.fun)
        assert result.x.isfinite().all()


def test_a_wrong_gradient_ends_with_a_sentence():
    result = tw.minimize(lambda x: (x @ x, -2 * x), np.ones(3), jac=True, method="bfgs")
    assert (result.success, result.status) == (False, 3)
    assert "gradient is wrong" in result.message


# ---- scale


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
@pytest.mark.parametrize("what", ["f", "x"])
@pytest.mark.parametrize("fun_of_unit_scale", ["rosenbrock", "beyond its n"])
def test_the_scale_of_f_and_x_does_not_matter(method, dtype, factor, what, fun_of_unit_scale):
    """Powers of two, so that even rounding is the same; the second function has 14 unknowns of different scale."""
    c, tol = 2.0 ** round(math.log2(factor)), {torch.float64: 1e-5, torch.float32: 1e-2}[dtype]
    if fun_of_unit_scale == "rosenbrock":
        unit, start = rosenbrock, START.to(dtype)
    else:  # cg is cg here, and is scaled anew every 14 steps
        weights = 2.0 ** torch.arange(14, dtype=dtype)
        unit, start = lambda x: (weights * (x - 1) ** 2).sum() + (x**4).sum(), -torch.ones(14, dtype=dtype)
    paths = []
    for f_scale, x_scale in ((1.0, 1.0), (c, 1.0) if what == "f" else (1.0, c)):
        path = []

        def fun(x, f_scale=f_scale, x_scale=x_scale):
            return f_scale * unit(x / x_scale)

        result = tw.minimize(
            fun,
            start * x_scale,
            method=method,
            tol=tol * f_scale / x_scale,
            callback=lambda x, path=path, x_scale=x_scale: path.append(x / x_scale),
        )
        assert result.success
        paths.append(torch.stack(path))
    assert paths[0].shape == paths[1].shape
    assert (paths[0] - paths[1]).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**40])
def test_where_the_hessian_is_not_finite_the_scale_of_x_does_not_matter_either(factor, dtype):
    paths = []
    for scale in (dtype(1), dtype(factor)):
        path = []

        def fun(x, scale=scale):
            f, g = rosenbrock_numpy(x / scale)
            return f, g / scale

        start = np.array([-1.2, 1.0], dtype=dtype) * scale
        options = {"maxiter": 40, "gtol": 0}
        hess = {"hess": lambda x: np.full((2, 2), np.nan), "method": "newton", "options": options}
        tw.minimize(fun, start, jac=True, callback=lambda x, s=scale, path=path: path.append(x / s), **hess)
        paths.append(np.stack(path))
    assert len(paths[0]) == 40
    np.testing.assert_array_equal(paths[0], paths[1])


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize(("options", "status"), [({"maxiter": 0}, 1), ({"maxfun": 1}, 2)])
def test_no_step_is_taken_where_none_is_allowed(method, options, status):
    one = tw.minimize(rosenbrock, START, method=method, options=options)
    assert (one.status, one.success, one.nit, one.nfev) == (status, False, 0, 1)
    assert torch.equal(one.x, START)
    two = tw.minimize(rosenbrock, torch.stack([START, START / START]), method=method, options=options, batched=True)
    assert two.status.tolist() == [status, 0]  # the second begins at the answer
    assert two.nit.tolist() == [0, 0]


def test_numpys_numbers_are_numbers_and_jac_false_is_autograd():
    result = tw.minimize(rosenbrock, START, jac=False, tol=np.float32(1e-3), options={"maxiter": np.int64(3)})
    assert result.nit == 3


def test_numpys_warnings_are_the_users_inside_his_function_only():
    states = []

    def fun(x):
        states.append(np.geterr()["over"])
        return rosenbrock_numpy(x)

    with np.errstate(over="raise"):
        assert tw.minimize(fun, START.numpy(), jac=True, callback=lambda x: states.append(np.geterr()["over"])).success
    assert set(states) == {"raise"}


def test_lbfgs_reports_its_history_size():
    assert tw.minimize(rosenbrock, START, method="lbfgs").history == 4
    assert tw.minimize(rosenbrock, START, method="lbfgs", options={"memory": 7}).history == 7
    assert tw.minimize(rosenbrock, START[None], method="lbfgs", batched=True).history == 4
    assert tw.minimize(rosenbrock, START).history is None


def test_a_method_of_ones_own():
    method = along_lines("mine", bfgs, loose_wolfe)
    result = tw.minimize(rosenbrock, START, method=method)
    assert (result.method, result.success) == ("mine", True)


def test_the_same_twice():
    first, second = (tw.minimize(rosenbrock, START, method="lbfgs") for _ in range(2))
    assert torch.equal(first.x, second.x)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("how", ["one", "many", "vectorized"])
@pytest.mark.parametrize("method", METHODS)
def test_without_gradients_around_it_the_path_is_the_same(method, how, mode):
    def fun(x):
        return ((x - 1) ** 4).sum(-1) + (x[..., 0] * x[..., 1]) ** 2

    def walk():
        x0 = torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(3, 2)
        given = {"batched": how != "one", "vectorized": how == "vectorized", "options": {"maxiter": 4}}
        return tw.minimize(fun, x0[0] if how == "one" else x0, method=method, **given)

    here = walk()
    with mode():
        within = walk()
    assert torch.equal(here.x, within.x)


def quartic(p):
    return (p["a"] ** 4).sum() + (p["b"] ** 2).sum()


def test_a_gradient_in_the_form_of_x0_may_name_its_parts_in_any_order():
    x0 = {"a": torch.ones(2, dtype=torch.float64), "b": torch.full((2,), 2.0, dtype=torch.float64)}

    def both(p):
        return quartic(p), {"b": 2 * p["b"], "a": 4 * p["a"] ** 3}

    given, autograd = tw.minimize(both, x0, jac=True), tw.minimize(quartic, x0)
    assert given.nfev == autograd.nfev
    torch.testing.assert_close(given.x, autograd.x, rtol=1e-9, atol=1e-9)
    for wrong in ([1.0, 2.0], {"a": x0["a"], "c": x0["b"]}, None):
        with pytest.raises(TypeError, match=r"^the gradient is (list|dict|NoneType); it must have the form of x0"):
            tw.minimize(lambda p, wrong=wrong: (quartic(p), wrong), x0, jac=True)
    with pytest.raises(ValueError, match=r"^the gradient has the shape \(3,\), \(1,\)"):
        tw.minimize(lambda p: (quartic(p), {"a": torch.ones(3), "b": torch.ones(1)}), x0, jac=True)


@pytest.mark.parametrize("answer", [True, np.True_, torch.tensor(True)], ids=["python", "numpy", "torch"])
def test_the_callback_stops_with_any_kind_of_true(answer):
    result = tw.minimize(rosenbrock, START, callback=lambda x: answer)
    assert (result.status, result.nit) == (4, 1)


def test_a_pair_may_be_a_list_as_in_scipy():
    assert tw.minimize(lambda x: [x @ x, 2 * x], np.ones(3), jac=True).success


def test_what_is_changed_in_place_is_the_users_own_copy():
    def greedy(x):
        x -= 1
        return (x**2).sum(-1), 2 * x

    one = tw.minimize(greedy, np.zeros(2), jac=True)
    many = tw.minimize(greedy, np.zeros((3, 2)), jac=True, batched=True, vectorized=True)
    assert one.success
    assert many.success.all()
    np.testing.assert_array_equal(many.x, np.stack([one.x] * 3))

    def product(x, v):
        v *= 12 * x**2
        return v

    changing, keeping = (
        tw.minimize(lambda x: ((x**4).sum(), 4 * x**3), np.ones(3), jac=True, hessp=hessp)
        for hessp in (product, lambda x, v: 12 * x**2 * v)
    )
    np.testing.assert_array_equal(changing.x, keeping.x)
    with pytest.raises(TypeError, match=r"^fun changes x in place"):
        tw.minimize(lambda x: x.sub_(1).square().sum(), START)


@pytest.mark.parametrize("derivative", ["hess", "hessp"])
def test_success_is_also_said_of_a_best_point_that_the_walk_did_not_go_to(derivative):
    nothing = {"hess": lambda x: np.diag(x * np.nan), "hessp": lambda x, v: v * np.nan}[derivative]
    result = tw.minimize(
        lambda x: ((x**4).sum(), 4 * x**3), np.ones(2), jac=True, method="newton-cg", **{derivative: nothing}
    )
    assert result.success == bool(abs(result.grad).max() <= 1e-5)
    assert result.success
    assert "Hessian" not in result.message


@pytest.mark.parametrize("method", ["newton", "newton-line"])
def test_a_hessian_that_is_finite_at_no_point_is_named(method):
    def hess(x, scale):
        return scale * 12 * (x - 3).square().diag()

    result = tw.minimize(
        lambda x, scale: ((x - 3) ** 4).sum(),
        START.repeat(2, 1),
        (torch.tensor([1.0, torch.nan]),),
        method=method,
        hess=hess,
        batched=True,
        options={"maxiter": 3, "gtol": 0.0},
    )
    assert result.status.tolist() == [1, 1]
    assert "Hessian" not in result.message[0]
    assert "The Hessian was finite at no point" in result.message[1]


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_function_without_a_minimum_is_said_to_be_one(method):
    result = tw.minimize(lambda x: x.sum(), START, method=method)
    assert not result.success
    assert "fun falls without end" in result.message


@pytest.mark.parametrize("method", ["newton", "newton-cg", "newton-line"])
def test_a_hessian_may_be_sparse_as_in_scipy(method):
    sparse_matrix = pytest.importorskip("scipy.sparse").diags_array

    def fun(x):
        return ((x - 1) ** 4).sum(), 4 * (x - 1) ** 3

    dense, sparse = (
        tw.minimize(fun, np.zeros(3), jac=True, method=method, hess=lambda x, kind=kind: kind(12 * (x - 1) ** 2))
        for kind in (np.diag, sparse_matrix)
    )
    assert sparse.success
    assert np.array_equal(dense.x, sparse.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["newton", "newton-cg"])
@pytest.mark.parametrize("fun", [torch.sum, lambda x: -x.square().sum(), lambda x: -(x**4).sum()])
def test_a_fall_without_end_ends_where_the_numbers_do(fun, method, dtype):
    result = tw.minimize(fun, START.to(dtype), method=method, options={"maxfun": 3000, "maxiter": 1500})
    assert result.status in (1, 3)  # not maxfun: an endless refusal of trials
    assert result.nfev < result.nit + 100
    assert math.isfinite(result.fun)
    assert result.fun < -1e15
    grown = f"the largest entry of x has grown to {result.x.abs().max():.0e}"
    assert f"fun seems to fall without end: {grown}" in result.message
