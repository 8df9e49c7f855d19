"""The user's function as the loop sees it: points in, values and gradients out.

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

from thalweg.minimize.arrays import Array, Number, Rows, copied, finest, matvec, namespace
from thalweg.minimize.returned import argument, as_many, number, real, refusal, with_graph

EMPTY = "x0 is empty; it must hold at least one number."


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
        if not leaves:
            raise ValueError(EMPTY)
        self.numpy = not any(isinstance(leaf, torch.Tensor) for leaf in leaves)
        if self.numpy:
            try:
                array = np.asarray(x0)
            except ValueError:
                raise TypeError("x0 holds lists of different lengths; it must be an array, or tensors.") from None
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
            raise ValueError(EMPTY)
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
        """What the loop holds, (n,) or (k, n), as the caller gets it."""
        if self.numpy:
            return np.array(flat).reshape(flat.shape[:-1] + tuple(self.shapes[0]))
        return self.tensors(torch.from_numpy(flat.copy()) if isinstance(flat, np.ndarray) else flat.clone())

    def matrix(self, H: Array) -> Any:
        """A matrix (n, n), or matrices (k, n, n), as the caller gets them."""
        return np.asarray(H) if self.numpy else torch.as_tensor(H)

    def flat(self, value: Any, what: str, shape: tuple[int, ...]) -> torch.Tensor:
        """A gradient in the form of x0, or as one array, as a tensor of this shape, (n,) or (k, n)."""
        count = math.prod(shape[:-1])
        try:
            whole = pytree.tree_is_leaf(value)
            leaves = [value] if whole else self.tree.flatten_up_to(value)  # a dict in any order of its keys
            parts = [torch.as_tensor(leaf).detach() for leaf in leaves]
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{what} is {type(value).__name__}; it must have the form of x0.") from None
        sizes = [sum(self.sizes)] if whole else self.sizes
        if [part.numel() for part in parts] != [count * size for size in sizes]:
            said = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"{what} has the shape {said}; it must have that of x0, {sum(self.sizes)} numbers.")
        if any(part.is_complex() for part in parts):
            raise TypeError(f"{what} holds {parts[0].dtype}; it must hold real numbers.")
        return torch.cat([part.reshape((*shape[:-1], -1)) for part in parts], -1).to(self.start)


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
            if jac is None and not vectorized:
                self.args = tuple(argument(arg, form.device) for arg in args)
        self.on_host = on_numpy(form.device)
        self.graph: tuple[Any, Any, Any] = (None, None, None)
        if jac is None:
            self.evaluate = self._batch_autograd if form.batched else self._one_autograd
        elif not form.batched:
            self.evaluate = lambda x, members: self._one_given(x, args)
        elif vectorized:
            self.evaluate = self._batch_given
        else:
            self.evaluate = lambda x, members: self._each(self._one_given, members, x)

    # ---- between the loop's arrays and the user's

    def start(self) -> Array:
        """The start (n,), or the starts (B, n), as the loop holds them."""
        start = self.form.start if self.form.batched else self.form.start[0]
        return start.numpy().copy() if self.on_host else start.clone()

    def _torch(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(x) if isinstance(x, np.ndarray) else x

    def _array(self, x: torch.Tensor) -> Array:
        return x.numpy(force=True)[()] if self.on_host else x.detach()

    def _argument(self, x: Array) -> Any:
        """Points as the user's function wants them, (n,) or (k, n), in a copy: he may write into it."""
        x = copied(x)
        if self.form.numpy and self.jac is not None:
            return x if len(self.form.shapes[0]) == 1 else x.reshape(x.shape[:-1] + tuple(self.form.shapes[0]))
        return self.form.tensors(self._torch(x))

    def _arguments(self, members: np.ndarray) -> tuple:
        return tuple(arg[members] if len(members) < len(arg) else arg for arg in self.args)

    # ---- value and gradient

    def _given(self, x: Any, args: tuple) -> tuple[Any, Any]:
        if self.jac is True:
            pair = self.fun(x, *args)
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(
                    f"jac is True and fun returned {type(pair).__name__}; it must return (value, gradient)."
                )
            return tuple(pair)
        return self.fun(x, *args), self.jac(x, *args)

    def _each(self, one: Callable[..., Any], members: Rows, *arrays: Array) -> list[Any]:
        """What `one` finds for each problem, stacked; one(*arrays, args), of a problem's own part of each."""
        own = [tuple(arg[member] for arg in self.args) for member in members]
        found = zip(*(one(*(array[i] for array in arrays), args) for i, args in enumerate(own)), strict=True)
        return [namespace(arrays[0]).stack(values) for values in found]

    def _one_given(self, x: Array, args: tuple) -> tuple[Number, Array]:
        """The user's own gradient, of one problem."""
        value, grad = self._given(self._argument(x), args)
        return self._number(value), self._gradient(grad, x)

    def _batch_given(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        """The user's own gradients, of all at once."""
        values, grads = self._given(self._argument(x), self._arguments(members))
        values = torch.as_tensor(as_many(values, x)).detach()
        return self._array(values), self._gradient(grads, x)

    def _gradient(self, grad: Any, x: Array, what: str = "the gradient") -> Array:
        """A gradient, or gradients, of the shape of x."""
        if self.form.numpy:
            array = np.array(grad)  # a copy: the user may use his own again
            if array.dtype != x.dtype:
                array = real(array, what).astype(x.dtype)
            if array.size != x.size:
                raise ValueError(f"{what} has the shape {array.shape}; it must have that of x0.")
            return array if array.shape == x.shape else array.reshape(x.shape)
        return self._array(self.form.flat(grad, what, x.shape).clone())

    def _number(self, value: Any) -> Number:
        """The value of one problem, where the loop wants it."""
        if self.on_host:
            return np.float64(number(value))
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return value.detach().reshape(())  # it stays where it is: the loop fetches it with its other numbers
        return torch.full((), number(value), dtype=finest(self.form.start), device=self.form.device)

    def _value(self, x: torch.Tensor) -> torch.Tensor:
        """fun at one point (n,), as a tensor with its graph."""
        return self._pure(x, *self.args)

    def _pure(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        """The same with other arguments, for `torch.func`."""
        value = self._asked(x, *args)
        if value.numel() != 1:
            raise ValueError(f"fun returned the shape {tuple(value.shape)}; it must return one number.")
        return value.reshape(())

    def _asked(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        """What fun returns for x, if autograd can go through it."""
        try:
            value = self.fun(self.form.tensors(x), *args)
        except (RuntimeError, TypeError) as error:
            said = refusal(error)
            if said is None:
                raise
            raise TypeError(said) from error
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"fun returned {type(value).__name__}; it must return a tensor made by torch from x, or bring its "
                "gradient: jac=True or jac=a function."
            )
        if value.is_complex():
            raise TypeError(f"fun returned {value.dtype}; it must return a real number.")
        return value

    def _one_autograd(self, x: Array, members: Rows) -> tuple[Number, Array]:
        with torch.inference_mode(False):  # gradients on, also where the caller is in no_grad or inference_mode
            leaf = self._torch(x).detach().requires_grad_()
            value = self._value(leaf)
        (grad,) = torch.autograd.grad(with_graph(value), leaf)
        return self._array(value), self._array(grad)

    def _batch_autograd(self, x: Array, members: np.ndarray) -> tuple[Array, Array]:
        args = self._arguments(members)
        if self.vectorized:
            with torch.inference_mode(False):
                leaf = self._torch(x).detach().requires_grad_()
                values = as_many(self._asked(leaf, *args), x)
                (grads,) = torch.autograd.grad(with_graph(values).sum(), leaf)
        else:
            grads, values = torch.func.vmap(torch.func.grad_and_value(self._pure))(self._torch(x), *args)
        return self._array(values), self._array(grads)

    # ---- second derivatives

    def hessian(self, x: Array, members: Rows) -> Array:
        """(..., n, n) at the points x (..., n)."""
        if self.hess is not None:
            if not self.form.batched:
                return self._one_hessian(x, self.args)[0]
            if not self.vectorized:
                return self._each(self._one_hessian, members, x)[0]
            return self._matrices(self.hess(self._argument(x), *self._arguments(members)), x)
        points = self._torch(x)
        if not self.form.batched:
            return self._array(hessian(self._value)(points))
        args = self._arguments(members)
        if not self.vectorized:
            return self._array(torch.func.vmap(hessian(self._pure))(points, *args))
        with torch.inference_mode(False):  # row by row: problem i's gradient depends on its own point alone
            leaf = self._torch(x).detach().requires_grad_()
            (grads,) = torch.autograd.grad(
                self._asked(leaf, *args).sum(), leaf, create_graph=True, materialize_grads=True
            )
            columns = grads.sum(0)
            rows = [
                torch.autograd.grad(column, leaf, retain_graph=True, materialize_grads=True)[0]
                if column.requires_grad
                else torch.zeros_like(leaf)
                for column in columns
            ]
        return self._array(torch.stack(rows, 1))

    def _one_hessian(self, x: Array, args: tuple) -> tuple[Array]:
        return (self._matrices(self.hess(self._argument(x), *args), x),)

    def _matrices(self, H: Any, x: Array) -> Array:
        """What hess returned, as (..., n, n)."""
        shape = (*x.shape, x.shape[-1])
        H = H.toarray() if hasattr(H, "toarray") else H  # SciPy's sparse matrices
        if hasattr(H, "matvec"):
            raise TypeError(
                f"hess returned {type(H).__name__}; it must return a matrix, and an operator goes as "
                "hessp=lambda x, v: hess(x) @ v to method='newton-cg'."
            )
        if math.prod(np.shape(H)) != math.prod(shape):
            raise ValueError(f"hess returned the shape {tuple(np.shape(H))}; it must be {shape}.")
        H = H if isinstance(H, torch.Tensor) else torch.from_numpy(real(H, "hess's matrix"))
        return self._array(H.detach().reshape(shape).to(self.form.start))

    def product(self, x: Array, v: Array, members: Rows) -> Array:
        """(..., n): the Hessians at x times the vectors v."""
        if self.hessp is None and self.hess is not None:
            return matvec(self.hessian(x, members), v)
        if self.hessp is not None:
            if self.vectorized:
                given = self.hessp(self._argument(x), self._argument(v), *self._arguments(members))
                return self._gradient(given, x, "hessp's product")
            if self.form.batched:
                return self._each(self._one_product, members, x, v)[0]
            return self._one_product(x, v, self.args)[0]
        points, along = self._torch(x), self._torch(v)
        if self.form.batched:
            pure = self._row if self.vectorized else self._pure
            args = self._arguments(members)

            def one(point: torch.Tensor, direction: torch.Tensor, *args: Any) -> Any:
                return torch.func.grad(lambda p: torch.func.grad(pure)(p, *args) @ direction)(point)

            return self._array(torch.func.vmap(one)(points, along, *args))
        if self.graph[0] is not x:  # the same point again: the graph of its gradient is kept
            with torch.inference_mode(False):
                leaf = self._torch(x).detach().requires_grad_()
                (grad,) = torch.autograd.grad(self._value(leaf), leaf, create_graph=True)
            self.graph = (x, leaf, grad)
        _, leaf, grad = self.graph
        if not grad.requires_grad:  # a linear function
            return v * 0
        (Hv,) = torch.autograd.grad(grad, leaf, along, retain_graph=True, allow_unused=True)
        return v * 0 if Hv is None else self._array(Hv)

    def _one_product(self, x: Array, v: Array, args: tuple) -> tuple[Array]:
        product = self.hessp(self._argument(x), self._argument(v), *args)
        return (self._gradient(product, x, "hessp's product"),)

    def _row(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        """One problem of a vectorized function."""
        return self._asked(x[None], *(arg[None] for arg in args))[0]


def hessian(fun: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Reverse over reverse: every operation has a backward, not every one a forward derivative."""
    return torch.func.jacrev(torch.func.grad(fun))
