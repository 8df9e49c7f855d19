"""Adadelta: steps in the units of past steps.

Adagrad's sum is replaced by an average that forgets, and the rate by the size of recent steps: the update
gets the units of the parameter, and no rate has to be chosen.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.ops import ema, sqrt


def adadelta(p, g, v, u, *, t, lr=1.0, rho=0.9, eps=1e-6, eps_inside_root=True):
    """One step: the gradient times RMS of recent steps over RMS of recent gradients."""
    v = ema(v, g * g, rho)
    if eps_inside_root:  # noqa: SIM108  two printed forms, a line each
        delta = sqrt(u + eps) / sqrt(v + eps) * g
    else:
        delta = (sqrt(u) + eps) / (sqrt(v) + eps) * g
    u = ema(u, delta * delta, rho)
    p = p - lr * delta
    return p, v, u


card = Card(
    title="Adadelta",
    paper="Zeiler 2012, arXiv:1212.5701, Algorithm 1",
    summary="RMSProp whose rate is the root mean square of its own recent steps.",
    intuition="A gradient has the units 1 / parameter; dividing by the RMS of gradients leaves none, and "
    "multiplying by the RMS of past steps gives back the parameter's. The first steps are about sqrt(eps), "
    "and grow from there.",
    strengths=["No learning rate is needed: lr = 1 is the paper's.", "The rate recovers after it has shrunk."],
    weaknesses=[
        "Starts very slowly: eps sets the first steps, and it takes hundreds to grow.",
        "Usually ends behind RMSProp and Adam with a tuned lr.",
    ],
    when="When nothing can be tuned at all.",
    when_not="When a few trials for an lr are affordable: a tuned RMSProp or Adam gets further.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "v": "running average of squared gradients",
        "u": "running average of squared steps (the lecture's w), before lr",
        "delta": "the step, before lr",
    },
    search={"lr": Log(1e-2, 1e2), "rho": OneMinusLog(0.01, 0.3), "weight_decay": Log(1e-7, 1e-2)},
    search_source="centred on the paper's lr = 1; a design choice",
    conventions={
        "torch": {},
        "keras": {"lr": 0.001, "rho": 0.95, "eps": 1e-7},
        "optax": {},
        "paper": {"rho": 0.95},
        "lecture, formula": {"eps_inside_root": False},
        "lecture, code": {"eps": 1e-5},
    },
    conventions_note="Keras' default lr of 0.001 makes it a thousand times slower than the paper's 1. The lecture "
    "prints eps outside both roots, its code has it inside.",
    kin={"adagrad": "a sum instead of an average", "rmsprop": "a chosen rate instead of past steps"},
    bowl=Bowl(lr=10.0, tolerance=1e-2),
    torch=Namesake("Adadelta", slots={"v": "square_avg", "u": "acc_delta"}),
)
