"""What stands beside a direction or a search: where it is from, what it is good for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class MethodCard:
    """Everything about a direction or a search that is not its formula.

    Args:
        title: its name as one writes it.
        paper: authors, year, where.
        formula: the line that matters, in plain characters.
        intuition: why it works, in a few sentences.
        strengths, weaknesses: one sentence each.
        when, when_not: when to reach for it, and when not.
        cost: memory and work per iteration beside the evaluations.
        summary: what it does, in one sentence.
        symbols: what the letters of the formula stand for, where `thalweg explain` cannot know it.
        kin: the methods that are near it, and how they differ.
    """

    title: str
    paper: str
    formula: str
    intuition: str
    strengths: list[str] = field(default_factory=list)
    weaknesses: list[str] = field(default_factory=list)
    when: str = ""
    when_not: str = ""
    cost: str = ""
    summary: str = ""
    symbols: dict[str, str] = field(default_factory=dict)
    kin: dict[str, str] = field(default_factory=dict)
