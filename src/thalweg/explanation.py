"""`tw.explain("adam")`: what an optimizer does, by its formula, its numbers and its past.

Everything is read from the rule and its card: the formula from the source of the rule, the numbers from
running it, what the past counts from differentiating it.

    >>> print(explain("momentum").formula)
    push ← g
    v ← momentum · v + push
    p ← p − lr · v
    >>> explain("momentum").history(steps=3, momentum=0.5).memories["step"].shares
    [1.0, 0.5, 0.25]
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch

from thalweg import landscapes, rules
from thalweg.arguments import switched_on, transformed
from thalweg.card import Card, OneMinusLog, Range, card_of
from thalweg.engine.history import History, history
from thalweg.engine.trajectory import plain
from thalweg.landscape import Landscape
from thalweg.minimize.explanation import MethodExplanation, explain_method
from thalweg.minimize.methods import METHODS
from thalweg.minimize.optimizers import FullBatch
from thalweg.optimizer import Optimizer
from thalweg.printing.conventions import call
from thalweg.printing.formula import Formula, formula
from thalweg.printing.page import Explained, words
from thalweg.printing.signatures import WORDS, meaning
from thalweg.printing.worked import Worked, work
from thalweg.rule_class import optimizer
from thalweg.signature import Rule, check_number, did_you_mean, signature_of
from thalweg.transforms import OFF

PACKAGE = Path(__file__).parent
Given = Rule | type[Optimizer] | type[FullBatch]
MINIMIZERS = "Minimizers, for exact gradients (tw.minimize)"


@dataclass(frozen=True, kw_only=True)
class Explanation(Explained):
    """What is known about an optimizer. Print it, show it in a notebook, or take its parts.

    Args, beside those of `Explained`:
        rule: the rule as its class runs it, with weight decay in front.
        formula: its lines under these settings.
        state: its `slots` by their first value, `bytes_per_parameter` in float32, `bytes_per_tensor` besides,
            and the same as `text`.
        conventions: the calls that reproduce another library, the paper or the lecture.
    """

    rule: Rule = field(repr=False)
    formula: Formula = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    search_source: str = field(default="", repr=False)
    conventions: Mapping[str, str] = field(default_factory=dict, repr=False)
    conventions_note: str = field(default="", repr=False)

    def worked(
        self,
        steps: int = 3,
        landscape: str | Landscape | Callable[..., Any] = "valley",
        parameter: int | str = 0,
        **settings: Any,
    ) -> Worked:
        """A few steps written out with their numbers.

        Args:
            steps: how many. Default 3.
            landscape: where the gradients come from: a name, a formula ``"lambda x, y: ..."``, a function of
                tensors, or a landscape; the walk begins at its start. Default "valley".
            parameter: whose numbers are shown: an index, or the name of a coordinate. Default the first.
            settings: hyper-parameters that differ from those of this explanation.

        Raises:
            ValueError: there is no such landscape or parameter.

        Example:
            >>> print(explain("sgd").worked(steps=1, parameter="y", lr=0.1))
            step 1   p = y = 0.9   g = 9
              p <- 0.9 - 0.1 * 9 = 0
        """
        land = landscapes.load(landscape)
        names = land.coordinates if not land.is_matrix else [f"p[{i}]" for i in range(land.point().numel())]
        if isinstance(parameter, str):
            if parameter not in names:
                raise ValueError(f"parameter is {parameter!r}; {land.name} has {', '.join(names)}.")
            parameter = list(names).index(parameter)
        return work(
            self.rule,
            lambda p, t: land.gradient(torch.from_numpy(p), t).numpy(),
            land.point().numpy(),
            steps=steps,
            parameter=parameter,
            names=names,
            project=lambda p: land.project(torch.from_numpy(p)).numpy(),
            **_checked(self.rule, {**self.chosen, **settings}),
        )

    def history(self, steps: int = 16, **settings: Any) -> History:
        """How much each past gradient counts in today's step, and how the rate changes.

        Args:
            steps: how many gradients it has seen. Default 16.
            settings: hyper-parameters that differ from those of this explanation.

        Example:
            >>> explain("rmsprop").history(alpha=0.95).memories["v"].half_life
            13.5...
        """
        return history(self.rule, steps, **_checked(self.rule, {**self.chosen, **settings}))

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        known = {name: value for name, value in vars(self).items() if name not in ("rule", "formula")}
        written = {"unicode": self.formula.unicode, "latex": self.formula.latex, "text": str(self.formula)}
        notes = [line.note for line in self.formula.lines]
        return plain({**known, "formula": {**written, "notes": notes, "left_out": list(self.formula.left_out)}})


@dataclass(frozen=True)
class Overview:
    """Every optimizer in a line: what ``tw.explain()`` gives."""

    explanations: Mapping[str, Explanation]
    minimizers: Mapping[str, MethodExplanation]

    def rows(self) -> list[dict[str, Any]]:
        """Name, kind ("rule" or "minimizer"), what it does and when to reach for it.

        A rule has its bytes of state per parameter and the lr to search, a minimizer its cost.
        """
        found: list[dict[str, Any]] = []
        for name, e in self.explanations.items():
            numbers = {
                "bytes_per_parameter": e.state["bytes_per_parameter"],
                "lr": e.settings.get("lr", {}).get("search"),
            }
            found.append({"name": name, "kind": "rule", "summary": e.summary, **numbers, "when": e.when})
        for name, e in self.minimizers.items():
            found.append({"name": name, "kind": "minimizer", "summary": e.summary, "cost": e.cost, "when": e.when})
        return found

    def json(self) -> str:
        """The rows as strict JSON."""
        return json.dumps(plain(self.rows()), indent=1, ensure_ascii=False, allow_nan=False)

    def markdown(self, page_of: str = "") -> str:
        """A table of the rules and one of the minimizers; `page_of` is where the pages are, with ``{name}`` in it."""
        head = "| optimizer | what it does | state, bytes per parameter | lr to search | reach for it when |"
        lines = [head, "|---|---|---|---|---|"]
        more = ["| minimizer | what it does | memory and work | reach for it when |", "|---|---|---|---|"]
        for row in self.rows():
            row["name"] = f"[{row['name']}]({page_of.format(name=row['name'])})" if page_of else row["name"]
            cells = [value for key, value in row.items() if key != "kind"]
            (lines if row["kind"] == "rule" else more).append(f"| {' | '.join(map(str, cells))} |")
        return "\n".join([*lines, "", f"## {MINIMIZERS}", "", *more]) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        wide = max(map(len, [*self.explanations, *self.minimizers]))
        lines = {"rule": [], "minimizer": ["", f"{MINIMIZERS}:"]}
        for row in self.rows():
            lines[row["kind"]].append(f"{row['name']:<{wide}}  {row['summary']}")
        return "\n".join(lines["rule"] + lines["minimizer"])


@overload
def explain(optimizer: None = None) -> Overview: ...
@overload
def explain(optimizer: str | Given, **settings: Any) -> Explanation | MethodExplanation: ...
def explain(optimizer: str | Given | None = None, **settings: Any) -> Explanation | MethodExplanation | Overview:
    """Explain an optimizer; without one, all of them in a line each.

    Args:
        optimizer: a name, of a rule or a minimizer; a class (`tw.Adam`, `tw.BFGS`); or a rule of your own.
        settings: hyper-parameters that differ from their defaults: ``explain("adam", amsgrad=True)``, also what
            stands in front: ``explain("adam", clip_norm=1.0)``; of a minimizer its options:
            ``explain("lbfgs", memory=5)``.

    Raises:
        ValueError: there is no such optimizer, or a setting has a value out of its range.
        TypeError: it has no such setting, or is no rule.

    Example:
        >>> explain("adam").formula.unicode[-1]
        'p ← p − lr · m̂ / (√v̂ + ε)'
        >>> explain("adm")
        Traceback (most recent call last):
        ValueError: there is no optimizer 'adm'. Did you mean 'adam'? Known: ...
    """
    if optimizer is None:
        by_name = {name: _explain_rule(name, {}) for name in rules.names()}
        return Overview(by_name, {name: explain_method(name) for name in METHODS})
    if isinstance(optimizer, type) and issubclass(optimizer, FullBatch):
        make: Any = optimizer
        optimizer = str(make([torch.zeros(1)]).method(1).name)
    if isinstance(optimizer, str):
        name, known = optimizer.lower().replace("_", "-"), [*rules.names(), *METHODS]
        if name in METHODS:
            return explain_method(name, **settings)
        if optimizer.lower() not in known:
            near = did_you_mean(name, known)
            raise ValueError(f"there is no optimizer {optimizer!r}.{near} Known: {', '.join(known)}.")
    return _explain_rule(optimizer, settings)


def _explain_rule(optimizer: str | Rule | type[Optimizer], settings: Mapping[str, Any]) -> Explanation:
    made = _class(optimizer)
    own, in_front = made.formula, switched_on(settings)
    rule = transformed(made.rule, in_front)
    without = OFF.keys() - {name for name in in_front if settings[name] is not True}  # a number is an argument
    settings = {name: value for name, value in settings.items() if name not in without}
    given = rules.find(optimizer) if isinstance(optimizer, str) else own
    settings = _checked(rule, settings)
    card, signature = made.card, signature_of(rule)
    hyper = {**signature.defaults, **settings}
    lines = formula(rule, **settings)
    known = {
        **words(card),
        "search_source": card.search_source,
        "conventions": {name: call(card.title, their) for name, their in card.conventions.items()},
        "conventions_note": card.conventions_note,
    } if card else {}  # fmt: skip
    return Explanation(
        rule=rule,
        name=getattr(given, "__name__", "rule"),
        title=made.__name__,
        summary=card.summary if card else (inspect.getdoc(own) or "A rule without a docstring.").splitlines()[0],
        chosen=settings,
        formula=lines,
        symbols={name: _stands_for(name, card) for name in lines.names if _stands_for(name, card)},
        settings={
            name: {
                "value": hyper[name],
                "search": _range(card.search[name]) if card and name in card.search else None,
                "meaning": meaning(name, card),
            }
            for name in signature.defaults
        },
        state=_state(rule, hyper),
        file=_file(given),
        **known,
    )


def _class(given: str | Rule | type[Optimizer]) -> type[Optimizer]:
    if isinstance(given, type) and issubclass(given, Optimizer):
        return given
    return optimizer(rules.find(given) if isinstance(given, str) else given)


def _checked(rule: Rule, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each in its range and none against another; unknown names are left for `trace` to refuse."""
    signature = signature_of(rule)
    for name in signature.numbers.keys() & settings.keys():
        check_number(name, settings[name])
    card = card_of(rule)
    refusal = card.refuses({**signature.defaults, **settings}) if card and card.refuses else None
    if refusal:
        raise ValueError(refusal)
    return dict(settings)


