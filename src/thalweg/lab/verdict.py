"""The verdict: the decision as one sentence that holds its own evidence."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.lab import statistics
from thalweg.lab.budget import ALPHA
from thalweg.lab.decide import Comparison, Decision
from thalweg.lab.plan import Findings
from thalweg.lab.task import Task

BEGINS = {
    "winner": "Winner",
    "practical tie": "Practical tie",
    "undecided": "Undecided",
    "stopped": "Stopped early",
}
NOTHING = "n = 0, so there is no interval and no smallest detectable difference"


def sentence(decision: Decision, task: Task, findings: Findings) -> str:
    """The verdict in one sentence, with its n, its interval and the smallest detectable difference."""
    if len(findings.spaces) == 1 and decision.leader is not None and decision.n:
        fresh = [r.final for _, r in findings.of(decision.leader, "confirmation") if r.final is not None]
        at = f"{task.metric_name} {statistics.mean(fresh):.4g}"
        if len(fresh) > 1:
            low, high = statistics.t_interval(fresh, ALPHA)
            at += f", {100 * (1 - ALPHA):.3g} % interval [{low:.4g}, {high:.4g}]"
        return f"Tuned: {decision.leader} ({at}), n = {len(fresh)} fresh seeds."
    return f"{BEGINS[decision.outcome]}: {_said(decision, task, findings)}."


def _said(decision: Decision, task: Task, findings: Findings) -> str:
    leader = decision.leader
    if leader is None:
        confirmed = (
            f"each of the {len(findings.promoted)} optimizers to be confirmed diverged or failed on a fresh seed"
        )
        return f"{confirmed if findings.promoted else 'no run has ended without diverging or failing'} ({NOTHING})"
    values = [r.final for t, r in findings.done if t.optimizer == leader and r.final is not None]
    if decision.n == 0:
        best = f"{task.metric_name} {(max if task.mode == 'max' else min)(values):.4g}"
        return (
            f"{leader} has the best search value so far ({best}), but nothing is confirmed on fresh seeds ({NOTHING})"
        )
    fresh = [r.final for _, r in findings.of(leader, "confirmation") if r.final is not None]
    at = f"{leader} ({task.metric_name} {statistics.mean(fresh):.4g})"
    if not decision.comparisons:
        return (
            f"only {at} could be confirmed, n = {decision.n}, so there is no rival, no interval and no smallest "
            "detectable difference"
        )
    rivals = {
        verdict: _listed([c.rival for c in decision.comparisons if c.verdict == verdict])
        for verdict in ("better", "tie", "undecided")
    }
    match decision.outcome:
        case "winner":
            claim = f"{at} is better than {rivals['better']}"
        case "practical tie":
            claim = (
                f"{at} and {rivals['tie']} differ by no more than {decision.margin:.2g}, which does not matter; take "
                f"{decision.recommended}, the cheapest and least lr-sensitive"
            )
        case "stopped":
            claim = f"{at} leads {decision.comparisons[0].rival}, without a decision"
        case _:
            claim = f"{at} leads, but cannot be told from {rivals['undecided']}"
    return f"{claim}; {_evidence(decision)}"


def _evidence(decision: Decision) -> str:
    def shown(c: Comparison) -> str:
        luck = f" of which {c.luck:.2g} on each side is the luck of the search" if c.luck else ""
        return f"{c.difference:+.3g} against {c.rival}, interval [{c.low:.3g}, {c.high:.3g}]{luck}, n = {c.n}"

    return (
        "; ".join(shown(c) for c in decision.comparisons)
        + f" paired seeds; intervals hold together at {100 * (1 - decision.alpha):.3g} % (step-down over pairs), and a "
        f"difference of {decision.smallest_detectable_difference:.2g} would have been found with 80 % power"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
