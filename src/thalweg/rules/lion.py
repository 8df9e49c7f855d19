"""Lion: evolved sign momentum.

Every parameter moves by the same amount, lr, up or down: by the sign of momentum and newest gradient
together. The momentum itself is kept with a longer memory.
"""

from thalweg.card import Bowl, Card, Log, OneMinusLog
from thalweg.ops import ema, sign
from thalweg.transforms.decay import decoupled_decay


def lion(p, g, m, *, t, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """One step of Algorithm 2."""
    p, g = decoupled_decay(p, g, lr=lr, weight_decay=weight_decay)
    p = p - lr * sign(ema(m, g, beta1))  # looks beyond the momentum that is kept
    m = ema(m, g, beta2)
    return p, m


card = Card(
    title="Lion",
    paper="Chen et al. 2023, arXiv:2302.06675, Algorithm 2",
    summary="The sign of momentum: every parameter moves by lr, whatever the size of its gradient.",
    intuition="The sign throws away how large a gradient is and keeps only which way it points, so no second "
    "moment is needed to bring gradients to one size. The newest gradient weighs 1 - beta1 in the decision and only "
    "1 - beta2 in the memory: quick to turn, slow to forget.",
    strengths=[
        "Half of Adam's state: one running average.",
        "The size of the gradients, of the loss and of eps never matter.",
    ],
    weaknesses=[
        "Steps do not shrink near a minimum: without a falling lr it jumps about by lr.",
        "Small batches make signs a matter of chance; the paper sees its gains at batches of 64 and more.",
        "AdamW's settings do not carry over: begin with a third to a tenth of its lr and 3 to 10 times its decay.",
    ],
    when="Transformers and vision models with large batches, where the state's memory counts.",
    when_not="Small batches, few steps, or problems whose gradients say by their size how far to go.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "m": "running average of gradients",
        "beta1": "how much the running average weighs against the newest gradient in the sign (the class has betas)",
        "beta2": "how much of the running average is kept per step (the class has betas)",
        "betas": "how much the running average weighs in the sign, and how much of it is kept per step",
    },
    search={
        "lr": Log(1e-6, 1e-2),
        "weight_decay": Log(0.05, 2.0),
        "beta1": OneMinusLog(0.02, 0.2),
        "beta2": OneMinusLog(0.005, 0.1),
    },
    search_source="marin's sweeps (Wen et al. 2025, arXiv:2509.02046); the lower end of lr is our choice",
    claims=frozenset({"scale-free", "first-step-is-lr", "sign-only"}),
    conventions={
        "paper": {},
        "optax": {"weight_decay": 1e-3},
        "keras": {"lr": 1e-3},
        "pytorch_optimizer": {},
    },
    conventions_note="All of them decay by lr * weight_decay of the parameter, beside the sign. Folded into the "
    "gradient instead, as some kernels of bitsandbytes once did, the decay changes the sign and is another optimizer.",
    kin={"adamw": "divides by the gradient's size instead of taking its sign"},
    bowl=Bowl(lr=0.01),
    decays="own",
)
