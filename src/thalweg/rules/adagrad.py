"""Adagrad: adaptive gradient.

Every parameter gets a rate of its own: the more its gradients have added up to, the smaller. Rare but
telling features keep learning when the frequent ones have long slowed down.
"""

from thalweg.card import Bowl, Card, Log, Namesake
from thalweg.ops import sqrt
from thalweg.signature import Slot


def adagrad(
    p, g, s=Slot(start="initial_accumulator_value"), *, t, lr=1e-2, lr_decay=0.0,
    initial_accumulator_value=0.0, eps=1e-10, eps_inside_root=False,
):  # fmt: skip
    """One step: add up the squares, divide by the root of their sum."""
    s = s + g * g
    rate = lr / (1 + (t - 1) * lr_decay)
    root = sqrt(s + eps) if eps_inside_root else sqrt(s) + eps
    p = p - rate * g / root
    return p, s


card = Card(
    title="Adagrad",
    paper="Duchi, Hazan and Singer 2011, JMLR 12:2121, Figure 1 (diagonal form)",
    summary="Divide each parameter's step by the root of the sum of its squared gradients so far.",
    intuition="A parameter that has seen much slope has been taught enough and takes small steps; one that "
    "has seen little takes large ones. Under a constant gradient the step shrinks as lr / sqrt(t).",
    strengths=[
        "Sparse features (words, users) each get the rate they need.",
        "The scale of the gradients does not matter, only their ratios over time.",
    ],
    weaknesses=[
        "The sum only grows, so the rate shrinks for ever; long trainings come to a halt before the bottom.",
        "Early large gradients are never forgotten.",
    ],
    when="Sparse data: embeddings, recommendation, text features; convex problems.",
    when_not="Long training of deep networks: RMSProp and Adam forget, and so keep going.",
    symbols={
        "p": "parameter",
        "g": "gradient",
        "s": "sum of the squares of all past gradients (the lecture's alpha)",
        "rate": "lr after its own decay",
        "root": "what the step is measured in",
    },
    search={"lr": Log(1e-5, 1.0), "weight_decay": Log(1e-7, 1e-2)},
    search_source="Crowded Valley's 1e-4 to 1, widened downwards",
    claims=frozenset({"scale-free"}),
    conventions={
        "torch": {},
        "keras": {"lr": 0.001, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside_root": True},
        "optax": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside_root": True},
        "lecture": {"eps_inside_root": True},
    },
    conventions_note="torch starts the sum at 0 with eps outside the root, Keras and optax at 0.1 with eps inside. The "
    "lecture's words say the rate goes with 1 / SS; its formula, and Adagrad, have the root of SS.",
    kin={"rmsprop": "an average that forgets instead of a sum", "adadelta": "forgets, and finds its own rate"},
    bowl=Bowl(lr=0.5),
    torch=Namesake("Adagrad", slots={"s": "sum"}, at_construction=True),
)
