"""What a minimizer does: `thalweg explain bfgs`, from its card, its source and a recorded run.

>>> found = explain_method("newton-line")
>>> print(found.formula)
L D Lᵀ = H + E
d = −(L D Lᵀ)⁻¹ g
>>> found.worked().result.x
tensor([0., 0.], dtype=torch.float64)
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from thalweg import landscapes
from thalweg.engine.trajectory import Trajectory, plain
from thalweg.landscape import Landscape
from thalweg.minimize import METHODS, direction, minimize
from thalweg.minimize.direction import conjugate_gradient
from thalweg.minimize.methods import SEARCHES, Method
from thalweg.minimize.recorded import Iteration, Record, record
from thalweg.minimize.result import Result
from thalweg.minimize.search import Search, trust_region
from thalweg.printing import card_formula, iterations
from thalweg.printing.page import Explained, words
from thalweg.signature import did_you_mean

PACKAGE = Path(__file__).parents[1]
MANY = 1000  # unknowns of which the card speaks: with a handful, cg is BFGS
COMMON = {
    "I": "the unit matrix",
    "d": "direction: the next point is p + a d, with a step length a from the search",
    "g": "gradient",
    "s": "the last step, from point to point",
    "y": "change of the gradient over that step",
}
OPTIONS = {  # value as one reads it (None: the function's own default), and meaning
    "search": (None, "how far along the direction: wolfe, hager-zhang, armijo, or a Search"),
    "rescale": (None, "enlarge the matrix first where it was too small"),
    "memory": ("min(100, 2 n)", "how many pairs are remembered"),
    "diagonal": (None, "the pairs stand on a learned diagonal, else on a multiple of the unit matrix"),
    "beta": (None, "the share of the last direction: one of the functions below, or your own"),
    "matrix": (None, "up to so many unknowns BFGS takes its place, but not in the worked numbers"),
    "gtol": ("1e-05", "converged when no entry of the gradient is larger"),
    "maxiter": ("max(1000, 200 n)", "at most so many steps"),
    "maxfun": ("no limit", "at most so many evaluations"),
    "patience": ("100", "stop after so many steps without any progress"),
}
LIMITS = ("gtol", "maxiter", "maxfun", "patience")


@dataclass(frozen=True)
class CardFormula:
    """The formula of a card: its lines in plain characters, in Unicode and in LaTeX; printing it gives Unicode."""

    lines: Sequence[str]

    @property
    def unicode(self) -> list[str]:
        """The lines in Unicode."""
        return list(map(card_formula.unicode, self.lines))

    @property
    def latex(self) -> list[str]:
        """The lines in LaTeX, without dollar signs."""
        return list(map(card_formula.latex, self.lines))

    def __str__(self) -> str:
        return "\n".join(self.unicode)


@dataclass(frozen=True)
class WorkedMethod:
    """A few iterations of a minimizer, with all their numbers.

    Args:
        names: of the coordinates.
        start: the point, its value and its gradient at the start, which is one evaluation.
        iterations: what happened, one after the other.
        result: what `minimize` returned after them.
        how: how the direction is made, by the card.
    """

    names: Sequence[str]
    start: Mapping[str, Any]
    iterations: Sequence[Iteration]
    result: Result
    how: str

    @property
    def trajectory(self) -> Trajectory:
        """The point, value, gradient and evaluations so far; step 0 is the start."""
        rows = [{**self.start, "evaluations": 1}]
        for each in self.iterations:
            if each.s is not None:
                last = rows[-1]
                [f] = [trial.f for trial in each.trials if trial.accepted]
                rows.append({"p": each.p + each.s, "f": f, "g": each.g + each.y, "evaluations": last["evaluations"]})
            rows[-1]["evaluations"] += len(each.trials)
        values = {name: [plain(row[name]) for row in rows] for name in ("p", "f", "g", "evaluations")}
        return Trajectory(list(range(len(rows))), values)

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        steps = []
        for each in self.iterations:
            how = "-g" if each.plain else self.how
            trials = [vars(trial) for trial in each.trials]
            steps.append({**vars(each), "how": how, "trials": trials, "evaluations": len(trials)})
        counts = {name: getattr(self.result, name) for name in ("nit", "nfev", "nhev", "nhvp", "success", "message")}
        known = {"coordinates": list(self.names), "start": self.start, "iterations": steps, "result": counts}
        return plain({**known, "trajectory": self.trajectory.data()})

    def __str__(self) -> str:
        known = self.data()
        blocks, so_far = [], 1
        for number, each in enumerate(known["iterations"], 1):
            so_far += each["evaluations"]
            blocks.append(iterations.text(number, each, self.names, so_far))
        end = self.trajectory.at(len(self.trajectory) - 1)
        blocks.append(iterations.place("then", self.names, end["p"], end["f"], end["g"]))
        blocks += [] if self.result.status == 1 else [self.result.message]  # 1: as many as were asked for
        return "\n".join(blocks)


@dataclass(frozen=True, kw_only=True)
class MethodExplanation(Explained):
    """What is known about a minimizer. Print it, show it in a notebook, or take its parts.

    Args, beside those of `Explained` (its options have no ranges to search):
        formula: the card's.
        source: functions of its file with what they say of themselves.
        search: how far it walks along its direction, or how it trusts its model.
        cost: memory and work.
    """

    formula: CardFormula = field(repr=False)
    source: Mapping[str, str] = field(repr=False)
    search: Mapping[str, str] = field(repr=False)
    cost: str

    def worked(
        self, steps: int = 3, landscape: str | Landscape | Callable[..., Any] = "valley", **options: Any
    ) -> WorkedMethod:
        """A few iterations with their numbers: every trial, the step taken, and what was learned from it.

        Args:
            steps: how many, at most: it may converge before.
            landscape: a name, a formula ``"lambda x, y: ..."``, a function of tensors, or a landscape; the walk
                begins at its start.
            options: those of `minimize` that differ from this explanation's.

        Raises:
            ValueError: there is no such landscape or option, or the landscape has bounds.

        Example:
            >>> explain_method("bfgs").worked(steps=1).iterations[0].trials[0].accepted
            True
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}; it must be at least 1.")
        place = landscapes.load(landscape)
        if place.bounds:
            raise ValueError(f"{self.name} cannot walk on {place.name}: a minimizer knows no bounds.")
        p = place.point()
        f, g = place.slope(p)
        given = _checked(self.name, {**self.chosen, **options})
        limits = {name: given.pop(name) for name in LIMITS if name in given}
        limits["maxiter"] = min(steps, limits.get("maxiter", steps))
        method = _method(self.name, p.numel(), given)
        done: Record = record(place.value, p, method, **limits)
        names = [f"p[{i}]" for i in range(p.numel())] if place.is_matrix else list(place.coordinates)
        start = {"p": p.flatten().numpy(), "f": float(f), "g": g.flatten().numpy()}
        return WorkedMethod(names, start, done.iterations, done.result, _how(card_formula.lines(method.card.formula)))

    def history(self, steps: int = 16, **options: Any) -> NoReturn:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{self.name} is a minimizer: how much each past gradient counts is asked of first-order rules, such as "
            "momentum; a minimizer shows what it has learned with worked."
        )

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        known = {name: value for name, value in vars(self).items() if name != "formula"}
        written = {"unicode": self.formula.unicode, "latex": self.formula.latex, "text": str(self.formula)}
        chosen = {name: _named(value) for name, value in self.chosen.items()}
        return plain({**known, "chosen": chosen, "formula": {**written, "notes": [], "left_out": []}})


