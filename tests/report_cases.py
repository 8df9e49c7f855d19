"""What a comparison might have left, its report, and a reader of pages."""

import math
import random
import re
from html.parser import HTMLParser
from statistics import mean, stdev

SECTIONS = ("results", "differences", "curves", "lr", "tuning", "cost", "budget", "events", "repeat")

STEPS = 400

NAMES = {  # best lr in log10, best accuracy, state per parameter, ms per step
    "AdamW": (-2.4, 0.972, 2, 0.61),
    "SGD": (-0.6, 0.955, 0, 0.42),
    "Nesterov": (-1.2, 0.969, 1, 0.47),
    "RMSprop": (-2.6, 0.967, 1, 0.55),
    "Adagrad": (-1.5, 0.948, 1, 0.52),
}


def _run(name, lr, seed, phase, noise, **more):
    best_lr, best = NAMES[name][:2]
    miss = math.log10(lr) - best_lr
    diverged = miss > 1.6
    final = (
        None if diverged else round(best - 0.02 * miss**2 - (0.15 * miss if miss > 1 else 0) + noise.gauss(0, 0.003), 5)
    )
    curve = []
    for step in range(0, STEPS + 1, 20):
        if diverged and step > 100:
            break
        part = 1 - math.exp(-6 * step / STEPS)
        metric = None if diverged else 0.1 + ((final or 0) - 0.1) * part + noise.gauss(0, 0.004)
        curve.append({"step": step, "loss": 2.3 * (1 - part) + 0.02 + abs(noise.gauss(0, 0.01)), "metric": metric})
    return {
        "optimizer": name, "hyper_parameters": {"lr": lr, **more}, "seed": seed, "phase": phase,
        "final": final, "curve": curve, "seconds": 0.3, "diverged": diverged,
        "data": "reports" if phase == "confirmation" else "selects",
        "steps": STEPS, "why": "the loss became inf" if diverged else None,
    }  # fmt: skip


