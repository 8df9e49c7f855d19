"""A rule of your own: Lion (Chen et al. 2023, arXiv:2302.06675, Algorithm 2), in a file outside the house.

    thalweg check examples/my_rule.py                       does it keep what every rule must keep?
    thalweg compare digits --rule examples/my_rule.py       is it better than the others, on a real task?
    thalweg explain --rule examples/my_rule.py --worked     what does it do, with numbers?
    thalweg race --landscape valley --rule examples/my_rule.py --optimizers momentum,adam

In Python, `tw.optimizer(my_rule)` is its class. The card is optional; with it the lab knows what to search.
"""

from thalweg.card import Bowl, Card, Log, OneMinusLog
from thalweg.ops import ema, sign


def my_rule(p, g, m, *, t, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Step by lr in every coordinate, in the direction where newest gradient and memory agree to point."""
    step = sign(ema(m, g, beta1))
    p = p - lr * (step + weight_decay * p)
    m = ema(m, g, beta2)
    return p, m


card = Card(
    title="MyRule",
    paper="Chen et al. 2023, arXiv:2302.06675, Algorithm 2",
    summary="Step by lr along the sign of a mix of momentum and the newest gradient.",
    intuition="Only the direction of each coordinate counts; the memory is refreshed more slowly than it is used.",
    strengths=["One tensor of state.", "Every coordinate moves at the same speed."],
    weaknesses=["Keeps stepping lr near the minimum: it needs a falling lr.", "Small batches make the signs noisy."],
    when="Large batches, when memory is short.",
    when_not="Small batches, constant lr.",
    symbols={"p": "parameter", "g": "gradient", "m": "running average of gradients", "step": "-1, 0 or 1"},
    search={"lr": Log(1e-6, 1e-2), "beta1": OneMinusLog(0.02, 0.2), "weight_decay": Log(0.05, 2.0)},
    search_source="Wen et al. 2025 for the betas and decay; the lower end of lr is a design choice",
    bowl=Bowl(lr=0.02),
    conventions={"paper": {}},
    decays="own",
)
