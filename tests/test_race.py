"""A race is what its rules do: same walks, same budgets, nothing hidden, and files that say what happened."""

import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import thalweg as tw
from thalweg import landscapes, rules
from thalweg.card import card_of
from thalweg.cli.app import app
from thalweg.engine.gain import gains
from thalweg.pictures import moving
from thalweg.pictures.race import scene
from thalweg.racing.braille import terminal_picture
from thalweg.racing.entries import BEYOND, Entry, entries
from thalweg.racing.race import race

NAMES = ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam")


@pytest.fixture(scope="module")
def done():
    return race("valley(condition=20)", "sgd, momentum, adam", steps=60)


# ---- the walks


@pytest.mark.parametrize("name", rules.names())
def test_a_walk_is_what_the_optimizer_of_that_name_does(name):
    """The door's class, on its own, with plain torch around it."""
    run = race("rosenbrock", name, lr=1e-3, steps=30).runs[0]
    p = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = tw.optimizer(rules.find(name))([p], lr=1e-3)
    for step in range(31):
        here = [run.trajectory[c][step] for c in "xy"]
        assert p.tolist() == pytest.approx(here, rel=1e-12, abs=1e-14)
        optimizer.zero_grad()
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        loss.backward()
        assert run.trajectory["loss"][step] == pytest.approx(loss.item(), rel=1e-12)
        assert p.grad is not None
        assert run.trajectory["gradient norm"][step] == pytest.approx(float(p.grad.norm()), rel=1e-9)
        optimizer.step()


def test_everybody_tries_as_many_learning_rates_over_the_range_of_the_card(done):
    for run in done.runs:
        card = card_of(rules.find(run.name))
        assert card is not None
        lrs = [lr for lr, _ in run.strip]
        assert len(lrs) == done.lrs == 31
        assert lrs[0] == pytest.approx(card.search["lr"].at(0) / BEYOND, rel=1e-5)
        assert lrs[-1] == pytest.approx(card.search["lr"].at(1) * BEYOND, rel=1e-5)
        assert "best of 31" in done.budget


def test_the_lr_of_the_race_is_the_best_of_those_tried(done):
    for run in done.runs:
        best = min((loss, lr) for lr, loss in run.strip if loss is not None)
        assert (run.reached, run.lr) == best
        assert run.reached == pytest.approx(float(np.mean(run.trajectory["loss"][-6:])), rel=1e-12)


def test_each_lr_that_was_tried_gives_what_a_race_with_it_gives(done):
    lr, loss = done["adam"].strip[20]
    alone = race("valley(condition=20)", "adam", lr=lr, steps=60).runs[0]
    assert alone.reached == pytest.approx(loss, rel=1e-12)


def test_what_is_asked_for_is_taken():
    done = race("bowl", "sgd, adam", steps=5, lr=0.01, settings={"adam.lr": 0.1, "adam": {"beta1": 0.5}})
    assert [run.lr for run in done.runs] == [0.01, 0.1]
    assert done["adam"].settings["beta1"] == 0.5
    assert all(run.fixed for run in done.runs)
    assert done.budget.startswith("Every lr as asked for")
    assert "unless asked for" in race("bowl", "sgd(lr=0.1), adam", steps=5).budget


def test_entries_that_share_a_rule_do_not_disturb_each_other():
    together = race("valley", "adam(beta1=0), adam(beta1=0.5), adam(amsgrad=True)", lr=0.1, steps=20)
    assert [run.name for run in together.runs] == ["adam beta1=0", "adam beta1=0.5", "adam amsgrad"]
    for run, alone in zip(together.runs, ("adam(beta1=0)", "adam(beta1=0.5)", "adam(amsgrad=True)"), strict=True):
        single = race("valley", alone, lr=0.1, steps=20).runs[0]
        assert run.trajectory["x"] == pytest.approx(single.trajectory["x"], rel=1e-12)


