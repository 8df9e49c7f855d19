"""SGD: gradient descent.

Look at the slope under your feet and walk downhill, far where it is steep. Gradient descent (all the
data), mini-batch (some) and stochastic gradient descent (one row) are this same rule: only the batch that
the gradient was taken on differs.
"""

from thalweg.card import Bowl, Card, Log, Namesake


def sgd(p, g, *, t, lr=1e-3):
    """One step straight down the gradient."""
    p = p - lr * g
    return p


card = Card(
    title="SGD",
    paper="Cauchy 1847 (gradient descent); Robbins and Monro 1951, Ann. Math. Statist. 22:400 (stochastic)",
    summary="Step against the gradient, by lr times its length.",
    intuition="The gradient points up the steepest slope, so its opposite is the way down that helps most "
    "right here. Gradient descent (all the data), mini-batch and stochastic gradient descent (one row) are this "
    "same rule on different batches: the gradient of a batch is a noisy but unbiased estimate of the one from "
    "all data, and far cheaper, so many rough steps beat one exact step.",
    strengths=[
        "No state, the cheapest step there is.",
        "Its theory is complete: converges for lr below 2 / curvature.",
    ],
    weaknesses=[
        "Zigzags across narrow valleys: the number of steps grows with the condition number.",
        "One lr for every parameter; near a saddle or a plateau it hardly moves.",
        "With a constant lr the batch noise keeps it hovering around the minimum.",
    ],
    when="A well-conditioned problem, or as the yardstick that everything else has to beat.",
    when_not="Transformers, embeddings and anything with gradients of very different size per parameter.",
    symbols={"p": "parameter", "g": "gradient on the batch"},
    search={"lr": Log(1e-4, 5.0), "weight_decay": Log(1e-7, 1e-2)},
    search_source="AlgoPerf's SGD range, widened downwards",
    claims=frozenset({"rotation-equivariant", "monotone-on-a-bowl", "linear-in-gradient"}),
    conventions={"torch": {}, "keras": {"lr": 0.01}, "optax": {}, "lecture": {}},
    conventions_note="Every library agrees; only the default lr differs, and Keras' weight_decay is "
    "decoupled (in all of its optimizers).",
    kin={"momentum": "adds a memory of past gradients"},
    bowl=Bowl(lr=0.15),
    torch=Namesake("SGD", step=False),
)
