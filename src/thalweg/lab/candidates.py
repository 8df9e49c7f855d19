"""Who competes: rules of the house by name, rules of the user's by path or as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thalweg import rules, schedule
from thalweg.card import Range, card_of
from thalweg.lab.space import WITHOUT_CARD, Hyper, Space, dimensions
from thalweg.lab.train import Configure
from thalweg.optimizer import Optimizer, door_arguments, optimizer
from thalweg.signature import Rule, signature_of

# One of each kind: the plain one, the adaptive ones, and their combinations. `all` takes every rule.
SHORT_LIST = ("momentum", "adagrad", "rmsprop", "adamw", "nadam")


@dataclass(frozen=True)
class Candidate:
    """One competitor.

    Attributes:
        name: what it is called in the results, different from all others.
        origin: where its rule is from, so that a worker process can find it too: the name of a rule of the
            house, the path of a file, or the function itself.
    """

    name: str
    origin: str | Path | Rule

    @cached_property
    def rule(self) -> Rule:
        """The formula."""
        if isinstance(self.origin, str):
            return rules.find(self.origin)
        return rules.load(self.origin) if isinstance(self.origin, Path) else self.origin

    @cached_property
    def optimizer(self) -> type[Optimizer]:
        """Its class."""
        return optimizer(self.rule)

    @property
    def title(self) -> str:
        """Its name as one writes it."""
        card = card_of(self.rule)
        return card.title if card else self.name

    def space(self, n: int) -> Space:
        """What `n` points search: the ranges of its card, or lr alone if it has none."""
        card = card_of(self.rule)
        ranges: dict[str, Range] = dict(card.search if card else WITHOUT_CARD)
        default = signature_of(self.rule).numbers
        if "lr" not in ranges or "lr" not in default:
            raise ValueError(f"rule {self.name!r} has no lr; the lab compares rules over their learning rate.")
        ranges = {"lr": ranges.pop("lr"), **ranges}
        return Space(ranges, {"lr": default["lr"]}, min(dimensions(n), len(ranges)))

    def arguments(self, hyper: Hyper) -> dict[str, Any]:
        """Hyper-parameters as its class takes them: beta1 and beta2 as betas."""
        return door_arguments(self.rule, dict(hyper))

    def configure(self, hyper: Hyper, schedule_name: str) -> Configure:
        """The function that `train` calls for the optimizer and its schedule."""
        find_lr, arguments = schedule.find(schedule_name), self.arguments(hyper)

        def configure(parameters: list, steps: int) -> tuple[Any, Any]:
            made = self.optimizer(parameters, **arguments)
            return made, find_lr(made, steps)

        return configure

    def __getstate__(self) -> dict[str, Any]:
        """Only what it is made of: the class is made anew where it arrives."""
        return {"name": self.name, "origin": self.origin}


def candidates(
    optimizers: str | Iterable[str] | None = None, user_rules: Sequence[str | Path | Callable] = ()
) -> list[Candidate]:
    """The competitors by name ("adamw,momentum", a list, "all", or None for the short list), then the user's.

    Raises:
        ValueError: an unknown name, one named twice, fewer than two competitors.
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
    if len(chosen) < 2:
        raise ValueError(f"optimizers is {optimizers!r}; a comparison needs at least two.")
    return chosen


def _names(optimizers: str | Iterable[str] | None) -> list[str]:
    if optimizers is None:
        return list(SHORT_LIST)
    if isinstance(optimizers, str):
        optimizers = rules.names() if optimizers.strip() == "all" else optimizers.split(",")
    names = [str(name).strip().lower() for name in optimizers if str(name).strip()]
    for name in names:
        rules.find(name)
        if names.count(name) > 1:
            raise ValueError(f"optimizers names {name!r} twice.")
    return names
