"""timm's LAMB, written from what its source says; defaults as there, but for the clipping of gradients in front.

Source: github.com/huggingface/pytorch-image-models at 1e19b290, timm/optim/lamb.py. Formulas are facts; no line of
its code is used.
"""

from __future__ import annotations

import numpy as np

from .walker import Reference


def lamb(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, trust_clip=False, always_adapt=False) -> Reference:
    """Without decay there is no trust ratio, unless it always adapts; trust_clip keeps it at 1 or below."""
    m = v = 0.0

    def step(p, g, t, now):
        nonlocal m, v
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        update = m / (1 - betas[0] ** t) / (np.sqrt(v) / np.sqrt(1 - betas[1] ** t) + eps) + weight_decay * p
        trust = 1.0
        if weight_decay or always_adapt:
            sizes = np.sqrt(np.sum(p**2)), np.sqrt(np.sum(update**2))
            trust = sizes[0] / sizes[1] if min(sizes) > 0 else 1.0
            trust = min(trust, 1.0) if trust_clip else trust
        return p - now * trust * update

    return Reference(step, lr=lr)
