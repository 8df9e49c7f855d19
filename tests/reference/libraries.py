"""Keras, torch and pytorch_optimizer themselves, made to step as the other references do.

Import this module after KERAS_BACKEND=torch is set.
"""

from __future__ import annotations

import keras
import torch

from .walker import Reference


def of_keras(name: str, **settings) -> Reference:
    """A keras.optimizers class, stepped in float64 (keras.config.floatx() must be float64)."""
    optimizer = getattr(keras.optimizers, name)(**settings)
    variable = None

    def step(p, g, t, lr):
        nonlocal variable
        if variable is None:
            variable = keras.Variable(p, dtype="float64")
            optimizer.build([variable])
        optimizer.learning_rate.assign(lr)
        optimizer.apply([torch.from_numpy(g)], [variable])
        return variable.value.detach().numpy().copy()

    return Reference(step, lr=float(optimizer.learning_rate.value.detach()))


def of_torch(name: str, sparse: bool = False, **settings) -> Reference:
    """A torch.optim class, in float64; `sparse`: with gradients in coordinates, naming every one."""
    p = torch.zeros(6, dtype=torch.float64)
    optimizer = getattr(torch.optim, name)([p], **settings)

    def step(value, g, t, lr):
        if t == 1:
            p.copy_(torch.from_numpy(value))
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.from_numpy(g).to_sparse() if sparse else torch.from_numpy(g)
        optimizer.step()
        return p.detach().numpy().copy()

    return Reference(step, lr=optimizer.defaults["lr"])


def of_pytorch_optimizer(name: str, **settings) -> Reference:
    """A pytorch_optimizer class, in float64, tensor by tensor."""
    import pytorch_optimizer

    p = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = getattr(pytorch_optimizer, name)([p], foreach=False, **settings)

    def step(value, g, t, lr):
        if t == 1:
            p.data.copy_(torch.from_numpy(value))
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.from_numpy(g)
        optimizer.step()
        return p.detach().numpy().copy()

    return Reference(step, lr=optimizer.defaults["lr"])
