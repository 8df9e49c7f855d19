"""Momentum: the heavy ball.

A ball rolling downhill keeps some of its speed: steps that agree add up, steps that contradict each other
cancel. So it runs along a valley's floor instead of bouncing between its walls.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.ops import where


def momentum(
    p, g, v, *, t, lr=1e-3, momentum=0.9, dampening=0.0, average=False, lr_in_velocity=False
):  # fmt: skip
    """One step of the ball: friction, push, move."""
    push = where(t > 1, 1 - dampening, 1) * pushed(g, lr, momentum, average, lr_in_velocity)
    v = momentum * v + push
    p = p - v if lr_in_velocity else p - lr * v
    return p, v


def pushed(g, lr, momentum, average, lr_in_velocity):
    """What a gradient adds to the velocity: itself, unless the convention says otherwise."""
    if average:  # the velocity is a weighted average of gradients, not their sum
        g = (1 - momentum) * g
    if lr_in_velocity:  # the velocity is a length to walk: each gradient keeps the lr of its own step
        g = lr * g
    return g


def _refuses(hyper):
    if hyper["momentum"] == 0 and hyper["dampening"] != 0:
        return f"dampening is {hyper['dampening']:g}; it must be 0 where momentum is 0: there is nothing to dampen."
    return None


card = Card(
    title="Momentum",
    paper="Polyak 1964, USSR Comput. Math. Math. Phys. 4(5):1; Sutskever et al. 2013, ICML, equations 1 and 2",
    summary="Step along a decaying sum of all past gradients.",
    intuition="With momentum 0.5 the newest gradient counts 100 %, the one before 50 %, then 25 %: past "
    "directions fade. Where they agree the speed grows up to 1 / (1 - momentum) times; where they alternate, "
    "across a valley, they cancel.",
    strengths=[
        "On a valley of condition k it needs about sqrt(k) times fewer steps than gradient descent.",
        "Rolls through small bumps and shallow local minima.",
        "One extra tensor of state.",
    ],
    weaknesses=[
        "With too much momentum it overshoots and oscillates around the minimum for long.",
        "Momentum and lr must be tuned together: the reach of a step is lr / (1 - momentum).",
        "One lr for every parameter.",
    ],
    when="Convolutional networks and other well-scaled models; often the best final accuracy in vision.",
    when_not="Models whose gradients differ by orders of magnitude between parameters (transformers).",
    symbols={"p": "parameter", "g": "gradient", "v": "velocity", "push": "what this gradient adds to the velocity"},
    search={
        "lr": Log(1e-5, 5.0),
        "momentum": OneMinusLog(5e-3, 0.3),
        "weight_decay": Log(1e-7, 1e-2),
    },
    search_source="AlgoPerf's momentum range; lr widened downwards for DeepOBS' best lrs (1e-5 to 4e-2 at 0.99)",
    claims=frozenset({"rotation-equivariant", "linear-in-gradient"}),
    conventions={
        "torch": {},
        "keras": {"lr": 0.01, "lr_in_velocity": True},
        "optax": {},
        "paper": {"lr_in_velocity": True},
        "lecture, as a sum": {"momentum": 0.5},
        "lecture, as an average": {"average": True},
    },
    conventions_note="torch: the first step takes the gradient undampened. lr inside the velocity (Sutskever, "
    "TensorFlow, Keras) or outside (torch, optax) is the same as long as lr does not change. As an average, "
    "the same lr moves 1 - momentum as far.",
    kin={"sgd": "without the memory", "nesterov": "looks where the velocity is about to carry it"},
    bowl=Bowl(lr=0.03),
    torch=Namesake("SGD", slots={"v": "momentum_buffer"}, step=False, fixed={"nesterov": False}),
    refuses=_refuses,
)
