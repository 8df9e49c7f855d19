"""Print a rule's optimizer class: a real signature and docstring for the editor."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

import torch

from thalweg.card import Card, OneMinusLog
from thalweg.signature import Rule, Signature

WORDS = {
    "lr": "learning rate: {unit}",
    "betas": "how much of each running average is kept per step: of the gradients, and of their squares",
    "beta1": "how much of the running average of gradients is kept per step (the class has betas)",
    "beta2": "how much of the running average of their squares is kept per step (the class has betas)",
    "eps": "keeps the denominator away from 0; where it stands is the convention's (see below)",
    "eps_root": "a second eps inside the root (optax)",
    "eps_hat": "add eps to sqrt(v) before its bias correction (Keras, TensorFlow)",
    "eps_inside_root": "eps inside the root (the lecture, Keras, optax) or outside",
    "weight_decay": "pull towards 0: joins the gradient (coupled), or acts beside it if decoupled",
    "decoupled_weight_decay": "shrink the parameter by lr * weight_decay instead of adding to the gradient",
    "momentum": "how much of the velocity is kept per step",
    "dampening": "how much less than itself a gradient adds to the velocity, from the second step on",
    "nesterov": "Nesterov's look ahead; needs momentum",
    "average": "the velocity is a weighted average of gradients instead of their sum",
    "lr_in_velocity": "the velocity holds steps (lr inside: Sutskever, Keras, optax's RMSProp), not gradients",
    "amsgrad": "divide by the largest second moment so far (Reddi et al. 2018)",
    "max_of_corrected": "amsgrad takes the maximum after the bias correction (optax) instead of before (torch)",
    "bias_correction": "give averages that began at 0 their full weight",
    "always_adapt": "take the trust ratio also without decay (NVLAMB); otherwise tensors without decay go Adam's way",
    "trust_clip": "a trust ratio of at most 1 (LAMBC)",
    "lr_decay": "lr is divided by 1 + (t - 1) * lr_decay",
    "initial_accumulator_value": "where the sum or average of squares starts",
    "rho": "how much of the running averages is kept per step",
    "alpha": "how much of the running averages is kept per step",
    "centered": "divide by the standard deviation of the gradient instead of its root mean square",
    "momentum_decay": "how fast the momentum warms up: mu = beta1 * (1 - 0.5 * 0.96^(t * momentum_decay))",
    "momentum_schedule": "warm the momentum up at all",
    "clip_norm": "shorten the gradient of all parameters together, over all groups that ask for it, to this length, as "
    "torch.nn.utils.clip_grad_norm_ does before a step; None: as it is",
    "clip_tensor_norm": "shorten each tensor's gradient to this length; None: as it is",
    "clip_value": "keep every element of the gradient within plus and minus this; None: as it is",
    "centralise": "take the mean of each row from the gradients of matrices and convolutions (Yong et al. 2020)",
    "maximize": "walk up instead of down",
    "foreach": "True: call the rule once on lists of tensors; the numbers are the same",
    "fused": "a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same",
    "capturable": "count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture the step",
    "engine": "'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton' insist on "
    "theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; "
    "the environment's THALWEG_ENGINE changes what 'auto' means",
    "store": "how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch does: "
    "state in the parameter's dtype, all rounded to the nearest",
    "differentiable": "let autograd follow the step (for gradients with respect to lr, say)",
}
EVERYWHERE = {"capturable": False}  # of a group, also where torch does not have it
OURS = {"engine": "auto", "store": None}  # of the optimizer, not of a group
HEAD = '''\
"""The optimizers: signatures and docstrings for the editor; each formula is in rules/.

Generated from the rules by scripts/generate.py: edit those, and run it.
"""

from __future__ import annotations

from torch import Tensor

from thalweg import namesakes
from thalweg.engine.store import Store
from thalweg.optimizer import Optimizer, ParamsT
from thalweg.rules import {imports}
'''


def optimizers_source(entries: list[tuple[str, Rule, Card, Signature, dict[str, Any]]]) -> str:
    """The text of optimizers.py.

    Args:
        entries: for each class the expression that names its formula, the formula, its card, the signature
            of the rule as it runs (with decay), and its arguments as the door spells them.
    """
    modules = sorted({expression.split(".")[0] for expression, *_ in entries} - {"namesakes"})
    parts = [HEAD.format(imports=", ".join(modules))]
    titles = sorted((card.title for _, _, card, _, _ in entries), key=lambda title: (not title.isupper(), title))
    parts.append("__all__ = [" + ", ".join(f'"{title}"' for title in titles) + "]\n")
    parts += [_class(*entry) for entry in entries]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def arguments(card: Card, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Positional and keyword-only arguments with their defaults: torch's order, then our own."""
    if card.torch is None:
        hints = {"maximize": False, "foreach": None, "differentiable": False, **EVERYWHERE}
        return {"lr": defaults["lr"]}, {**{k: v for k, v in defaults.items() if k != "lr"}, **hints, **OURS}
    theirs = inspect.signature(getattr(torch.optim, card.torch.name).__init__).parameters
    fixed = card.torch.fixed
    positional: dict[str, Any] = {}
    keyword: dict[str, Any] = {}
    for name, q in theirs.items():
        if name in ("self", "params") or name in fixed:
            continue
        ours = defaults.get(name, q.default)
        (keyword if q.kind is q.KEYWORD_ONLY else positional)[name] = ours
    keyword |= {name: value for name, value in {**defaults, **EVERYWHERE}.items() if name not in theirs}
    return positional, {**keyword, **OURS}


