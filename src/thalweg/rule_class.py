"""From a rule to its optimizer class: the house's own, or one with a signature made from the rule's."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from thalweg.arguments import HINTS, door_arguments, with_decay
from thalweg.card import card_of
from thalweg.optimizer import HOUSE, Optimizer
from thalweg.signature import Rule, signature_of
from thalweg.transforms import OFF


def optimizer(rule: Rule) -> type[Any]:
    """The optimizer class of a rule: the house's own by its name, any other made on the spot.

    Args:
        rule: a function ``(p, g, slots ..., *, t, lr=..., ...)``.

    Returns:
        A class whose arguments are ``params``, the rule's hyper-parameters (beta1, beta2 as ``betas``),
        ``weight_decay``, the transforms ``clip_norm``, ``clip_tensor_norm``, ``clip_value`` and ``centralise``,
        and torch's ``maximize``, ``foreach``, ``capturable``, ``differentiable``.

    Example:
        >>> def halving(p, g, *, t, lr=0.1):
        ...     return p - lr / 2**t * g
        >>> import torch
        >>> p = torch.nn.Parameter(torch.tensor([1.0]))
        >>> p.grad = torch.tensor([1.0])
        >>> optimizer(halving)([p], lr=0.5).step()
        >>> p.data
        tensor([0.7500])
    """
    signature_of(rule)  # refuses what is no rule
    card = card_of(rule)
    if card is not None and rule.__module__.startswith("thalweg.rules.") and card.title in HOUSE:
        return HOUSE[card.title]
    return _made(rule)  # also a rule of the house that was written a minute ago, before its class is generated


@functools.cache
def _made(rule: Rule) -> type[Any]:
    card = card_of(rule)
    full = with_decay(rule)
    defaults = {**door_arguments(full, signature_of(full).defaults), **OFF}
    defaults |= {name: HINTS[name] for name in ("maximize", "foreach", "capturable", "differentiable")}
    defaults |= {"engine": "auto", "store": None}
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = {"lr": defaults.pop("lr")} if "lr" in defaults else {}
    arguments = [
        *(inspect.Parameter(name, positional) for name in ("self", "params")),
        *(inspect.Parameter(name, positional, default=value) for name, value in first.items()),
        *(inspect.Parameter(name, keyword, default=value) for name, value in defaults.items()),
    ]
    signature = inspect.Signature(arguments)

    def __init__(*args: Any, **settings: Any) -> None:
        bound = signature.bind(*args, **settings)
        bound.apply_defaults()
        self, params, *_ = bound.args
        chosen = {k: v for k, v in bound.arguments.items() if k not in ("self", "params", "engine", "store")}
        Optimizer.__init__(self, params, chosen, bound.arguments["engine"], bound.arguments["store"])

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    body = {
        "formula": staticmethod(rule),
        "__init__": __init__,
        "__doc__": rule.__doc__,
        "__module__": rule.__module__,
        "__reduce__": lambda self: (_unpickled, (rule,), self.__getstate__()),
    }
    return type(card.title if card else rule.__name__, (Optimizer,), body)


def _unpickled(rule: Rule) -> Optimizer:
    cls: type[Optimizer] = optimizer(rule)
    return cls.__new__(cls)
