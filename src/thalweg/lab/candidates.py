"""Who competes: rules and minimizers of the house by name, rules of the user's by path or as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thalweg import rules, schedule
from thalweg.arguments import door_arguments, with_decay
from thalweg.card import Log, Range, card_of
from thalweg.lab.ranges import Own
from thalweg.lab.space import WITHOUT_CARD, Hyper, Space, dimensions
from thalweg.lab.train import Configure
from thalweg.minimize.methods import METHODS
from thalweg.minimize.optimizers import BFGS, LBFGS, ConjugateGradient, FullBatch, Newton
from thalweg.optimizer import Optimizer
from thalweg.rule_class import optimizer
from thalweg.signature import Rule, signature_of

# One of each kind: the plain one, the adaptive ones, and their combinations. `all` takes every rule.
SHORT_LIST = ("momentum", "adagrad", "rmsprop", "adamw", "nadam")

# Minimizers, and what makes them of their class. What they search is the length of their first trial.
MINIMIZERS: dict[str, tuple[type[FullBatch], dict[str, Any]]] = {
    "bfgs": (BFGS, {}),
    "broyden": (BFGS, {"self_scaled": True}),
    "cg": (ConjugateGradient, {}),
    "lbfgs": (LBFGS, {}),
    "newton": (Newton, {}),
    "newton-cg": (Newton, {"matrix": 0}),
}
FIRST_TRIAL: dict[str, Range] = {"lr": Log(0.1, 10.0)}
LARGE = 1000  # unknowns of which the cards speak: with a handful, cg is BFGS


@dataclass(frozen=True)
class Candidate:
    """One competitor.

    Attributes:
        name: what it is called in the results, different from all others.
        origin: where its rule is from, so that a worker process can find it too: the name of a rule or of a
            minimizer of the house, the path of a file, or the function itself.
    """

    name: str
    origin: str | Path | Rule

    @property
    def minimizes(self) -> bool:
        """Whether it is a minimizer: its steps are evaluations, and the loss at a point must not change."""
        return isinstance(self.origin, str) and self.origin in MINIMIZERS

    @cached_property
    def rule(self) -> Rule:
        """The formula; of a minimizer the function that puts its method together."""
        if self.minimizes:
            return METHODS[str(self.origin)]
        if isinstance(self.origin, str):
            return rules.find(self.origin)
        return rules.load(self.origin) if isinstance(self.origin, Path) else self.origin

    @cached_property
    def optimizer(self) -> type[Optimizer | FullBatch]:
        """Its class."""
        return MINIMIZERS[str(self.origin)][0] if self.minimizes else optimizer(self.rule)

    @property
    def title(self) -> str:
        """Its name as one writes it."""
        if self.minimizes:
            return METHODS[self.name](LARGE).card.title
        card = card_of(self.rule)
        return card.title if card else self.name

    @property
    def numbers(self) -> list[str]:
        """The hyper-parameters that are numbers, with the weight decay that its class puts in front."""
        return ["lr"] if self.minimizes else list(signature_of(with_decay(self.rule)).numbers)

    def space(self, n: int, own: Own | None = None) -> Space:
        """What `n` points search: the ranges of its card, or lr alone if it has none, changed by the user's own."""
        ranges: dict[str, Range] = dict(FIRST_TRIAL)
        lr, source = 1.0, ""
        if not self.minimizes:
            card, default = card_of(self.rule), signature_of(self.rule).numbers
            ranges = dict(card.search if card else WITHOUT_CARD)
            if "lr" not in ranges or "lr" not in default:
                raise ValueError(f"rule {self.name!r} has no lr; the lab compares rules over their learning rate.")
            lr, source = default["lr"], card.search_source if card else "lr alone, the rule has no card"
        if own is not None:  # named ones come first, in the file's order
            ranges = {**own.ranges, **{name: r for name, r in ranges.items() if name not in own.ranges}}
            source, lr = own.source or "the user's file", own.default or lr
        ranges = {"lr": ranges.pop("lr"), **ranges}
        return Space(ranges, {"lr": lr}, min(dimensions(n), len(ranges)), source=source)

    def arguments(self, hyper: Hyper) -> dict[str, Any]:
        """Hyper-parameters as its class takes them: beta1 and beta2 as betas."""
        if self.minimizes:
            return {**MINIMIZERS[str(self.origin)][1], **hyper}
        return door_arguments(self.rule, dict(hyper))

    def schedule(self, chosen: str) -> str:
        """The schedule that it runs with: a minimizer's lr is for the first trial alone."""
        return "constant" if self.minimizes else chosen

    def configure(self, hyper: Hyper, schedule_name: str) -> Configure:
        """The function that `train` calls for the optimizer and its schedule."""
        find_lr, arguments = schedule.find(self.schedule(schedule_name)), self.arguments(hyper)

        def configure(parameters: list, steps: int) -> tuple[Any, Any]:
            made = self.optimizer(parameters, **arguments)
            return made, find_lr(made, steps)

        return configure

    def __getstate__(self) -> dict[str, Any]:
        """Only what it is made of: the class is made anew where it arrives."""
        return {"name": self.name, "origin": self.origin}


def candidates(
    optimizers: str | Iterable[str] | None = None, user_rules: Sequence[str | Path | Callable] = (), least: int = 2
) -> list[Candidate]:
    """The competitors by name ("adamw,bfgs", a list, "all" rules, or None for the short list), then the user's.

    Raises:
        ValueError: an unknown name, one named twice, fewer than `least` competitors.
        FileNotFoundError: no such rule file.
    """
    chosen = [Candidate(name, name) for name in _names(optimizers)]
    for given in [user_rules] if isinstance(user_rules, str | Path) or callable(user_rules) else user_rules:
        origin = Path(given).resolve() if isinstance(given, str | Path) else given
        rule = rules.load(Path(given)) if isinstance(given, str | Path) else given
        signature_of(rule)  # says in one sentence what is missing
        taken = {c.name for c in chosen}
        name = getattr(rule, "__name__", "rule")
        numbered = (f"{name}-{i}" for i in range(2, len(chosen) + 3))
        chosen.append(Candidate(name if name not in taken else next(n for n in numbered if n not in taken), origin))
    if len(chosen) < least:
        raise ValueError(f"optimizers is {optimizers!r}; a comparison needs at least two.")
    return chosen


def _names(optimizers: str | Iterable[str] | None) -> list[str]:
    if optimizers is None:
        return list(SHORT_LIST)
    if isinstance(optimizers, str):
        optimizers = rules.names() if optimizers.strip() == "all" else optimizers.split(",")
    names = [str(name).strip().lower() for name in optimizers if str(name).strip()]
    for name in names:
        if name not in MINIMIZERS:
            rules.find(name)
        if names.count(name) > 1:
            raise ValueError(f"optimizers names {name!r} twice.")
    return names
