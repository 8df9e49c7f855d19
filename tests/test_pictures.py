"""Pictures show the numbers they were given, look the same every time, and can be told apart by anyone."""

import itertools
import math
from statistics import median

import numpy as np
import pytest

from thalweg.pictures import style
from thalweg.pictures.cost import cost
from thalweg.pictures.curves import MOST, band, learning_curves, tuning_curves
from thalweg.pictures.forest import Difference, forest
from thalweg.pictures.sensitivity import Search, Trial, sensitivity, window
from thalweg.pictures.style import HUES, INK, looks, short, spread, svg

SEEN = looks(["Adam", "SGD"])


def _line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    low, high = sorted([_luminance(one), _luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#15181c"])
def test_hues_read_on_light_and_dark_pages(page):
    assert all(_contrast(hue, page) >= 3 for hue in HUES)


def test_no_two_optimizers_look_alike():
    seen = looks([f"rule {i}" for i in range(30)])
    assert len({(look.colour, look.marker) for look in seen.values()}) == 30
    for one, other in itertools.pairwise(seen.values()):
        assert one.colour != other.colour
        assert one.dash != other.dash
        assert one.marker != other.marker


@pytest.mark.parametrize(
    ("wanted", "placed"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.1, 0.9], [0.1, 0.9]),
        ([0.5, 0.5, 0.5], [0.4, 0.5, 0.6]),
        ([1.0, 0.99], [1.0, 0.9]),
        ([-3.0, 0.02, 9.0], [0.0, 0.1, 1.0]),
    ],
)
def test_labels_move_apart_no_more_than_they_must(wanted, placed):
    assert spread(wanted, gap=0.1) == pytest.approx(placed)


def test_labels_keep_order_and_distance():
    wanted = np.random.default_rng(0).uniform(size=20).tolist()
    placed = sorted(zip(wanted, spread(wanted, gap=0.04), strict=True))
    assert all(b - a >= 0.04 - 1e-5 for (_, a), (_, b) in itertools.pairwise(placed))


def test_numbers_are_written_as_typed():
    written = {1e-5: "1e-5", 0.001: "0.001", 1e8: "1e8", -2.5: "-2.5", 12345.6: "12346", 0.0: "0"}
    assert {value: short(value) for value in written} == written


def test_the_band_is_the_median_and_the_quartiles():
    curves = [[(0, 1.0), (10, v)] for v in (3.0, 1.0, 2.0, 5.0, 4.0)]
    got = band(curves)
    assert got.steps == [0, 10]
    assert got.median == [1.0, 3.0]
    assert (got.low[1], got.high[1]) == (2.0, 4.0)


def test_a_diverged_run_counts_as_worst():
    curves = [[(0, 1.0), (10, 0.7)], [(0, 1.0), (10, 0.9)], [(0, 1.0), (10, None)]]
    assert band(curves, "max").median[1] == 0.7
    assert band(curves, "min").median[1] == 0.9
    assert band([*curves, [(0, 1.0)], [(0, math.nan)]], "min").median[1] == math.inf


def test_steps_without_any_value_are_left_out_and_long_curves_thinned():
    assert band([[(0, None), (5, 1.0)], [(0, None), (5, 3.0)]]).steps == [5]
    long = band([[(step, 1.0) for step in range(10_000)]])
    assert len(long.steps) == MOST
    assert (long.steps[0], long.steps[-1]) == (0, 9999)
    assert band([]).steps == []


def test_learning_curves_draw_the_medians():
    runs = {
        "Adam": [[(0, 0.1), (50, 0.5 + i / 10), (100, 0.9 + i / 100)] for i in range(5)],
        "SGD": [[(0, 0.1), (50, 0.4), (100, 0.8)]],
    }
    drawn = learning_curves({"accuracy": runs, "loss": runs}, SEEN, {"accuracy": "max", "loss": "min"})
    for axes in drawn.axes:
        line = _line(axes, "Adam")
        assert list(line.get_xdata()) == [0, 50, 100]
        assert list(line.get_ydata()) == [median(curve[i][1] for curve in runs["Adam"]) for i in range(3)]
        assert line.get_color() == SEEN["Adam"].colour
        assert {text.get_text() for text in axes.texts} == {"Adam", "SGD"}


def test_learning_curves_zoom_on_what_comes_after_the_start():
    runs = {"Adam": [[(0, 1e6), (10, 0.5), (100, 0.4)]]}
    (axes,) = learning_curves({"loss": runs}, SEEN, {"loss": "min"}).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[1] < 0.6


def test_learning_curves_of_runs_that_all_diverged_are_drawn_empty():
    drawn = learning_curves({"loss": {"Adam": [[(0, None)]]}}, SEEN, {"loss": "min"})
    assert list(drawn.axes[0].texts) == []
    assert svg(drawn, name="x", title="t", description="d")