def explain_method(name: str, **options: Any) -> MethodExplanation:
    """Explain a minimizer.

    Args:
        name: one of ``minimize.METHODS``.
        options: what `minimize` takes as options, where it differs from the defaults; `beta` may be a name.

    Raises:
        ValueError: there is no such method or option.
    """
    given = _checked(name, options)
    own = {option: value for option, value in given.items() if option not in LIMITS}
    card = _method(name, MANY, own).card
    module = next(each for each in _directions() if getattr(each, "card", None) is card)
    parameters = inspect.signature(METHODS[name]).parameters
    search = own.get("search", parameters["search"].default if "search" in parameters else None)
    settings = {}
    for option in (*(each for each in parameters if each != "n"), *LIMITS):
        value, meaning = OPTIONS[option]
        value = _named(given[option]) if option in given else value or _named(parameters[option].default)
        settings[option] = {"value": value, "search": None, "meaning": meaning}
    formulas = card_formula.lines(card.formula)
    met = {symbol: None for line in formulas for symbol in card_formula.symbols(line)}
    return MethodExplanation(
        name=name,
        title=card.title[:1].upper() + card.title[1:],
        summary=card.summary,
        chosen=given,
        formula=CardFormula(formulas),
        symbols={symbol: {**COMMON, **card.symbols}[symbol] for symbol in {**met, **card.symbols}},
        source=_source(module),
        settings=settings,
        search=_search(search),
        cost=card.cost,
        file=f"src/thalweg/{Path(str(module.__file__)).relative_to(PACKAGE).as_posix()}",
        **words(card),
    )


