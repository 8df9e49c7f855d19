"""What every engine must keep: eager's path, as nearly as rounding allows, for one rule at a time.

Promises of the contract (contract.py), and what they are made of: a walk by any engine that this machine has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from thalweg import ops
from thalweg.engine import batched, build, compiled, cpu, eager, foreach, stacked, triton
from thalweg.engine.cell import AS_TORCH, Cell
from thalweg.engine.error_bound import bounded_walk, furthest
from thalweg.engine.store import Store
from thalweg.engine.trace import trace
from thalweg.engine.walk import STEPS, beginning, gradients, settings_of, walk
from thalweg.signature import Rule, signature_of

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


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference relative to the largest value; equal infinities and NaNs are no difference."""
    a, b = a.double(), b.double()
    if torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)):
        return 0.0
    return float((a - b).abs().max() / b.abs().max())


def engines(rule: Rule, hyper: dict[str, Any]) -> dict[str, Any]:
    """The engines beside eager that run this rule on this machine."""
    found: dict[str, Any] = {"foreach": foreach}
    graph = trace(rule, **hyper)
    with contextlib.suppress(build.NoCompiler):
        build.compiler()
        if cpu.has_kernels(graph):
            found["cpu"] = cpu
    if device_of(triton) is not None and triton.has_kernels(graph):
        found["triton"] = triton
    return found


def device_of(engine: Any) -> str | None:
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
    for index, hyper in enumerate(settings_of(rule)):
        for dtype in DTYPES:
            for store in (AS_TORCH, NARROW) if index == 0 else (AS_TORCH,):
                _compare(rule, hyper, dtype, store, {"eager": eager, **engines(rule, hyper)})


def torch_compile_agrees_with_eager(rule: Rule) -> None:
    """The same of engine="compiled", at the defaults: torch needs seconds for each dtype."""
    hyper = next(iter(settings_of(rule)))
    for dtype in DTYPES:
        _compare(rule, hyper, dtype, AS_TORCH, {"compiled": compiled})


def _compare(rule: Rule, hyper: dict[str, Any], dtype: torch.dtype, store: Store, found: dict[str, Any]) -> None:
    matrices = any(n.op in ops.MATRIX for n in trace(rule).nodes)
    (_agree_to_last_places if matrices else _stay_within_the_bound)(rule, hyper, dtype, store, found)


def _stay_within_the_bound(
    rule: Rule, hyper: dict[str, Any], dtype: torch.dtype, store: Store, engines: dict[str, Any]
) -> None:
    p, grads = beginning(MANY, dtype), gradients(MANY, STEPS, dtype)
    wanted = list(bounded_walk(rule, hyper, p, grads, store))
    for engine_name, engine in engines.items():
        found = walked(engine, rule, hyper, p, grads, store)
        ratio = max(furthest(cell.kept, bounds)[1] for cell, bounds in zip(found, wanted, strict=False))
        expect(
            ratio <= 1,
            f"{engine_name} is {ratio:.3g} times as far from the float64 walk as rounding explains, {dtype}, {store}, "
            f"with {hyper}",
        )


def _agree_to_last_places(
    rule: Rule, hyper: dict[str, Any], dtype: torch.dtype, store: Store, engines: dict[str, Any]
) -> None:
    p, grads = beginning((3, 2), dtype), gradients((3, 2), STEPS, dtype)
    path = walk(rule, hyper, p, grads, store=store)
    for engine_name, engine in engines.items():
        other = walked(engine, rule, hyper, p, grads, store)
        for name, value in path[len(other) - 1].kept.items():
            far = distance(other[-1].kept[name].cpu(), value)
            expect(
                far <= 8 * STEPS * torch.finfo(dtype).eps,
                f"{engine_name} differs from eager in {name} by {far:.1e}, {dtype}, with {hyper}",
            )


def walked(
    engine: Any, rule: Rule, hyper: dict[str, Any], p: torch.Tensor, grads: list[torch.Tensor],
    store: Store = AS_TORCH, interpreted: int = INTERPRETED,
) -> list[Cell]:  # fmt: skip
    """An engine's walk, where it runs on this machine; an interpreted one takes the first few steps only."""
    device = device_of(engine)
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
                far = distance(a, b)
                expect(
                    far <= 1e-12,
                    f"member {k} differs from its own run in {name} by {far:.1e}, with {own}, {step.__module__}",
                )


def _spread(name: str, value: float, members: int) -> list[float]:
    """Values around a default that stay in its range."""
    factors = [1.0, 0.9, 0.7, 0.5][:members]
    return [value * f for f in factors]