def test_losses_over_decades_get_a_logarithmic_axis():
    runs = {"Adam": [[(0, 1.0), (50, 1e-2), (100, 1e-4)]]}
    (axes,) = learning_curves({"loss": runs}, SEEN, {"loss": "min"}).axes
    assert axes.get_yscale() == "log"


def test_tuning_curves_draw_what_they_are_given():
    curves = {"Adam": [(1, 0.5), (2, 0.7), (3, None)], "SGD": []}
    (axes,) = tuning_curves(curves, SEEN, metric="accuracy").axes
    assert list(_line(axes, "Adam").get_ydata()) == [0.5, 0.7]
    assert [text.get_text() for text in axes.texts] == ["Adam"]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_the_window_stops_at_the_first_bad_neighbour(mode, sign):
    values = [1.2, 1.04, 1.0, 1.01, None, 1.0] if sign == 1 else [0.8, 0.96, 1.0, 0.99, None, 1.0]
    trials = [Trial(10.0**i, value) for i, value in enumerate(values)]
    assert window(trials, mode) == (10.0, 1000.0)
    assert window([Trial(1.0, None)], mode) is None


@pytest.mark.parametrize("mode", ["min", "max"])
def test_sensitivity_shows_every_trial_once_and_failures_as_crosses(mode):
    trials = [
        Trial(1e-4, 0.4),
        Trial(1e-3, 0.5, default=True),
        Trial(1e-2, None),
        Trial(1e-1, None, default=True),
    ]
    search = Search(trials, edges=(1e-5, 1.0), chosen=1e-3)
    axes, *_ = sensitivity({"Adam": search}, SEEN, metric="loss", mode=mode).axes
    marked = {marker: [line for line in axes.lines if line.get_marker() == marker] for marker in ("x", "*", "s", "o")}
    assert [list(line.get_xdata()) for line in marked["x"]] == [[1e-2], [1e-1]]
    heights = {
        axes.transAxes.inverted().transform(line.get_transform().transform((1, line.get_ydata()[0])))[1]
        for line in marked["x"]
    }
    assert {round(height, 2) for height in heights} == {0.95 if mode == "min" else 0.05}
    assert len(marked["*"]) == 2
    assert [line.get_xydata().tolist() for line in marked["o"]] == [
        [[1e-4, 0.4]],
        [[1e-3, 0.5]],
    ]  # a trial, a ring
    low, high = axes.get_ylim()
    assert low < 0.4 < 0.5 < high
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [1e-5, 1.0]


@pytest.mark.parametrize("values", [[None, None], [0.5, 0.5], [1e-6, 1.0], [-3.0, 2.0]])
def test_sensitivity_takes_any_values(values):
    search = Search([Trial(10.0**-i, value) for i, value in enumerate(values)])
    drawn = sensitivity({"Adam": search, "SGD": Search([Trial(1e-3, None)])}, SEEN, metric="m", mode="min")
    assert "<svg" in svg(drawn, name="x", title="t", description="d")


def test_the_forest_shows_intervals_margin_and_direction():
    against = [Difference("SGD", 0.02, 0.01, 0.03, "better")]
    (axes,) = forest(against, SEEN, leader="Adam", metric="accuracy", mode="max", margin=0.005).axes
    interval = next(line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == 0.01)
    assert list(interval.get_xdata()) == [0.01, 0.03]
    low, high = axes.get_xlim()
    assert low < -0.005 < 0.03 < high
    assert "Adam better →" in axes.get_xlabel()
    assert "better" in axes.texts[0].get_text()
    (axes,) = forest(against, SEEN, leader="Adam", metric="loss", mode="min", margin=0.0).axes
    assert "← Adam better" in axes.get_xlabel()


def test_costs_are_bars_of_their_length():
    drawn = cost({"ms": {"Adam": 0.6, "SGD": 0.4}, "state": {"SGD": 0}}, SEEN)
    assert [bar.get_width() for bar in drawn.axes[0].patches] == [0.6, 0.4]
    assert [bar.get_width() for bar in drawn.axes[1].patches] == [0]
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["Adam", "SGD"]


def test_svg_is_stable_inherits_its_ink_and_carries_its_words():
    def draw():
        return svg(cost({"$ per step": {"Adam": 1.0}}, SEEN), name="cost", title="A & B", description="<b>")

    drawn = draw()
    assert drawn == draw()
    assert INK not in drawn
    assert "currentColor" in drawn
    assert '<title id="cost-title">A &amp; B</title><desc id="cost-desc">&lt;b&gt;</desc>' in drawn
    assert "$ per step" in drawn
    assert "<metadata" not in drawn
    assert 'role="img"' in drawn.split(">")[0]


def test_pictures_ignore_the_users_settings_and_leave_them_alone():
    before = svg(cost({"ms": {"Adam": 1.0}}, SEEN), name="x", title="t", description="d")
    with style.matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        assert svg(cost({"ms": {"Adam": 1.0}}, SEEN), name="x", title="t", description="d") == before
        assert style.matplotlib.rcParams["font.size"] == 30
