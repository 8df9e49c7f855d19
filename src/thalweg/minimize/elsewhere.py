"""Names that SciPy's and torch's users bring along and that mean nothing here: what is here in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from thalweg.signature import did_you_mean

# Options of scipy.optimize.minimize, and what is given to torch.optim.LBFGS.
OPTIONS = {
    "disp": "nothing is printed: the result says why it ended, and a callback sees every step",
    "eps": "no differences are taken: the gradient is autograd's, or that of jac",
    "ftol": "no change of fun or x is taken for success: gtol alone is the test",
    "maxcor": "memory is the number of pairs that lbfgs keeps",
    "c1": "search takes a line search with constants of its own",
    "maxfev": "maxfun bounds the evaluations",
    "eta": "a trust region finds its first radius and has no settings",
    "norm": "gtol bounds the largest entry of the gradient, norm=inf in SciPy",
    "return_all": "a callback sees every point",
    "hess_inv0": "the first matrix is a multiple of the unit matrix",
    "workers": "batched=True takes many problems at once",
    "tolerance_grad": "gtol is the same",
}
ALIKE = {
    "disp": ("iprint",),
    "eps": ("finite_diff_rel_step",),
    "ftol": ("xtol", "xrtol", "fatol", "xatol", "tolerance_change"),
    "maxcor": ("history_size",),
    "c1": ("c2", "maxls", "line_search_fn"),
    "maxfev": ("max_eval",),
    "eta": ("initial_trust_radius", "max_trust_radius"),
}
OPTIONS |= {other: OPTIONS[name] for name, others in ALIKE.items() for other in others}

# Arguments of torch's optimizers.
ARGUMENTS = {
    "line_search_fn": "every step is a safe one, by a line search (search) or by Newton's trust region",
    "tolerance_grad": "gtol is the same",
    "tolerance_change": "no change of the loss or the parameters ends a call, only gtol and max_iter",
    "max_eval": "max_iter bounds the steps of a call, and nothing their evaluations",
    "weight_decay": "the closure may add it to the loss",
    "maximize": "the closure may return the negative loss",
}


def unknown(name: str, known: Iterable[str], instead: Mapping[str, str], it: str = "it") -> str:
    """How the sentence ends that refuses a name: what is here in its place, else what is known."""
    if name in instead:
        return f"{instead[name]}."
    known = list(known)
    return f"{it} takes {', '.join(known)}.{did_you_mean(name, known)}"
