"""The user's function as the loop sees it: k points in, k values and gradients out.

A torch function is differentiated here; a numpy function brings its gradient. On the CPU the loop itself runs
on numpy arrays that share the tensors' memory, on a GPU on the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from thalweg.minimize.arrays import Array


def on_numpy(device: torch.device) -> bool:
    """Whether the loop runs on numpy arrays for tensors of this device: small operations cost half as much there."""
    return device.type == "cpu"


class Form:
    """The form of x0, and the way between it and a flat vector.

    Args:
        x0: a numpy array, a number or list of numbers, a tensor, or a dict, list or tuple of tensors.
        batched: whether every leaf has a leading axis of problems.
    """

    def __init__(self, x0: Any, batched: bool):
        leaves, self.tree = pytree.tree_flatten(x0)
        self.numpy = not any(isinstance(leaf, torch.Tensor) for leaf in leaves)
        if self.numpy:
            array = np.asarray(x0)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"x0 has dtype {array.dtype}; it must hold real numbers or tensors of them.")
            array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
            leaves, self.tree = pytree.tree_flatten(array)
            tensors = [torch.from_numpy(np.array(array))]
        else:
            tensors = [leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor)]
            if len(tensors) < len(leaves):
                raise TypeError("x0 mixes tensors with other things; every leaf must be a tensor.")
        first = tensors[0]
        for tensor in tensors:
            if tensor.dtype not in (torch.float32, torch.float64):
                raise TypeError(f"x0 has dtype {tensor.dtype}; it must be torch.float32 or torch.float64.")
            if (tensor.dtype, tensor.device) != (first.dtype, first.device):
                raise ValueError("x0 holds tensors of different dtypes or devices; they must be alike.")
            if batched and (tensor.ndim == 0 or len(tensor) != len(first)):
                raise ValueError("batched is True; every tensor of x0 must have the same leading axis of problems.")
        self.batched = batched
        self.shapes = [tensor.shape[1:] if batched else tensor.shape for tensor in tensors]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        count = len(first) if batched else 1
        if count * sum(self.sizes) == 0:
            raise ValueError("x0 is empty; it must hold at least one number.")
        self.start = torch.cat([tensor.reshape(count, -1) for tensor in tensors], 1)
        self.device = first.device

    def tensors(self, flat: torch.Tensor) -> Any:
        """A vector (n,), or rows (k, n), in the form of x0."""
        lead = flat.shape[:-1]
        if len(self.shapes) == 1 and self.tree.is_leaf():
            return flat.reshape(lead + self.shapes[0])
        parts = flat.split(self.sizes, -1)
        leaves = [part.reshape(lead + shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return pytree.tree_unflatten(leaves, self.tree)

    def give(self, flat: Array) -> Any:
        """What the loop holds, (k, n), as the caller gets it: without the leading axis unless batched."""
        flat = flat if self.batched else flat[0]
        if self.numpy:
            return np.array(flat).reshape(flat.shape[:-1] + tuple(self.shapes[0]))
        return self.tensors(torch.from_numpy(flat.copy()) if isinstance(flat, np.ndarray) else flat.clone())

    def flat(self, value: Any, what: str, count: int) -> torch.Tensor:
        """A gradient in the form of x0, of k problems, as rows (k, n)."""
        leaves = [torch.as_tensor(leaf) for leaf in pytree.tree_leaves(value)]
        if sum(leaf.numel() for leaf in leaves) != count * sum(self.sizes):
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
            raise ValueError(f"{what} has the shape {shapes}; it must have that of x0, {sum(self.sizes)} numbers.")
        return torch.cat([leaf.detach().reshape(count, -1) for leaf in leaves], 1).to(self.start)


class Problem:
    """A function to minimise, of one problem or many.

    Args:
        fun: the function of one point; with `vectorized` of k points at once.
        form: the form of its argument.
        args: more arguments; with a leading axis of problems where there are many.
        jac: None (autograd), True (fun returns value and gradient), or a function.
        hess, hessp: functions as in SciPy, or None (autograd).
        vectorized: fun takes (k, ...) and returns (k,).
    """

    def __init__(
        self, fun: Callable, form: Form, args: tuple, jac: Any, hess: Any, hessp: Any, vectorized: bool = False
    ):
        self.fun, self.form, self.args, self.jac, self.hess, self.hessp = fun, form, args, jac, hess, hessp
        self.vectorized = vectorized
        if form.batched:
            for arg in args:
                if not hasattr(arg, "__getitem__") or len(arg) != len(form.start):
                    raise ValueError(
                        f"args holds {type(arg).__name__} without a leading axis of {len(form.start)} problems; what "
                        "all problems share belongs into fun itself."
                    )
        self.on_host = on_numpy(form.device)
        self.graph: tuple[Any, Any, Any] = (None, None, None)
        if jac is None:
            self.evaluate = self._batch_autograd if form.batched else self._one_autograd
        elif form.batched and vectorized:
            self.evaluate = self._batch_given
        else:
            self.evaluate = self._each_given

    # ---- between the loop's arrays and the user's

    def start(self) -> Array:
        """The starts, (B, n), as the loop holds them."""
        return self.form.start.numpy().copy() if self.on_host else self.form.start.clone()

    def _torch(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(x) if isinstance(x, np.ndarray) else x

    def _array(self, x: torch.Tensor) -> Array:
        return x.numpy(force=True) if self.on_host else x.detach()

    def _argument(self, x: Array) -> Any:
        """Points as the user's function wants them, (n,) or (k, n)."""
        if self.form.numpy and self.jac is not None:
            return x.reshape(x.shape[:-1] + tuple(self.form.shapes[0]))
        return self.form.tensors(self._torch(x))

    def _arguments(self, members: np.ndarray) -> tuple:
        if not self.form.batched:
            return self.args
        return tuple(arg[members] if len(members) < len(arg) else arg for arg in self.args)

    # ---- value and gradient

    def _given(self, x: Any, args: tuple) -> tuple[Any, Any]:
        if self.jac is True:
            pair = self.fun(x, *args)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(
                    f"jac is True and fun returned {type(pair).__name__}; it must return (value, gradient)."
                )
            return pair
        return self.fun(x, *args), self.jac(x, *args)

    def _each_given(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        """The user's own gradient, one problem after the other."""
        values = np.empty(len(x))
        grads = []
        for i, member in enumerate(members):
            args = tuple(arg[member] for arg in self.args) if self.form.batched else self.args
            value, grad = self._given(self._argument(x[i] + 0), args)  # a copy: the user may write into it
            values[i] = _number(value)
            grads.append(self._gradient(grad, 1))
        if not self.on_host:
            return torch.from_numpy(values).to(x.device), torch.cat(grads)
        return values, grads[0] if len(grads) == 1 else np.concatenate(grads)

    def _batch_given(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        """The user's own gradients, of all at once."""
        values, grads = self._given(self._argument(x), self._arguments(members))
        if np.shape(values) != (len(x),):
            raise ValueError(f"fun returned the shape {np.shape(values)}; vectorized, it must return {(len(x),)}.")
        values = torch.as_tensor(values).detach()
        return self._array(values), self._gradient(grads, len(x))

    def _gradient(self, grad: Any, count: int) -> Array:
        if self.form.numpy:
            array = np.array(grad, dtype=self.form.start.numpy().dtype)  # a copy: the user may reuse his own
            if array.size != count * self.form.sizes[0]:
                raise ValueError(f"the gradient has the shape {array.shape}; it must have that of x0.")
            return array.reshape(count, -1)
        return self._array(self.form.flat(grad, "the gradient", count).clone())

    def _value(self, x: torch.Tensor) -> torch.Tensor:
        """fun at one point (n,), as a tensor with its graph."""
        value = self.fun(self.form.tensors(x), *self.args)
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"fun returned {type(value).__name__}; it must return a tensor made by torch from x, or bring its "
                "gradient: jac=True or jac=a function."
            )
        if value.numel() != 1:
            raise ValueError(f"fun returned the shape {tuple(value.shape)}; it must return one number.")
        return value.reshape(())

    def _one_autograd(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        leaf = self._torch(x[0]).detach().requires_grad_()
        with torch.enable_grad():
            value = self._value(leaf)
        if not value.requires_grad:
            raise ValueError("fun returned a value without a graph; it must be computed from x by torch operations.")
        (grad,) = torch.autograd.grad(value, leaf)
        return self._array(value[None]), self._array(grad[None])

    def _batch_autograd(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        points, args = self._torch(x), self._arguments(members)
        if self.vectorized:
            leaf = points.detach().requires_grad_()
            with torch.enable_grad():
                values = self.fun(self.form.tensors(leaf), *args)
                (grads,) = torch.autograd.grad(values.sum(), leaf)
        else:
            grads, values = torch.func.vmap(torch.func.grad_and_value(self._pure))(points, *args)
        if values.shape != (len(x),):
            raise ValueError(f"fun returned the shape {tuple(values.shape[1:])} for one problem; it must be a number.")
        return self._array(values), self._array(grads)

    def _pure(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        return self.fun(self.form.tensors(x), *args)

    # ---- second derivatives

    def hessian(self, x: Array, members: np.ndarray) -> Array:
        """(k, n, n) at the points x (k, n)."""
        if self.hess is not None:
            return self._given_hessian(x, members)
        points, args = self._torch(x), self._arguments(members)
        if not self.form.batched:
            return self._array(hessian(self._value)(points[0])[None])
        if not self.vectorized:
            return self._array(torch.func.vmap(hessian(self._pure))(points, *args))
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():  # row by row: problem i's gradient depends on its own point alone
            (grads,) = torch.autograd.grad(
                self.fun(self.form.tensors(leaf), *args).sum(), leaf, create_graph=True, materialize_grads=True
            )
            columns = grads.sum(0)
            rows = [
                torch.autograd.grad(column, leaf, retain_graph=True, materialize_grads=True)[0]
                if column.requires_grad
                else torch.zeros_like(leaf)
                for column in columns
            ]
        return self._array(torch.stack(rows, 1))

    def _given_hessian(self, x: Array, members: np.ndarray) -> Array:
        n = x.shape[-1]
        if self.vectorized:
            given = [self.hess(self._argument(x), *self._arguments(members))]
        else:
            given = []
            for i, member in enumerate(members):
                args = tuple(arg[member] for arg in self.args) if self.form.batched else self.args
                given.append(self.hess(self._argument(x[i]), *args))
        matrices = [torch.as_tensor(H).detach().reshape(-1, n, n).to(self.form.start) for H in given]
        return self._array(torch.cat(matrices))

    def _row(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        """One problem of a vectorized function."""
        return self.fun(self.form.tensors(x[None]), *(arg[None] for arg in args))[0]

    def product(self, x: Array, v: Array, members: np.ndarray) -> Array:
        """(k, n): the Hessians at x times the vectors v."""
        if self.hessp is not None or self.hess is not None:
            rows = []
            for i, member in enumerate(members):
                args = tuple(arg[member] for arg in self.args) if self.form.batched else self.args
                if self.hessp is not None:
                    Hv = self.hessp(self._argument(x[i]), self._argument(v[i]), *args)
                    rows.append(self._gradient(Hv, 1))
                else:
                    rows.append(self.hessian(x[i : i + 1], members[i : i + 1])[0] @ v[i][:, None])
                    rows[-1] = rows[-1].reshape(1, -1)
            return np.concatenate(rows) if self.on_host else torch.cat(rows)
        points, along = self._torch(x), self._torch(v)
        if self.form.batched:
            pure = self._row if self.vectorized else self._pure
            args = self._arguments(members)

            def one(point: torch.Tensor, direction: torch.Tensor, *args: Any) -> Any:
                return torch.func.grad(lambda p: torch.func.grad(pure)(p, *args) @ direction)(point)

            return self._array(torch.func.vmap(one)(points, along, *args))
        if self.graph[0] is not x:  # the same point again: the graph of its gradient is kept
            leaf = points[0].detach().requires_grad_()
            with torch.enable_grad():
                (grad,) = torch.autograd.grad(self._value(leaf), leaf, create_graph=True)
            self.graph = (x, leaf, grad)
        _, leaf, grad = self.graph
        if not grad.requires_grad:  # a linear function
            return v * 0
        (Hv,) = torch.autograd.grad(grad, leaf, along[0], retain_graph=True, allow_unused=True)
        return v * 0 if Hv is None else self._array(Hv[None])


def hessian(fun: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Reverse over reverse: every operation has a backward, not every one a forward derivative."""
    return torch.func.jacrev(torch.func.grad(fun))


def _number(value: Any) -> float:
    """One number of a 0-d array, a tensor or an array of one entry."""
    if isinstance(value, float):
        return value
    size = value.numel() if isinstance(value, torch.Tensor) else np.size(value)
    if size != 1:
        raise ValueError(f"fun returned the shape {np.shape(value)}; it must return one number.")
    return float(value if np.ndim(value) == 0 else value.reshape(()))
