"""What a minimisation came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(eq=False)
class Result(Mapping[str, Any]):
    """The answer of `minimize`; with ``batched=True`` every field has a leading axis of problems.

    It is a mapping, too, as SciPy's: ``result["x"]``, ``"x" in result``, ``dict(result)``.

    Attributes:
        x: the best point, in the form of x0: one that passed the gradient test, else the lowest value seen.
        fun: the value there.
        grad: the gradient there, in the form of x.
        success: whether no entry of `grad` is larger than gtol: exactly that.
        status: 0 converged, 1 maxiter, 2 maxfun, 3 no lower point was found, 4 stopped by the callback,
            5 interrupted; in a batch also -1, the start was not finite.
        message: why it stopped, and what to try.
        nit: accepted steps.
        nfev, ngev: evaluations of the value and of the gradient.
        nhev, nhvp: Hessians, and products with the Hessian.
        method: the method that ran.
        history: how many pairs L-BFGS remembered at most; None for the other methods.
        hess_inv: what "bfgs" and "broyden" learned of the inverse Hessian, (n, n), an array or a tensor as x; n counts
            the numbers of x in the order of its parts. The unit matrix where no step was taken, as in SciPy; it is
            rough after few steps. None for the other methods, and in what a callback gets.
    """

    x: Any
    fun: Any
    grad: Any
    success: Any
    status: Any
    message: Any
    nit: Any
    nfev: Any
    ngev: Any
    nhev: Any
    nhvp: Any
    method: str
    history: int | None = None
    hess_inv: Any = None

    def __getitem__(self, name: str) -> Any:
        """SciPy's other spelling: ``result["x"]``, and ``result["jac"]`` for the gradient."""
        name = {"jac": "grad", "njev": "ngev"}.get(name, name)
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self))

    def __len__(self) -> int:
        return len(fields(self))

    @property
    def jac(self) -> Any:
        """SciPy's name for the gradient."""
        return self.grad

    @property
    def njev(self) -> Any:
        """SciPy's name for the count of gradients."""
        return self.ngev

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:>{width}}: {getattr(self, name)}" for name in self)
