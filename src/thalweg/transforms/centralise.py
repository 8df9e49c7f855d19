"""Gradient centralisation (Yong et al. 2020, arXiv:2004.01461, equation 1).

From the gradient of a matrix or of a convolution the mean of each row is taken away: of each output unit, over all
its inputs. Vectors (biases, the scales of normalisations) have no rows and stay as they are.
"""

from thalweg.ops import row_mean


def centralise(p, g):
    """The gradient less the mean of each of its rows."""
    return p, g - row_mean(g)
