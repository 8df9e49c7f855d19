"""What goes into a paper: a figure as svg and pdf, and the table of results in LaTeX (booktabs)."""

from __future__ import annotations

import re

from thalweg.lab.report.data import Data, part, seen_as
from thalweg.lab.report.drawings import by_optimizer, curves_shown, qualities
from thalweg.lab.report.tables import Row, rows
from thalweg.lab.report.words import chosen_format, metric_format
from thalweg.pictures.paper import paper_figure, saved
from thalweg.pictures.style import short

_SPECIAL = {
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "–": "--",
}


def paper(data: Data) -> dict[str, bytes]:
    """The files by name: ``table.tex``, and ``figure.svg`` and ``figure.pdf`` where something was confirmed."""
    files = {"table.tex": table(data).encode()}
    shown, curves = qualities(data), curves_shown(data)[0]
    if shown and curves:
        task = data["task"]
        drawn = paper_figure(
            by_optimizer(curves, "metric"), shown, seen_as(data), metric=task["metric"], mode=task["mode"]
        )
        files |= {f"figure.{kind}": saved(drawn, kind) for kind in ("svg", "pdf")}
    return files


def table(data: Data) -> str:
    """The results as a LaTeX table: mean and interval on fresh seeds, and the paired difference from the leader."""
    decision, metric, chosen = part(data, "decision"), metric_format(data), chosen_format(data)
    against = {c["rival"]: c for c in decision.get("comparisons") or []}
    task = part(data, "task")
    lines = [
        f"% {' '.join(data['verdict'].split())}",
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{escaped(_caption(data))}}}",
        r"\centering",
        r"\begin{tabular}{llrrr}",
        r"\toprule",
        rf"optimizer & settings & {escaped(task.get('metric') or 'metric')} & difference & $n$ \\",
        r"\midrule",
    ]
    for row in rows(data):
        lines.append(rf"{_name(row)} & {escaped(', '.join(chosen(row.known)))} & ")
        if row.confirmed:
            known, versus = row.confirmed, against.get(row.name)
            lines[-1] += f"{_with_interval(known['mean'], known['low'], known['high'], metric)} & "
            lines[-1] += "leader" if row.name == decision.get("leader") else _difference(versus)
            lines[-1] += rf" & {known['n']} \\"
        else:
            lines[-1] += r"\multicolumn{3}{r}{not confirmed} \\"
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _caption(data: Data) -> str:
    level = 100 * (1 - (part(data, "decision").get("alpha") or 0.05))
    name = part(data, "task").get("name")
    return (
        f"{f'{name}. ' if name else ''}Means over fresh seeds with 95 % intervals; differences are leader minus rival "
        f"over paired seeds, with intervals that hold together at {short(level, 3)} % (step-down over pairs)."
    )


def _name(row: Row) -> str:
    return rf"\textbf{{{escaped(row.name)}}}" if row.recommended else escaped(row.name)


def _with_interval(value: float, low: float | None, high: float | None, shown) -> str:
    return shown(value) if low is None else f"{shown(value)} [{shown(low)}, {shown(high)}]"


def _difference(versus: Data | None) -> str:
    if versus is None:
        return "--"
    return _with_interval(versus["difference"], versus["low"], versus["high"], lambda value: short(value, 3))


def escaped(text: str) -> str:
    """Text as LaTeX prints it.

    >>> escaped("95 % of weight_decay")
    '95 \\\\% of weight\\\\_decay'
    """
    return re.sub(r"[&%$#_{}~^\\–]", lambda found: _SPECIAL[found[0]], text)
