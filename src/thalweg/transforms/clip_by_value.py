"""Clip by value: no coordinate of the gradient beyond a bound, as `torch.nn.utils.clip_grad_value_` does it."""

from thalweg.ops import maximum, minimum


def clip_by_value(p, g, *, clip_value=1.0):
    """Every element of the gradient into [-clip_value, clip_value]; this may turn the gradient."""
    return p, minimum(maximum(g, -clip_value), clip_value)
