"""Weight decay: pull every parameter towards zero.

*Coupled* decay is the gradient of ``weight_decay / 2 * |p|^2`` added to the loss: whatever the rule does to
gradients, averaging and rescaling, it does to the decay as well. *Decoupled* decay (Loshchilov and Hutter
2019, arXiv:1711.05101, Algorithm 2) shrinks the parameter directly, by ``lr * weight_decay`` of itself.
"""

from thalweg.signature import Rule


def coupled_decay(p, g, *, weight_decay=0.0):
    """L2 regularisation: the decay joins the gradient."""
    return p, g + weight_decay * p


def decoupled_decay(p, g, *, lr=1e-3, weight_decay=0.0):
    """The decay acts on the parameter, beside the gradient's step."""
    return p - lr * weight_decay * p, g


def either_decay(p, g, *, lr=1e-3, weight_decay=0.0, decoupled_weight_decay=False):
    """One or the other, as torch's flag says."""
    if decoupled_weight_decay:
        return decoupled_decay(p, g, lr=lr, weight_decay=weight_decay)
    return coupled_decay(p, g, weight_decay=weight_decay)


decays: dict[str, Rule] = {"coupled": coupled_decay, "either": either_decay}
