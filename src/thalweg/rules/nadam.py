"""NAdam: Adam with Nesterov's look ahead.

Adam walks along the average of past gradients; NAdam already mixes today's gradient in as Nesterov's
momentum does, with a momentum that warms up over the first steps.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.ops import ema, sqrt
from thalweg.signature import Slot


def nadam(
    p, g, m, v, mu_product=Slot(start=1.0, shape="number"), *, t, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8,
    momentum_decay=4e-3, momentum_schedule=True,
):  # fmt: skip
    """One step of Dozat's Algorithm 2 with its momentum schedule."""
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) if momentum_schedule else beta1
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay)) if momentum_schedule else beta1
    mu_product = mu_product * mu
    m = ema(m, g, beta1)
    v = ema(v, g * g, beta2)
    v_hat = v / (1 - beta2**t)
    m_bar = mu_next / (1 - mu_product * mu_next) * m + (1 - mu) / (1 - mu_product) * g
    p = p - lr * m_bar / (sqrt(v_hat) + eps)
    return p, m, v, mu_product


card = Card(
    title="NAdam",
    paper="Dozat 2016, ICLR workshop, 'Incorporating Nesterov momentum into Adam', Algorithm 2",
    summary="Adam whose step already includes the next roll of its momentum.",
    intuition="The newest gradient gets more weight in the step than in the average: when the slope turns, "
    "NAdam turns one step sooner. The momentum mu starts near beta1 / 2 and rises to beta1.",
    strengths=["Often a little faster than Adam early on, at the same cost.", "Everything Adam is robust to."],
    weaknesses=["Twice the parameters as state.", "More weight on the newest gradient: a little noisier than Adam."],
    when="Instead of Adam where batches are large and gradients clean.",
    when_not="With very small, noisy batches.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "m": "running average of gradients",
        "v": "running average of squared gradients",
        "mu": "momentum of this step",
        "mu_next": "momentum of the next",
        "mu_product": "product of all momenta so far",
        "m_bar": "the average at its full weight, one roll ahead",
        "v_hat": "v at its full weight",
    },
    search={
        "lr": Log(1e-5, 1e-1),
        "beta1": OneMinusLog(0.02, 0.5),
        "beta2": OneMinusLog(1e-4, 0.2),
        "eps": Log(1e-10, 1e-3),
        "weight_decay": Log(1e-7, 1e-2),
    },
    search_source="AlgoPerf's NAdamW range, widened as Adam's; the decay is SGD's",
    claims=frozenset({"scale-free"}),
    conventions={
        "torch": {},
        "keras": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0},
        "optax": {"momentum_schedule": False},
    },
    conventions_note="The schedule is 0.96^(t * momentum_decay): torch has 0.004, Keras 1, whose "
    "weight_decay is decoupled. optax has no schedule.",
    kin={"adam": "without the look ahead", "nesterov": "the look ahead without Adam"},
    bowl=Bowl(lr=0.05),
    torch=Namesake("NAdam", slots={"m": "exp_avg", "v": "exp_avg_sq", "mu_product": "mu_product"}),
    decays="either",
)