def test_a_rule_of_the_users(tmp_path):
    path = tmp_path / "signs.py"
    path.write_text("from thalweg.ops import sign\n\ndef signs(p, g, *, t, lr=0.01):\n    return p - lr * sign(g)\n")
    done = race("bowl", "sgd", steps=10, lr=0.25, rules=[path])
    assert [run.name for run in done.runs] == ["sgd", "signs"]
    assert done["signs"].trajectory["x"][:4] == pytest.approx([-1.6, -1.35, -1.1, -0.85])
    assert race("bowl", rules=[path], steps=5).runs[0].name == "signs"


def test_endings_say_what_happened():
    assert race("bowl", "sgd", lr=1.0, steps=5).runs[0].ending == "reached the minimum"
    assert race("bowl", "sgd", lr=1.0, steps=5).runs[0].at == 1
    away = race("rosenbrock", "sgd", lr=0.1, steps=50).runs[0]
    assert away.ending == "diverged"
    assert math.isinf(away.reached)
    assert not all(map(math.isfinite, away.trajectory["loss"]))  # as it was: nothing is clipped
    growing = race("bowl", "sgd", lr=3.0, steps=20).runs[0]  # by 2 each step: finite, and gone all the same
    assert growing.ending == "diverged"
    assert abs(growing.trajectory["x"][-1]) == pytest.approx(1.6 * 2**20)
    assert race("bowl", "sgd", lr=1e-3, steps=5).runs[0].ending == "still on its way"
    stuck = race("double_well", "sgd", lr=0.01, steps=3000).runs[0]
    assert stuck.ending == "stopped elsewhere"
    assert stuck.trajectory["x"][-1] == pytest.approx(0.96, abs=0.01)
    assert race("lambda x: x**2", "sgd", lr=0.4, steps=50).runs[0].ending == "stopped where it is flat"


def test_momentum_passes_the_dents_in_which_gradient_descent_stops():
    done = race("bumpy_hill", "sgd(lr=0.1), momentum(lr=0.135)", steps=300)
    assert done["sgd"].ending == "stopped elsewhere"
    assert done["momentum"].ending == "reached the minimum"
    wild = race("bumpy_hill", "momentum(lr=0.135, momentum=0.99)", steps=300)
    assert max(wild.runs[0].trajectory["x"]) > 2  # too much of it overshoots


def test_noise_is_the_same_for_all_and_changes_with_the_seed():
    one, two, other = (race("noisy_least_squares", "sgd", lr=0.05, steps=30, seed=s).runs[0] for s in (0, 0, 1))
    assert one.trajectory["slope"] == two.trajectory["slope"]
    assert one.trajectory["slope"] != other.trajectory["slope"]
    pair = race("noisy_least_squares", "sgd(lr=0.05), momentum(lr=0.05, momentum=0)", steps=30)
    assert pair.runs[0].trajectory["slope"] == pytest.approx(pair.runs[1].trajectory["slope"])


