"""What every rule must keep: one function per promise, each raising `Broken` with what it saw.

The house's tests run them over every file in rules/; `check` runs them over a rule of your own.

    >>> def slowing(p, g, *, t, lr=0.1):
    ...     return p - lr / (1 + 0.01 * t) * g
    >>> [promise for promise, broken in check(slowing).items() if broken]
    []
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from thalweg.arguments import door_arguments
from thalweg.card import Bowl, card_of
from thalweg.claims import CLAIMS
from thalweg.engine import eager
from thalweg.engine.agreement import (
    DTYPES,
    MANY,
    Broken,
    distance,
    engines,
    engines_agree_with_eager,
    expect,
    member_k_is_its_own_run,
    torch_compile_agrees_with_eager,
    walked,
)
from thalweg.engine.cell import Cell, starts
from thalweg.engine.trace import trace
from thalweg.engine.walk import beginning, gradients, settings_of, walk
from thalweg.rule_class import optimizer
from thalweg.signature import Rule, is_on, signature_of

__all__ = ["PROMISES", "Broken", "check", "engines", "expect", "walked"]  # and each promise by its name

# ---- the promises


def runs_on_plain_floats(rule: Rule) -> None:
    """An elementwise rule called with Python floats or numpy values gives the numbers that tensors give."""
    for hyper in settings_of(rule):
        if not trace(rule, **hyper).elementwise:
            return
        signature = signature_of(rule)
        grads = gradients((1,))
        tensors = walk(rule, hyper, beginning((1,)), grads)
        for kind in (float, np.float64):
            p = kind(beginning((1,)).item())
            kept = signature.kept(hyper)
            first = {n: s.start if not isinstance(s.start, str) else hyper.get(s.start, p) for n, s in kept.items()}
            slots = {name: kind(value) for name, value in first.items()}
            for t, (g, cell) in enumerate(zip(grads, tensors, strict=True), 1):
                result = rule(p, kind(g.item()), *(slots.get(n) for n in signature.slots), t=t, **hyper)
                p, *new = result if isinstance(result, tuple) else (result,)
                slots = {n: value for n, value in zip(signature.slots, new, strict=True) if n in slots}
                expect(
                    math.isclose(p, cell.p.item(), rel_tol=1e-12),
                    f"on {kind.__name__} step {t} gives p = {p}, on tensors {cell.p.item()}, with {hyper}",
                )


def leaves_its_inputs_alone(rule: Rule) -> None:
    """Values in, values out: p, g and slots are the same after the call."""
    for hyper in settings_of(rule):
        cell = walk(rule, hyper, beginning((3, 2)), gradients((3, 2), 2))[-1]
        before = copy.deepcopy(cell)
        eager.step(rule, [cell], hyper)
        for name in ("p", "g"):
            expect(
                torch.equal(getattr(cell, name), getattr(before, name)), f"{name} was changed in place, with {hyper}"
            )
        for name, slot in cell.slots.items():
            expect(torch.equal(slot, before.slots[name]), f"slot {name} was changed in place, with {hyper}")


def slots_keep_shape_and_dtype(rule: Rule) -> None:
    """p and every slot come back as they went in."""
    for hyper in settings_of(rule):
        for dtype in DTYPES:
            p = beginning((3, 2), dtype)
            slots = starts(rule, hyper, p)
            after = walk(rule, hyper, p, gradients((3, 2), 3, dtype))[-1]
            for name, old, new in [("p", p, after.p), *((n, slots[n], after.slots[n]) for n in slots)]:
                same = old.shape == new.shape and old.dtype == new.dtype
                expect(
                    same,
                    f"{name} went in as {old.dtype} {tuple(old.shape)} and came out as {new.dtype} {tuple(new.shape)}",
                )


def trace_says_what_the_rule_does(rule: Rule) -> None:
    """The graph, evaluated, gives the rule's own numbers."""
    for hyper in settings_of(rule):
        graph = trace(rule, **hyper)
        numbers = {name: hyper[name] for name in signature_of(rule).numbers}
        for cell, after in zip(*_before_and_after(rule, hyper), strict=True):
            result = graph.run(p=cell.p, g=cell.g, t=cell.t, **cell.slots, **numbers)
            expect(distance(result["p"], after.p) < 1e-14, f"the graph's p differs at step {cell.t}, with {hyper}")
            for name in graph.slots:
                expect(distance(result[name], after.slots[name]) < 1e-14, f"the graph's {name} differs, with {hyper}")


