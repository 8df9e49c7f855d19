"""A rule's hyper-parameters as its optimizer class takes them: torch's spelling, defaults and checks."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch

from thalweg.card import Card, Namesake, card_of
from thalweg.engine.compose import compose
from thalweg.engine.plan import Settings
from thalweg.engine.store import Store
from thalweg.signature import Rule, check_flag, check_number, did_you_mean, signature_of
from thalweg.transforms import OFF, TRANSFORMS
from thalweg.transforms.decay import decays

# What torch's schedulers write into a group, and what a group of another optimizer may bring along.
FROM_SCHEDULERS = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
HINTS: dict[str, Any] = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
}


def with_decay(rule: Rule) -> Rule:
    """The rule as the door runs it: with ``weight_decay`` in front, unless it has its own."""
    card = card_of(rule)
    kind = card.decays if card else ("own" if "weight_decay" in signature_of(rule).numbers else "coupled")
    return compose(decays[kind], rule) if kind in decays else rule


@functools.cache
def transformed(rule: Rule, switched_on: tuple[str, ...]) -> Rule:
    """The rule with transforms in front, by the names in `TRANSFORMS`; they act in that table's order."""
    for name in reversed(TRANSFORMS):
        rule = compose(TRANSFORMS[name], rule) if name in switched_on else rule
    return rule


def switched_on(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The transforms that these settings ask for, beside the direction."""
    return tuple(name for name, off in OFF.items() if settings.get(name, off) is not off)


def door_arguments(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's hyper-parameters as its class spells them: beta1, beta2 ... become ``betas``.

    A beta that is not given is filled in from the defaults.

        >>> from thalweg.rules.adam import adam
        >>> door_arguments(adam, {"lr": 0.1, "beta1": 0.8})
        {'lr': 0.1, 'betas': (0.8, 0.999)}
    """
    numbers = {**signature_of(rule).numbers, **hyper}
    betas = sorted(name for name in numbers if re.fullmatch(r"beta\d", name))
    spelled: dict[str, Any] = {}
    for name, value in hyper.items():
        if len(betas) > 1 and name in betas:
            spelled["betas"] = tuple(numbers[beta] for beta in betas)
        else:
            spelled[name] = value
    return spelled


class Arguments:
    """What a parameter group of one class may say, and what the rule is told.

    Attributes:
        signature: of the rule as it runs.
        namesake: in torch.optim; without one, its name is empty.
        rule: as it runs where no transform is switched on.
        unwritten: arguments with their defaults, which no group shows unless they differ: the transforms, and
            what the namesake does not have.
        settings: where a group keeps what a planned step needs to know.
    """

    def __init__(self, title: str, rule: Rule, card: Card | None):
        self.title, self.card, self.rule = title, card, rule
        self.signature = signature_of(rule)
        self.namesake = (card and card.torch) or Namesake("")
        spelled = door_arguments(rule, self.signature.defaults)
        self.betas = sorted(name for name in self.signature.numbers if re.fullmatch(r"beta\d", name))
        self.betas = self.betas if "betas" in spelled else []
        self.plain = {name: value for name, value in self.signature.defaults.items() if name not in self.betas}
        self.unwritten: dict[str, Any] = {**OFF}
        if self.namesake.name:
            own = {"capturable": HINTS["capturable"]}
            theirs = inspect.signature(getattr(torch.optim, self.namesake.name).__init__).parameters
            self.unwritten |= {name: value for name, value in {**spelled, **own}.items() if name not in theirs}
        numbers = {name: (name, None, value) for name, value in self.signature.numbers.items()}
        numbers |= {beta: ("betas", i, self.signature.numbers[beta]) for i, beta in enumerate(self.betas)}
        whens = [slot.when for slot in self.signature.slots.values() if slot.when in self.signature.numbers]
        bounds = {name: (name, None, 0.0) for name in OFF if name != "centralise"}
        switches = ("maximize", "differentiable", "centralise", *self.signature.flags)
        self.settings = Settings({**numbers, **bounds}, switches, [*whens, *bounds])

    def read(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The group's settings under the rule's own names."""
        hyper = {name: group.get(name, default) for name, default in self.plain.items()}
        if self.betas:
            hyper.update(zip(self.betas, group["betas"], strict=True))
        return hyper | {name: group[name] for name in switched_on(group) if name != "centralise"}

    def rule_of(self, group: Mapping[str, Any]) -> Rule:
        """The rule as this group runs it: with the transforms in front that it asks for."""
        direction = ("maximize",) if group.get("maximize") else ()
        return transformed(self.rule, direction + switched_on(group))

    def check_names(self, group: Mapping[str, Any], known: set[str]) -> None:
        """Refuse a setting that the class does not have."""
        for name in group:
            if name not in known and name not in FROM_SCHEDULERS:
                raise TypeError(f"{self.title} has no setting {name!r}.{did_you_mean(name, known)}")

    def check(self, group: Mapping[str, Any]) -> None:
        """Refuse a value that is out of its range, and combinations that make no sense."""
        if self.betas and (not isinstance(group["betas"], tuple | list) or len(group["betas"]) != len(self.betas)):
            raise ValueError(f"betas is {group['betas']!r}; it must be {len(self.betas)} numbers.")
        hyper = self.read(group)
        for name in self.signature.numbers:
            check_number(name, hyper[name], f"betas[{self.betas.index(name)}]" if name in self.betas else name)
        for name, allowed in self.signature.flags.items():
            check_flag(name, hyper[name], allowed)
        for name in switched_on(group):
            if name != "centralise":
                check_number(name, group[name])
        check_flag("centralise", group.get("centralise", False), (False, True))
        for name in HINTS.keys() & group.keys():
            check_flag(name, group[name], (None, False, True) if HINTS[name] is None else (False, True))
        if group.get("foreach") and group.get("fused"):
            raise ValueError("foreach and fused are both True; ask for one of them.")
        for name, value in self.namesake.fixed.items():
            if group.get(name, value) != value:
                raise ValueError(f"{name} is {group[name]!r}; {self.title} is always {value!r} there.")
        refusal = self.card.refuses(hyper) if self.card and self.card.refuses else None
        if refusal:
            raise ValueError(refusal)


def check_tensors(given: list[Any], groups: list[dict[str, Any]]) -> None:
    """Refuse a parameter that appears twice, in this group or in an earlier one."""
    tensors = [item[1] if isinstance(item, tuple) else item for item in given]
    seen = {id(q) for group in groups for q in group["params"]}
    if any(id(q) in seen for q in tensors):
        raise ValueError("params holds a tensor that is already in another parameter group.")
    first: dict[int, int] = {}
    for i, q in enumerate(tensors):
        if first.setdefault(id(q), i) != i:
            raise ValueError(f"params holds the same tensor twice, at {first[id(q)]} and {i}.")


def check_store(store: Store, given: list[Any], differentiable: bool) -> None:
    """Refuse a parameter that the store cannot keep."""
    for item in given:
        p = item[1] if isinstance(item, tuple) else item
        refusal = store.refuses(p, differentiable) if isinstance(p, torch.Tensor) else None  # torch refuses the rest
        if refusal:
            raise ValueError(refusal)
