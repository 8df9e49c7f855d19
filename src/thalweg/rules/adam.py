"""Adam: adaptive moment estimation.

Keep two running averages of the gradient: where it points (m) and how large it usually is (v).
Walk along the first, measured in units of the second.
"""

from thalweg.card import Bowl, Card, Log, Namesake, OneMinusLog
from thalweg.ops import ema, maximum, sqrt
from thalweg.signature import Slot


def adam(
    p, g, m, v, v_max=Slot(when="amsgrad"), *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0,
    amsgrad=False, bias_correction=True, eps_hat=False, max_of_corrected=False,
):  # fmt: skip
    """One step of Algorithm 1."""
    m = ema(m, g, beta1)
    v = ema(v, g * g, beta2)
    full_m = 1 - beta1**t if bias_correction else 1  # both averages began at zero:
    full_v = 1 - beta2**t if bias_correction else 1  # give them their full weight
    m_hat = m / full_m
    v_hat = v / full_v
    if amsgrad:  # never forget the largest v
        v_max = maximum(v_max, v_hat if max_of_corrected else v)
        v_hat = v_max if max_of_corrected else v_max / full_v
    if eps_hat:  # eps meets sqrt(v) before its correction
        eps = eps / sqrt(full_v)
    p = p - lr * m_hat / (sqrt(v_hat + eps_root) + eps)
    return p, m, v, v_max


card = Card(
    title="Adam",
    paper="Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1; AMSGrad: Reddi, Kale and Kumar 2018, Algorithm 2",
    summary="Momentum in units of the gradient's own size.",
    intuition="m / sqrt(v) is about 1 where gradients agree and near 0 where they are noise, so every "
    "parameter steps at most about lr, and less the less sure its direction is. Both averages start at 0 and "
    "are divided by the weight they have gathered: otherwise the first step would be 3.16 lr instead of lr.",
    strengths=[
        "Works at its defaults on most networks; the scale of the loss does not matter.",
        "Combines momentum's direction with RMSProp's rate per parameter.",
    ],
    weaknesses=[
        "Twice the parameters as state.",
        "Can go the wrong way when rare large gradients are forgotten (Reddi's example; amsgrad mends it).",
        "weight_decay here joins the gradient and is rescaled with it: AdamW is what is usually wanted.",
    ],
    when="A safe first choice for almost any network without weight decay.",
    when_not="With weight decay (use AdamW); where tuned momentum generalises better, as often in vision.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "m": "running average of gradients (the lecture's v)",
        "v": "running average of squared gradients (the lecture's s)",
        "v_max": "largest v so far (amsgrad only)",
        "m_hat": "m at its full weight",
        "v_hat": "v at its full weight",
        "full_m": "the weight that m has gathered since it began at 0",
        "full_v": "the weight that v has gathered since it began at 0",
    },
    search={
        "lr": Log(1e-5, 1e-1),
        "beta1": OneMinusLog(0.02, 0.5),
        "beta2": OneMinusLog(1e-4, 0.2),
        "eps": Log(1e-10, 1e-3),
        "weight_decay": Log(1e-7, 1e-2),
    },
    search_source="AlgoPerf, widened: DeepOBS' best lr for Adam on quadratic_deep is 0.0398; the decay is SGD's",
    claims=frozenset({"scale-free", "first-step-is-lr"}),
    conventions={
        "torch": {},
        "torch, SparseAdam": {"eps_hat": True},
        "paper": {},
        "keras": {"eps": 1e-7, "eps_hat": True},
        "optax": {},
        "optax, amsgrad": {"amsgrad": True, "max_of_corrected": True},
        "lecture": {},
    },
    conventions_note="The lecture's second correction is printed with beta1; it is beta2, as here. Keras "
    "and torch's SparseAdam add eps before the correction ('epsilon hat'); Keras' weight_decay is "
    "decoupled. torch takes AMSGrad's maximum of the uncorrected v, optax of the corrected; optax has "
    "eps_root for a second eps inside the root.",
    kin={
        "adamw": "with decoupled weight decay",
        "nadam": "with Nesterov's look ahead",
        "rmsprop": "without momentum and correction",
    },
    bowl=Bowl(lr=0.05),
    torch=Namesake("Adam", slots={"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"}),
    decays="either",
)
