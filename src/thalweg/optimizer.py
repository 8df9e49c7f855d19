"""The one class behind every optimizer: a `torch.optim.Optimizer` that calls a rule.

`thalweg.AdamW`, `thalweg.SGD` ... are this class with a signature of their own (optimizers.py); a rule of
your own becomes one by ``thalweg.optimizer(my_rule)`` (rule_class.py).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from torch.autograd import profiler
from torch.compiler import is_dynamo_compiling
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from thalweg.arguments import Arguments, check_store, check_tensors, with_decay
from thalweg.card import Card, card_of
from thalweg.engine import cpu, eager, foreach, triton
from thalweg.engine.cell import Cell, check_alike, counted, like, start
from thalweg.engine.choice import check_capturable, check_engine, check_ways, chosen, in_place, on_device
from thalweg.engine.device_plan import DevicePlan
from thalweg.engine.model_wide import Run, alone, gathered
from thalweg.engine.plan import Plan, moving
from thalweg.engine.store import COMPENSATION, Store
from thalweg.engine.trace import trace
from thalweg.gradients import Gradient, gradient_of, write
from thalweg.signature import Rule, SlotSpec, did_you_mean

ParamsT = Iterable[torch.Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, torch.Tensor]]
LATER = 2  # the step number of an optimizer that keeps no count: all that its rule asks is whether it is 1
HOUSE: dict[str, type[Optimizer]] = {}  # the classes of optimizers.py, by name


class Optimizer(torch.optim.Optimizer):
    """torch's optimizer, with the update given by a rule.

    Everything of `torch.optim.Optimizer` holds: parameter groups, closures, hooks, schedulers,
    ``state_dict``. For a namesake in torch.optim the state is kept, saved and loaded under torch's names,
    and keeps its own dtype on load.

    Attributes:
        formula: the rule as it stands in its file.
        rule: the formula as it runs: with ``weight_decay`` in front, unless it has its own.
        card: what is known about it, or None.
        engine: what runs it: "auto" (kernels where they fit, else the reference), "eager", "cpu", "triton" or
            "compiled".
        store: how state and narrow parameters are kept between steps; by default as torch does.
    """

    formula: ClassVar[Rule]
    rule: ClassVar[Rule]
    card: ClassVar[Card | None] = None
    arguments: ClassVar[Arguments]
    _uncompiled: Any  # the step, which torch.compile leaves as it is
    engine: str = "auto"
    store: Store = Store()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "formula" in vars(cls):
            cls.rule = staticmethod(with_decay(cls.formula))
            cls.card = card_of(cls.formula)
            cls.arguments = Arguments(cls.__name__, cls.rule, cls.card)
            if cls.__module__ == "thalweg.optimizers":
                HOUSE[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any):
        """Refuse misspelt arguments with a hint before anything else happens."""
        known = inspect.signature(cls.__init__).parameters
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no argument {name!r}.{did_you_mean(name, known)}")
        return super().__new__(cls)

    def __init__(self, params: ParamsT, settings: Mapping[str, Any], engine: str = "auto", store: Store | None = None):
        if isinstance(params, torch.Tensor | Mapping | torch.nn.Module) or not isinstance(params, Iterable):
            kind = "a tensor" if isinstance(params, torch.Tensor) else f"of type {type(params).__name__}"
            near = " Did you mean its .parameters()?" if isinstance(params, torch.nn.Module) else ""
            raise TypeError(f"params is {kind}; it must be an iterable of tensors or of parameter groups.{near}")
        given: Any = list(params)
        if not given:
            raise ValueError("params is empty; it must hold at least one tensor.")
        if not isinstance(store, Store | None):
            raise TypeError(f"store is {store!r}; it must be a thalweg.Store.")
        self.engine = chosen(engine)
        self.store = store or Store()
        self._plans: dict[int, Plan | DevicePlan] = {}
        self._moved: dict[int, list[torch.Tensor]] = {}  # which of a group's parameters had a gradient, last time
        own = self.arguments.unwritten
        # What torch does not have is written down only where it was asked for: groups stay torch's.
        defaults = {k: v for k, v in settings.items() if not (k in own and v == own[k])}
        super().__init__(given, {**defaults, **self.arguments.namesake.fixed})
        _say_where_it_breaks()
        if self.arguments.namesake.at_construction:
            for group in self.param_groups:
                hyper = self.arguments.read(group)
                for p in group["params"]:
                    self._prepare(p, group, hyper, self.arguments.signature.kept(hyper))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with settings of its own.

        Raises:
            TypeError: an unknown setting, or one that is not a number.
            ValueError: a setting out of its range; a parameter that appears twice.
        """
        if isinstance(param_group, dict) and "params" in param_group:
            param_group = dict(param_group)  # torch would write every setting into the caller's own
            known = {*inspect.signature(type(self).__init__).parameters} - {"self", "engine", "store"}
            self.arguments.check_names(param_group, known | {"params", "param_names", *self.defaults})
            self.arguments.check({**self.defaults, **param_group})
            if isinstance(param_group["params"], torch.Tensor):
                param_group["params"] = [param_group["params"]]
            if not isinstance(param_group["params"], set):  # torch refuses that: it has no order
                param_group["params"] = list(param_group["params"])
                check_tensors(param_group["params"], self.param_groups)
                differentiable = {**self.defaults, **param_group}.get("differentiable", False)
                check_store(self.store, param_group["params"], differentiable)
                params = [item[-1] if isinstance(item, tuple) else item for item in param_group["params"]]
                devices = {p.device for p in params if isinstance(p, torch.Tensor)}  # torch refuses others, below
                check_engine(self.engine, devices)
                if {**self.defaults, **param_group}.get("capturable"):
                    check_capturable(self.engine, devices)
        super().add_param_group(param_group)

    # ---- the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss; optional.

        Returns:
            What the closure returned, or None.
        """
        if is_dynamo_compiling():
            return self._uncompiled(closure)
        hooks = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        hooks = hooks or _global_optimizer_pre_hooks or _global_optimizer_post_hooks
        if hooks or profiler._is_profiler_enabled:  # its range in a profile comes with the hooks
            return _with_hooks(self, closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap it: that alone costs more than a small step

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        ready, steps = [], []
        for index, group in enumerate(self.param_groups):
            plan = self._plans.get(index)
            if plan is not None and plan.ready(group, group["params"], self.state):
                ready.append(plan)
            else:
                steps.append(self._step_group(index, group))
        if not steps and not any([plan.stops for plan in ready]):
            for plan in ready:
                plan.take()
            return loss
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable", False))), ExitStack() as ends:
            together = not steps or self._sums_over_the_model()
            for step in steps:  # all groups are looked at before any is stepped
                ends.callback(step.close)  # where another is refused, it leaves all as it was
                next(step, None)
            for plan in ready:
                plan.take()
                steps += plan.rest() if plan.stops else ()
            if together:
                alone(steps)
            else:
                for step in steps:
                    next(step, None)  # without stopping
        return loss

    def _sums_over_the_model(self) -> bool:
        """Whether a rule does; groups whose rules ask for different sums are refused, one without any stands aside."""
        graphs = [trace(self.arguments.rule_of(group), **self.arguments.read(group)) for group in self.param_groups]
        if len({len(graph.totals) for graph in graphs if graph.totals}) > 1:
            raise ValueError(
                "clip_norm is on in some groups and off in others; where the rule itself sums over the whole model, it "
                "must be on or off in all."
            )
        return any(graph.totals for graph in graphs)

    def _step_group(self, index: int, group: dict[str, Any]) -> Run:
        """A group's step in general: stops when all is found well, and where its rule sums over the whole model."""
        self._plans.pop(index, None)
        rule, hyper = self.arguments.rule_of(group), self.arguments.read(group)
        params = moving(group)
        moved, self._moved[index] = self._moved.get(index), params
        if not params:
            return
        graph = trace(rule, **hyper)
        kept = self.arguments.signature.kept(hyper)
        own = {name: hyper[name] for name in self.arguments.signature.defaults}
        first = sum(len(earlier["params"]) for earlier in self.param_groups[:index])
        places = [first + i for i, p in enumerate(group["params"]) if p.grad is not None]
        name, by_element = type(self).__name__, lambda: trace(self.rule, **own).elementwise
        before = {p: dict(self.state[p]) for p in params if p in self.state}
        try:  # what is refused leaves all as it was
            gradients = [gradient_of(p, group, rule=name, by_element=by_element) for p in params]
            for p in params:
                self._prepare(p, group, hyper, kept)
            each = zip(params, gradients, places, strict=True)
            taken = [self._take(p, g, p not in before, place, group, kept) for p, g, place in each]
            engine = "eager" if group.get("differentiable") else self.engine
            if engine != "eager":
                taken = [(cell._replace(g=like(cell.p, cell.g)), rows) for cell, rows in taken]
            ways: list[Any] = [in_place(engine, graph, cell) for cell, _ in taken]
            begun = all(self.state.get(p, {}).keys() == before.get(p, {}).keys() for p in params)
            counts = "step" in self.state.get(params[0], ())
            check_ways(ways, graph, taken[0][0], counts, begun, bool(group.get("capturable")))
            yield
        except BaseException:
            for p in params:
                self.state.pop(p, None)
            self.state.update(before)
            raise
        for p in params:
            if "step" in self.state.get(p, ()):
                self.state[p]["step"] += 1
        fused = {i for i, way in enumerate(ways) if way}
        rest = [i for i in range(len(taken)) if i not in fused]
        in_lists = bool(rest) and (graph.model_wide or group.get("foreach"))
        runs = [
            way.run(rule, [cell for (cell, _), its in zip(taken, ways, strict=True) if its is way], hyper)
            for way in {ways[i]: None for i in fused}
        ]
        runs += [foreach.run(rule, [taken[i][0] for i in rest], hyper)] if in_lists else []
        ran = yield from gathered(runs)
        new = ran[-1] if in_lists else eager.step(rule, [taken[i][0] for i in rest], hyper)
        if fused:  # in place: what is left to do is putting the rows of sparse gradients back
            torch.autograd.graph.increment_version([params[i] for i in fused])
        results = dict(zip(rest, new, strict=True))
        results |= {i: (cell.p, cell.slots) for i, (cell, rows) in enumerate(taken) if i in fused and rows is not None}
        for i, (new_p, new_slots) in results.items():
            self._put(params[i], group, taken[i][1], new_p, new_slots)
        kinds: dict[Any, Any] = {cpu: Plan, triton: DevicePlan}
        # Some without a gradient: a plan pays if they are the same as in the last step (frozen, not skipped at times).
        lasting = len(params) == len(group["params"]) or (moved and list(map(id, moved)) == list(map(id, params)))
        if len(set(ways)) == 1 and ways[0] in kinds and lasting and not results:
            self._plan(kinds[ways[0]], index, group, [cell for cell, _ in taken], hyper)

    def _plan(self, kind: Any, index: int, group: dict[str, Any], cells: list[Cell], hyper: dict[str, Any]) -> None:
        """Prepare the next step of a group whose parameters all went through the kernels."""
        params, graph = moving(group), trace(self.arguments.rule_of(group), **hyper)
        lie = {p.grad.data_ptr() for p in params if p.grad is not None}
        if any(cell.g.data_ptr() not in lie for cell in cells):
            return  # copied on the way: a plan reads gradients where they lie
        found = [self.state.get(p, {}) for p in params]
        keys = {slot: self._spelled(slot) for slot in cells[0].slots}
        if any("step" in state for state in found):
            keys["t"] = "step"
        if any(key not in state for state in found for key in keys.values()):
            return
        if kind.fits(graph, cells, [state["step"] for state in found] if "t" in keys else []):
            self._plans[index] = kind(graph, cells, group, self.state, keys, self.arguments.settings, LATER)

    def _spelled(self, slot: str) -> str:
        """A slot's key in the state: torch's name for it, where torch has one."""
        return self.arguments.namesake.slots.get(slot, slot)

    def _prepare(
        self, p: torch.Tensor, group: Mapping[str, Any], hyper: dict[str, Any], kept: Mapping[str, SlotSpec]
    ) -> None:
        """Give the parameter's state every slot that these settings keep."""
        state = self.state.get(p, {})
        if (self.arguments.namesake.step or self.store.stochastic) and "step" not in state:
            state["step"] = counted(LATER - 1 if state else 0)  # a state without a count is from torch's SGD
        for name, slot in kept.items():
            key = self._spelled(name)
            if key not in state:
                state[key] = start(slot, p, hyper, self.store)
            elif slot.shape == "p":
                check_alike(key, state[key], self.store.shaped(p))
        for name, value in self.store.beside(p).items():
            state.setdefault(name, value)
        capturable = bool(group.get("capturable"))
        if p.is_cuda or capturable:  # torch's fused and capturable checkpoints hold all numbers on the GPU
            for name, there in on_device(trace(self.arguments.rule_of(group), **hyper), kept, capturable).items():
                if (key := self._spelled(name)) in state:
                    state[key] = state[key].to(p.device if there else "cpu")
        if state:
            self.state[p] = state

    def _take(
        self, p: torch.Tensor, found: Gradient, fresh: bool, place: int, group: Mapping[str, Any],
        kept: Mapping[str, SlotSpec],
    ) -> tuple[Cell, Any]:  # fmt: skip
        """What the engine gets: real, dense, and of a sparse gradient only the rows it touches."""
        (g, rows), state = found, self.state.get(p, {})
        if "step" in state:  # which goes on when all parameters have been looked at
            t = state["step"] if group.get("capturable") else int(state["step"]) + 1
        else:  # torch's SGD keeps no count; all its rule asks is whether this is the first step
            t = 1 if fresh else LATER
        names = [*kept, *([COMPENSATION] if COMPENSATION in state else [])]
        slots = {name: state[self._spelled(name)] for name in names}

        def real(x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(x) if x.is_complex() else x

        def seen(x: torch.Tensor) -> torch.Tensor:
            return real(x[rows] if rows is not None and x.ndim else x)

        # A differentiable step writes p in place while autograd still needs the old one: give it a copy.
        source = p.clone() if group.get("differentiable") else p
        return Cell(seen(source), real(g), {n: seen(s) for n, s in slots.items()}, t, self.store, place), rows

    def _put(
        self, p: torch.Tensor, group: Mapping[str, Any], rows: Any, new_p: torch.Tensor, new: dict[str, torch.Tensor]
    ) -> None:
        """Write the results where they belong."""
        for name, value in new.items():
            state = self.state[p]
            old = state[self._spelled(name)]
            if group.get("differentiable") and rows is None and not old.is_complex():
                state[self._spelled(name)] = value  # replaced, not overwritten: autograd may need the old
            else:
                write(old, rows if old.ndim else None, value)
        write(p, rows, new_p)

    # ---- saving and loading

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state: this class's own, or that of its namesake in torch.optim.

        Every tensor keeps the dtype it was saved with (torch would cast it to the parameter's), unless the
        store has one for it, and is copied, so that two optimizers loaded from one state do not share it.
        """
        given: dict[str, Any] = {}

        def remember(_: torch.optim.Optimizer, final: dict[str, Any]) -> None:
            given.update(final)

        def keep_dtypes(_: torch.optim.Optimizer) -> None:
            ids = [i for group in given["param_groups"] for i in group["params"]]
            params = [p for group in self.param_groups for p in group["params"]]
            for i, p in zip(ids, params, strict=True):
                for key, value in given["state"].get(i, {}).items():
                    if isinstance(value, torch.Tensor):
                        device = p.device if value.ndim else value.device
                        self.state[p][key] = self._loaded(key, value.detach().to(device, copy=True))
                    elif value is None:  # as torch's SGD once wrote that it had no velocity yet
                        del self.state[p][key]
                    elif key == "step":  # in torch a plain number, once
                        self.state[p][key] = counted(value)
                if p in self.state and not self.store.beside(p):
                    self.state[p].pop(COMPENSATION, None)
                if not self.state.get(p, True):
                    del self.state[p]
            for group in self.param_groups:
                for name, value in self.defaults.items():
                    group.setdefault(name, value)

        self._plans.clear()
        before = self.register_load_state_dict_pre_hook(remember)
        after = self.register_load_state_dict_post_hook(keep_dtypes, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _loaded(self, key: str, value: torch.Tensor) -> torch.Tensor:
        """A saved slot as this optimizer's store keeps it."""
        shapes = {self._spelled(name): slot.shape for name, slot in self.arguments.signature.slots.items()}
        if not self.store.state or shapes.get(key) != "p":
            return value
        return self.store.shaped(value).to(self.store.state)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "engine": self.engine, "store": self.store}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _say_where_it_breaks()
        self._plans, self._moved = {}, {}


# Inside torch.compile a step is one break in the graph: it launches kernels of its own, and a guard on t or lr would
# compile it again at every step.
def _as_it_is(self: Optimizer, closure: Callable[[], Any] | None) -> Any:
    return self.step(closure)


@functools.cache
def _say_where_it_breaks() -> None:
    # Not before there is an optimizer: it loads the compiler, over a second, as torch's own first optimizer does.
    Optimizer._uncompiled = torch.compiler.disable(_as_it_is, reason="thalweg's step is opaque")


_with_hooks = torch.optim.Optimizer.profile_hook_step(Optimizer._step)