def _checked(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, as `minimize` itself would check them; a beta by name is one of the file's functions."""
    given = dict(options)
    beta = given.get("beta")
    if isinstance(beta, str):
        known = _betas()
        if beta not in known:
            raise ValueError(f"beta is {beta!r}; it must be one of {', '.join(known)}.{did_you_mean(beta, known)}")
        given["beta"] = known[beta]
    minimize(lambda x: (x * x).sum(), [0.0], method=name, options=given)  # it is there already: only the check
    return given


def _method(name: str, n: int, options: Mapping[str, Any]) -> Method:
    """The method itself: where it has a stand-in for few unknowns, not that."""
    own = dict(options)
    if isinstance(own.get("search"), str):
        own["search"] = SEARCHES[own["search"]]
    if "matrix" in inspect.signature(METHODS[name]).parameters:
        own.setdefault("matrix", 0)
    return METHODS[name](n, **own)


def _directions() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(direction.__path__)]
    return [importlib.import_module(f"{direction.__name__}.{name}") for name in names]


def _betas() -> dict[str, Callable[..., Any]]:
    """Every function of a new gradient, its change and the last direction."""
    functions = inspect.getmembers(conjugate_gradient, inspect.isfunction)
    return {name: f for name, f in functions if list(inspect.signature(f).parameters)[:3] == ["g", "y", "d"]}


def _source(module: ModuleType) -> dict[str, str]:
    """The formulas as the functions of the file have them in the first line of their docstrings."""
    functions = _betas() if module is conjugate_gradient else {"turn": getattr(module, "turn", None)}
    said = {name: inspect.getdoc(f) for name, f in functions.items() if f is not None}
    return {name: text.splitlines()[0].replace("``", "") for name, text in said.items() if text}


def _search(search: Search | str | None) -> dict[str, str]:
    """The search's card; without a search there is a trust region."""
    found = SEARCHES[search] if isinstance(search, str) else search
    card = found.card if found else trust_region.card
    words = {"test": card.formula, "why": card.intuition, "when": card.when, "paper": f"{card.paper}."}
    return {"name": card.title, **{name: text for name, text in words.items() if text}}


def _how(lines: Sequence[str]) -> str:
    """The right-hand side of the line that gives the direction."""
    right = [line.removeprefix("d = ") for line in lines if line.startswith("d = ")]
    return right[0].partition(" with ")[0] if right else ""


def _named(value: Any) -> Any:
    """A search or a function by its name; numbers and words as they are."""
    if isinstance(value, Search):
        known = [name for name, search in SEARCHES.items() if search is value]
        return known[0] if known else value.card.title
    return getattr(value, "__name__", value)
