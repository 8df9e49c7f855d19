"""What the benchmark found, as a table in Markdown and as a drawing."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

COLUMNS = ("fused", "foreach", "single", "compiled", "heavyball", "pytorch_optimizer")
TITLES = {"heavyball": "heavyball, not compiled"}  # where a column's name says too little
MARKERS = dict(zip(COLUMNS, "os^Dvx", strict=True))


def ratio(figures: dict[str, list[float]], peer: str) -> list[float]:
    """The ratio ours / peer of each process."""
    return figures.get(f"ours / {peer}", [])


def shown(values: list[float]) -> str:
    """The median over processes, and the largest where there are several."""
    if not values:
        return ""
    middle = f"{statistics.median(values):.2f}"
    return f"{middle} ({max(values):.2f})" if len(values) > 1 else middle


def beside_compiled(found: dict[str, Any]) -> str:
    """Of every model the median ratios ours / compiled: one line for a page that has no such column."""
    told: dict[str, list[str]] = {}
    for title, figures in found["figures"].items():
        model, optimizer = title.split()
        if values := ratio(figures, "compiled"):
            told.setdefault(model, []).append(f"{optimizer} {statistics.median(values):.2f}")
    return "; ".join(f"{model} {', '.join(each)}" for model, each in told.items())


def beside_single(found: dict[str, Any]) -> str:
    """Where torch has no fused step, and its loop over tensors is faster than foreach: how we stand beside the loop.

    Only rows where memory is the limit: a bare loop takes nine tenths of our time or more.
    """
    told = []
    for title, figures in found["figures"].items():
        known = {peer: statistics.median(ratio(figures, peer)) for peer in COLUMNS if ratio(figures, peer)}
        bare = statistics.median(figures.get("bare loop / ours", [0.0]))
        if "fused" not in known and known.get("single", 0.0) > known.get("foreach", 1.0) and bare >= 0.9:
            told.append(f"{title} {known['single']:.3f} (bare loop / ours {bare:.2f})")
    return "; ".join(told)


def table(found: dict[str, Any]) -> str:
    """Markdown: a row per model and optimizer."""
    peers = [peer for peer in COLUMNS if any(ratio(figures, peer) for figures in found["figures"].values())]
    head = [
        "model",
        "optimizer",
        "ours, µs",
        *(f"ours / {TITLES.get(peer, peer)}" for peer in peers),
        "bare loop / ours",
    ]
    lines = [" | ".join(["", *head, ""]).strip(), "|" + "---|" * 2 + "---:|" * (len(head) - 2)]
    for title, figures in found["figures"].items():
        model, optimizer = title.split()
        microseconds = f"{statistics.median(figures['seconds']) * 1e6:,.1f}"
        cells = [model, optimizer, microseconds, *(shown(ratio(figures, peer)) for peer in peers)]
        cells.append(f"{statistics.median(figures['bare loop / ours']):.2f}" if "bare loop / ours" in figures else "")
        lines.append(f"| {' | '.join(cells)} |")
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    count = len(next(iter(found["figures"].values()))["seconds"])
    told = f"Machine: {machine}.\n\nProcess CPU time, {count} process{'es' if count > 1 else ''}"
    told += ": the median (the largest)." if count > 1 else "."
    said = dict(found.get("beside", {}))
    if "compiled" not in peers and (single := beside_single(found)):
        said["ours / single, where torch has no fused step and its single is faster than foreach"] = single
    beside = "".join(f"\n\n{name}: {value}" for name, value in said.items())
    beside += "\n\nHeavyBall runs without torch.compile, which by default it uses." if "heavyball" in peers else ""
    return "\n".join([f"{told}{beside}\n", *lines, ""])


def draw(found: dict[str, Any], path: Path) -> None:
    """One panel per model: how long our step takes beside each peer's."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "thalweg"
    from matplotlib import pyplot

    models = list(dict.fromkeys(title.split()[0] for title in found["figures"]))
    figure, axes = pyplot.subplots(1, len(models), figsize=(3.6 * len(models), 3.4), sharey=True, squeeze=False)
    for axis, model in zip(axes[0], models, strict=True):
        rows = {title.split()[1]: f for title, f in found["figures"].items() if title.split()[0] == model}
        rows = {name: f for name, f in rows.items() if any(ratio(f, peer) for peer in COLUMNS)}
        for peer in COLUMNS:
            points = [(statistics.median(ratio(f, peer)), y) for y, f in enumerate(rows.values()) if ratio(f, peer)]
            if points:
                axis.plot(*zip(*points, strict=True), MARKERS[peer], label=TITLES.get(peer, peer), markersize=5)
        axis.set(xscale="log", xlim=(0.01, 2), title=model, xlabel="time of our step / peer's")
        axis.set_yticks(range(len(rows)), list(rows))
        axis.axvline(1, color="grey", linewidth=0.8)
        axis.grid(axis="x", alpha=0.3)
        axis.invert_yaxis() if axis is axes[0][0] else None
    handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, metadata={"Date": None})
