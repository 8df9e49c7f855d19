"""The verdict: the decision as one sentence that holds its own evidence."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.lab import statistics
from thalweg.lab.decide import Comparison, Decision
from thalweg.lab.protocol import Findings
from thalweg.lab.task import Task


def sentence(decision: Decision, task: Task, findings: Findings) -> str:
    """The verdict in one sentence, with its n, its interval and the smallest detectable difference."""
    metric, leader = task.metric_name, decision.leader
    if leader is None:
        begin = "Stopped early" if decision.outcome == "stopped" else "Undecided"
        why = (
            f"{len(findings.promoted)} confirmed, and each diverged on a fresh seed"
            if findings.promoted
            else "no run has ended without diverging"
        )
        return f"{begin}: {why} (n = 0, so there is no interval and no smallest detectable difference)."
    if decision.n == 0:
        begin = "Stopped early" if decision.outcome == "stopped" else "Undecided"
        value = max if task.mode == "max" else min
        best = value(r.final for t, r in findings.done if t.optimizer == leader and r.final is not None)
        return (
            f"{begin}: {leader} has the best search value so far ({metric} {best:.4g}), but nothing is confirmed on "
            "fresh seeds (n = 0, so there is no interval and no smallest detectable difference)."
        )
    values = [r.final for _, r in findings.of(leader, "confirmation") if r.final is not None]
    at = f"{metric} {statistics.mean(values):.4g}"
    if not decision.comparisons:
        return (
            f"{'Stopped early' if decision.outcome == 'stopped' else 'Undecided'}: only {leader} could be confirmed "
            f"({at}, n = {decision.n}), so there is no rival, no interval and no smallest detectable difference."
        )
    evidence = _evidence(decision)
    closest = decision.comparisons[0]
    if decision.outcome == "winner":
        rivals = _listed([c.rival for c in decision.comparisons])
        return f"Winner: {leader} ({at}) is better than {rivals}; {evidence}."
    if decision.outcome == "practical tie":
        tied = _listed([c.rival for c in decision.comparisons if c.verdict == "tie"])
        return (
            f"Practical tie: {leader} ({at}) and {tied} differ by no more than {decision.margin:.2g}, which does not "
            f"matter; take {decision.recommended}, the cheapest and least lr-sensitive; {evidence}."
        )
    if decision.outcome == "stopped":
        return f"Stopped early: {leader} ({at}) leads {closest.rival}, without a decision; {evidence}."
    rivals = _listed([c.rival for c in decision.comparisons if c.verdict == "undecided"])
    return f"Undecided: {leader} ({at}) leads, but cannot be told from {rivals}; {evidence}."


def _evidence(decision: Decision) -> str:
    def shown(c: Comparison) -> str:
        return f"{c.difference:+.3g} against {c.rival}, interval [{c.low:.3g}, {c.high:.3g}], n = {c.n}"

    return (
        "; ".join(shown(c) for c in decision.comparisons)
        + f" paired seeds; intervals hold together at {100 * (1 - decision.alpha):.3g} % (Holm), and a difference of "
        f"{decision.smallest_detectable_difference:.2g} would have been found with 80 % power"
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
