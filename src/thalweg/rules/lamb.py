"""LAMB: layerwise adaptive moments for batches.

Adam says in which direction; the length of the step is lr times the length of the tensor itself. So every
layer changes by the same share of its size, however large its gradients.
"""

from thalweg.card import Bowl, Card, Log, OneMinusLog
from thalweg.ops import equal, minimum, norm, ratio, where
from thalweg.rules.adam import adam
from thalweg.rules.adam import card as adams_card


def lamb(
    p, g, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0,
    bias_correction=True, always_adapt=True, trust_clip=False,
):  # fmt: skip
    """One step of Algorithm 2, with phi(z) = z."""
    adams, m, v, _ = adam(  # where Adam would go from 0 with lr = 1: its direction
        0.0, g, m, v, None, t=t, lr=1.0, beta1=beta1, beta2=beta2, eps=eps, bias_correction=bias_correction,
    )  # fmt: skip
    u = weight_decay * p - adams
    trust = ratio(norm(p), norm(u))
    trust = where(equal(trust, 0), 1.0, trust)  # one of the two is 0: no length to go by
    if trust_clip:
        trust = minimum(trust, 1.0)
    if not always_adapt:
        trust = where(equal(weight_decay, 0), 1.0, trust)
    p = p - lr * trust * u
    return p, m, v


card = Card(
    title="LAMB",
    paper="You et al. 2020, arXiv:1904.00962, Algorithm 2",
    summary="Adam's direction, and a step of lr times the length of the tensor.",
    intuition="With large batches lr has to be large, and then a layer with small weights and large updates is thrown "
    "far beyond its own size. The trust ratio |p| / |u| gives every tensor a step of the same share of itself.",
    strengths=[
        "Stays stable at batches of tens of thousands, where AdamW diverges.",
        "Neither the scale of the loss nor that of a layer's weights matters.",
    ],
    weaknesses=[
        "Two passes over memory: the norms are known only after the first.",
        "A tensor that starts at 0 takes Adam's own step of lr per element until it has a length.",
        "At usual batch sizes no better than AdamW, with one more thing that can go wrong.",
    ],
    when="Very large batches on many machines (BERT in 76 minutes).",
    when_not="Batches that AdamW can still take; biases and norms, which are better put into a group of their own.",
    symbols={
        **{name: adams_card.symbols[name] for name in ("p", "g", "m", "v", "m_hat", "v_hat", "full_m", "full_v")},
        "adams": "Adam's step from 0 with lr = 1",
        "u": "the update before it is given its length",
        "trust": "trust ratio: the tensor's length over its update's",
    },
    search={
        "lr": Log(1e-4, 1e-2),
        "weight_decay": Log(1e-3, 1.0),
        "beta1": OneMinusLog(0.02, 0.5),
        "beta2": OneMinusLog(1e-4, 0.2),
        "eps": Log(1e-10, 1e-3),
    },
    search_source="AlgoPerf",
    claims=frozenset({"scale-free", "relative-step-is-lr"}),
    conventions={
        "paper": {},
        "optax": {},
        "keras": {"eps": 1e-7},
        "timm": {"weight_decay": 0.01, "always_adapt": False},
        "timm, trust_clip": {"weight_decay": 0.01, "always_adapt": False, "trust_clip": True},
    },
    conventions_note="All take a trust ratio of 1 where either length is 0. timm and NVIDIA's apex leave tensors "
    "without decay to Adam (their NVLAMB, timm's always_adapt, does not), and clip the gradient's global norm at 1: "
    "add clip_norm=1.0. Keras' weight_decay stands outside the ratio. pytorch_optimizer has no bias correction, takes "
    "lengths above 10 as 10 and adds eps to the update's.",
    kin={"adamw": "the same without the trust ratio"},
    bowl=Bowl(lr=0.05),
    decays="own",
    kernels=2,
)
