"""A race as a moving picture: what stands still is drawn once, the lines that grow on top of it for every frame."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from thalweg.extras import require
from thalweg.pictures.race import Scene, scene
from thalweg.pictures.theme import find, themed

if TYPE_CHECKING:
    from thalweg.racing.race import Race

DPI = 100  # 840 points wide
FRAMES = 100  # at most; a race of more steps takes several at a time
PER_SECOND = 15
HOLD = 45  # frames that the end stays
Progress = Callable[[int, int], None]


def gif(race: Race, path: Path, theme: str, description: str, progress: Progress | None = None) -> None:
    """Write an animated GIF; the description stands in its comment."""
    image = require("PIL.Image")
    drawn = [image.fromarray(frame) for frame in frames(race, theme, progress)]
    palette = drawn[-1].quantize(256, dither=0)  # one for all: colours do not flicker
    small = [frame.quantize(palette=palette, dither=0) for frame in drawn]
    lasts = [1000 // PER_SECOND] * (len(small) - 1) + [1000 * HOLD // PER_SECOND]
    small[0].save(
        path, save_all=True, append_images=small[1:], duration=lasts, loop=0, comment=description.encode()[:5000]
    )  # fmt: skip


def mp4(race: Race, path: Path, theme: str, description: str, progress: Progress | None = None) -> None:
    """Write an MP4 with ffmpeg.

    Raises:
        ValueError: there is no ffmpeg.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError(f"{str(path)!r} needs ffmpeg, which is not installed; a .gif needs nothing.")
    drawn = list(frames(race, theme, progress))
    tall, wide = (side // 2 * 2 for side in drawn[0].shape[:2])  # the codec wants even numbers
    command = [
        program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{wide}x{tall}",
        "-r", str(PER_SECOND), "-i", "-", "-pix_fmt", "yuv420p", "-metadata", f"comment={description[:5000]}",
        str(path),
    ]  # fmt: skip
    pixels = b"".join(frame[:tall, :wide].tobytes() for frame in [*drawn, *drawn[-1:] * HOLD])
    done = subprocess.run(command, input=pixels, capture_output=True)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"ffmpeg could not write {str(path)!r}: {said[-1] if said else 'it says nothing'}.")


def frames(race: Race, theme: str = "light", progress: Progress | None = None) -> Iterator[np.ndarray]:
    """The frames as arrays of shape (height, width, 3), at most `FRAMES` + 1 of them."""
    count = min(race.steps, FRAMES)
    with themed(find(theme)):
        made = scene(race, theme)
        made.figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(made.figure)
        canvas.draw()  # the layout, with everything in its place
        made.figure.set_layout_engine("none")
        counter = made.figure.axes[-1].annotate(  # left of the title of the last panel, the strips
            "", (0, 1), xytext=(-8, 6), xycoords="axes fraction", textcoords="offset points", ha="right", weight="bold"
        )
        live = [line for line, _ in (*made.growing, *made.moving)]
        for artist in (*live, *made.last, counter):
            artist.set_animated(True)
        canvas.draw()
        still = canvas.copy_from_bbox(made.figure.bbox)
        for i in range(count + 1):
            step = round(i * race.steps / count)
            canvas.restore_region(still)
            counter.set_text(f"step {step}")
            for artist in (*_at(made, step), *(made.last if i == count else ()), counter):
                made.figure.draw_artist(artist)
            if progress:
                progress(i + 1, count + 1)
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _at(made: Scene, step: int) -> list:
    """The lines as they are at a step, from the back to the front."""
    for line, (evaluations, x, y) in made.growing:
        count = np.searchsorted(evaluations, step + 1, side="right")  # the first evaluation is the start's
        line.set_data(x[:count], y[:count])
    for line, (evaluations, x, y) in made.moving:
        count = np.searchsorted(evaluations, step + 1, side="right")
        line.set_data(x[count - 1 : count], y[count - 1 : count])
    return sorted((line for line, _ in (*made.growing, *made.moving)), key=lambda line: line.get_zorder())
