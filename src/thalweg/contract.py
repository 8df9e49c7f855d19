"""What every rule must keep: one function per promise, each raising `Broken` with what it saw.

The house's tests run them over every file in rules/; `check` runs them over a rule of your own.

    >>> def slowing(p, g, *, t, lr=0.1):
    ...     return p - lr / (1 + 0.01 * t) * g
    >>> [promise for promise, broken in check(slowing).items() if broken]
    []
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from thalweg import ops
from thalweg.arguments import door_arguments
from thalweg.card import Bowl, card_of
from thalweg.claims import CLAIMS
from thalweg.engine import batched, build, cpu, eager, foreach, stacked, triton
from thalweg.engine.cell import AS_TORCH, Cell, start
from thalweg.engine.error_bound import bounded_walk, furthest
from thalweg.engine.store import Store
from thalweg.engine.trace import trace
from thalweg.engine.walk import STEPS, beginning, gradients, settings_of, walk
from thalweg.rule_class import optimizer
from thalweg.signature import Rule, is_on, signature_of

MANY = (64,)  # where even a rule that only looks at signs shows every difference
INTERPRETED = 3  # steps in Triton's interpreter, which takes a hundredth of a second for each
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
NARROW = Store(state=torch.bfloat16, rounding="stochastic", kahan=True)  # all that a store can do at once


class Broken(AssertionError):
    """A promise of the contract that does not hold."""


def expect(holds: Any, sentence: str) -> None:
    """Raise `Broken` with the sentence unless it holds."""
    if not bool(holds):
        raise Broken(sentence)


def _far(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference relative to the largest value; equal infinities and NaNs are no difference."""
    a, b = a.double(), b.double()
    if torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)):
        return 0.0
    return float((a - b).abs().max() / b.abs().max())


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
            slots = {n: start(s, p, hyper) for n, s in signature_of(rule).kept(hyper).items()}
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
            expect(_far(result["p"], after.p) < 1e-14, f"the graph's p differs at step {cell.t}, with {hyper}")
            for name in graph.slots:
                expect(_far(result[name], after.slots[name]) < 1e-14, f"the graph's {name} differs, with {hyper}")


def _before_and_after(rule: Rule, hyper: dict[str, Any]) -> tuple[list[Cell], list[Cell]]:
    p, grads = beginning((3, 2)), gradients((3, 2))
    after = walk(rule, hyper, p, grads)
    slots = {n: start(s, p, hyper) for n, s in signature_of(rule).kept(hyper).items()}
    states = [(p, slots), *((cell.p, cell.slots) for cell in after[:-1])]
    before = [Cell(p, g, slots, t) for t, ((p, slots), g) in enumerate(zip(states, grads, strict=True), 1)]
    return before, after


def engines(rule: Rule, hyper: dict[str, Any]) -> dict[str, Any]:
    """The engines beside eager that run this rule on this machine."""
    found: dict[str, Any] = {"foreach": foreach}
    graph = trace(rule, **hyper)
    with contextlib.suppress(build.NoCompiler):
        build.compiler()
        if cpu.has_kernels(graph):
            found["cpu"] = cpu
    if _device(triton) is not None and triton.has_kernels(graph):
        found["triton"] = triton
    return found


def _device(engine: Any) -> str | None:
    """Where an engine's tensors lie on this machine: Triton's kernels need a GPU, or its interpreter."""
    places = ("cuda", "cpu") if engine is triton else ("cpu",)
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    return next((d for d in places if there[d] and (engine is not triton or triton.runs_on(torch.device(d)))), None)


def engines_agree_with_eager(rule: Rule) -> None:
    """Every engine walks eager's path, for every flag and dtype, as nearly as rounding allows.

    All of them, eager too, stay within the bound that running error analysis derives around the float64 walk; at the
    defaults also with state rounded by chance and compensated parameters. A rule with matrix operations has no such
    bound: there the engines must agree to a few last places.
    """
    compare = _agree_to_last_places if any(n.op in ops.MATRIX for n in trace(rule).nodes) else _stay_within_the_bound
    for index, hyper in enumerate(settings_of(rule)):
        for dtype in DTYPES:
            for store in (AS_TORCH, NARROW) if index == 0 else (AS_TORCH,):
                compare(rule, hyper, dtype, store)


