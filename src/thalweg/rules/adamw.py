"""AdamW: Adam with decoupled weight decay.

The decay shrinks the parameter itself instead of joining the gradient, where Adam would divide it by the
gradient's size: parameters with large gradients would hardly decay.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.rules.adam import adam
from thalweg.rules.adam import card as adams_card
from thalweg.signature import Slot
from thalweg.transforms.decay import decoupled_decay


def adamw(
    p, g, m, v, v_max=Slot(when="amsgrad"), *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0,
    weight_decay=1e-2, amsgrad=False, bias_correction=True, eps_hat=False, max_of_corrected=False,
):  # fmt: skip
    """Decay by lr * weight_decay, then one step of Adam."""
    p, g = decoupled_decay(p, g, lr=lr, weight_decay=weight_decay)
    return adam(
        p, g, m, v, v_max, t=t, lr=lr, beta1=beta1, beta2=beta2, eps=eps, eps_root=eps_root,
        amsgrad=amsgrad, bias_correction=bias_correction, eps_hat=eps_hat, max_of_corrected=max_of_corrected,
    )  # fmt: skip


card = Card(
    title="AdamW",
    paper="Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2",
    summary="Adam, and beside it every parameter shrinks by lr * weight_decay of itself.",
    intuition="In Adam an L2 term is divided by sqrt(v) like every gradient, so what is learnt fastest decays "
    "least. Taken out of the gradient, decay means the same for every parameter.",
    strengths=[
        "The default of today's transformers: robust over model sizes.",
        "lr and weight_decay can be tuned more independently than in Adam.",
    ],
    weaknesses=[
        "Twice the parameters as state.",
        "Decay is lr * weight_decay per step: change the lr, and the decay changes with it.",
    ],
    when="Transformers, and any network that is regularised by weight decay.",
    when_not="When memory is short, or on small convex problems where exact methods win.",
    symbols=adams_card.symbols,
    search={
        "lr": Log(1e-5, 1e-1),
        "beta1": OneMinusLog(0.02, 0.5),
        "weight_decay": Log(5e-3, 1.0),
        "beta2": OneMinusLog(1e-4, 0.2),
        "eps": Log(1e-10, 1e-3),
    },
    search_source="AlgoPerf, lr widened as Adam's",
    claims=frozenset({"scale-free"}),
    conventions={
        "torch": {},
        "paper": {},
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay": 0.004},
        "optax": {"weight_decay": 1e-4},
    },
    conventions_note="torch, Keras and optax multiply the decay by lr, with defaults that differ by a factor of 100. "
    "The paper's lambda is multiplied by its schedule but not by lr: give lambda / lr.",
    kin={"adam": "with coupled decay, or none"},
    bowl=Bowl(lr=0.05),
    torch=Namesake(
        "AdamW",
        slots={"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
        fixed={"decoupled_weight_decay": True},
    ),
    decays="own",
)
