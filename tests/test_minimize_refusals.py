"""What `tw.minimize` refuses, each in one sentence that names the argument."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg.minimize import LIMITS, METHODS, along_lines
from thalweg.minimize.direction.bfgs import bfgs
from thalweg.minimize.elsewhere import OPTIONS
from thalweg.minimize.search.wolfe import loose_wolfe

START = torch.tensor([-1.2, 1.0], dtype=torch.float64)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="both must be finite"):
        tw.minimize(lambda x: (x * x).sum(), torch.tensor([1.0, bad], dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (dict(method="bgfs"), r"method is 'bgfs'.*Did you mean 'bfgs'"),
        (dict(method="L-BFGS-B"), r"method is 'L-BFGS-B'.*Did you mean 'lbfgs'"),
        (dict(method="trust-ncg"), r"method is 'trust-ncg'.*Did you mean 'newton-cg'"),
        (dict(method="cg", options={"search": "wolf"}), r"search is 'wolf'.*Did you mean 'wolfe'"),
        (dict(options={"max_iter": 3}), r"options has 'max_iter'.*Did you mean 'maxiter'"),
        (dict(options={"beta": 3}), r"options has 'beta'; bfgs takes"),
        (dict(options={"search": "wolf"}), r"search is 'wolf'.*Did you mean 'wolfe'"),
        (dict(options={"gtol": -1}), r"gtol is -1; it must be"),
        (dict(tol="small"), r"gtol is 'small'"),
        (dict(options={"disp": False}), r"^options has 'disp'; nothing is printed: the result says why it ended"),
        (dict(options={"eps": 1e-8}), r"^options has 'eps'; no differences are taken: the gradient is autograd's"),
        (dict(options={"ftol": 1e-9}), r"^options has 'ftol'; no change of fun or x is taken for success: gtol"),
        (dict(options={"maxcor": 5}, method="lbfgs"), r"^options has 'maxcor'; memory is the number of pairs"),
        (dict(options={"maxls": 5}), r"^options has 'maxls'; search takes a line search with constants of its own"),
        (dict(options={"max_trust_radius": 5}, method="newton"), r"^options has 'max_trust_radius'; a trust region"),
        (dict(constraints=[{"type": "eq"}]), r"^constraints is given; thalweg has no constrained methods"),
        (dict(bounds=[(0, 1)] * 2), r"bounds is given; .* L-BFGS-B"),
        (dict(method="bfgs", hess=np.diag), r"hess is given and method is 'bfgs', which does not use it"),
        (dict(method="newton", hessp=np.multiply), r"hessp is given and method is 'newton', .* must be newton-cg"),
        (dict(vectorized=True), r"vectorized is True and batched is False"),
        (dict(method="lbfgs", options={"memory": 0}), r"memory is 0; it must be a whole number, at least 1"),
        (dict(method="cg", options={"matrix": "few"}), r"matrix is 'few'; it must be a whole number, at least 0"),
        (dict(hess=lambda x: torch.eye(3)), r"hess returned the shape \(3, 3\); it must be \(2, 2\)"),
        (dict(hess=lambda x: None), r"hess returned the shape \(\); it must be \(2, 2\)"),
        (dict(hessp=lambda x, v: torch.ones(3)), r"hessp's product has the shape \(3,\); it must have that of x0"),
        (dict(method=along_lines("x", bfgs, loose_wolfe), options={"memory": 3}), r"options has 'memory'"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        tw.minimize(rosenbrock, START, **call)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (dict(jac="2-point"), r"jac is '2-point'; it must be True, a function, or None"),
        (dict(hess="2-point"), r"hess is '2-point'; it must be a function"),
        (dict(callback=3), r"callback is 3; it must be a function"),
        (dict(callback=lambda x, f: None), r"callback takes \(x, f\); it must take one argument: callback\(x\), or"),
        (dict(options=[1]), r"options is \[1\]; it must be a dict"),
        (dict(options={"search": 3}), r"search is 3; it must be one of armijo, hager-zhang, wolfe, or a Search"),
        (dict(method="cg", options={"beta": "fr"}), r"beta is 'fr'; it must be a function"),
        (dict(fun=3), r"fun is 3; it must be a function"),
        (dict(fun=lambda x: x.numpy().sum()), r"fun uses numpy on x and jac is None"),
        (dict(fun=lambda x: np.sum(x**2)), r"fun uses numpy on x and jac is None"),  # np.sum asks the tensor
        (dict(fun=lambda x: x + "a"), r"unsupported operand"),  # the user's own
        (dict(fun=lambda x: (x @ x).to(torch.complex128)), r"fun returned torch\.complex128; it must return a real"),
        (dict(fun=lambda x: (None, x), jac=True), r"fun returned NoneType; it must return one number"),
        (dict(x0=[[1.0, 2.0], [3.0]]), r"x0 holds lists of different lengths"),
    ],
)
def test_refusals_of_kinds(call, sentence):
    with pytest.raises(TypeError, match=sentence):
        tw.minimize(**{"fun": rosenbrock, "x0": START, **call})


def test_an_operator_for_a_matrix_is_sent_to_hessp():
    operator = pytest.importorskip("scipy.sparse.linalg").aslinearoperator(np.eye(2))
    with pytest.raises(TypeError, match=r"hess returned .*Operator; .* as hessp=lambda x, v: hess\(x\) @ v to method="):
        tw.minimize(lambda x: (x @ x, 2 * x), np.ones(2), jac=True, hess=lambda x: operator)


def test_a_fun_of_the_wrong_shape_is_refused_in_a_batch():
    many = START.repeat(3, 1)
    with pytest.raises(ValueError, match=r"fun returned the shape \(2,\); it must return one number"):
        tw.minimize(lambda x: x * x, many, batched=True)
    with pytest.raises(ValueError, match=r"fun returned the shape \(\); vectorized, it must return \(3,\)"):
        tw.minimize(lambda x: (x * x).sum(), many, batched=True, vectorized=True)


def test_more_refusals():
    with pytest.raises(ValueError, match=r"x0 has 6000 numbers and method 'bfgs' keeps n\^2 of them; use 'lbfgs'"):
        tw.minimize(lambda x: (x * x).sum(), torch.ones(6000), method="bfgs")
    for method in ("newton", along_lines("mine", bfgs, loose_wolfe)):  # whatever keeps a matrix, one's own, too
        with pytest.raises(ValueError, match=r"x0 has 6000 numbers and method '.*' keeps n\^2 of them"):
            tw.minimize(lambda x: (x * x).sum(), torch.ones(6000), method=method)
    with pytest.raises(ValueError, match=r"x0 has 6000 numbers and method 'cg' keeps n\^2 of them; use 'lbfgs'"):
        tw.minimize(lambda x: (x * x).sum(), torch.ones(6000), method="cg", options={"matrix": 7000})
    with pytest.raises(TypeError, match="it must return a tensor"):
        tw.minimize(lambda x: 3.0, START)
    with pytest.raises(ValueError, match="without a graph"):
        tw.minimize(lambda x: torch.tensor(3.0), START)
    with pytest.raises(ValueError, match=r"fun returned the shape \(2,\); it must return one number"):
        tw.minimize(lambda x: x, START)
    with pytest.raises(TypeError, match=r"dtype torch\.int64"):
        tw.minimize(rosenbrock, torch.tensor([1, 2]))
    for nothing in (torch.zeros(0), torch.zeros(0, 2), {"a": torch.zeros(0)}, {}, [], ()):
        with pytest.raises(ValueError, match="x0 is empty"):
            tw.minimize(rosenbrock, nothing)
    with pytest.raises(ValueError, match="method is 'newton' and fun is no torch function"):
        tw.minimize(lambda x: (x @ x, 2 * x), [1.0, 2.0], jac=True, method="newton")
    with pytest.raises(TypeError, match=r"must return \(value, gradient"):
        tw.minimize(lambda x: 3.0, [1.0, 2.0], jac=True)
    with pytest.raises(ValueError, match="the gradient has the shape"):
        tw.minimize(lambda x: (3.0, np.ones(3)), [1.0, 2.0], jac=True)


def test_a_tensor_that_autograd_refuses_is_named():
    with torch.inference_mode():
        data = torch.ones(3, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"^fun uses a tensor made under torch\.inference_mode\(\)"):
        tw.minimize(lambda x: (x * x * data).sum(), torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="fun returned a value without a graph"):
        tw.minimize(lambda x: x.detach().sum(-1), torch.ones(2, 3, dtype=torch.float64), batched=True, vectorized=True)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (dict(jac=lambda x: 2j * x), "^the gradient holds complex128; it must hold real numbers"),
        (dict(jac=lambda x: None), "^the gradient holds object"),
        (dict(jac=lambda x: 2 * x, hess=lambda x: 2j * np.eye(2)), "^hess's matrix holds complex128"),
        (dict(jac=lambda x: 2 * x, hessp=lambda x, v: None), "^hessp's product holds object"),
    ],
)
def test_derivatives_that_are_no_real_numbers_are_refused(more, sentence):
    with pytest.raises(TypeError, match=sentence):
        tw.minimize(lambda x: x @ x, np.ones(2), **more)
    with pytest.raises(TypeError, match=r"^the gradient holds torch\.complex128"):
        tw.minimize(lambda x: x @ x, START, jac=lambda x: 2j * x)


def test_matrices_of_a_batch_that_fill_the_memory_are_refused_and_not_the_default():
    starts = torch.ones(3000, 450, dtype=torch.float64)  # 4.9 GB of matrices

    def fun(x):
        return x.square().sum(-1)

    with pytest.raises(ValueError, match=r"x0 has 3000 times 450 numbers .* keeps n\^2 of each problem; use 'lbfgs'"):
        tw.minimize(fun, starts, method="bfgs", batched=True, vectorized=True)
    options = {"maxiter": 0}
    assert tw.minimize(fun, starts, options=options, batched=True, vectorized=True).method == "lbfgs"
    assert tw.minimize(fun, starts[:2], options=options, batched=True, vectorized=True).method == "bfgs"


@pytest.mark.parametrize("method", METHODS)
def test_no_hint_is_for_an_option_that_is_taken(method):
    taken = {*LIMITS, *inspect.signature(METHODS[method]).parameters}
    assert not taken & {*OPTIONS}
    assert tw.minimize(rosenbrock, START, method=method, constraints=()).success
