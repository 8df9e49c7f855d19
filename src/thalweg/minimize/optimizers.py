"""The minimizers as `torch.optim.Optimizer`: full-batch training, physics-informed networks, fits.

``step(closure)`` takes up to `max_iter` steps of the method. Between two calls everything that the method knows
lies in ``state_dict()``, so that a run that is saved, loaded and continued is the run that was not.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch

from thalweg.arguments import FROM_SCHEDULERS
from thalweg.minimize.arrays import Array, Number, copied, epsilon, same
from thalweg.minimize.closure import ClosureProblem, put, vector
from thalweg.minimize.direction.conjugate_gradient import Beta, hybrid
from thalweg.minimize.elsewhere import ARGUMENTS, unknown
from thalweg.minimize.loop import CONVERGED, INTERRUPTED, STALLED, Limits, run
from thalweg.minimize.methods import (
    Method,
    bfgs,
    cg,
    limited,
    newton_cg,
    newton_exact,
    refuse_large,
    self_scaled_broyden,
    whole,
)
from thalweg.minimize.search import Search
from thalweg.minimize.search.wolfe import loose_wolfe, sharp_wolfe


class FullBatch(torch.optim.Optimizer):
    """What BFGS, ConjugateGradient, LBFGS and Newton have in common; not used by itself.

    Attributes:
        converged: whether the last ``step`` ended with no entry of the gradient larger than gtol.
        message: why the last ``step`` ended.
        stalled: whether the last ``step`` found no lower point.
        meter: None, or a function that is told the price of every evaluation before it is made: 1 for value and
            gradient, 2 for a product with the Hessian, 2 n for a Hessian; the one at the point where the last
            ``step`` ended is paid already. What it raises ends the step, and the optimizer stays as it was.
    """

    backward = True  # the closure calls backward; Newton differentiates by itself

    def __new__(cls, *args: Any, **settings: Any):
        """Refuse what the class does not take, and say what is here in its place."""
        known = {k: p.kind for k, p in inspect.signature(cls.__init__).parameters.items() if k != "self"}
        open_ended = {*known.values()} & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
        places = [name for name, kind in known.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if len(args) > len(places) and not open_ended:
            raise TypeError(
                f"{cls.__name__} was given {args[len(places)]!r} without a name; settings go by name: lr=, max_iter=."
            )
        for name in settings:
            if name not in known and not open_ended:
                raise TypeError(f"{cls.__name__} has no argument {name!r}; {unknown(name, known, ARGUMENTS)}")
        return super().__new__(cls)

    def __init__(self, params: Any, max_iter: int, gtol: float, lr: float):
        whole("max_iter", max_iter, 1)
        if not isinstance(gtol, int | float) or not gtol >= 0:
            raise ValueError(f"gtol is {gtol!r}; it must be a number, at least 0.")
        if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
            raise ValueError(f"lr is {lr!r}; it must be a number, above 0.")
        super().__init__(params, {"max_iter": max_iter, "gtol": float(gtol), "lr": float(lr)})
        self.converged, self.stalled, self.message = False, False, "No step was taken yet."
        self.method(1)  # a search or a beta that is none is refused here
        self.meter: Callable[[int], None] | None = None
        self._ended: Any = None  # with a meter: the walk as the last step left it, which need not begin anew

    def method(self, n: int) -> Method:
        """The method for n unknowns."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; all groups make one vector, so that none has settings of its own.

        Raises:
            TypeError: a setting that there is not.
            ValueError: a setting that differs from the first group's; parameters of another dtype or device.
        """
        known = ("params", *self.defaults)
        for name in param_group if isinstance(param_group, dict) else ():
            if name not in (*known, "param_names", *FROM_SCHEDULERS):
                raise TypeError(f"{type(self).__name__} has no setting {name!r}; {unknown(name, known, ARGUMENTS)}")
        super().add_param_group(param_group)
        first = self.param_groups[0]
        for name in ("max_iter", "gtol", "lr"):
            if param_group[name] != first[name]:
                self.param_groups.pop()
                raise ValueError(f"{name} is {param_group[name]!r} in one group; it must be alike in all groups.")
        kinds = {(p.dtype, p.device) for p in self._parameters()}
        if len(kinds) > 1 or not {dtype for dtype, _ in kinds} <= {torch.float32, torch.float64}:
            self.param_groups.pop()
            raise ValueError("params must all be torch.float32 or all torch.float64, on one device.")

    def _parameters(self) -> list[torch.Tensor]:
        """Those that are not frozen."""
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """See `torch.optim.Optimizer.state_dict`; ``"method"`` says what the state is of."""
        return {**super().state_dict(), "method": self._kind()}

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on from a state; see `torch.optim.Optimizer.load_state_dict`.

        Raises:
            ValueError: the state is of another method, or of L-BFGS with another number of pairs.
        """
        kind = state_dict.get("method")
        if kind != self._kind():
            raise ValueError(
                f"state_dict is of {kind or 'an optimizer of another library'}; it must be of {self._kind()}."
            )
        super().load_state_dict(state_dict)
        self._ended = None

    def _kind(self) -> str:
        """What a state must be of, to go on from it."""
        method = self.method(sum(p.numel() for p in self._parameters()))
        return f"{method.name} with {method.history} pairs" if method.history else method.name

    def __getstate__(self) -> dict[str, Any]:
        """Everything, for `copy.deepcopy` and `pickle`; a walk goes on from the state as it would from itself."""
        kept = {name: value for name, value in vars(self).items() if not name.startswith("_optimizer_")}
        return {**kept, "_ended": None}

    def step(self, closure: Callable[[], Any]) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take up to `max_iter` steps.

        Args:
            closure: clears the gradients, computes the loss of *all* data, calls backward (not for Newton),
                returns the loss. It is called with gradients enabled, several times per step.

        Returns:
            The loss where the parameters now are: a float64 tensor of one number on the CPU, without a graph.

        Raises:
            ValueError: the closure changed the parameters, or computed no gradient; a method that keeps n^2 numbers
                and more than 5000 parameters.
            KeyboardInterrupt: Ctrl-C; the parameters are the best so far. At all else they are where the call began.

        Warns:
            UserWarning: the loss at one and the same point has changed: mini-batches, dropout.
        """
        if not callable(closure):
            raise TypeError(
                f"closure is {closure!r}; {type(self).__name__}.step needs a function that returns the loss."
            )
        group, parameters = self.param_groups[0], self._parameters()
        if not parameters:
            raise ValueError("params are all frozen; at least one must require a gradient.")
        if not any(p.numel() for p in parameters):
            raise ValueError("params are all empty; they must hold at least one number that is not frozen.")
        x = copied(vector(parameters))
        method, name = self.method(x.shape[-1]), type(self).__name__
        other = "tw.Newton(params, matrix=500)" if "newton" in method.name else "tw.LBFGS"
        refuse_large(method, x.shape[-1], 1, ("params hold", f"tw.{name}", other))
        known = self.state[parameters[0]].get("walk")
        problem = ClosureProblem(self, closure, parameters, known, self._ended)
        walks: list[Any] = []

        def begin(counted: Any, x: Array, f: Number, g: Array) -> Any:
            again = known if known is not None and same(known["x"], x) else None
            walk = self._ended if again else None
            if walk is None:
                problem.paid = again is not None  # whatever it asks for here was paid when the last step ended
                walk = method.begin(counted, x, f, g)
                problem.paid = False
                if again and abs(f - again["f"]) > max(1e-9, 100 * epsilon(x)) * abs(again["f"]):
                    warnings.warn(
                        f"the loss at the same point was {again['f']:g} and is now {f:g}; {name} "
                        "needs a closure without chance: all the data, no dropout.",
                        stacklevel=4,
                    )
                elif again:
                    walk.restore(again)
                elif known is None:
                    walk.scale(group["lr"])
            walks.append(walk)
            return walk

        limits = Limits(group["gtol"], group["max_iter"], math.inf, 10**9)
        try:
            progress = run(problem, begin, x, limits, None)
            if progress.status != INTERRUPTED:
                problem.refuse_changes()  # also by .data, of which no counter knows
        except BaseException:
            put(parameters, x)  # not left at a trial point
            self._ended = None
            raise
        status = int(progress.status)
        self.converged, self.stalled = status == CONVERGED, status == STALLED
        self.message = {
            CONVERGED: "The gradient is small enough: no entry is larger than gtol.",
            STALLED: "No lower point was found.",
            -1: "The loss or its gradient is not finite.",
        }.get(status, "max_iter steps were taken.")
        if walks and status not in (STALLED, INTERRUPTED):
            put(parameters, walks[0].x)
            # A line search that gave up leaves nothing to go on with; anything else goes on from here.
            self.state[parameters[0]]["walk"] = walks[0].state()
            self._ended = walks[0] if self.meter is not None else None
            return torch.tensor(float(walks[0].f), dtype=torch.float64)
        put(parameters, progress.x)
        if walks:
            self.state[parameters[0]].pop("walk", None)
        self._ended = None
        if status == INTERRUPTED:
            raise KeyboardInterrupt  # for the loop around this call
        return torch.tensor(float(progress.fun), dtype=torch.float64)


class BFGS(FullBatch):
    """BFGS with a full matrix, or the self-scaled Broyden family; n^2 numbers of memory, for n up to 5000.

    Args:
        params: parameters or groups, all of one dtype; float64 is advised.
        max_iter: steps per call of `step`. Default 20.
        gtol: a call ends early where no entry of the gradient is larger. Default 1e-7.
        lr: the very first trial is so many times as long as it would be. Default 1.
        self_scaled: the self-scaled Broyden family, for physics-informed networks. Default False.
        search: the line search, or its name, as for `minimize`. Default: Wolfe or approximate Wolfe.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        >>> optimizer = BFGS([x])
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
        ...     loss.backward()
        ...     return loss
        >>> for _ in range(3):
        ...     loss = optimizer.step(closure)
        >>> optimizer.converged, x.detach().round(decimals=4)
        (True, tensor([1., 1.], dtype=torch.float64))
    """

    def __init__(
        self,
        params: Any,
        *,
        max_iter: int = 20,
        gtol: float = 1e-7,
        lr: float = 1.0,
        self_scaled: bool = False,
        search: Search | str = loose_wolfe,
    ):
        self.self_scaled, self.search = self_scaled, search
        super().__init__(params, max_iter, gtol, lr)

    def method(self, n: int) -> Method:
        """The method for n unknowns."""
        return (self_scaled_broyden if self.self_scaled else bfgs)(n, self.search)


class LBFGS(FullBatch):
    """L-BFGS with a safe line search.

    Args:
        params: parameters or groups, all of one dtype.
        max_iter: steps per call of `step`. Default 20.
        gtol: a call ends early where no entry of the gradient is larger. Default 1e-7.
        lr: the very first trial is so many times as long as it would be. Default 1.
        history_size: how many pairs it remembers. Default 100, as in torch.
        search: the line search, or its name, as for `minimize`. Default: Wolfe or approximate Wolfe.
    """

    def __init__(
        self,
        params: Any,
        *,
        max_iter: int = 20,
        gtol: float = 1e-7,
        lr: float = 1.0,
        history_size: int = 100,
        search: Search | str = loose_wolfe,
    ):
        self.history_size, self.search = whole("history_size", history_size, 1), search
        super().__init__(params, max_iter, gtol, lr)

    def method(self, n: int) -> Method:
        """The method for n unknowns."""
        return limited(n, self.search, self.history_size)


class ConjugateGradient(FullBatch):
    """Nonlinear conjugate gradients: a few vectors of memory.

    Args:
        params: parameters or groups, all of one dtype.
        max_iter: steps per call of `step`. Default 20.
        gtol: a call ends early where no entry of the gradient is larger. Default 1e-7.
        lr: the very first trial is so many times as long as it would be. Default 1.
        beta: one of the functions of `thalweg.minimize.direction.conjugate_gradient`. Default: hybrid.
        search: the line search, or its name, as for `minimize`. Default: strong Wolfe with c2 = 0.2.
    """

    def __init__(
        self,
        params: Any,
        *,
        max_iter: int = 20,
        gtol: float = 1e-7,
        lr: float = 1.0,
        beta: Beta = hybrid,
        search: Search | str = sharp_wolfe,
    ):
        self.beta, self.search = beta, search
        super().__init__(params, max_iter, gtol, lr)

    def method(self, n: int) -> Method:
        """The method for n unknowns."""
        return cg(n, self.search, self.beta, matrix=0)


class Newton(FullBatch):
    """Newton's method in a trust region: the closure returns the loss and does *not* call backward.

    Args:
        params: parameters or groups, all of one dtype.
        max_iter: steps per call of `step`. Default 20.
        gtol: a call ends early where no entry of the gradient is larger. Default 1e-7.
        lr: the very first radius is so many times as long as it would be. Default 1.
        matrix: up to so many unknowns the whole Hessian is used, above only products with it; at most 5000.
            Default 500.
    """

    backward = False

    def __init__(self, params: Any, *, max_iter: int = 20, gtol: float = 1e-7, lr: float = 1.0, matrix: int = 500):
        self.matrix = matrix
        super().__init__(params, max_iter, gtol, lr)

    def method(self, n: int) -> Method:
        """The method for n unknowns."""
        return newton_exact(n) if n <= self.matrix else newton_cg(n)