def _before_and_after(rule: Rule, hyper: dict[str, Any]) -> tuple[list[Cell], list[Cell]]:
    p, grads = beginning((3, 2)), gradients((3, 2))
    after = walk(rule, hyper, p, grads)
    slots = starts(rule, hyper, p)
    states = [(p, slots), *((cell.p, cell.slots) for cell in after[:-1])]
    before = [Cell(p, g, slots, t) for t, ((p, slots), g) in enumerate(zip(states, grads, strict=True), 1)]
    return before, after


def kernels_are_as_recorded(rule: Rule) -> None:
    """A step takes as many passes over memory as the card says, whatever the flags."""
    card = card_of(rule)
    wanted = card.kernels if card else None
    for hyper in settings_of(rule):
        graph = trace(rule, **hyper)
        found = len(graph.kernels)
        if wanted is not None:
            expect(found == wanted, f"{found} kernels where the card says {wanted}, with {hyper}")
        elif graph.elementwise:
            expect(found == 1, f"{found} kernels for an elementwise rule, with {hyper}")


def every_flag_has_an_effect(rule: Rule) -> None:
    """Turning a flag changes the path under some setting of the others and a falling lr."""
    signature = signature_of(rule)
    settings = list(settings_of(rule))
    for flag, values in signature.flags.items():
        for value in values[1:]:
            changed = False
            for hyper in settings:
                if hyper[flag] == values[0] and {**hyper, flag: value} in settings:
                    a = walk(rule, hyper, beginning(MANY), gradients(MANY), fading=True)[-1]
                    b = walk(rule, {**hyper, flag: value}, beginning(MANY), gradients(MANY), fading=True)[-1]
                    changed |= not torch.equal(a.p, b.p)
            expect(changed, f"{flag}={value!r} changes nothing")


def every_number_has_an_effect(rule: Rule) -> None:
    """Changing a hyper-parameter changes the path under some setting."""
    for name in signature_of(rule).numbers:
        changed = False
        for hyper in settings_of(rule):
            other = {**hyper, name: hyper[name] * 0.5 if hyper[name] else 0.2}
            if is_on(other[name]) != is_on(hyper[name]):
                changed = True
                break
            a = walk(rule, hyper, beginning(MANY), gradients(MANY))[-1]
            b = walk(rule, other, beginning(MANY), gradients(MANY))[-1]
            changed |= not torch.equal(a.p, b.p)
        expect(changed, f"{name} changes nothing")


def _class_walk(rule: Rule, grads: list[torch.Tensor], **settings: Any) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    p = torch.nn.Parameter(beginning(tuple(grads[0].shape)))
    opt = optimizer(rule)([p], **settings)
    for g in grads:
        p.grad = g.clone()
        opt.step()
    return p, opt


def maximising_is_minimising_minus_g(rule: Rule) -> None:
    """`maximize` on g is the same walk as minimising on -g."""
    grads = gradients((3, 2))
    for extra in ({}, {"weight_decay": 0.1}):
        up, _ = _class_walk(rule, grads, maximize=True, **extra)
        down, _ = _class_walk(rule, [-g for g in grads], **extra)
        expect(torch.equal(up, down), f"maximize on g differs from minimising on -g, with {extra}")


def stays_put_without_gradient(rule: Rule) -> None:
    """Zero gradients and zero decay leave the parameter where it is."""
    grads = [torch.zeros(3, 2, dtype=torch.float64)] * 5
    p, _ = _class_walk(rule, grads, weight_decay=0.0)
    expect(torch.equal(p, beginning((3, 2))), "zero gradients moved the parameter")


def continues_after_save_and_load(rule: Rule) -> None:
    """Save, load into a fresh optimizer, continue: the path of one that never stopped."""
    signature = signature_of(rule)
    grads = gradients((3, 2))
    for hyper in settings_of(rule):
        spelled = door_arguments(rule, {n: v for n, v in hyper.items() if n in signature.defaults})
        whole, _ = _class_walk(rule, grads, **spelled)
        p, opt = _class_walk(rule, grads[:4], **spelled)
        again = optimizer(rule)([p], **spelled)
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        for g in grads[4:]:
            p.grad = g.clone()
            again.step()
        expect(torch.equal(p, whole), f"the path after loading differs, with {hyper}")