def _class(expression: str, formula: Rule, card: Card, signature: Signature, defaults: dict[str, Any]) -> str:
    positional, keyword = arguments(card, defaults)
    names = [*positional, *keyword]
    lines = [f"class {card.title}(Optimizer):", f'    """{card.summary}', ""]
    module = expression.split(".")[0]
    where = f"rules/{module}.py" if module != "namesakes" else "rules/sgd.py, momentum.py and nesterov.py"
    lines += [*_wrapped(card.intuition, 4), ""]
    lines += [*_wrapped(f"Formula: {where}. Source: {card.paper}.", 4), "", "    Args:"]
    lines += _wrapped("params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.", 8, 12)
    for name in names:
        default = {**positional, **keyword}[name]
        lines += _wrapped(f"{name}: {meaning(name, card)}. Default {default!r}.", 8, 12)
    if card.conventions:
        lines += ["", "    Conventions:"]
        for library, settings in card.conventions.items():
            shown = ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "the defaults"
            lines += _wrapped(f"{library}: {shown}.", 8, 12)
        lines += _wrapped(card.conventions_note, 8)
    lines += ["", "    Raises:"]
    lines += _wrapped(
        "TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.", 8, 12
    )
    lines += ["", "    Example:"]
    lines += ["        >>> import torch, thalweg as tw", "        >>> model = torch.nn.Linear(2, 1)"]
    lines += [f"        >>> optimizer = tw.{card.title}(model.parameters(), lr={defaults['lr']!r})"]
    lines += ["        >>> model(torch.ones(3, 2)).mean().backward()", "        >>> optimizer.step()", '    """', ""]
    lines += [
        f"    formula = staticmethod({expression})",
        "",
        "    def __init__(",
        "        self,",
        "        params: ParamsT,",
    ]
    lines += [f"        {name}: {_type(name, value)} = {value!r}," for name, value in positional.items()]
    lines += ["        *,"] if keyword else []
    lines += [f"        {name}: {_type(name, value)} = {value!r}," for name, value in keyword.items()]
    lines += ["    ) -> None:", "        super().__init__(", "            params,", "            {"]
    lines += [f'                "{name}": {name},' for name in names if name not in OURS]
    lines += ["            },", "            engine,", "            store,", "        )"]
    return "\n".join(lines)


def meaning(name: str, card: Card | None) -> str:
    """What an argument does, in a few words."""
    own = card.symbols.get(name) if card else None
    return (own or WORDS.get(name) or "see the rule").format(unit=_unit(card))


def _unit(card: Card | None) -> str:
    claims = card.claims if card else ()
    if "relative-step-is-lr" in claims:
        return "how far a tensor moves per step, as a share of its own length"
    return (
        "about how far a parameter moves per step" if "scale-free" in claims else "what the direction is multiplied by"
    )


def _type(name: str, value: Any) -> str:
    if name == "betas":
        return "tuple[" + ", ".join("float | Tensor" for _ in value) + "]"
    if name == "store":
        return "Store | None"
    if value is None:
        return "float | Tensor | None" if name.startswith("clip") else "bool | None"
    if isinstance(value, bool):
        return "bool"
    return "str" if isinstance(value, str) else "float | Tensor"


def _wrapped(text: str, indent: int, hanging: int | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        width=108,
        initial_indent=" " * indent,
        subsequent_indent=" " * (hanging or indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


def search_text(card: Card) -> str:
    """The card's search ranges in one line."""
    parts = []
    for name, span in card.search.items():
        label = f"1 - {name}" if isinstance(span, OneMinusLog) else name
        parts.append(f"{label} {span.low:g} to {span.high:g}")
    return ", ".join(parts)