def test_start_and_domain():
    done = race("bowl", "sgd", lr=0.1, steps=3, start=(0.5, 9.0), domain=((-1, 1), (-2, 2)))
    assert done["sgd"].trajectory["y"][0] == 9
    assert done.window[0] == (-1, 1)
    assert done.window[1][1] > 9  # the start is always seen
    assert race("bowl", "sgd", lr=0.1, steps=5, decay="sqrt")["sgd"].trajectory["rate x"][4] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"optimizers": "adma"}, "Did you mean 'adam'"),
        ({"optimizers": ""}, "at least one"),
        ({"optimizers": "adam(beat1=0)"}, "Did you mean 'beta1'"),
        ({"optimizers": "adam(beta1=2)"}, "adam.beta1 is 2"),
        ({"optimizers": "adam(amsgrad=3)"}, "adam.amsgrad is 3"),
        ({"settings": {"adma.lr": 1}}, "Did you mean 'adam'"),
        ({"settings": {"lr": 1}}, "as in adam.lr"),
        ({"lr": -1.0}, "lr is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"lrs": 1}, "lrs is 1"),
        ({"decay": "log"}, "decay is 'log'"),
        ({"start": (1.0,)}, "needs 2 numbers"),
        ({"landscape": "lambda x: log(x)"}, "is nan; begin where it is a number"),
        ({"start": (1.0, math.nan)}, "needs 2 numbers"),
        ({"domain": ((1, 0), (0, 1))}, "needs 2 intervals"),
        ({"landscape": "double_well", "rotate": 45}, "cannot be turned"),
        ({"optimizers": "momentum(momentum=0, dampening=0.5)"}, "dampening is 0.5"),
        ({"landscape": "reddi", "optimizers": "bfgs"}, "no bounds"),
        ({"optimizers": "bfgs(serach=1)"}, "Did you mean 'search'"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(arguments, said):
    with pytest.raises((ValueError, TypeError)) as error:
        race(**{"landscape": "bowl", "steps": 3, **arguments})
    assert said in str(error.value)


def test_minimizers_race_by_evaluations():
    done = race("rosenbrock", "momentum, bfgs, newton, newton_cg", lr=1e-3, steps=150)
    assert done.along == "evaluations"
    for name in ("bfgs", "newton", "newton_cg"):
        run = done[name]
        assert run.lr is None
        assert run.ending == "reached the minimum"
        counts = run.trajectory["evaluations"]
        assert counts == sorted(set(counts))
        assert counts[-1] <= 151
        assert run.trajectory["x"][-1] == pytest.approx(1, abs=1e-6)
        for x, y, loss in zip(*(run.trajectory[q] for q in ("x", "y", "loss")), strict=True):
            assert loss == pytest.approx((1 - x) ** 2 + 100 * (y - x * x) ** 2, abs=1e-12)
    assert done["momentum"].trajectory["evaluations"][-1] == 151
    assert race("rosenbrock", "momentum", lr=1e-3, steps=5).along == "step"


# ---- the effective learning rate


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("sgd", 0.1),
        ("momentum", 0.1),
        ("nesterov", 0.1 * 1.9),
        ("adagrad", 0.1 / (math.sqrt(3 + 4) + 1e-10)),
        ("rmsprop", 0.1 / (math.sqrt(0.99 * 3 + 0.01 * 4) + 1e-8)),
    ],
)
def test_the_effective_rate_is_what_the_formula_multiplies_the_gradient_with(name, rate):
    p, g = torch.ones(1, 2, dtype=torch.float64), torch.full((1, 2), 2.0, dtype=torch.float64)
    slots = {"v": 3 * p, "s": 3 * p}
    found = gains(rules.find(name), p, g, slots, torch.tensor([5.0]), lr=torch.tensor([0.1]).double())
    assert found.tolist() == [[pytest.approx(rate), pytest.approx(rate)]]


def test_the_effective_rate_of_adam_holds_the_squares():
    p, g = torch.ones(1, 1, dtype=torch.float64), torch.full((1, 1), 2.0, dtype=torch.float64)
    found = gains(rules.find("adam"), p, g, {"m": 0 * p, "v": 0 * p}, torch.tensor([1.0]), lr=0.1)
    assert float(found) == pytest.approx(0.1 / 2)  # the first step is lr: a rate of lr / |g|


# ---- files


def test_csv_and_json_hold_every_number(done, tmp_path):
    data = json.loads(
        done.save(tmp_path / "deep" / "race.json").read_text(), parse_constant=lambda c: pytest.fail(f"not strict: {c}")
    )
    assert data["runs"][1]["trajectory"]["values"]["x"] == done.runs[1].trajectory["x"]
    lines = done.save(tmp_path / "race.csv").read_text().splitlines()
    assert lines[0] == "optimizer,lr,step,evaluations,x,y,loss,gradient norm,rate x,rate y"
    assert len(lines) == 1 + 3 * 61
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert float(last["x"]) == done["adam"].trajectory["x"][-1]