def synthetic_result():
    """What a quick comparison of five optimizers might have left: three confirmed, some trials diverged."""
    noise = random.Random(0)
    runs, optimizers, tuning, ledger, spaces = [], {}, {}, {}, {}
    for name, (best_lr, _, state, ms) in NAMES.items():
        betas = {"betas": [0.9, 0.999], "weight_decay": 0.01} if name == "AdamW" else {}
        mine = [_run(name, 1e-3, 0, "default", noise, **betas)]
        for i in range(9):
            lr = float(f"{10 ** (best_lr - 2 + 4.2 * ((i * 0.618 + 0.1) % 1)):.6g}")
            mine.append(_run(name, lr, 0, "search", noise, **betas))
        runs += mine
        good = sorted((run for run in mine if run["final"] is not None), key=lambda run: -run["final"])
        chosen = good[0]["hyper_parameters"]
        promoted = name in ("AdamW", "Nesterov", "RMSprop")
        confirmed = None
        if promoted:
            fresh = [_run(name, chosen["lr"], 100 + seed, "confirmation", noise, **betas) for seed in range(5)]
            runs += fresh
            values = [run["final"] for run in fresh]
            half = 2.776 * stdev(values) / 5**0.5
            confirmed = {
                "n": 5, "mean": mean(values), "low": mean(values) - half, "high": mean(values) + half,
                "iqm": mean(sorted(values)[1:4]), "min": min(values), "max": max(values), "values": values,
            }  # fmt: skip
        optimizers[name] = {
            "title": name, "promoted": promoted, "search_best": good[0]["final"], "chosen": chosen,
            "edges": {"lr": "high", "beta2": "low"} if name == "Adagrad" else {},
            "diverged": sum(run["diverged"] for run in mine), "trials": 10,
            "confirmed": confirmed, "milliseconds_per_step": ms, "state_per_parameter": state,
            "lr_sensitivity": 0.05 + 0.01 * len(name),
        }  # fmt: skip
        best_so_far = [max(r["final"] or 0.0 for r in mine[:n]) for n in range(1, 11)]
        tuning[name] = [[n, value] for n, value in enumerate(best_so_far, 1)]
        ledger[name] = {"search_runs": 10, "search_steps": 4000, "choice_runs": 4 * promoted,
                        "confirmation_runs": 5 * promoted, "total_steps": 4000 + 3600 * promoted}  # fmt: skip
        low, high = 10 ** (best_lr - 2), 10 ** (best_lr + 2)
        spaces[name] = {"lr": {"scale": "log", "low": low, "high": high, "opened": True},
                        "beta1": {"scale": "1-log", "low": 0.5, "high": 0.98, "opened": False}}  # fmt: skip
    chosen = optimizers["AdamW"]["chosen"]
    comparisons = [
        {"rival": "Nesterov", "difference": 0.0034, "low": 0.0011, "high": 0.0057, "p": 0.011,
         "p_adjusted": 0.022, "n": 5, "verdict": "better", "ahead": 1.0, "ahead_low": 0.57, "ahead_high": 1.0},
        {"rival": "RMSprop", "difference": 0.0007, "low": -0.0011, "high": 0.0023, "p": 0.4, "p_adjusted": 0.4,
         "n": 5, "verdict": "undecided"},
    ]  # fmt: skip
    return {
        "verdict": "Undecided: AdamW leads with 0.9721, but RMSprop is only 0.0007 behind "
        "(95 % interval −0.0011 to 0.0023, n = 5).",
        "decision": {
            "outcome": "undecided", "leader": "AdamW", "recommended": "AdamW", "n": 5, "margin": 0.0015,
            "seed_sd": 0.003, "alpha": 0.03, "spent": 0.05, "smallest_detectable_difference": 0.0054,
            "comparisons": comparisons,
            "notes": ["The noise between seeds was measured on three runs of AdamW's default."],
        },
        "task": {
            "name": "digits", "spec": "digits", "steps": STEPS, "mode": "max", "metric": "accuracy",
            "parameters": 4810, "selects": 270, "reports": 270,
            "description": "An MLP on 8 x 8 images of digits.",
            "source": "scikit-learn, UCI", "licence": "CC BY 4.0",
        },
        "budget": {
            "preset": "quick", "points": 9, "steps_per_run": STEPS, "looks": [5], "ledger": ledger,
            "schedule": "warm-up 5 %, then cosine to 0",
        },
        "ranges": {"version": "cards", "sources": {"AdamW": "a paper", "SGD": "the user's file"}},
        "spaces": spaces, "optimizers": optimizers, "tuning_curves": tuning, "runs": runs,
        "winner": {"optimizer": "AdamW", "class": "AdamW", "hyper_parameters": chosen, "seed": 100,
                   "final": 0.9721},
        "together": {"members": 32, "least": 4, "why": "measured", "loop": 0.0024, "together": 0.0005},
        "pruning": {
            name: [{"step": 45, "pruned": 0, "n": 4, "spearman": 0.8},
                   {"step": 134, "pruned": 6, "n": 4, "spearman": None if name == "SGD" else 0.4}]
            for name in NAMES
        },
        "target": {
            "value": 0.9691, "of": "AdamW", "tolerance": 0.003,
            "reached": {
                "AdamW": {"n": 5, "reached": 5, "steps": 260, "restricted_mean": 272.0, "seconds": 0.1586},
                "RMSprop": {"n": 5, "reached": 2, "steps": None, "restricted_mean": 388.0, "seconds": None},
            },
        },
        "versions": {"thalweg": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
        "machine": {"cpu": "a CPU", "cores": 2, "platform": "Linux"},
        "started": "2026-01-02T03:04:05+00:00", "seconds": 143.2, "interrupted": False,
    }  # fmt: skip


def synthetic_stop():
    """What is left when Ctrl-C came after the first two runs."""
    whole = synthetic_result()
    nothing = dict.fromkeys(("search_best", "chosen", "edges", "confirmed", "milliseconds_per_step", "lr_sensitivity"))
    optimizers = {
        name: {
            **nothing,
            "title": name,
            "promoted": False,
            "diverged": 0,
            "trials": 0,
            "state_per_parameter": None,
        }
        for name in NAMES
    }
    return whole | {
        "verdict": "Stopped early: 2 of 50 runs were finished, too few to name anything.",
        "decision": {
            "outcome": "stopped", "leader": None, "recommended": None, "n": 0, "margin": 0.0, "seed_sd": 0.0,
            "alpha": 0.05, "smallest_detectable_difference": None, "comparisons": [], "notes": [],
        },
        "optimizers": optimizers, "tuning_curves": {}, "winner": None, "interrupted": True,
        "runs": whole["runs"][:2], "budget": whole["budget"] | {"ledger": {}}, "pruning": {}, "target": None,
    }  # fmt: skip


def bare_stop():
    """As little as there can be: stopped before the first run."""
    return synthetic_stop() | dict.fromkeys(("decision", "budget", "spaces", "optimizers", "runs", "tuning_curves"))


class Page(HTMLParser):
    """Reads a page: its text, tags and attributes; fails where tags do not match."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self):
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]
