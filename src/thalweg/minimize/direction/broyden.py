"""The self-scaled Broyden family: BFGS that may also shrink what it has learned.

Where the old matrix promises too much, it is scaled down before the new pair is added, and the member of
Broyden's family is chosen by how far the last step disagreed. On the stiff, ill-conditioned losses of
physics-informed networks this often reaches errors that BFGS does not.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import beside, dot, matvec, namespace, perhaps, root, where
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory
from thalweg.minimize.direction.bfgs import curvature, start


def turn(memory: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
    """(H - Hyy'H / y'Hy + phi v v') / tau + ss' / s'y with Al-Baali's theta and tau, and d = -Hg."""
    xp, n = namespace(g), g.shape[-1]
    sy, yy, sound = curvature(s, y)
    sy = where(sound, sy, 1)
    H, fresh = memory["H"], memory["fresh"]
    s_B_s = -dot(s, g - y) * root(dot(s, s) / dot(d, d))  # s = a d and d = -Hg: no matrix B is needed
    if perhaps(fresh):
        scale = where(fresh & sound, sy / where(sound, yy, 1), 1)
        H, s_B_s = H * beside(scale, H), where(fresh, dot(s, s) / scale, s_B_s)
    Hy = matvec(H, y)
    yHy = where(sound, dot(y, Hy), 1)
    b, h = where(sound, s_B_s / sy, 1), yHy / sy
    a = where(h * b - 1 > 0, h * b - 1, 0 * h)  # >= 0 by Cauchy and Schwarz, but for rounding
    some = where(a > 0, a, 1)
    c = root(a / (1 + a))
    rho = h * (1 - c)
    rho = where(rho < 1, rho, 1)
    low = where(a > 0, (rho - 1) / some, 0)
    theta = (1 - b) / b
    theta = where(theta < 1 / rho, theta, 1 / rho)
    theta = where(theta > low, theta, low)
    sigma = 1 + a * theta
    tau = where(b > 1, 1 / b, 1)
    spread = sigma ** (-1 / max(n - 1, 1))
    bound = where(theta > 0, 1 / where(theta > 0, theta, 1), sigma / tau)
    tau = tau * where(spread < bound, spread, bound)
    phi = (1 - theta) / sigma
    # All that is added lies in the span of s and Hy, so that it is one product of (n, 2) by (2, n).
    ss = (phi * yHy / sy / tau + 1) / sy
    sH = -phi / (sy * tau)
    HH = (phi - 1) / (yHy * tau)
    left = xp.stack([s, Hy], -1)
    right = xp.stack(
        [
            where(beside(sound, s), beside(ss, s) * s + beside(sH, s) * Hy, 0 * s),
            where(beside(sound, s), beside(sH, s) * s + beside(HH, s) * Hy, 0 * s),
        ],
        -2,
    )
    added = left @ right
    added += H / beside(where(sound, tau, 1), H)
    H = added
    return {"H": H, "fresh": fresh & ~sound}, -matvec(H, g)


card = MethodCard(
    title="self-scaled Broyden",
    paper=(
        "Al-Baali, Comput. Optim. Appl. 9, 1998; with the switches of Urban, Stefanou and Pons 2024, "
        "arXiv 2405.04230, for physics-informed networks"
    ),
    formula="H+ = (H - Hyy'H/y'Hy + phi vv') / tau + ss'/y's,  v = (y'Hy)^1/2 (s/y's - Hy/y'Hy)",
    intuition=(
        "BFGS corrects curvatures that were thought too small well, and those thought too large slowly. Scaling the "
        "matrix before each update takes the second burden from it."
    ),
    strengths=["goes on where BFGS stalls on ill-conditioned losses, such as those of physics-informed networks"],
    weaknesses=["a full matrix, as BFGS", "more fragile than BFGS far from the minimum"],
    when="Physics-informed networks and other stiff fits in float64, after a warm-up.",
    when_not="float32, noise, or more than a few thousand unknowns.",
    cost="n^2 numbers, about 10 n^2 operations a step",
    summary="BFGS that also scales down what it has learned where that promises too much.",
    symbols={
        "H": "what is known of the inverse Hessian; H+ after the step",
        "v": "the direction in which the members of Broyden's family differ",
        "phi": "which member of the family: 1 is BFGS, 0 is DFP",
        "tau": "the scaling; 1 leaves the matrix as it is",
    },
    kin={"bfgs": "never scales, and always takes the same member of the family"},
)
broyden = Direction(start, turn, True, card, learns=True)
