"""Put a transform in front of a rule: one pure function again, so every engine runs it as one."""

from __future__ import annotations

import inspect
from typing import Any

from thalweg.signature import Rule


def compose(transform: Rule, rule: Rule) -> Rule:
    """The rule that first lets ``transform(p, g, *, ...) -> (p, g)`` act.

    It has the arguments of both (shared names are one argument, with the rule's default) and keeps the
    rule's name and module, and so its card.
    """
    before, after = inspect.signature(transform).parameters, inspect.signature(rule).parameters
    ours = [q for q in before.values() if q.kind is q.KEYWORD_ONLY and q.name not in after]
    theirs = [name for name, q in before.items() if q.kind is q.KEYWORD_ONLY]
    own = {name for name, q in after.items() if q.kind is q.KEYWORD_ONLY}

    def composed(p: Any, g: Any, *slots: Any, **arguments: Any) -> Any:
        p, g = transform(p, g, **{name: arguments[name] for name in theirs if name in arguments})
        return rule(p, g, *slots, **{name: value for name, value in arguments.items() if name in own})

    composed.__name__ = composed.__qualname__ = getattr(rule, "__name__", "rule")
    composed.__module__ = rule.__module__
    composed.__doc__ = rule.__doc__
    composed.__annotations__ = {**transform.__annotations__, **rule.__annotations__}
    composed.__signature__ = inspect.Signature([*after.values(), *ours])  # type: ignore[attr-defined]
    composed.parts = (transform, rule)  # type: ignore[attr-defined]  who prints a formula reads both sources
    composed.before = (getattr(transform, "__name__", "transform"), *getattr(rule, "before", ()))  # type: ignore[attr-defined]
    return composed