def _stay_within_the_bound(rule: Rule, hyper: dict[str, Any], dtype: torch.dtype, store: Store) -> None:
    p, grads = beginning(MANY, dtype), gradients(MANY, STEPS, dtype)
    wanted = list(bounded_walk(rule, hyper, p, grads, store))
    for engine_name, engine in {"eager": eager, **engines(rule, hyper)}.items():
        found = walked(engine, rule, hyper, p, grads, store)
        ratio = max(furthest(cell.kept, bounds)[1] for cell, bounds in zip(found, wanted, strict=False))
        expect(
            ratio <= 1,
            f"{engine_name} is {ratio:.3g} times as far from the float64 walk as rounding explains, {dtype}, {store}, "
            f"with {hyper}",
        )


def _agree_to_last_places(rule: Rule, hyper: dict[str, Any], dtype: torch.dtype, store: Store) -> None:
    p, grads = beginning((3, 2), dtype), gradients((3, 2), STEPS, dtype)
    path = walk(rule, hyper, p, grads, store=store)
    for engine_name, engine in engines(rule, hyper).items():
        other = walked(engine, rule, hyper, p, grads, store)
        for name, value in path[len(other) - 1].kept.items():
            far = _far(other[-1].kept[name].cpu(), value)
            expect(
                far <= 8 * STEPS * torch.finfo(dtype).eps,
                f"{engine_name} differs from eager in {name} by {far:.1e}, {dtype}, with {hyper}",
            )


def walked(
    engine: Any, rule: Rule, hyper: dict[str, Any], p: torch.Tensor, grads: list[torch.Tensor],
    store: Store = AS_TORCH, interpreted: int = INTERPRETED,
) -> list[Cell]:  # fmt: skip
    """An engine's walk, where it runs on this machine; an interpreted one takes the first few steps only."""
    device = _device(engine)
    steps = interpreted if (engine, device) == (triton, "cpu") else len(grads)
    return walk(rule, hyper, p.to(device), [g.to(device) for g in grads[:steps]], engine, store=store)


def member_k_is_its_own_run(rule: Rule) -> None:
    """K settings in one call: each member as if it were alone, to 1e-12 in float64."""
    for step in (batched.step, stacked.step):
        _members_are_their_own_runs(rule, step)


def _alone(step: Callable[..., Any], rule: Rule, hyper: dict[str, Any]) -> Any:
    """The engine of a member's own run: compiled kernels beside compiled kernels, since they round alike."""
    return engines(rule, hyper).get("cpu", eager) if step is stacked.step else eager


def _members_are_their_own_runs(rule: Rule, step: Callable[..., Any]) -> None:
    members = 4
    for hyper in settings_of(rule):
        numbers = {
            name: _spread(name, value, members) for name, value in hyper.items() if name in signature_of(rule).numbers
        }
        flags = {name: value for name, value in hyper.items() if name not in numbers}
        p = torch.stack([beginning((3, 2)) * (k + 1) for k in range(members)])
        grads = [torch.stack([g * (k + 1) for k in range(members)]) for g in gradients((3, 2))]
        many = {name: torch.tensor(values, dtype=torch.float64) for name, values in numbers.items()}
        slots = batched.starts(rule, p, **many, **flags)
        stack: Any = p
        for t, g in enumerate(grads, 1):
            stack, slots = step(rule, stack, g, slots, t=t, **many, **flags)
        for k in range(members):
            own = {**{name: values[k] for name, values in numbers.items()}, **flags}
            # A slot that only some members need is kept by all of them: give it to the lone run as well.
            kept = {n: s for n, s in signature_of(rule).kept(own).items() if n in slots}
            if set(kept) != set(slots):
                continue
            alone = walk(rule, own, p[k], [g[k] for g in grads], _alone(step, rule, own))[-1]
            for name, a, b in [("p", stack[k], alone.p), *((n, slots[n][k], alone.slots[n]) for n in slots)]:
                expect(
                    _far(a, b) <= 1e-12,
                    f"member {k} differs from its own run in {name} by {_far(a, b):.1e}, with {own}, {step.__module__}",
                )


def _spread(name: str, value: float, members: int) -> list[float]:
    """Values around a default that stay in its range."""
    factors = [1.0, 0.9, 0.7, 0.5][:members]
    return [value * f for f in factors]


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


def check(rule: Rule) -> dict[str, str | None]:
    """Run the whole contract on a rule.

    Returns:
        For each promise None where it holds, else the sentence that says what was seen.
    """
    findings: dict[str, str | None] = {}
    for name, promise in PROMISES.items():
        try:
            promise(rule)
            findings[name] = None
        except Exception as broken:  # a rule of the user's may raise anything
            findings[name] = str(broken) if isinstance(broken, Broken) else f"{type(broken).__name__}: {broken}"
    return findings