def test_csv_of_a_minimizer_leaves_its_rates_empty(tmp_path):
    lines = race("bowl", "sgd, bfgs", lr=0.1, steps=3).save(tmp_path / "race.csv").read_text().splitlines()
    assert any(line.startswith("bfgs,,") and line.endswith(",,") for line in lines)


def test_json_stays_strict_when_a_walk_diverges(tmp_path):
    away = race("rosenbrock", "sgd", lr=10.0, steps=30)
    path = away.save(tmp_path / "away.json")
    data = json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(f"not strict: {c}"))
    assert data["runs"][0]["reached"] is None
    assert data["runs"][0]["trajectory"]["values"]["loss"][-1] is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_svg_is_the_same_every_time_and_has_its_words(done, theme, tmp_path):
    one = done.save(tmp_path / "race.svg", theme=theme).read_bytes()
    again = race("valley(condition=20)", "sgd, momentum, adam", steps=60)
    assert again.save(tmp_path / "race.svg", theme=theme).read_bytes() == one
    text = one.decode()
    assert f'<desc id="race-desc">{done.description()}' in text.replace("&#x27;", "'").replace("&quot;", '"')
    assert ("#15181c" in text) is (theme == "dark")
    for run in done.runs:
        assert text.count(f">{run.name}") >= 1
        assert f"{run.name}   lr" in text


def test_png_carries_its_words(done, tmp_path):
    from PIL import Image

    with Image.open(done.save(tmp_path / "race.png", theme="dark")) as image:
        assert image.text["Description"] == done.description()  # type: ignore[attr-defined]
        assert image.convert("RGB").getpixel((2, 2)) == (0x15, 0x18, 0x1C)


def test_gif_moves_and_ends_with_the_whole_picture(tmp_path):
    from PIL import Image

    seen = []
    done = race("valley", "sgd, adam", steps=12)
    path = done.save(tmp_path / "race.gif", progress=lambda drawn, total: seen.append((drawn, total)))
    assert seen == [(i, 13) for i in range(1, 14)]
    with Image.open(path) as image:
        assert image.n_frames == 13  # type: ignore[attr-defined]
        assert image.info["comment"].decode() == done.description()
        image.seek(0)
        first = np.asarray(image.convert("RGB")).astype(int)
        image.seek(12)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert (first != last).any()
    whole = list(moving.frames(done))[-1].astype(int)
    assert abs(last - whole).mean() < 3


def test_long_races_take_several_steps_per_frame():
    assert len(list(moving.frames(race("bowl", "sgd", lr=0.1, steps=230)))) == moving.FRAMES + 1


def test_mp4_without_ffmpeg_is_one_sentence(done, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match=r"needs ffmpeg, which is not installed; a \.gif needs nothing"):
        done.save(tmp_path / "race.mp4")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program in ffmpeg's place that keeps what it was given."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n"
        "if 'broken' in sys.argv[-1]: sys.exit('no such codec')\n"
        "open(sys.argv[-1] + '.txt', 'w').write(' '.join(sys.argv))\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))


@pytest.mark.usefixtures("stand_in")
def test_mp4_gives_ffmpeg_the_frames(tmp_path):
    done = race("bowl", "sgd", lr=0.1, steps=3)
    path = done.save(tmp_path / "race.mp4")
    command = (tmp_path / "race.mp4.txt").read_text()
    wide, tall = map(int, re.findall(r"-s (\d+)x(\d+)", command)[0])
    assert wide % 2 == tall % 2 == 0
    assert len(path.read_bytes()) == wide * tall * 3 * (4 + moving.HOLD)
    with pytest.raises(ValueError, match=r"ffmpeg could not write .*: no such codec"):
        done.save(tmp_path / "broken.mp4")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_mp4_is_a_film(tmp_path):
    path = race("bowl", "sgd", lr=0.1, steps=3).save(tmp_path / "race.mp4")
    assert subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"]).returncode == 0


