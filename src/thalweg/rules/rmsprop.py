"""RMSProp: root mean square propagation.

Adagrad with a memory that fades: divide the gradient by the root of a running average of its squares. The
rate no longer shrinks to nothing, and adapts when the landscape changes.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.ops import ema, maximum, sqrt
from thalweg.signature import Slot


def rmsprop(
    p, g, v=Slot(start="initial_accumulator_value"), mean=Slot(when="centered"), u=Slot(when="momentum"), *, t,
    lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0, initial_accumulator_value=0.0,
    centered=False, eps_inside_root=False, bias_correction=False, lr_in_velocity=False,
):  # fmt: skip
    """One step: the gradient in units of its recent size."""
    v = ema(v, g * g, alpha)
    full = 1 - alpha**t if bias_correction else 1  # the average began at its start value
    spread = v / full
    if centered:  # the variance: what is left of the mean square without the mean
        mean = ema(mean, g, alpha)
        mean_hat = mean / full
        spread = maximum(spread - mean_hat * mean_hat, 0)  # rounding may leave it below 0
    root = sqrt(spread + eps) if eps_inside_root else sqrt(spread) + eps
    step = g / root
    if u is None:
        return p - lr * step, v, mean, None
    u = momentum * u + (lr * step if lr_in_velocity else step)
    p = p - u if lr_in_velocity else p - lr * u
    return p, v, mean, u


card = Card(
    title="RMSprop",
    paper="Tieleman and Hinton 2012, Coursera lecture 6.5; centred and with momentum: Graves 2013, arXiv:1308.0850",
    summary="Divide the gradient by the root of a running average of its squares.",
    intuition="With alpha 0.95 the average looks back about 20 steps, and a square is half forgotten after "
    "13.5: steep directions take shorter steps, flat ones longer, and old slopes lose their say.",
    strengths=[
        "Steps of about lr in every direction, however the gradients are scaled.",
        "Keeps going where Adagrad stops; follows changing landscapes (recurrent networks, games).",
    ],
    weaknesses=[
        "Without bias correction the first steps are 1 / sqrt(1 - alpha) too long.",
        "Does not settle under a constant lr: near the minimum it keeps stepping about lr.",
        "Centred, with state in float16: squares vanish before means do, and the step is g / eps. Keep it wider.",
    ],
    when="Recurrent networks and reinforcement learning; where Adam's momentum hurts.",
    when_not="As a default: Adam adds momentum and bias correction for one more tensor.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "v": "running average of squared gradients",
        "mean": "running average of gradients (centred only)",
        "mean_hat": "mean at its full weight",
        "u": "velocity (with momentum only)",
        "full": "the weight that the averages have gathered since the start",
        "spread": "how large gradients are: mean square, or variance if centred",
        "root": "what the step is measured in",
        "step": "the gradient in those units",
    },
    search={
        "lr": Log(1e-5, 1.0),
        "alpha": OneMinusLog(0.01, 0.3),
        "momentum": OneMinusLog(0.02, 1.0),
        "weight_decay": Log(1e-7, 1e-2),
    },
    search_source="Crowded Valley's lr range 1e-4 to 1, widened downwards; decay range a design choice",
    claims=frozenset({"scale-free"}),
    conventions={
        "torch": {},
        "keras": {"lr": 0.001, "alpha": 0.9, "eps": 1e-7, "eps_inside_root": True, "lr_in_velocity": True},
        "optax": {"alpha": 0.9, "eps_inside_root": True, "lr_in_velocity": True},
        "tensorflow 1": {
            "alpha": 0.9,
            "eps": 1e-10,
            "eps_inside_root": True,
            "initial_accumulator_value": 1.0,
            "lr_in_velocity": True,
        },
        "lecture, weighted average": {"alpha": 0.95, "eps_inside_root": True},
        "lecture, bias-corrected": {"bias_correction": True},
    },
    conventions_note="torch: eps outside the root, momentum over steps before lr. Keras and optax: "
    "inside, and lr inside the velocity. The lecture has both roots. optax's nesterov has no "
    "counterpart here.",
    kin={"adagrad": "a sum instead of an average", "adam": "with momentum and bias correction"},
    bowl=Bowl(lr=0.05),
    torch=Namesake("RMSprop", slots={"v": "square_avg", "mean": "grad_avg", "u": "momentum_buffer"}),
)
