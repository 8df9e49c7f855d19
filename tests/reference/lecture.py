"""The lecture's formulas, in its own letters. It gives no eps but the code's 1e-5; gamma is 0.95 or 0.5."""

from __future__ import annotations

import numpy as np

from .walker import Reference


def gradient_descent() -> Reference:
    """``W_new = W_old - eta dL/dW_old``, with ``eta = 0.001`` printed beside it."""
    return Reference(lambda w, g, t, eta: w - eta * g, lr=0.001)


def adagrad(eps: float) -> Reference:
    """``alpha_t = sum (dL/dw_i)^2``, ``eta'_t = eta / sqrt(alpha_t + eps)``, ``w_t = w_{t-1} - eta'_t dL/dw``."""
    alpha = 0.0

    def step(w, g, t, eta):
        nonlocal alpha
        alpha = alpha + g * g
        return w - eta / np.sqrt(alpha + eps) * g

    return Reference(step)


def rmsprop(eps: float, gamma=0.95) -> Reference:
    """``W_avg = gamma W_avg(t-1) + (1 - gamma) (dL/dw)^2``, ``eta_t = eta / sqrt(W_avg + eps)``, gamma 0.95."""
    w_avg = 0.0

    def step(w, g, t, eta):
        nonlocal w_avg
        w_avg = gamma * w_avg + (1 - gamma) * g * g
        return w - eta / np.sqrt(w_avg + eps) * g

    return Reference(step)


def rmsprop_corrected(eps: float, beta: float) -> Reference:
    """``s = beta s + (1 - beta) dJ^2``, ``W = W - alpha dJ / (sqrt(s_corrected) + eps)``."""
    s = 0.0

    def step(w, g, t, alpha):
        nonlocal s
        s = beta * s + (1 - beta) * g * g
        corrected = s / (1 - beta**t)
        return w - alpha * g / (np.sqrt(corrected) + eps)

    return Reference(step)


def adadelta_formula(eps: float, rho: float) -> Reference:
    """``v = rho v + (1 - rho) g^2``, ``D = (sqrt(w) + eps) / (sqrt(v) + eps) g``, then w with D; W -= eta D."""
    v = w = 0.0

    def step(theta, g, t, eta):
        nonlocal v, w
        v = rho * v + (1 - rho) * g * g
        delta = (np.sqrt(w) + eps) / (np.sqrt(v) + eps) * g
        w = rho * w + (1 - rho) * delta * delta
        return theta - eta * delta

    return Reference(step)


def adadelta_code(rho: float, eps_stable=1e-5) -> Reference:
    """``cur_delta = sqrt(delta + eps) / sqrt(sqr + eps) * g``; ``weight -= cur_delta``: no rate, so 1."""
    sqr = deltas = 0.0

    def step(weight, g, t, one):
        nonlocal sqr, deltas
        sqr = rho * sqr + (1.0 - rho) * np.square(g)
        cur_delta = np.sqrt(deltas + eps_stable) / np.sqrt(sqr + eps_stable) * g
        deltas = rho * deltas + (1.0 - rho) * cur_delta * cur_delta
        return weight - one * cur_delta

    return Reference(step, lr=1.0)


def momentum_sum(gamma=0.5) -> Reference:
    """``V_t1 = b_1``, ``V_t2 = gamma V_t1 + b_2`` ... with gamma 0.5, and a step of eta along V."""
    v = None

    def step(w, b, t, eta):
        nonlocal v
        v = b if v is None else gamma * v + b
        return w - eta * v

    return Reference(step)


def momentum_average(beta: float) -> Reference:
    """``v = beta v + (1 - beta) dJ``, ``W = W - alpha v``."""
    v = 0.0

    def step(w, g, t, alpha):
        nonlocal v
        v = beta * v + (1 - beta) * g
        return w - alpha * v

    return Reference(step)


def adam(eps: float, beta_1=0.9, beta_2=0.999, mended=True) -> Reference:
    """As printed; the second correction, printed with beta_1, is mended to beta_2."""
    v = s = 0.0

    def step(w, g, t, alpha):
        nonlocal v, s
        v = beta_1 * v + (1 - beta_1) * g
        s = beta_2 * s + (1 - beta_2) * g * g
        v_corrected = v / (1 - beta_1**t)
        s_corrected = s / (1 - (beta_2 if mended else beta_1) ** t)
        return w - alpha * v_corrected / (np.sqrt(s_corrected) + eps)

    return Reference(step)