def test_other_endings_and_themes_are_refused(done, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png"):
        done.save(tmp_path / "race.bmp")
    with pytest.raises(ValueError, match=r"Did you mean 'dark'"):
        done.figure("drak")


# ---- pictures


@pytest.mark.parametrize("landscape", ["rosenbrock", "reddi", "double_well", "factorisation", "associative_memory"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_kind_of_landscape_is_drawn_with_everybody_in_it(landscape, theme):
    done = race(landscape, steps=20, lrs=5)
    made = scene(done, theme)
    expected = 2 if landscape != "factorisation" and landscape != "associative_memory" else 0
    assert len(made.moving) == (len(done.runs) if expected else 0)
    seen = {(line.get_color(), line.get_marker()) for line, _ in made.moving}
    assert len(seen) == len(made.moving)
    made.figure.canvas.draw()


def test_lines_hold_the_numbers_of_the_race(done):
    made = scene(done)
    (_, x, y) = made.growing[1][1]
    assert x.tolist() == done["momentum"].trajectory["x"]
    assert y.tolist() == done["momentum"].trajectory["y"]


def test_a_path_that_leaves_is_crossed_at_the_edge():
    away = race("bowl", "sgd", lr=3.0, steps=20)
    made = scene(away)
    (cross,) = [artist for artist in made.last if getattr(artist, "get_marker", lambda: "")() == "X"]
    assert max(abs(float(cross.get_xdata()[0])), abs(float(cross.get_ydata()[0]))) == pytest.approx(2)


def test_the_heights_are_computed_once(monkeypatch):
    place = landscapes.find("bowl")
    count = []

    def counted(p):
        count.append(p.shape)
        return (p * p).sum(-1)

    from dataclasses import replace

    done = race(replace(place, value=counted), "sgd", lr=0.1, steps=3)
    count.clear()
    done.figure("light")
    done.figure("dark")
    terminal_picture(done)
    assert len(count) == 1


@pytest.mark.parametrize("landscape", ["valley", "bumpy_hill", "factorisation"])
def test_the_terminal_shows_a_picture(landscape):
    text = terminal_picture(race(landscape, steps=10, lrs=5)).plain
    assert len(text.splitlines()) == 22
    assert len(set(text)) > 10


# ---- the command


def command(*arguments: str):
    return CliRunner().invoke(app, ["race", *arguments])


def test_the_command_prints_a_table_and_a_picture():
    done = command("-l", "valley(condition=50)", "--optimizers", "sgd,adam(beta1=0.5)", "--steps", "20")
    assert done.exit_code == 0, done.output
    for wanted in ("valley(condition=50)", "sgd", "adam", "best of 31", "★", "loss reached"):
        assert wanted in done.output


def test_the_command_writes_files_and_says_what_is_on_them(tmp_path):
    path = tmp_path / "race.svg"
    done = command(
        "--landscape", "lambda x, y: x**2 + 10 * y**2", "--optimizers", "sgd,adam", "--set", "adam.lr=0.1", "--lr",
        "0.01", "--start", "-1,1", "--domain", "-2:2,-1:3", "--steps", "10", "--theme", "dark", "-o", str(path),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert path.exists()
    assert "adam with lr 0.1" in done.output
    assert "sgd with lr 0.01" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "race.bmp"), "must end in"),
        (("--theme", "drak"), "Did you mean 'dark'"),
        (("--set", "lr=1"), "it must be like adam.lr=0.1"),
        (("--start", "a,b"), "--start is 'a,b'"),
        (("--domain", "1,2"), "--domain is '1'"),
        (("--rule", "nowhere.py"), "nowhere.py"),
        (("-l", "lambda x: __import__('os')"), "__import__"),
    ],
)
def test_the_commands_mistakes_exit_with_2_and_a_sentence(arguments, said):
    done = command(*arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_entries_by_default_are_the_classics():
    assert tuple(entry.name for entry in entries()) == NAMES
    assert all(isinstance(entry, Entry) for entry in entries())