def refuses_unknown_keywords(rule: Rule) -> None:
    """A misspelt argument is an error that names it."""
    p = torch.nn.Parameter(torch.zeros(1))
    try:
        optimizer(rule)([p], learning_rat=0.1)
    except TypeError as error:
        expect("learning_rat" in str(error), f"the refusal does not name the argument: {error}")
        return
    raise Broken("an unknown keyword was accepted")


def keeps_its_claims(rule: Rule) -> None:
    """Every claim of the card holds."""
    card = card_of(rule)
    for claim in card.claims if card else ():
        expect(claim in CLAIMS, f"the card claims {claim!r}; known claims: {', '.join(sorted(CLAIMS))}")
        says = CLAIMS[claim](rule)
        expect(says is None, f"the card claims {claim!r}, but {says}")


def reaches_the_bottom_of_a_bowl(rule: Rule) -> None:
    """On 0.5 * (x^2 + 10 y^2) from (1, 1), with lr falling linearly to 0, it ends at the bottom.

    With the card's lr, to the card's tolerance; a rule without a card gets half way down with one of four lrs.
    """
    card = card_of(rule)
    bowls = [card.bowl] if card else [Bowl(lr=lr, tolerance=0.5) for lr in (0.3, 0.1, 0.03, 0.01)]
    ends = [_end_in_the_bowl(rule, bowl) for bowl in bowls]
    best = min(ends, key=lambda end: float(end.abs().nan_to_num(nan=float("inf")).max()))
    tolerance = bowls[0].tolerance
    expect(float(best.abs().max()) <= tolerance, f"it ends at {best.tolist()}, tolerance {tolerance}")


def _end_in_the_bowl(rule: Rule, bowl: Bowl) -> torch.Tensor:
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    opt = optimizer(rule)([p], lr=bowl.lr, weight_decay=0.0)
    curvature = torch.tensor([1.0, 10.0], dtype=torch.float64)
    for step in range(bowl.steps):
        opt.param_groups[0]["lr"] = bowl.lr * (1 - step / bowl.steps)
        p.grad = curvature * p.detach()
        opt.step()
    return p.detach()


def card_is_complete(rule: Rule) -> None:
    """The card names every slot, searches lr first, and its ranges hold the defaults they surround."""
    card = card_of(rule)
    if card is None:
        return
    signature = signature_of(rule)
    for slot in signature.slots:
        expect(slot in card.symbols, f"the card's symbols do not name slot {slot}")
    expect(next(iter(card.search)) == "lr", "the card's search must begin with lr")
    for name, span in card.search.items():
        known = {**signature.numbers, "weight_decay": 0.0}
        expect(name in known, f"the card searches {name}, which is no argument")
        expect(span.low < span.high, f"the range of {name} is empty")
    lr = signature.numbers["lr"]
    expect(card.search["lr"].low <= lr <= card.search["lr"].high, f"the default lr {lr} lies outside its range")
    for library, settings in card.conventions.items():
        for name in settings:
            known = {*signature.defaults, "weight_decay"}
            expect(name in known, f"convention {library} sets {name}, which is no argument")


PROMISES: dict[str, Callable[[Rule], None]] = {
    promise.__name__: promise
    for promise in (
        runs_on_plain_floats,
        leaves_its_inputs_alone,
        slots_keep_shape_and_dtype,
        trace_says_what_the_rule_does,
        engines_agree_with_eager,
        member_k_is_its_own_run,
        kernels_are_as_recorded,
        every_flag_has_an_effect,
        every_number_has_an_effect,
        maximising_is_minimising_minus_g,
        stays_put_without_gradient,
        continues_after_save_and_load,
        refuses_unknown_keywords,
        keeps_its_claims,
        reaches_the_bottom_of_a_bowl,
        card_is_complete,
    )
}


def check(rule: Rule, compiled: bool = False) -> dict[str, str | None]:
    """Run the whole contract on a rule.

    Args:
        rule: the rule.
        compiled: hold engine="compiled" to it as well, at the rule's defaults: torch.compile takes half a minute.

    Returns:
        For each promise None where it holds, else the sentence that says what was seen.
    """
    findings: dict[str, str | None] = {}
    promises = [*PROMISES.values(), *([torch_compile_agrees_with_eager] if compiled else [])]
    for promise in promises:
        name = promise.__name__
        try:
            promise(rule)
            findings[name] = None
        except Exception as broken:  # a rule of the user's may raise anything
            findings[name] = str(broken) if isinstance(broken, Broken) else f"{type(broken).__name__}: {broken}"
    return findings
