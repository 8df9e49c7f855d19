"""Clip by norm: no tensor's gradient longer than a bound.

The arithmetic is that of `torch.nn.utils.clip_grad_norm_`, called for each tensor alone: a gradient whose length
is not finite comes out as NaN or 0, and is never refused.
"""

from thalweg.ops import minimum, norm

TINY = 1e-6  # torch's, which keeps the quotient finite


def clip_by_norm(p, g, *, clip_tensor_norm=1.0):
    """Shorten this tensor's gradient to the length clip_tensor_norm, if it is longer."""
    scale = minimum(clip_tensor_norm / (norm(g) + TINY), 1.0)
    return p, scale * g
