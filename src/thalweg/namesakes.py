"""torch.optim.SGD is three of our rules behind two arguments: this one chooses, and contains no formula."""

from dataclasses import replace

from thalweg.card import Namesake
from thalweg.rules.momentum import card as momentums_card
from thalweg.rules.momentum import momentum as heavy_ball
from thalweg.rules.nesterov import nesterov as look_ahead
from thalweg.rules.sgd import card as sgds_card
from thalweg.rules.sgd import sgd as gradient_descent
from thalweg.signature import Slot


def sgd(p, g, v=Slot(when="momentum"), *, t, lr=1e-3, momentum=0.0, dampening=0.0, nesterov=False):
    """Gradient descent without momentum, the heavy ball or Nesterov's with it."""
    if v is None:
        return gradient_descent(p, g, t=t, lr=lr), None
    if nesterov:
        return look_ahead(p, g, v, t=t, lr=lr, momentum=momentum)
    return heavy_ball(p, g, v, t=t, lr=lr, momentum=momentum, dampening=dampening)


def _refuses(hyper):
    if hyper["nesterov"] and (hyper["momentum"] == 0 or hyper["dampening"] != 0):
        return "nesterov is True; it needs momentum above 0 and dampening 0."
    return None


card = replace(
    sgds_card,
    symbols={**momentums_card.symbols, **sgds_card.symbols},
    torch=Namesake("SGD", slots={"v": "momentum_buffer"}, step=False),
    refuses=_refuses,
)
