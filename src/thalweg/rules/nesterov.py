"""Nesterov momentum: look before you roll.

The velocity will carry the ball on anyway, so judge the slope where it is about to be: a correction one
step earlier, and less overshoot than the heavy ball.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.rules.momentum import pushed


def nesterov(p, g, v, *, t, lr=1e-3, momentum=0.9, average=False, lr_in_velocity=False):
    """One step, written at the looked-ahead point: the parameters held *are* the ones looked at."""
    push = pushed(g, lr, momentum, average, lr_in_velocity)
    v = momentum * v + push
    ahead = momentum * v + push
    p = p - ahead if lr_in_velocity else p - lr * ahead
    return p, v


card = Card(
    title="Nesterov",
    paper="Nesterov 1983, Soviet Math. Dokl. 27:372; Sutskever et al. 2013, ICML, equations 3 and 4; the form "
    "in looked-ahead variables: Bengio et al. 2013, arXiv:1212.0901, equation 7",
    summary="Momentum whose step already includes the next roll of the velocity.",
    intuition="Compared with the heavy ball, the newest gradient counts 1 + momentum times instead of once: "
    "when the slope turns, the brake acts one step sooner.",
    strengths=[
        "As fast as momentum on valleys and steadier: stable for larger lr * momentum.",
        "On smooth convex functions its rate, 1/t^2, is the best a gradient method can have.",
    ],
    weaknesses=["The advantage shrinks as batch noise grows.", "One lr for every parameter."],
    when="Wherever momentum is; it rarely does worse.",
    when_not="Models whose gradients differ by orders of magnitude between parameters (transformers).",
    symbols={
        "p": "parameter (at the looked-ahead point)",
        "g": "gradient there",
        "v": "velocity",
        "push": "what this gradient adds to the velocity",
        "ahead": "the velocity after one more roll and the same push",
    },
    search={
        "lr": Log(1e-5, 5.0),
        "momentum": OneMinusLog(5e-3, 0.3),
        "weight_decay": Log(1e-7, 1e-2),
    },
    search_source="AlgoPerf's Nesterov range; lr widened downwards as for momentum",
    claims=frozenset({"rotation-equivariant", "linear-in-gradient"}),
    conventions={
        "torch": {},
        "keras": {"lr": 0.01, "lr_in_velocity": True},
        "optax": {},
    },
    conventions_note="torch, Keras and optax all hold the looked-ahead parameters. With average=True the "
    "newcomer is averaged in as well; gradient plus *averaged* velocity, seen elsewhere, is another optimizer.",
    kin={"momentum": "without the look ahead", "nadam": "Adam with this look ahead"},
    bowl=Bowl(lr=0.03),
    torch=Namesake("SGD", slots={"v": "momentum_buffer"}, step=False, fixed={"nesterov": True, "dampening": 0.0}),
)
