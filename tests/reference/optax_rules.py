"""optax's rules, written from what its source says; defaults as there.

Source: github.com/google-deepmind/optax at 2edbcbe2 (2026-08-07), the functions named below in
optax/_src/alias.py and optax/_src/transform.py (`trace`: optax/transforms/_accumulation.py). Formulas are
facts; no line of its code is used. optax has no default learning rate (adadelta: None, no rate at all).
"""

from __future__ import annotations

import numpy as np

from .walker import Reference


class _Trace:
    """optax.trace: ``trace = g + decay * trace``; with nesterov the update is ``g + decay * trace`` again."""

    def __init__(self, decay: float | None, nesterov: bool = False):
        self.decay, self.nesterov, self.kept = decay, nesterov, 0.0

    def __call__(self, u):
        if self.decay is None:
            return u
        self.kept = u + self.decay * self.kept
        return u + self.decay * self.kept if self.nesterov else self.kept


def sgd(momentum=None, nesterov=False) -> Reference:
    """alias.sgd: trace, then times the learning rate."""
    trace = _Trace(momentum, nesterov)
    return Reference(lambda p, g, t, lr: p - lr * trace(g))


def adagrad(initial_accumulator_value=0.1, eps=1e-7) -> Reference:
    """alias.adagrad, transform.scale_by_rss."""
    total = np.asarray(initial_accumulator_value)

    def step(p, g, t, lr):
        nonlocal total
        total = total + g**2
        return p - lr * g * np.where(total > 0, 1 / np.sqrt(total + eps), 0)

    return Reference(step)


def adadelta(rho=0.9, eps=1e-6) -> Reference:
    """alias.adadelta, transform.scale_by_adadelta."""
    squares = deltas = 0.0

    def step(p, g, t, lr):
        nonlocal squares, deltas
        squares = rho * squares + (1 - rho) * g**2
        delta = np.sqrt(deltas + eps) / np.sqrt(squares + eps) * g
        deltas = rho * deltas + (1 - rho) * delta**2
        return p - lr * delta

    return Reference(step)


def rmsprop(
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    centered=False,
    momentum=None,
    bias_correction=False,
) -> Reference:
    """alias.rmsprop, transform.scale_by_rms and scale_by_stddev: the learning rate comes before the trace."""
    nu, mu, trace = initial_scale, 0.0, _Trace(momentum)

    def step(p, g, t, lr):
        nonlocal nu, mu
        mu = decay * mu + (1 - decay) * g
        nu = decay * nu + (1 - decay) * g**2
        full = 1 - decay**t if bias_correction else 1.0
        spread = nu / full - (mu / full) ** 2 if centered else nu / full
        root = np.sqrt(spread + eps) if eps_in_sqrt else np.sqrt(spread) + eps
        return p - trace(lr * g / root)

    return Reference(step)


def adam(b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, nesterov=False, weight_decay=0.0) -> Reference:
    """alias.adam, transform.scale_by_adam; adamw adds transform.add_decayed_weights before the learning rate."""
    mu = nu = 0.0

    def step(p, g, t, lr):
        nonlocal mu, nu
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        mu_hat = mu / (1 - b1**t)
        if nesterov:
            mu_hat = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        nu_hat = nu / (1 - b2**t)
        return p - lr * (mu_hat / (np.sqrt(nu_hat + eps_root) + eps) + weight_decay * p)

    return Reference(step)


def nadam(**settings) -> Reference:
    """alias.nadam is alias.adam with nesterov=True."""
    return adam(nesterov=True, **settings)


def adamw(weight_decay=1e-4, **settings) -> Reference:
    """alias.adamw."""
    return adam(weight_decay=weight_decay, **settings)


def amsgrad(b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0) -> Reference:
    """alias.amsgrad, transform.scale_by_amsgrad: the maximum is taken of the corrected second moment."""
    mu = nu = nu_max = 0.0

    def step(p, g, t, lr):
        nonlocal mu, nu, nu_max
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        nu_max = np.maximum(nu_max, nu / (1 - b2**t))
        return p - lr * (mu / (1 - b1**t)) / (np.sqrt(nu_max + eps_root) + eps)

    return Reference(step)


def lion(b1=0.9, b2=0.99, weight_decay=1e-3) -> Reference:
    """alias.lion, transform.scale_by_lion (mode "hard"), then add_decayed_weights before the learning rate."""
    mu = 0.0

    def step(p, g, t, lr):
        nonlocal mu
        u = np.sign((1 - b1) * g + b1 * mu) + weight_decay * p
        mu = (1 - b2) * g + b2 * mu
        return p - lr * u

    return Reference(step)


def lamb(b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.0) -> Reference:
    """alias.lamb: scale_by_adam, add_decayed_weights, scale_by_trust_ratio, the learning rate.

    The trust ratio is 1 where either norm is 0.
    """
    mu = nu = 0.0

    def step(p, g, t, lr):
        nonlocal mu, nu
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        u = mu / (1 - b1**t) / (np.sqrt(nu / (1 - b2**t)) + eps) + weight_decay * p
        sizes = np.linalg.norm(p), np.linalg.norm(u)
        return p - lr * (sizes[0] / sizes[1] if all(sizes) else 1.0) * u

    return Reference(step)
