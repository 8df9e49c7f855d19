"""Clip by global norm (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, Algorithm 1).

All gradients of the model count as one vector, which is shortened as a whole and so keeps its direction. The
arithmetic is that of `torch.nn.utils.clip_grad_norm_`: a length of infinity makes every finite gradient 0, NaN
makes all of them NaN.
"""

from thalweg.ops import minimum, sqrt, total

TINY = 1e-6  # torch's, which keeps the quotient finite


def clip_by_global_norm(p, g, *, clip_norm=1.0):
    """Shorten the whole model's gradient to the length clip_norm, if it is longer."""
    scale = minimum(clip_norm / (sqrt(total(g * g)) + TINY), 1.0)
    return p, scale * g
