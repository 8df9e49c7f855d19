"""Minimise a smooth function: conjugate gradients, BFGS, L-BFGS and Newton.

One door, `minimize`, with SciPy's habits. Behind it: `direction/` says which way, `search/` how far, `loop/`
evaluates, counts and stops.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch

from thalweg.minimize.arrays import epsilon, host, identity, largest
from thalweg.minimize.elsewhere import OPTIONS, unknown
from thalweg.minimize.loop import CALLBACK, CONVERGED, INTERRUPTED, MAXFUN, MAXITER, STALLED, Limits, Progress, run
from thalweg.minimize.methods import METHODS, MOST_NUMBERS, SCIPYS, Method, along_lines, refuse_large
from thalweg.minimize.problem import Form, Problem
from thalweg.minimize.result import Result
from thalweg.signature import did_you_mean

__all__ = ["METHODS", "Method", "Result", "along_lines", "minimize"]

LIMITS = ("gtol", "maxiter", "maxfun", "patience")
USED_BY = {"hess": ("newton", "newton-line", "newton-cg"), "hessp": ("newton-cg",)}

MESSAGES = {
    CONVERGED: "The gradient is small enough: no entry is larger than gtol.",
    MAXITER: "maxiter steps were taken; raise options['maxiter'], or start nearer.",
    MAXFUN: "maxfun evaluations were made; raise options['maxfun'].",
    STALLED: "No lower point was found: the gradient is wrong or not smooth, fun falls without end, or rounding hides "
    "what is left; try float64, a better scaling, or a larger gtol.",
    CALLBACK: "The callback stopped it.",
    INTERRUPTED: "Interrupted; x is the best point so far.",
}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str | Method | None = None,
    jac: bool | Callable[..., Any] | None = None,
    hess: Callable[..., Any] | None = None,
    hessp: Callable[..., Any] | None = None,
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    batched: bool = False,
    vectorized: bool = False,
) -> Result:
    """Minimise a smooth function of many unknowns.

    Args:
        fun: ``fun(x, *args) -> number``, of torch operations: its gradient comes from autograd. With
            ``jac=True`` it returns (value, gradient), with ``jac`` a function the gradient comes from there;
            then x may be a numpy array, and so is what it gets.
        x0: where to start: a numpy array, a list of numbers, a tensor, or a dict, list or tuple of tensors;
            float32 or float64, numbers become float64. The result has the same form.
        args: more arguments for fun, jac, hess and hessp.
        method: "bfgs", "lbfgs", "cg", "newton" (Hessian, trust region), "newton-cg" (products with the
            Hessian), "newton-line" (factorisation and line search), "broyden" (self-scaled), or a `Method`.
            Default: "newton" where hess is given, "newton-cg" where hessp is, else "bfgs" up to 500
            unknowns (where the matrices of a batch are under 4 GB), and "lbfgs" above.
        jac: see fun. Default None: autograd.
        hess: ``hess(x, *args) -> (n, n)``, also one of SciPy's sparse matrices; with `vectorized` (k, n, n). Default:
            autograd.
        hessp: ``hessp(x, v, *args) -> (n,)``; with `vectorized` (k, n). Default: autograd.
        bounds, constraints: refused; there are no constrained methods here.
        tol: the same as ``options["gtol"]``.
        callback: ``callback(intermediate_result)`` gets a `Result` after every step, ``callback(x)`` the
            point, as in SciPy. It stops the run by returning True or raising StopIteration.
        options: gtol (1e-5: no entry of the gradient is larger), maxiter (200 n, at least 1000), maxfun
            (no limit), patience (steps without any progress, 100), and what the method takes: `search`
            ("wolfe", "hager-zhang", "armijo" or a `Search`), `rescale` (bfgs: enlarge the matrix where it was
            too small, True), `memory` (lbfgs: its pairs, min(100, 2 n)), `diagonal` (lbfgs: they stand on a
            learned diagonal, True), `beta` (cg: a function of `direction.conjugate_gradient`), `matrix` (cg:
            the n up to which it is BFGS, 11).
        batched: x0 has a leading axis of B independent problems, and so has every arg and every field of the
            result. fun still takes one problem (it runs under `torch.func.vmap`), unless
        vectorized: fun takes k problems (k, ...) and returns k numbers; k falls as problems finish.

    Returns:
        A `Result`: x, fun, grad, success, status, message, nit, nfev, ngev, nhev, nhvp, method, history, hess_inv.

    Raises:
        ValueError: an unknown method or option, a start where fun is not finite, bounds, constraints, a hess or
            hessp that the method does not use.
        TypeError: an x0 that holds no real numbers; a fun that returns none, or is no function.

    Example:
        >>> import torch, thalweg as tw
        >>> rosenbrock = lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
        >>> result = tw.minimize(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64))
        >>> result.success, result.x.round(decimals=4)
        (True, tensor([1., 1.], dtype=torch.float64))
    """
    if bounds is not None:
        raise ValueError("bounds is given; thalweg has no bounded methods: use scipy.optimize's L-BFGS-B.")
    if constraints not in (None, (), []):
        raise ValueError("constraints is given; thalweg has no constrained methods: use scipy.optimize's trust-constr.")
    if vectorized and not batched:
        raise ValueError("vectorized is True and batched is False; it must be used with batched=True.")
    for name, value in (("fun", fun), ("hess", hess), ("hessp", hessp), ("callback", callback)):
        if not callable(value) and (name == "fun" or value is not None):
            raise TypeError(f"{name} is {value!r}; it must be a function.")
    jac = None if jac is False else jac
    if not (jac is None or jac is True or callable(jac)):
        raise TypeError(f"jac is {jac!r}; it must be True, a function, or None for autograd.")
    if not isinstance(options, Mapping | None):
        raise TypeError(f"options is {options!r}; it must be a dict.")
    form = Form(x0, batched)
    problem = Problem(fun, form, _tuple(args), jac, hess, hessp, vectorized)
    count, n = form.start.shape
    chosen, limits = _choose(method, n, tol, options, hess, hessp, count)
    other = "'newton-cg'" if "newton" in chosen.name else "'lbfgs'"
    refuse_large(chosen, n, count, ("x0 has", f"method {chosen.name!r}", other))
    if jac is not None and form.numpy and chosen.name.startswith("newton") and hess is None and hessp is None:
        raise ValueError(
            f"method is {chosen.name!r} and fun is no torch function; give hess"
            f"{' or hessp' if chosen.name == 'newton-cg' else ''}."
        )
    stop = _stopper(callback, form, chosen) if callback else None
    progress = run(problem, chosen.begin, problem.start(), limits, stop)
    if not batched and progress.status < 0:
        raise ValueError(
            f"fun at x0 is {progress.fun}, its gradient's largest entry {progress.norm}; both must be finite."
        )
    result = _result(progress, form, chosen)
    if chosen.learns:
        result.hess_inv = form.matrix(identity(progress.x) if progress.hess_inv is None else progress.hess_inv)
    return result


def _tuple(args: Any) -> tuple[Any, ...]:
    return args if isinstance(args, tuple) else (args,)


def _choose(
    method: Any, n: int, tol: float | None, options: Mapping[str, Any] | None, hess: Any, hessp: Any, count: int = 1
) -> tuple[Method, Limits]:
    """The method with its own options, and when to stop."""
    given = dict(options or {})
    limits = {"gtol": 1e-5, "maxiter": max(1000, 200 * n), "maxfun": math.inf, "patience": 100}
    if tol is not None:
        limits["gtol"] = tol
    limits |= {name: given.pop(name) for name in LIMITS if name in given}
    for name, value in limits.items():
        if isinstance(value, bool | str) or not isinstance(value, Real) or math.isnan(value) or value < 0:
            raise ValueError(f"{name} is {value!r}; it must be a number, at least 0.")
    if isinstance(method, Method):
        if given:
            raise ValueError(f"options has {next(iter(given))!r}; a Method of your own takes only {', '.join(LIMITS)}.")
        return method, Limits(**limits)
    if method is None:
        small = n <= 500 and count * n**2 <= MOST_NUMBERS
        method = "newton" if hess else "newton-cg" if hessp else "bfgs" if small else "lbfgs"
    name = str(method).lower().replace("_", "-")
    if name not in METHODS:
        near = f" Did you mean {SCIPYS[name]!r}?" if name in SCIPYS else did_you_mean(name, METHODS)
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.{near}")
    if given:
        known = [*LIMITS, *(p for p in inspect.signature(METHODS[name]).parameters if p != "n")]
        for option in given:
            if option not in known:
                raise ValueError(f"options has {option!r}; {unknown(option, known, OPTIONS, name)}")
    for what, value in (("hess", hess), ("hessp", hessp)):
        if value is not None and name not in USED_BY[what]:
            users = " or ".join(USED_BY[what])
            raise ValueError(f"{what} is given and method is {name!r}, which does not use it; it must be {users}.")
    return METHODS[name](n, **given), Limits(**limits)


def _stopper(callback: Callable[..., Any], form: Form, method: Method) -> Callable[[Progress], bool]:
    """The callback as the loop calls it: True stops."""
    try:
        signature = inspect.signature(callback)
    except ValueError:  # of a function in C that does not say
        signature = inspect.signature(lambda x: x)
    whole = [*signature.parameters] == ["intermediate_result"]
    try:
        if not whole:
            signature.bind("x")
    except TypeError:
        raise TypeError(
            f"callback takes {signature}; it must take one argument: callback(x), or callback(intermediate_result)."
        ) from None

    def stop(progress: Progress) -> bool:
        try:
            if whole:
                answer = callback(intermediate_result=_result(progress, form, method, False))
            else:
                answer = callback(form.give(progress.x))
            return isinstance(answer, bool | np.bool_ | torch.Tensor) and bool(answer)
        except StopIteration:
            return True

    return stop


def _messages(progress: Progress, form: Form) -> list[str]:
    """Why each problem ended, and what to try."""
    statuses, roughs = np.atleast_1d(progress.status), np.atleast_1d(progress.rough)
    said = [MESSAGES.get(status, "fun or its gradient is not finite at x0.") for status in statuses]
    failed = np.isin(statuses, (MAXITER, MAXFUN, STALLED))
    if failed.any():
        sizes = np.atleast_1d(host(largest(progress.x))[0])
        began = host(largest(form.start))[0]
        far = sizes > np.where(began > 0, began, 1) * epsilon(progress.x) ** -0.75
        for i in np.flatnonzero(failed & far):
            said[i] += f" fun seems to fall without end: the largest entry of x has grown to {sizes[i]:.0e}."
        for i in np.flatnonzero(failed & (roughs > 0)):
            said[i] += " The Hessian was finite at no point: check hess, or the second derivatives of fun."
    return said


def _result(progress: Progress, form: Form, method: Method, ended: bool = True) -> Result:
    success = progress.status == CONVERGED
    messages = _messages(progress, form) if ended else [""] * np.size(progress.status)
    counts = {
        "status": progress.status,
        "nit": progress.nit,
        "nfev": progress.nfev,
        "ngev": progress.nfev,
        "nhev": progress.nhev,
        "nhvp": progress.nhvp,
    }
    if form.batched:
        fun: Any = progress.fun.copy()
        many: dict[str, Any] = {name: value.copy() for name, value in counts.items()}
        if not form.numpy:
            fun = torch.from_numpy(fun).to(form.start)
            success = torch.from_numpy(success)
            many = {name: torch.from_numpy(value) for name, value in many.items()}
        return Result(
            form.give(progress.x),
            fun,
            form.give(progress.grad),
            success,
            message=messages,
            method=method.name,
            history=method.history,
            **many,
        )
    one = {name: int(value) for name, value in counts.items()}
    return Result(
        form.give(progress.x),
        float(progress.fun),
        form.give(progress.grad),
        bool(success),
        message=messages[0],
        method=method.name,
        history=method.history,
        **one,
    )
