"""The one class behind every optimizer: a `torch.optim.Optimizer` that calls a rule.

`thalweg.AdamW`, `thalweg.SGD` ... are this class with a signature of their own (optimizers.py); a rule of
your own becomes one by ``optimizer(my_rule)``.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch

from thalweg.card import Card, Namesake, card_of
from thalweg.engine import eager, foreach
from thalweg.engine.cell import Cell, start
from thalweg.engine.compose import compose
from thalweg.engine.trace import trace
from thalweg.signature import Rule, Signature, SlotSpec, check_flag, check_number, did_you_mean, signature_of
from thalweg.transforms.decay import decays

ParamsT = Iterable[torch.Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, torch.Tensor]]
# What torch's schedulers write into a group, and what a group of another optimizer may bring along.
FROM_SCHEDULERS = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
HINTS: dict[str, Any] = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
}
_HOUSE: dict[str, type[Optimizer]] = {}


def with_decay(rule: Rule) -> Rule:
    """The rule as the door runs it: with ``weight_decay`` in front, unless it has its own."""
    card = card_of(rule)
    kind = card.decays if card else ("own" if "weight_decay" in signature_of(rule).numbers else "coupled")
    return compose(decays[kind], rule) if kind in decays else rule


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


class Optimizer(torch.optim.Optimizer):
    """torch's optimizer, with the update given by a rule.

    Everything of `torch.optim.Optimizer` holds: parameter groups, closures, hooks, schedulers,
    ``state_dict``. For a namesake in torch.optim the state is kept, saved and loaded under torch's names,
    and keeps its own dtype on load.

    Attributes:
        formula: the rule as it stands in its file.
        rule: the formula as it runs: with ``weight_decay`` in front, unless it has its own.
        card: what is known about it, or None.
    """

    formula: ClassVar[Rule]
    rule: ClassVar[Rule]
    card: ClassVar[Card | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "formula" in vars(cls):
            cls.rule = staticmethod(with_decay(cls.formula))
            cls.card = card_of(cls.formula)
            if cls.__module__ == "thalweg.optimizers":
                _HOUSE[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any):
        """Refuse misspelt arguments with a hint before anything else happens."""
        known = inspect.signature(cls.__init__).parameters
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no argument {name!r}.{did_you_mean(name, known)}")
        return super().__new__(cls)

    def __init__(self, params: ParamsT, settings: Mapping[str, Any]):
        if isinstance(params, torch.Tensor):
            raise TypeError("params is a tensor; it must be an iterable of tensors or of parameter groups.")
        given: Any = list(params)
        if not given:
            raise ValueError("params is empty; it must hold at least one tensor.")
        own = self._conventions()
        # What torch does not have is written down only where it was asked for: groups stay torch's.
        defaults = {k: v for k, v in settings.items() if not (k in own and v == own[k])}
        super().__init__(given, {**defaults, **self._namesake().fixed})
        if self._namesake().at_construction:
            for group in self.param_groups:
                for p in group["params"]:
                    hyper = self._hyper(group)
                    self._prepare(p, hyper, self._signature().kept(hyper))

    # ---- what a group says

    @classmethod
    def _signature(cls) -> Signature:
        return signature_of(cls.rule)

    @classmethod
    def _namesake(cls) -> Namesake:
        return (cls.card and cls.card.torch) or Namesake("")

    @classmethod
    def _conventions(cls) -> dict[str, Any]:
        """The rule's arguments that its namesake in torch.optim does not have, with their defaults."""
        if not cls._namesake().name:
            return {}
        theirs = inspect.signature(getattr(torch.optim, cls._namesake().name).__init__).parameters
        spelled = door_arguments(cls.rule, cls._signature().defaults)
        return {name: value for name, value in spelled.items() if name not in theirs}

    def _hyper(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The group's settings under the rule's own names."""
        defaults = self._signature().defaults
        hyper: dict[str, Any] = {}
        for name, default in defaults.items():
            if "betas" in group and re.fullmatch(r"beta\d", name):
                hyper[name] = group["betas"][int(name[-1]) - 1]
            else:
                hyper[name] = group.get(name, default)
        return hyper

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with settings of its own.

        Raises:
            TypeError: an unknown setting, or one that is not a number.
            ValueError: a setting out of its range; a parameter that appears twice.
        """
        if isinstance(param_group, dict) and "params" in param_group:
            param_group = dict(param_group)  # torch would write every setting into the caller's own
            self._check_group(param_group)
        super().add_param_group(param_group)

    def _check_group(self, param_group: dict[str, Any]) -> None:
        known = {*inspect.signature(type(self).__init__).parameters} - {"self"}
        known |= {"params", "param_names", *FROM_SCHEDULERS, *self.defaults}
        for name in param_group:
            if name not in known:
                near = did_you_mean(name, known - {*FROM_SCHEDULERS})
                raise TypeError(f"{type(self).__name__} has no setting {name!r}.{near}")
        group = {**self.defaults, **param_group}
        self._check_settings(group)
        if not isinstance(param_group["params"], torch.Tensor | set):
            given = list(param_group["params"])
            param_group["params"] = given
            tensors = [item[1] if isinstance(item, tuple) else item for item in given]
            seen = {id(q): i for g in self.param_groups for i, q in enumerate(g["params"])}
            if any(id(q) in seen for q in tensors):
                raise ValueError("params holds a tensor that is already in another parameter group.")
            first: dict[int, int] = {}
            for i, q in enumerate(tensors):
                if first.setdefault(id(q), i) != i:
                    raise ValueError(f"params holds the same tensor twice, at {first[id(q)]} and {i}.")

    def _check_settings(self, group: Mapping[str, Any]) -> None:
        signature = self._signature()
        if "betas" in group:
            wanted = sum(bool(re.fullmatch(r"beta\d", name)) for name in signature.numbers)
            if not isinstance(group["betas"], tuple | list) or len(group["betas"]) != wanted:
                raise ValueError(f"betas is {group['betas']!r}; it must be {wanted} numbers.")
        hyper = self._hyper(group)
        for name in signature.numbers:
            is_beta = "betas" in group and re.fullmatch(r"beta\d", name)
            check_number(name, hyper[name], f"betas[{int(name[-1]) - 1}]" if is_beta else name)
        for name, allowed in signature.flags.items():
            check_flag(name, hyper[name], allowed)
        for name in HINTS:
            if name in group:
                check_flag(name, group[name], (None, False, True) if HINTS[name] is None else (False, True))
        if group.get("capturable"):
            raise ValueError(
                "capturable is True; it must be False: this engine computes the step's scalars on the host, and "
                "a captured graph would freeze them."
            )
        if group.get("foreach") and group.get("fused"):
            raise ValueError("foreach and fused are both True; ask for one of them.")
        for name, value in self._namesake().fixed.items():
            if group.get(name, value) != value:
                raise ValueError(f"{name} is {group[name]!r}; {type(self).__name__} is always {value!r} there.")
        refusal = self.card.refuses(hyper) if self.card and self.card.refuses else None
        if refusal:
            raise ValueError(refusal)

    # ---- the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss; optional.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable", False))):
            for group in self.param_groups:
                self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        hyper = self._hyper(group)
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        graph = trace(self.rule, **hyper)
        if graph.model_wide and len(self.param_groups) > 1:
            raise ValueError(f"{type(self).__name__} sums over the whole model: put all parameters in one group.")
        engine = foreach if graph.model_wide or group.get("foreach") else eager
        kept = self._signature().kept(hyper)
        taken = [self._take(p, group, hyper, kept) for p in params]
        results = engine.step(self.rule, [cell for cell, _ in taken], hyper)
        for p, (_, rows), (new_p, new_slots) in zip(params, taken, results, strict=True):
            self._put(p, group, rows, new_p, new_slots)

    def _spelled(self, slot: str) -> str:
        """A slot's key in the state: torch's name for it, where torch has one."""
        return self._namesake().slots.get(slot, slot)

    def _prepare(self, p: torch.Tensor, hyper: dict[str, Any], kept: Mapping[str, SlotSpec]) -> dict[str, Any]:
        """The parameter's state, with every slot that these settings keep."""
        state = self.state.get(p, {})
        if self._namesake().step and "step" not in state:
            double = torch.get_default_dtype() is torch.float64
            state["step"] = torch.zeros((), dtype=torch.float64 if double else torch.float32)
        for name, slot in kept.items():
            if self._spelled(name) not in state:
                state[self._spelled(name)] = start(slot, p, hyper)
        if state:
            self.state[p] = state
        return state

    def _take(
        self, p: torch.Tensor, group: Mapping[str, Any], hyper: dict[str, Any], kept: Mapping[str, SlotSpec]
    ) -> tuple[Cell, Any]:
        """What the engine gets: real, dense, and of a sparse gradient only the rows it touches."""
        g = p.grad
        assert g is not None
        rows = None
        if g.layout is torch.sparse_coo:
            if not trace(self.rule, **hyper).elementwise:
                raise ValueError(
                    f"{type(self).__name__} cannot take sparse gradients: its rule needs the whole tensor."
                )
            g = g.coalesce()
            rows, g = tuple(g.indices()), g.values()
        elif g.layout is not torch.strided:
            raise ValueError(f"the gradient's layout is {g.layout}; it must be dense or sparse_coo.")
        g = (-g if group.get("maximize") else g).resolve_conj()
        fresh = p not in self.state
        state = self._prepare(p, hyper, kept)
        if "step" in state:
            state["step"] += 1
            t = int(state["step"])
        else:  # torch's SGD keeps no count; all its rule asks is whether this is the first step
            t = 1 if fresh else 2
        slots = {name: state[self._spelled(name)] for name in kept}

        def real(x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(x) if x.is_complex() else x

        def seen(x: torch.Tensor) -> torch.Tensor:
            return real(x[rows] if rows is not None and x.ndim else x)

        # A differentiable step writes p in place while autograd still needs the old one: give it a copy.
        source = p.clone() if group.get("differentiable") else p
        return Cell(seen(source), real(g), {name: seen(s) for name, s in slots.items()}, t), rows

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
                _write(old, rows if old.ndim else None, value)
        _write(p, rows, new_p)

    # ---- saving and loading

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state: this class's own, or that of its namesake in torch.optim.

        Every tensor keeps the dtype it was saved with (torch would cast it to the parameter's) and is
        copied, so that two optimizers loaded from one state do not share it.
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
                        self.state[p][key] = value.detach().to(device, copy=True)
            for group in self.param_groups:
                for name, value in self.defaults.items():
                    group.setdefault(name, value)

        before = self.register_load_state_dict_pre_hook(remember)
        after = self.register_load_state_dict_post_hook(keep_dtypes, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()


def _write(target: torch.Tensor, rows: Any, value: torch.Tensor) -> None:
    if target.is_complex():
        value = torch.view_as_complex(value.contiguous())
    if rows is None:
        target.copy_(value)
    else:
        target[rows] = value


def optimizer(rule: Rule) -> type[Any]:
    """The optimizer class of a rule: the house's own by its name, any other made on the spot.

    Args:
        rule: a function ``(p, g, slots ..., *, t, lr=..., ...)``.

    Returns:
        A class whose arguments are ``params``, the rule's hyper-parameters (beta1, beta2 as ``betas``),
        ``weight_decay``, and torch's ``maximize``, ``foreach``, ``differentiable``.

    Example:
        >>> def halving(p, g, *, t, lr=0.1):
        ...     return p - lr / 2**t * g
        >>> p = torch.nn.Parameter(torch.tensor([1.0]))
        >>> p.grad = torch.tensor([1.0])
        >>> optimizer(halving)([p], lr=0.5).step()
        >>> p.data
        tensor([0.7500])
    """
    signature_of(rule)  # refuses what is no rule
    card = card_of(rule)
    if card is not None and rule.__module__.startswith("thalweg.rules."):
        return _HOUSE[card.title]
    return _made(rule)


@functools.cache
def _made(rule: Rule) -> type[Any]:
    card = card_of(rule)
    full = with_decay(rule)
    defaults = door_arguments(full, signature_of(full).defaults)
    defaults |= {name: HINTS[name] for name in ("maximize", "foreach", "differentiable")}
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
        chosen = {k: v for k, v in bound.arguments.items() if k not in ("self", "params")}
        Optimizer.__init__(self, params, chosen)

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
