"""Who races: rules of the house by name, with settings, and rules of the user's.

>>> [entry.name for entry in entries("sgd, adam(lr=0.1), adam(lr=0.1, amsgrad=True)")]
['sgd', 'adam', 'adam amsgrad']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thalweg import rules, typed
from thalweg.arguments import with_decay
from thalweg.card import Log, Range, card_of
from thalweg.minimize import METHODS
from thalweg.signature import Rule, check_flag, check_number, did_you_mean, signature_of

CLASSICS = "sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam"
WITHOUT_CARD = Log(1e-5, 1.0)  # the lrs to try for a rule that has no card
BEYOND = 10.0  # either end: the cards' ranges are those of networks, and landscapes have other scales
Given = str | Rule
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One who races.

    Attributes:
        name: what it is called, different from all others. rule: the formula.
        lr: the learning rate that was asked for; None where it is to be chosen.
        settings: every other hyper-parameter that was given. range: that of its card.
    """

    name: str
    rule: Rule
    lr: float | None = None
    settings: Settings = field(default_factory=dict)
    range: Range = WITHOUT_CARD

    def lrs(self, count: int) -> list[float]:
        """`count` learning rates, evenly spread in the logarithm; and the fixed one, last."""
        wide = Log(self.range.at(0) / BEYOND, self.range.at(1) * BEYOND)
        grid = [wide.at(i / (count - 1)) for i in range(count)]
        return grid if self.lr is None else [*grid, self.lr]


@dataclass(frozen=True)
class Searcher:
    """A minimizer that races: one of `thalweg.minimize`'s methods, with its options."""

    name: str
    method: str
    options: Settings = field(default_factory=dict)


def entries(
    optimizers: str | Given | Iterable[Given] | None = None,
    lr: float | None = None,
    settings: Settings | None = None,
    user_rules: Iterable[str | Path | Rule] = (),
) -> list[Entry | Searcher]:
    """Everybody who races, in order.

    Args:
        optimizers: `"sgd, adam(beta1=0.5), bfgs"`, or names and rules in a list; the classics by default.
        lr: fixes the learning rate of all. settings: of some, `{"adam.lr": 0.1}` or `{"adam": {"lr": 0.1}}`.
        user_rules: rules, or paths of files with one.

    Raises:
        ValueError, TypeError: an unknown name or setting, a value that is not allowed; nobody races.
    """
    user_rules = list(user_rules)
    made = [] if optimizers is None and user_rules else _named(CLASSICS if optimizers is None else optimizers)
    for each in user_rules:
        rule = rules.load(each) if isinstance(each, str | Path) else each
        made.append((getattr(rule, "__name__", "rule"), rule, {}))
    if not made:
        raise ValueError("optimizers is empty; at least one has to race.")
    given = _by_name(settings or {})
    known = [name for name, _, _ in made]
    for name in given:
        if name not in known:
            raise ValueError(f"settings are given for {name!r}, which does not race.{did_you_mean(name, known)}")
    every = [(name, rule, {**own, **given.get(name, {})}) for name, rule, own in made]
    return _distinct([_entry(name, rule, own, lr) if rule else Searcher(name, name, own) for name, rule, own in every])


def _named(optimizers: str | Given | Iterable[Given]) -> list[tuple[str, Rule | None, dict[str, Any]]]:
    """Name, rule and settings of each; a minimizer has no rule."""
    if isinstance(optimizers, str):
        found = typed.calls(optimizers) if optimizers.strip() else []
        return [(call.name.lower(), _rule(call.name.lower()), dict(call.arguments)) for call in found]
    if callable(optimizers):
        return [(getattr(optimizers, "__name__", "rule"), optimizers, {})]
    return [each for given in optimizers for each in _named(given)]


def _rule(name: str) -> Rule | None:
    searches = [method.replace("-", "_") for method in METHODS]
    if name in searches:
        return None
    if name not in rules.names():
        known = [*rules.names(), *searches]
        raise ValueError(f"there is no optimizer {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return rules.find(name)


def _by_name(settings: Settings) -> dict[str, dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        name, dot, setting = key.partition(".")
        if not dot and not isinstance(value, Mapping):
            raise ValueError(f"setting {key!r} does not say whose it is; write optimizer.{key}, as in adam.lr=0.1.")
        grouped.setdefault(name.lower(), {}).update({setting: value} if dot else value)
    return grouped


def _entry(name: str, rule: Rule, given: dict[str, Any], lr: float | None) -> Entry:
    signature_of(rule)  # says in one sentence what is missing
    rule = with_decay(rule) if "weight_decay" in given else rule
    signature, card = signature_of(rule), card_of(rule)
    for key, value in given.items():
        if key not in signature.defaults:
            near = did_you_mean(key, signature.defaults)
            raise ValueError(f"{name} has no setting {key!r}.{near} It has {', '.join(signature.defaults)}.")
        if key in signature.flags:
            check_flag(f"{name}.{key}", value, signature.flags[key])
        else:
            check_number(key, value, f"{name}.{key}")
    if "lr" not in signature.numbers:
        raise ValueError(f"{name} has no lr; a race chooses one for everybody.")
    refusal = card.refuses({**signature.defaults, **given}) if card and card.refuses else None
    if refusal:
        raise ValueError(f"{name}: {refusal}")
    if lr is not None:
        check_number("lr", lr)
    own = given.pop("lr", lr)
    return Entry(name, rule, own, given, card.search.get("lr", WITHOUT_CARD) if card else WITHOUT_CARD)


def _distinct(found: list[Entry | Searcher]) -> list[Entry | Searcher]:
    """Names that differ: by the settings in which entries of one name differ, else by a number."""
    named: list[Entry | Searcher] = []
    for entry in found:
        same = [each for each in found if each.name == entry.name]
        full = [_given(each) for each in same]
        mine = _given(entry)
        differing = [key for key in mine if any(each.get(key) != mine[key] for each in full)]
        words = [key if mine[key] is True else f"{key}={mine[key]}" for key in differing if mine[key] is not None]
        name = " ".join([entry.name, *words])
        taken = {each.name for each in named}
        numbered = (f"{name} {i}" for i in range(2, len(found) + 2))
        named.append(replace(entry, name=name if name not in taken else next(n for n in numbered if n not in taken)))
    return named


def _given(entry: Entry | Searcher) -> dict[str, Any]:
    return {**entry.settings, "lr": entry.lr} if isinstance(entry, Entry) else dict(entry.options)
