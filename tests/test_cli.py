"""The command line: what it prints, what it leaves, how it ends."""

import csv
import importlib.util
import inspect
import json
import re
import sqlite3
import subprocess
import sys
import textwrap
from datetime import date
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

import thalweg
import toy_task
from commands import environment, interrupted
from thalweg import cli, lab, workloads
from thalweg.cli.app import app
from thalweg.cli.compare import chosen
from thalweg.lab import comparison
from thalweg.lab.store import opened

TOY = str(Path(toy_task.__file__))
FILES = {"report.html", "result.json", "thalweg.sqlite", "winner.py"}
QUICK = ["--optimizers", "sgd,momentum", "--steps", "3", "--jobs", "1"]


@pytest.fixture
def thalweg_(tmp_path, monkeypatch):
    """Call the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, list(arguments))

    return call


def test_compare_says_everything_and_leaves_it(thalweg_):
    done = thalweg_("compare", TOY, *QUICK)
    assert done.exit_code == 0, done.output
    folder = Path("runs") / f"toy-{date.today().isoformat()}"
    assert {p.name for p in folder.iterdir()} >= FILES
    data = json.loads((folder / "result.json").read_text())
    assert data["verdict"] in done.stdout.replace("\n", " ").replace("  ", " ")
    assert str(folder / "winner.py") in done.stdout
    for name in ("sgd", "momentum"):
        assert name in done.stdout
    assert "2 optimizers, equal steps; work of 33 to 38 runs of 3 steps: about" in done.stderr
    assert "confirmation on fresh seeds: 10 runs" in done.stderr
    assert data["task"]["spec"] == TOY
    assert data["budget"]["steps_per_run"] == 3


@pytest.mark.usefixtures("unreported")
def test_a_result_is_never_overwritten(thalweg_):
    for _ in range(3):
        assert thalweg_("compare", TOY, *QUICK).exit_code == 0
    name = f"toy-{date.today().isoformat()}"
    assert sorted(p.name for p in Path("runs").iterdir()) == [name, f"{name}-2", f"{name}-3"]


def test_a_budget_that_is_refused_leaves_nothing(thalweg_):
    for budget in ("100 steps", "0.001s"):
        done = thalweg_("compare", TOY, *QUICK[:2], "--jobs", "1", "--budget", budget)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"thalweg: budget is '{budget}', which is no comparison of 2 optimizers")
        assert list(Path().iterdir()) == []


def test_a_task_that_no_process_can_be_sent_is_one_sentence_and_leaves_nothing(thalweg_):
    held = (
        Path(TOY)
        .read_text()
        .replace("def mse(model, data):", "import threading\ndef mse(model, data, lock=threading.Lock()):")
    )
    Path("mine.py").write_text(held)
    done = thalweg_("compare", "mine.py", *QUICK[:4], "--jobs", "2")
    assert done.exit_code == 2
    assert re.fullmatch(
        r"thalweg: task 'toy' cannot be sent to other processes \(.*lock.*\); use jobs=1\n", done.stderr
    )
    assert [path.name for path in Path().iterdir()] == ["mine.py"]


@pytest.mark.usefixtures("unreported")
def test_the_same_folder_goes_on_where_it_was(thalweg_):
    for _ in range(2):
        assert thalweg_("compare", TOY, *QUICK, "--out", "mine").exit_code == 0
    once = json.loads(Path("mine/result.json").read_text())
    with sqlite3.connect("mine/thalweg.sqlite") as database:
        legs = [json.loads(row[0]) for row in database.execute("SELECT trial FROM runs")]
    wholes = {json.dumps({**leg, "until": None}, sort_keys=True) for leg in legs}
    assert len(wholes) == len(once["runs"]) < len(legs)  # no leg twice: every key is another
    source = Path(TOY).read_text().replace("mse_loss", "l1_loss")
    Path("other.py").write_text(source)
    other = thalweg_("compare", "other.py", *QUICK, "--out", "mine")
    assert other.exit_code == 2
    assert "the task has changed since the" in other.stderr
    assert "Traceback" not in other.output
    assert thalweg_("compare", "other.py", *QUICK, "--out", "mine", "--fresh").exit_code == 0
    Path("mine/thalweg.sqlite").unlink()
    assert "holds a result without its runs" in thalweg_("compare", TOY, *QUICK, "--out", "mine").stderr


@pytest.mark.usefixtures("unreported")
def test_a_rule_of_the_users_own_competes(thalweg_):
    Path("steady.py").write_text("def steady(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    done = thalweg_("compare", TOY, *QUICK, "--rule", "steady.py", "--out", "mine")
    assert done.exit_code == 0, done.output
    assert "steady" in json.loads(Path("mine/result.json").read_text())["optimizers"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digitz"], "there is no workload 'digitz'. Did you mean 'digits'?"),
        (["nowhere.py"], "there is no file 'nowhere.py'"),
        ([TOY, "--optimizers", "adamw,sdg"], "there is no rule 'sdg'. Did you mean 'sgd'?"),
        ([TOY, "--budget", "quik"], "budget is 'quik'; it must be one of quick, standard, thorough, a time as 20m"),
        ([TOY, "--steps", "0"], "steps is 0; it must be a whole number, at least 1."),
        ([TOY, "--jobs", "-1"], "jobs is -1; it must be a whole number, at least 1."),
        ([TOY, "--rule", "nowhere.py"], "there is no rule file 'nowhere.py'."),
        ([TOY, "--steps", "many"], "Invalid value for '--steps'"),
        ([TOY, "--bugdet", "quick"], "No such option: --bugdet"),
        (
            [TOY, "--out", "/dev/null/out"],
            "'/dev/null/out' cannot be written to: Not a directory; choose another folder.",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(thalweg_, arguments, sentence):
    done = thalweg_("compare", *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.output
    assert list(Path().iterdir()) == []


def test_an_exception_in_the_users_code_keeps_its_traceback(thalweg_):
    source = Path(TOY).read_text().replace("def rows(n, key):", "def rows(n, key):\n    1 / (key % 1000 != 2)")
    Path("broken.py").write_text(source)
    done = thalweg_("compare", "broken.py", *QUICK, "--out", "mine")
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.stderr
    assert "in rows" in done.stderr
    assert "thalweg: every run has failed; the run of" in done.stderr


def test_a_task_that_breaks_when_tried_shows_where(thalweg_):
    source = Path(TOY).read_text().replace("    x, y = data\n", "    x, y = data[3]\n")
    Path("broken.py").write_text(source)
    done = thalweg_("compare", "broken.py", *QUICK)
    assert done.exit_code == 2
    assert "in mse" in done.stderr
    assert "thalweg: task 'toy': loss(model, batch) raised IndexError" in done.stderr


def test_workloads_lists_all(thalweg_):
    done = thalweg_("workloads")
    assert done.exit_code == 0, done.output
    for name in workloads.names():
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        assert f"{workloads.load(name).steps:,}" in line
    assert "17,226" in done.stdout


def test_version_and_help(thalweg_):
    assert thalweg_("--version").stdout == f"thalweg {thalweg.__version__}\n"
    said = thalweg_("compare", "--help").stdout
    for option in ("--optimizers", "--budget", "--steps", "--seed", "--jobs", "--out", "--rule"):
        assert option in said
    assert "compare" in thalweg_("--help").stdout


def test_resume_report_runs_and_export(thalweg_):
    assert thalweg_("compare", TOY, *QUICK, "--out", "mine", "--quiet").stderr == ""
    before = json.loads(Path("mine/result.json").read_text())
    Path("mine/report.html").unlink()
    assert thalweg_("report", "mine").exit_code == 0
    assert Path("mine/report.html").exists()
    logged = thalweg_("resume", "mine", "--json")
    events = [json.loads(line) for line in logged.stdout.splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("planned", "ended")
    assert events[-1]["verdict"] == before["verdict"]
    assert all(e["known"] for e in events if e["event"] == "finished")
    assert "started" not in {e["event"] for e in events}
    listed = thalweg_("runs", "mine").stdout.splitlines()
    assert "memory" in listed[0]
    assert all(" B" in line for line in listed[1:])
    assert len(listed) == 1 + len(before["runs"])  # a run that went on over a rung is one
    stopped = [line for line in listed if line.endswith("stopped at step 1 of 3")]
    assert len(stopped) == sum(run["pruned"] for run in before["runs"]) > 0
    assert thalweg_("runs", "mine", "--failed").stdout == f"0 of {len(before['runs'])} runs failed\n"
    assert thalweg_("export", "mine", "--csv", "--optuna").exit_code == 0
    with open("mine/runs.csv") as file:
        found = [float(row["final"]) for row in csv.DictReader(file) if row["phase"] == "confirmation"]
    assert sorted(found) == sorted(r["final"] for r in before["runs"] if r["phase"] == "confirmation")
    storage = "sqlite:///mine/optuna.db"
    studies = {n: optuna.load_study(study_name=n, storage=storage) for n in optuna.get_all_study_names(storage)}
    states = [trial.state.name for study in studies.values() for trial in study.trials]
    assert len(states) == len(before["runs"])
    assert states.count("PRUNED") == len(stopped)
    assert studies["sgd"].direction.name == "MINIMIZE"
    searched = [
        r["final"] for r in before["runs"] if (r["optimizer"], r["phase"]) in (("sgd", "default"), ("sgd", "search"))
    ]
    assert studies["sgd"].best_value == min(searched)
    assert {trial.user_attrs["phase"] for trial in studies["momentum, confirmation"].trials} == {"confirmation"}
    assert thalweg_("export", "mine").exit_code == 2
    for command in ("resume", "report", "runs"):
        missing = thalweg_(command, "nowhere")
        assert missing.exit_code == 2
        assert "holds no thalweg.sqlite" in missing.stderr
    assert not Path("nowhere").exists()


def test_every_door_to_a_comparison_has_the_same_defaults():
    def of(function):
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    compare, prepared = of(comparison.compare), of(comparison.prepared)
    written = {name: compare.pop(name) for name in ("out", "fresh", "progress")}
    assert prepared.pop("alone") is False
    assert prepared == compare
    command, tune = of(cli.compare.compare), of(cli.tune.tune)
    assert command.pop("rule") is None  # rules=()
    shown = {command.pop(name) for name in ("quiet", "as_json")} | {tune.pop(name) for name in ("quiet", "as_json")}
    assert shown == {False}
    compare |= {"out": written["out"], "fresh": written["fresh"]}
    assert command == {name: default for name, default in compare.items() if name != "rules"}
    alone = of(lab.tune)
    alone.pop("progress")
    assert tune == {**{name: compare[name] for name in tune if name in compare}, **alone}


def test_a_folder_without_a_run_exports_nothing(thalweg_):
    with opened(Path("begun")):
        pass
    said = thalweg_("export", "begun", "--csv")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr == "thalweg: 'begun' holds no run yet; thalweg resume begun goes on.\n"


@pytest.mark.usefixtures("unreported")
def test_what_a_task_prints_is_not_in_the_log(thalweg_):
    source = Path(TOY).read_text() + 'print("loaded")\n'
    Path("loud.py").write_text(source.replace("    x, y = data\n", '    x, y = data\n    print("asked")\n'))
    done = thalweg_("compare", "loud.py", *QUICK, "--out", "mine", "--json")
    assert {json.loads(line)["event"] for line in done.stdout.splitlines()} >= {"planned", "finished", "ended"}
    assert {"loaded", "asked"} <= set(done.stderr.splitlines())


def test_what_the_report_needs_is_missed_before_anything_runs(thalweg_, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    for command in (["compare", TOY, *QUICK], ["tune", TOY, *QUICK[2:], "--budget", "quick"]):
        done = thalweg_(*command, "--out", "mine")
        assert (done.exit_code, done.stderr) == (
            2,
            "thalweg: matplotlib is not installed: pip install 'thalweg[lab]'\n",
        )
        assert list(Path().iterdir()) == []


def test_ctrl_c_while_the_report_is_written_says_how_to_go_on(thalweg_, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("thalweg.lab.report.write_report", interrupted)
        done = thalweg_("compare", TOY, *QUICK, "--out", "mine", "--quiet")
    assert (done.exit_code, done.stderr) == (130, "`thalweg resume mine` goes on, and repeats nothing.\n")
    assert thalweg_("resume", "mine", "--quiet").exit_code == 0


@pytest.mark.usefixtures("unreported")
def test_points_and_margin_are_those_that_were_asked_for(thalweg_):
    done = thalweg_("compare", TOY, *QUICK, "--points", "2", "--margin", "1000", "--out", "mine", "--quiet")
    assert done.exit_code == 0, done.output
    data = json.loads(Path("mine/result.json").read_text())
    searched = [run for run in data["runs"] if run["phase"] == "search"]
    assert (data["budget"]["points"], len(searched)) == (2, 4)
    assert (data["decision"]["margin"], data["decision"]["outcome"]) == (1000.0, "practical tie")
    refused = {"points": ("1", "points is 1; a comparison needs"), "margin": ("-1", "margin is -1.0; it must be")}
    for option, (value, sentence) in refused.items():
        done = thalweg_("compare", TOY, *QUICK, f"--{option}", value)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"thalweg: {sentence}")


@pytest.mark.usefixtures("unreported")
def test_tune_searches_more_of_one_optimizer(thalweg_):
    asked = ["--budget", "quick", "--steps", "3", "--jobs", "1", "--stack", "off", "--timeout", "60", "--no-model"]
    done = thalweg_("tune", TOY, *asked, "--out", "mine", "--quiet")
    assert done.exit_code == 0, done.output
    data = json.loads(Path("mine/result.json").read_text())
    assert list(data["optimizers"]) == ["adamw"]
    assert data["verdict"].startswith("Tuned: adamw (mse ")
    assert sum(known["opened"] for known in data["spaces"]["adamw"].values()) == 3
    assert data["winner"]["optimizer"] == "adamw"
    assert data["together"]["why"] == "it was not asked for"
    assert thalweg_("resume", "mine", "--quiet").exit_code == 0
    assert json.loads(Path("mine/result.json").read_text())["verdict"] == data["verdict"]


@pytest.mark.usefixtures("unreported")
def test_what_is_no_cluster_is_one_sentence_for_every_command(thalweg_):
    assert thalweg_("compare", TOY, *QUICK, "--out", "mine", "--quiet").exit_code == 0
    for command in (["compare", TOY], ["tune", TOY], ["resume", "mine"]):
        done = thalweg_(*command, "--cluster", "nowhere")
        assert done.exit_code == 2
        assert done.stderr.startswith("thalweg: cluster is 'nowhere'; it must be 'off', 'local', 'auto' or 'ray://")


def test_a_folder_is_named_after_the_task_in_letters_that_no_shell_takes_amiss(thalweg_):
    today = date.today().isoformat()
    for name, folder in {"my/odd name & 50%": f"my-odd-name-50-{today}", "..": f"task-{today}"}.items():
        assert chosen(None, name, "thalweg.sqlite") == Path("runs") / folder
    (Path("runs") / f"task-{today}").mkdir(parents=True)
    assert chosen(None, "..", "thalweg.sqlite").name == f"task-{today}-2"


def test_ctrl_c_while_it_loads_is_no_traceback():
    code = """
        import sys, types
        from thalweg.cli import main
        def app(): raise KeyboardInterrupt
        sys.modules["thalweg.cli.app"] = types.SimpleNamespace(app=app)
        main()
    """
    code = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(code, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_saves_what_is_known_and_exits_130(tmp_path):
    said = interrupted(tmp_path, TOY, env=environment())
    assert re.search(r"`thalweg resume \S*mine` goes on, and repeats nothing.", said)
    data = json.loads((tmp_path / "mine" / "result.json").read_text())
    assert data["interrupted"] is True
    assert data["decision"]["outcome"] == "stopped"
    assert data["verdict"].startswith("Stopped early: ")


def test_without_the_extra_it_says_how_to_get_it():
    hidden = "import sys; sys.modules['typer'] = None; from thalweg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "workloads"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'thalweg[lab]'" in done.stderr
    assert done.stderr.count("\n") == 1
