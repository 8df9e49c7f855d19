"""TensorFlow 1's RMSProp, from its documentation.

Source: tensorflow/python/training/rmsprop.py (`RMSPropOptimizer`: the formulas of the module's docstring, the
slot "rms" that starts at one, decay 0.9, epsilon 1e-10; no default rate); the same facts in timm's
timm/optim/rmsprop_tf.py.
"""

from __future__ import annotations

import numpy as np

from .walker import Reference


def rmsprop(decay=0.9, momentum=0.0, epsilon=1e-10, centered=False) -> Reference:
    mean_square, mean_grad, mom = 1.0, 0.0, 0.0

    def step(p, g, t, learning_rate):
        nonlocal mean_square, mean_grad, mom
        mean_square = decay * mean_square + (1 - decay) * g**2
        mean_grad = decay * mean_grad + (1 - decay) * g
        spread = mean_square - mean_grad**2 if centered else mean_square
        mom = momentum * mom + learning_rate * g / np.sqrt(spread + epsilon)
        return p - mom

    return Reference(step)