def _stands_for(name: str, card: Card | None) -> str:
    if name == "t":
        return "step number, counted from 1"
    if card and name in card.symbols:
        return card.symbols[name]
    return meaning(name, card) if name in WORDS else {"p": "parameter", "g": "gradient"}.get(name, "")


def _range(search: Range) -> str:
    low, high = (1 - search.high, 1 - search.low) if isinstance(search, OneMinusLog) else (search.low, search.high)
    return f"{low:g} to {high:g}"


def _state(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    kept = signature_of(rule).kept(hyper)
    tensors = [name for name, slot in kept.items() if slot.shape == "p"]
    numbers = [name for name in kept if name not in tensors]
    parts = [f"{', '.join(tensors)}: {4 * len(tensors)} bytes per parameter in float32"] if tensors else []
    parts += [f"{', '.join(numbers)}: {8 * len(numbers)} bytes per tensor"] if numbers else []
    return {
        "slots": {name: hyper.get(str(slot.start), slot.start) for name, slot in kept.items()},
        "bytes_per_parameter": 4 * len(tensors),
        "bytes_per_tensor": 8 * len(numbers),
        "text": "; ".join(parts) + "." if parts else "None.",
    }


def _file(rule: Rule) -> str:
    path = Path(inspect.getsourcefile(inspect.unwrap(rule)) or "")
    return f"src/thalweg/{path.relative_to(PACKAGE).as_posix()}" if path.is_relative_to(PACKAGE) else str(path)
