"""A race in the terminal: a small picture in Braille dots, two by four to a character.

>>> canvas = Canvas(2, 1)
>>> canvas.line(0.0, 0.0, 1.0, 1.0, "red")
>>> canvas.text().plain
'⣠⠞'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.extras import require

if TYPE_CHECKING:
    from rich.text import Text

    from thalweg.racing.race import Race
    from thalweg.racing.rates import RateMap

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
COLOURS = ("blue", "red", "green", "magenta", "yellow", "cyan", "bright_green", "white", "bright_red", "bright_blue")
LINES = 6
BLOCKS = "█▓▒░·"


class Canvas:
    """A grid of characters to draw on in coordinates from 0 to 1, the origin at the lower left."""

    def __init__(self, wide: int, tall: int):
        self.bits = np.zeros((tall, wide), dtype=int)
        self.colours = np.full((tall, wide), "", dtype=object)
        self.marks: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, x: float, y: float, colour: str) -> None:
        """Set the dot there; outside there is none."""
        tall, wide = self.bits.shape
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return
        column, row = min(int(x * 2 * wide), 2 * wide - 1), min(int((1 - y) * 4 * tall), 4 * tall - 1)
        self.bits[row // 4, column // 2] |= DOTS[row % 4][column % 2]
        self.colours[row // 4, column // 2] = colour

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        """Set the dots between two points."""
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            return
        tall, wide = self.bits.shape
        count = max(1, min(4000, math.ceil(2 * max(abs(x1 - x0) * 2 * wide, abs(y1 - y0) * 4 * tall))))
        for share in np.linspace(0, 1, count + 1):
            self.dot(x0 + share * (x1 - x0), y0 + share * (y1 - y0), colour)

    def mark(self, x: float, y: float, letter: str, colour: str) -> None:
        """Put a letter there."""
        tall, wide = self.bits.shape
        if 0 <= x <= 1 and 0 <= y <= 1:
            self.marks[min(int((1 - y) * tall), tall - 1), min(int(x * wide), wide - 1)] = (letter, colour)

    def text(self) -> Text:
        """The picture."""
        made = require("rich.text").Text(no_wrap=True)
        for row in range(self.bits.shape[0]):
            for column in range(self.bits.shape[1]):
                letter, colour = self.marks.get(
                    (row, column), (chr(0x2800 + self.bits[row, column]), self.colours[row, column])
                )
                made.append(letter if letter != "⠀" else " ", style=colour or None)
            made.append("\n" if row + 1 < self.bits.shape[0] else "")
        return made


def colour(i: int) -> str:
    """The colour of the i-th optimizer in the terminal."""
    return COLOURS[i % len(COLOURS)]


def terminal_picture(race: Race, wide: int = 64, tall: int = 22) -> Text:
    """The paths over contour lines; in one dimension the balls on their curve; for a matrix the losses."""
    if race.landscape.is_matrix:
        return _losses(race, wide, tall)
    return _paths(race, wide, tall) if len(race.window) == 2 else _balls(race, wide, tall)


def _paths(race: Race, wide: int, tall: int) -> Text:
    canvas = Canvas(wide, tall)
    heights = race.heights[1].nan_to_num(posinf=1e300).numpy()
    bands = np.searchsorted(np.quantile(heights, np.linspace(0, 1, LINES) ** 1.5), heights)
    rows, columns = 4 * tall, 2 * wide
    at = np.ix_(np.linspace(0, len(bands) - 1, rows).astype(int), np.linspace(0, len(bands) - 1, columns).astype(int))
    coarse = bands[at]
    edge = (coarse[:-1, :-1] != coarse[1:, :-1]) | (coarse[:-1, :-1] != coarse[:-1, 1:])
    for row, column in zip(*np.nonzero(edge), strict=True):
        canvas.dot((column + 0.5) / columns, (row + 0.5) / rows, "bright_black")
    for k, run in enumerate(race.runs):
        x, y = (_shares(race, run.trajectory[name], i) for i, name in enumerate(race.landscape.coordinates))
        for i in range(1, len(x)):
            canvas.line(x[i - 1], y[i - 1], x[i], y[i], colour(k))
    for minimum in race.landscape.minima:
        _mark(canvas, race, minimum, "★")
    _mark(canvas, race, race.landscape.point().tolist(), "○")
    return canvas.text()


def _mark(canvas: Canvas, race: Race, place: Sequence[float], letter: str) -> None:
    x, y = (_shares(race, [each], i)[0] for i, each in enumerate(place))
    canvas.mark(x, y, letter, "bold")


def _shares(race: Race, values: list[float], i: int) -> list[float]:
    """Where values lie in the window, from 0 to 1; far outside they are no number."""
    low, high = race.window[i]
    return [x if abs(x) < 20 else math.nan for x in ((value - low) / (high - low) for value in values)]


def _balls(race: Race, wide: int, tall: int) -> Text:
    canvas = Canvas(wide, tall)
    (side,), heights = race.heights
    low, high = float(heights.min()), float(heights.max())
    shares = [(float(h) - low) / (high - low) * 0.9 + 0.05 for h in heights]
    for i in range(1, len(shares)):
        canvas.line((i - 1) / (len(side) - 1), shares[i - 1], i / (len(side) - 1), shares[i], "bright_black")
    for k, run in enumerate(race.runs):
        x = _shares(race, run.trajectory[race.landscape.coordinates[0]], 0)[-1]
        if 0 <= x <= 1:
            canvas.mark(x, min(shares[round(x * (len(side) - 1))] + (k % 3) / tall, 1.0), "●", colour(k))
    return canvas.text()


def _losses(race: Race, wide: int, tall: int) -> Text:
    canvas = Canvas(wide, tall)
    curves = [[x - (race.landscape.lowest or 0.0) for x in run.trajectory["loss"]] for run in race.runs]
    logs = [[math.log10(max(x, 1e-16)) if x > 0 and math.isfinite(x) else math.nan for x in each] for each in curves]
    every = [x for each in logs for x in each if math.isfinite(x)] or [0.0, 1.0]
    low, high = min(every), max(every) + 1e-9
    for k, each in enumerate(logs):
        for i in range(1, len(each)):
            ends = ((i - 1) / (len(each) - 1), (each[i - 1] - low) / (high - low), i / (len(each) - 1))
            canvas.line(*ends, (each[i] - low) / (high - low), colour(k))
    return canvas.text()


def terminal_map(rates: RateMap) -> Text:
    """The rates as blocks, the faster the fuller; blank where the walk diverges, a star at the fastest."""
    digits = np.log(rates.digits.numpy().clip(min=1e-2))
    low = float(digits.min()) if np.isfinite(digits).any() else 0.0
    made = require("rich.text").Text(no_wrap=True)
    best = divmod(int(rates.rates.argmin()), len(rates.x.values))
    for row in reversed(range(len(rates.y.values))):
        edge = f"{rates.y.values[row]:.3g}" if row in (0, len(rates.y.values) - 1) else ""
        made.append(f"{edge or (rates.y.name if row == len(rates.y.values) // 2 else ''):>10} ")
        for column in range(len(rates.x.values)):
            level = digits[row, column]
            # Every step of shade is a factor of four in the steps per digit.
            shade = BLOCKS[int(min((level - low) / math.log(4), len(BLOCKS) - 1))] if math.isfinite(level) else " "
            made.append("★" + shade if (row, column) == best else 2 * shade)
        made.append("\n")
    ends = f"{rates.x.values[0]:.3g}", f"{rates.x.values[-1]:.3g}"
    made.append(f"{'':>10} {ends[0]}{rates.x.name:^{2 * len(rates.x.values) - len(''.join(ends))}}{ends[1]}")
    return made
