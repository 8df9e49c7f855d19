"""The algorithm boxes of the papers, line by line in their own letters; defaults where the paper prints them."""

from __future__ import annotations

import numpy as np

from .walker import Reference


def adam(beta_1=0.9, beta_2=0.999, epsilon=1e-8) -> Reference:
    """Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1; alpha = 0.001."""
    m = v = 0.0

    def step(theta, g, t, alpha):
        nonlocal m, v
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = m / (1 - beta_1**t)
        v_hat = v / (1 - beta_2**t)
        return theta - alpha * m_hat / (np.sqrt(v_hat) + epsilon)

    return Reference(step, lr=0.001)


def adamw(lambda_: float, alpha=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8) -> Reference:
    """Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2 (green part).

    The schedule multiplier eta_t multiplies both the step and lambda; alpha multiplies the step alone. The
    walk's lr is eta_t * alpha, so eta_t = lr / alpha.
    """
    m = v = 0.0

    def step(theta, g, t, lr):
        nonlocal m, v
        eta = lr / alpha
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = m / (1 - beta_1**t)
        v_hat = v / (1 - beta_2**t)
        return theta - eta * (alpha * m_hat / (np.sqrt(v_hat) + epsilon) + lambda_ * theta)

    return Reference(step, lr=alpha)


def adadelta(rho=0.95, epsilon=1e-6) -> Reference:
    """Zeiler 2012, arXiv:1212.5701, Algorithm 1; rho and epsilon are those of its section 4.1. There is no rate."""
    squares = deltas = 0.0

    def step(x, g, t, one):
        nonlocal squares, deltas
        squares = rho * squares + (1 - rho) * g**2
        delta = -np.sqrt(deltas + epsilon) / np.sqrt(squares + epsilon) * g
        deltas = rho * deltas + (1 - rho) * delta**2
        return x + one * delta

    return Reference(step, lr=1.0)


def momentum(mu: float) -> Reference:
    """Sutskever, Martens, Dahl and Hinton 2013, ICML, equations 1 and 2."""
    v = 0.0

    def step(theta, g, t, epsilon):
        nonlocal v
        v = mu * v - epsilon * g
        return theta + v

    return Reference(step)


def nesterov(gradient, theta, mu: float, epsilon: float, steps: int) -> list[np.ndarray]:
    """The same, equations 3 and 4: where it looks, theta + mu * v, at each step."""
    v, looked = np.zeros_like(theta), []
    for t in range(1, steps + 1):
        v = mu * v - epsilon * gradient(theta + mu * v, t)
        theta = theta + v
        looked.append(theta + mu * v)
    return looked


def amsgrad(beta_1=0.9, beta_2=0.999) -> Reference:
    """Reddi, Kale and Kumar 2018, ICLR, Algorithm 2: no bias correction, and no epsilon."""
    m = v = v_hat = 0.0

    def step(x, g, t, alpha):
        nonlocal m, v, v_hat
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        v_hat = np.maximum(v_hat, v)
        return x - alpha * m / np.sqrt(v_hat)

    return Reference(step)


def lion(beta_1=0.9, beta_2=0.99, lambda_=0.0) -> Reference:
    """Chen et al. 2023, arXiv:2302.06675, Algorithm 2; the betas are its defaults, lr that of the authors' code."""
    m = 0.0

    def step(theta, g, t, eta):
        nonlocal m
        c = beta_1 * m + (1 - beta_1) * g
        theta = theta - eta * (np.sign(c) + lambda_ * theta)
        m = beta_2 * m + (1 - beta_2) * g
        return theta

    return Reference(step, lr=1e-4)


def lamb(beta_1=0.9, beta_2=0.999, lambda_=0.0, epsilon=1e-6) -> Reference:
    """You et al. 2020, arXiv:1904.00962, Algorithm 2 with phi(z) = z; epsilon as in its section 4."""
    m = v = 0.0

    def step(x, g, t, eta):
        nonlocal m, v
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        r = (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        update = r + lambda_ * x
        return x - eta * np.sqrt(x @ x) / np.sqrt(update @ update) * update

    return Reference(step)
