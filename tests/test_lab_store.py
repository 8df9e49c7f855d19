"""The store: nothing is lost, nothing is done twice, nothing is mixed."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import pytest
import torch

import toy_task
from commands import environment
from ledgers import ledger
from thalweg import rules
from thalweg.extras import MissingExtra
from thalweg.lab import exports, fingerprint
from thalweg.lab.budget import BudgetError
from thalweg.lab.comparison import compare
from thalweg.lab.events import Finished, Started
from thalweg.lab.folder import load, prepared_again, resume
from thalweg.lab.loading import load_task
from thalweg.lab.store import NAME, StoreError, opened
from thalweg.lab.task import Task, TaskError
from thalweg.lab.way import Way

pytestmark = pytest.mark.usefixtures("unreported")
TOY = str(Path(toy_task.__file__))
ASKED = {"optimizers": "sgd,momentum", "points": 3, "jobs": 1, "stack": "off"}


def made_and_known(task, out, **others):
    """The result, how many runs were made for it, and how many were remembered."""
    events = []
    result = compare(task, **{**ASKED, **others}, out=out, progress=events.append)
    made = sum(isinstance(e, Started) for e in events)
    return result, made, sum(isinstance(e, Finished) and e.known for e in events)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "out"
    return made_and_known(TOY, out)[0], out


def stop_at(count):
    seen = []

    def tell(event):
        if isinstance(event, Finished) and not event.known:
            seen.append(event)
            if len(seen) == count:
                raise KeyboardInterrupt

    return tell


# ---- resumed and repeated


def test_repeated_is_remembered_to_the_last_digit(first):
    result, out = first
    again, made, known = made_and_known(TOY, out)
    assert (made, known) == (0, len(load(out).rows))
    assert again.runs == result.runs  # seconds, too: they are remembered
    assert again.data["optimizers"] == result.data["optimizers"]
    assert ledger(again.data) == ledger(result.data)
    assert again.data["started"] == result.data["started"]
    assert load(out).sessions[0]["begun"].startswith(result.data["started"].removesuffix("+00:00"))
    assert again.data["seconds"] > result.data["seconds"]


def test_a_store_changes_no_number(first):
    assert ledger(compare(TOY, **ASKED).data) == ledger(first[0].data)


@pytest.mark.parametrize("count", [1, 7, 20])
def test_after_ctrl_c_it_goes_on_and_needs_nothing_but_the_folder(first, count, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stopped = compare(TOY, **ASKED, out=out, progress=stop_at(count))
    assert stopped.decision["outcome"] == "stopped"
    monkeypatch.chdir("/")
    events = []
    result = resume(out, progress=events.append)
    assert sum(isinstance(e, Finished) and e.known for e in events) == count
    assert ledger(result.data) == ledger(first[0].data)
    assert json.loads((out / "result.json").read_text()) == result.data
    assert [s["ended"] is not None for s in load(out).sessions] == [True, True]


@pytest.mark.parametrize("count", [2, 8, 15])
def test_what_was_decided_is_kept_and_members_come_to_the_same_bits(count, tmp_path, monkeypatch):
    asked = {**ASKED, "stack": "auto"}
    decided = []

    def decide(*_):
        decided.append(Way(3, 2, "asked for") if not decided else Way())
        return decided[-1]

    monkeypatch.setattr("thalweg.lab.measured.decide", lambda *_: Way(3, 2, "asked for"))
    whole = compare(TOY, **asked)
    monkeypatch.setattr("thalweg.lab.measured.decide", decide)
    compare(TOY, **asked, out=tmp_path, progress=stop_at(count))
    assert ledger(resume(tmp_path).data) == ledger(whole.data)
    assert len(decided) == 1


def test_processes_remember_what_one_process_did(first, tmp_path):
    compare(TOY, **ASKED, out=tmp_path, progress=stop_at(5))
    assert ledger(resume(tmp_path, jobs=2).data) == ledger(first[0].data)


def test_a_relative_task_and_rule_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(Path(TOY).read_text())
    Path("steady.py").write_text("def steady(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    result = compare("mine.py", "sgd", rules=["steady.py"], points=2, steps=3, jobs=1, out="out")
    monkeypatch.chdir("/")
    assert resume(tmp_path / "out").runs == result.runs


def test_a_task_that_opens_a_file_goes_on_from_another_folder_and_so_does_the_winner(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "tasks").mkdir(parents=True)
    monkeypatch.chdir(project)
    Path("truth.txt").write_text("1 -2 0.5 3")
    source = Path(TOY).read_text().replace("import torch\n", "from pathlib import Path\n\nimport torch\n", 1)
    early = source.replace("[1.0, -2.0, 0.5, 3.0]", "[float(x) for x in Path('truth.txt').read_text().split()]")
    late = early.replace("mse(model, data).item()", "mse(model, data).item() * float(Path('truth.txt').read_text()[0])")
    Path("tasks/mine.py").write_text(late)
    asked = {**ASKED, "steps": 3}
    compare("tasks/mine.py", **asked, out="out", progress=stop_at(5))
    whole = compare("tasks/mine.py", **asked)
    monkeypatch.chdir(tmp_path)
    result = resume("project/out", jobs=2)
    assert ledger(result.data) == ledger(whole.data)
    assert Path.cwd() == tmp_path
    command = [sys.executable, "project/out/winner.py"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout == f"mse {result.winner['final']!r}\n", done.stderr
    project.rename("moved")
    monkeypatch.chdir("moved")
    assert resume("out").runs == result.runs


def test_a_project_that_was_moved_takes_its_rules_and_ranges_along(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    Path("mine.py").write_text(Path(TOY).read_text())
    Path("steady.py").write_text("def steady(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    Path("ranges.toml").write_text("[sgd]\nlr = { log = [1e-3, 1e-1] }\n")
    asked = {"rules": ["steady.py"], "spaces": "ranges.toml", "points": 2, "steps": 3, "jobs": 1}
    result = compare("mine.py", "sgd", **asked, out="out")
    monkeypatch.chdir(tmp_path)
    project.rename("moved")
    needs = r"the comparison in 'moved/out' needs 'mine.py', and the folder that it began in, '\S+/project', is gone; "
    with pytest.raises(StoreError, match=needs + rf"resume it from the folder that has 'mine.py' now: '{tmp_path}'"):
        resume("moved/out")
    monkeypatch.chdir("moved")
    assert resume("out").runs == result.runs
    Path("steady.py").unlink()
    with pytest.raises(
        StoreError, match=r"needs 'steady.py', which is not in '\S+/moved' any more, where it began; put"
    ):
        resume("out")


def test_a_file_from_elsewhere_that_is_gone_is_named(tmp_path):
    rule = tmp_path / "steady.py"
    rule.write_text("def steady(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    compare(TOY, "sgd", rules=[rule], points=2, steps=3, jobs=1, out=tmp_path / "out")
    rule.unlink()
    with pytest.raises(StoreError, match=r"needs '\S+/steady.py', which is not there any more; put it back\.$"):
        resume(tmp_path / "out")


def test_a_task_and_a_rule_given_as_objects_are_resumed(tmp_path):
    def own(p, g, *, t, lr=0.05):
        return p - lr * g

    result = compare(toy_task.task, "sgd", rules=[own], points=2, steps=3, jobs=1, out=tmp_path)
    assert resume(tmp_path).runs == result.runs


def test_one_rule_under_two_names_is_run_once(tmp_path):
    path = tmp_path / "sgd.py"
    path.write_text("def sgd(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    _, made, known = made_and_known(TOY, tmp_path / "out", optimizers=[], rules=[path, path], steps=3)
    assert made <= known + 3  # only the spread between seeds is asked of one name


def test_a_larger_budget_uses_what_is_known(first, tmp_path):
    made_and_known(TOY, tmp_path, points=2)
    more, made, known = made_and_known(TOY, tmp_path, points=3)
    assert known >= 6
    assert made < len(more.runs)
    assert ledger(more.data) == ledger(first[0].data)


@pytest.mark.parametrize("budget", [{"points": 27}, {"points": None, "budget": "5000000 steps"}])
def test_what_a_model_takes_part_in_is_not_resumed_without_it(budget, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    compare(TOY, **{**ASKED, **budget}, out=tmp_path, progress=stop_at(1))
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"^optuna is not installed: pip install 'thalweg\[optuna\]'$"):
        resume(tmp_path)


def test_whether_a_model_takes_part_is_settled_when_it_begins(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "optuna", None)
        compare(TOY, **{**ASKED, "points": 27}, out=tmp_path / "without", progress=stop_at(1))
    assert prepared_again(tmp_path / "without").plan.budget.modelled == 0
    compare(TOY, **ASKED, out=tmp_path / "few", progress=stop_at(1))
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert prepared_again(tmp_path / "few").plan.budget.modelled == 0  # too few points for a model: none is missed


# ---- killed

KILLED = """
    import json, os, random, shutil, sqlite3, sys, threading, time
    import toy_task
    from thalweg.lab.comparison import prepared
    from thalweg.lab.cost import Cost
    from thalweg.lab.store import NAME
    import thalweg.lab.measured, thalweg.lab.report, matplotlib.pyplot

    folder, seed, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    asked = dict(optimizers="sgd,momentum", **json.loads(sys.argv[4]))
    # What a clock would decide, differently in every folder, is the same for all of them.
    thalweg.lab.measured.decide = lambda *_: thalweg.lab.way.Way(3, 2, "asked for")
    thalweg.lab.pool.Trainer.__init__.__defaults__ = None, 0.0  # checkpoints in every step that may have one

    def clock(out):
        # Steps take longer where something was measured before: asked again, it buys another comparison.
        [known] = sqlite3.connect(f"{out}/{NAME}").execute("SELECT count(*) FROM decisions").fetchone()
        return Cost(step=1.3 if known else 1.0, metric=0.0, state=1.0, parameters=5)

    def child(out, delay=None):
        number = os.fork()
        if number == 0:
            if "budget" in asked:
                thalweg.lab.measured.cost_of = lambda *_: clock(out)
            if delay is not None:
                threading.Timer(delay, os.kill, (os.getpid(), 9)).start()
            prepared(toy_task.__file__, **asked).run_in(out)
            os._exit(0)
        return os.waitpid(number, 0)[1]

    begun = time.monotonic()
    assert child(f"{folder}/whole") == 0
    whole = time.monotonic() - begun
    moments = random.Random(seed)
    for i in range(times):
        latest = whole
        while (ended := child(f"{folder}/{i}", moments.uniform(0, latest))) != 9:
            assert ended == 0, ended  # it was done before the moment came: an earlier one
            shutil.rmtree(f"{folder}/{i}")
            latest /= 2
        assert child(f"{folder}/{i}") == 0
"""


def with_toy():
    return environment(Path(TOY).parent, OMP_NUM_THREADS="1")


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "asked",
    [
        {"points": 3, "jobs": 1, "stack": "off"},
        {"points": 3, "jobs": 1, "stack": "auto"},
        {"points": 3, "jobs": 2, "stack": "auto"},
        {"budget": "20m", "jobs": 1, "stack": "off"},
    ],
    ids=lambda asked: ", ".join(f"{name}={value}" for name, value in asked.items()),
)
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(times, asked, tmp_path):
    moments = str(random.randrange(10**6))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), moments, str(times), json.dumps(asked)]
    done = subprocess.run(command, env=with_toy(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = json.loads((tmp_path / "whole" / "result.json").read_text())
    count = len(load(tmp_path / "whole").rows)
    for i in range(times):
        data = json.loads((tmp_path / str(i) / "result.json").read_text())
        assert ledger(data) == ledger(whole)
        assert len(load(tmp_path / str(i)).rows) == count


# ---- two processes


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path):
    code = f"""
        import time
        from thalweg.lab.store import opened
        with opened({str(tmp_path)!r}) as store:
            store.begin({{}}, "task", {{}})
            store.commit()
            print("open", flush=True)
            time.sleep(60)
    """
    first = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=with_toy(), stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=rf"another process works in .* \(process {first.pid} on .*\); wait until"):
        compare(TOY, **ASKED, out=tmp_path)
    assert load(tmp_path).rows == ()  # looking is allowed
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    with opened(tmp_path, wait=5) as store:
        assert store.task == "task"


# ---- changed


def changed(first, tmp_path, old, new):
    path = tmp_path / "mine.py"
    source = Path(TOY).read_text()
    assert old in source
    path.write_text(source.replace(old, new))
    return fingerprint.of_task(load_task(str(path)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mse_loss", "l1_loss"),  # what the loss calls
        ("0.3 *", "0.2 *"),  # a function that a function calls
        ("-2.0", "-2.1"),  # a constant
        ("rows(64", "rows(63"),  # the data
        ('mode="min"', 'mode="max"'),
    ],
)
def test_a_task_is_another_when_its_code_or_data_are(first, tmp_path, old, new):
    assert changed(first, tmp_path, old, new) != fingerprint.of_task(load_task(TOY))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TRUTH = ", "# a comment\nUNUSED = 3\nTRUTH = "),
        ('metric_name="mse"', 'metric_name="error"'),
        ("steps=20", "steps=30"),  # the trial says how many
    ],
)
def test_a_task_is_the_same_when_only_words_are_others(first, tmp_path, old, new):
    assert changed(first, tmp_path, old, new) == fingerprint.of_task(load_task(TOY))


def test_a_fingerprint_is_the_same_in_every_process():
    code = f"""
        from thalweg import rules
        from thalweg.lab import fingerprint
        from thalweg.lab.loading import load_task
        print(fingerprint.of_task(load_task({TOY!r})), *(fingerprint.of_function(rules.find(n)) for n in rules.names()))
    """
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**with_toy(), "PYTHONHASHSEED": other},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = [
        fingerprint.of_task(load_task(TOY)),
        *(fingerprint.of_function(rules.find(name)) for name in rules.names()),
    ]
    assert told == " ".join(here) + "\n"
    assert len(set(here)) == len(here)


def test_a_value_that_was_closed_over_and_a_module_of_the_users_count(tmp_path, monkeypatch):
    def task(factor):
        def loss(model, batch):
            return factor * toy_task.mse(model, batch)

        kept = ("model", "train", "validation", "metric", "mode", "steps")
        return Task(**{name: getattr(toy_task.task, name) for name in kept}, loss=loss)

    assert fingerprint.of_task(task(2.0)) == fingerprint.of_task(task(2.0)) != fingerprint.of_task(task(3.0))

    monkeypatch.syspath_prepend(tmp_path)
    hashes = set()
    for body in ("x", "2 * x"):
        (tmp_path / "thalweg_test_part.py").write_text(f"def f(x):\n    return {body}\n")
        source = Path(TOY).read_text().replace("import torch\n", "import torch\nimport thalweg_test_part as part\n")
        (tmp_path / "mine.py").write_text(source.replace("    x, y = data\n", "    x, y = data\n    x = part.f(x)\n"))
        sys.modules.pop("thalweg_test_part", None)
        __import__("importlib").invalidate_caches()
        hashes.add(fingerprint.of_task(load_task(str(tmp_path / "mine.py"))))
    sys.modules.pop("thalweg_test_part", None)
    assert len(hashes) == 2


def test_what_a_cache_keeps_a_module_of_torchs_and_what_a_set_holds_are_read():
    def made(body, smoothing, scale):
        source = f"""
            import functools, torch
            criterion = torch.nn.CrossEntropyLoss(label_smoothing={smoothing})
            teacher = torch.nn.Linear(2, 2)
            torch.nn.init.constant_(teacher.weight, {scale})
            torch.nn.init.zeros_(teacher.bias)
            lazy = torch.nn.LazyLinear(2)

            @functools.cache
            def data():
                return {body}

            def half(x):
                return x / 2

            def double(x):
                return x * 2

            ways = {{half, double}}

            def loss(model, batch):
                return criterion(teacher(data()), lazy(batch)) + len(ways)
        """
        scope = {"__name__": "users"}
        exec(textwrap.dedent(source), scope)
        return scope["loss"]

    asked = ("1", 0.1, 1.0)
    same = fingerprint.of_function(made(*asked))
    kept = [made(*asked) for _ in range(20)]  # their functions lie elsewhere in memory
    assert {fingerprint.of_function(each) for each in kept} == {same}
    for other in (("2", 0.1, 1.0), ("1", 0.2, 1.0), ("1", 0.1, 2.0)):
        assert fingerprint.of_function(made(*other)) != same


@pytest.mark.parametrize(
    "constant",
    [
        "pathlib.Path('{0}.csv')",
        "numpy.int64({0})",
        "types.SimpleNamespace(width={0})",
        "argparse.Namespace(width={0})",
        "range({0})",
        "collections.deque([{0}])",
        "re.compile('{0}')",
        "fractions.Fraction({0}, 7)",
        "datetime.timedelta({0})",
        "Slots({0})",
    ],
)
def test_a_constant_of_whatever_kind_counts(constant):
    def made(number):
        source = f"""
            import argparse, collections, dataclasses, datetime, fractions, numpy, pathlib, re, types

            @dataclasses.dataclass(slots=True)
            class Slots:
                width: int

            constant = {constant.format(number)}

            def loss(model, batch):
                return constant
        """
        scope = {"__name__": "users"}
        sys.modules["users"] = types.ModuleType("users")  # dataclasses look there
        try:
            exec(textwrap.dedent(source), scope)
        finally:
            del sys.modules["users"]
        return fingerprint.of_function(scope["loss"])

    assert made(5) == made(5) != made(6)


def test_data_of_another_order_or_sign_are_others_and_rounding_is_not():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    same = fingerprint.of_function(x)
    assert fingerprint.of_function(-x) != same
    assert fingerprint.of_function(x.flip(0)) != same
    assert fingerprint.of_function(x * (1 + 1e-7)) == same


def test_changed_code_is_said_and_not_mixed(first, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(Path(TOY).read_text())
    result, made, _ = made_and_known(str(path), tmp_path / "out", steps=3)
    path.write_text(Path(TOY).read_text().replace("mse_loss", "l1_loss"))
    for go_on in (lambda: compare(str(path), **ASKED, steps=3, out=tmp_path / "out"), lambda: resume(tmp_path / "out")):
        with pytest.raises(StoreError, match=rf"the task has changed since the {made} runs in .*--fresh"):
            go_on()
    anew, again, known = made_and_known(str(path), tmp_path / "out", steps=3, fresh=True)
    assert known == 0
    assert again > 0
    assert anew.runs != result.runs
    assert len(load(tmp_path / "out").rows) == again


@pytest.mark.parametrize("fresh", [False, True])
def test_a_refused_budget_leaves_a_folder_as_it_was(fresh, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(BudgetError):
        compare(TOY, "sgd,momentum", budget="100 steps", jobs=1, out=out)
    assert not out.exists()
    compare(TOY, **ASKED, steps=3, out=out)
    before = load(out)
    with pytest.raises(BudgetError):
        compare(TOY, "sgd,momentum", budget="100 steps", jobs=1, out=out, fresh=fresh)
    assert load(out).rows == before.rows
    assert load(out).sessions == before.sessions
    assert resume(out).runs == before.result["runs"]


def test_killed_while_it_is_measured_the_earlier_runs_are_there(tmp_path):
    compare(TOY, **ASKED, steps=3, out=tmp_path)
    before = load(tmp_path)
    code = f"""
        import os
        import thalweg.lab.comparison as comparison
        comparison.costs_of = lambda *_: os._exit(9)
        comparison.compare({TOY!r}, **{ASKED!r}, steps=3, out={str(tmp_path)!r}, fresh=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, env=with_toy(), check=False).returncode == 9
    after = load(tmp_path)
    assert after.rows == before.rows
    assert [session["ended"] is None for session in after.sessions] == [False, True]
    assert resume(tmp_path).runs == before.result["runs"]


def test_killed_while_it_is_measured_a_new_comparison_is_resumed(first, tmp_path):
    code = f"""
        import os
        import thalweg.lab.comparison as comparison
        comparison.way_of = lambda *_: os._exit(9)
        comparison.compare({TOY!r}, **{ {**ASKED, "stack": "auto"}!r}, out={str(tmp_path)!r})
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, env=with_toy(), check=False).returncode == 9
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("thalweg.lab.measured.cost_of", lambda *_: pytest.fail("measured twice"))
        patched.setattr("thalweg.lab.measured.decide", lambda *_: Way())
        assert ledger(resume(tmp_path).data)["runs"] == ledger(first[0].data)["runs"]


def test_who_works_in_a_folder_is_told_while_it_is_still_measured(tmp_path, monkeypatch):
    def measured(*_):
        with pytest.raises(StoreError, match=rf"another process works in .* \(process {os.getpid()} on "):
            compare(TOY, **ASKED, out=tmp_path)
        raise BudgetError("enough seen")

    monkeypatch.setattr("thalweg.lab.comparison.costs_of", measured)
    with pytest.raises(BudgetError, match="enough seen"):
        compare(TOY, **ASKED, out=tmp_path)


def test_a_result_that_cannot_be_kept_takes_no_run_with_it(tmp_path):
    held = []

    def loss(*given):
        if torch.is_grad_enabled():
            held[:] = [threading.Lock()]  # from the first step on it cannot be pickled
        return toy_task.mse(*given)

    task = dataclasses.replace(toy_task.task, loss=loss)
    object.__setattr__(task, "check", lambda: None)  # it would hold one already
    with pytest.raises(TaskError, match="a task cannot be kept in a folder"):
        compare(task, **ASKED, steps=3, out=tmp_path)
    assert len(load(tmp_path).rows) > 10


def test_a_task_that_cannot_be_pickled_leaves_nothing(tmp_path):
    lock = threading.Lock()

    def loss(*given):
        with lock:
            return toy_task.mse(*given)

    asked = {"optimizers": "sgd,momentum", "points": 2, "steps": 2}
    task = dataclasses.replace(toy_task.task, loss=loss)
    with pytest.raises(TaskError, match=r"a task cannot be kept in a folder \(TypeError: cannot pickle '_thread.lock'"):
        compare(task, **asked, jobs=1, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_rule_is_run_again_and_the_others_are_not(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def mine(p, g, *, t, lr=0.1):\n    return p - lr * g\n")
    result, _, _ = made_and_known(TOY, tmp_path / "out", optimizers="sgd", rules=[path], steps=3)
    path.write_text("def mine(p, g, *, t, lr=0.1):\n    return p - 0.9 * lr * g\n")
    _, made, known = made_and_known(TOY, tmp_path / "out", optimizers="sgd", rules=[path], steps=3)
    of = [run["optimizer"] for run in result.runs if run["phase"] in ("default", "search")]
    assert known >= of.count("sgd")
    assert made >= of.count("mine")


# ---- what was decided


def test_a_measurement_is_kept_before_it_is_used_and_read_back(tmp_path):
    with opened(tmp_path) as store:
        assert store.decided("members", lambda: [3, 0.1]) == [3, 0.1]
    with opened(tmp_path) as store:
        assert store.decided("members", lambda: pytest.fail("measured twice")) == [3, 0.1]


# ---- looking


def test_a_notebook_shows_a_few_lines_and_no_curve(first):
    result, out = first
    shown = repr(result).splitlines()
    assert shown[:2] == [result.verdict, ""]
    for name, line in zip(("sgd", "momentum"), shown[2:], strict=True):
        known = result.data["optimizers"][name]["confirmed"]
        assert line == f"  {name:12} mse {known['mean']:.4g} [{known['low']:.4g}, {known['high']:.4g}], n = 5"
    assert repr(load(out)) == f"{out}: {len(result.runs)} runs of sgd, momentum; .runs, .curves, .result"


def test_frames_of_runs_and_curves(first):
    result, out = first
    found = load(out)
    runs, curves = found.runs, found.curves
    assert len(runs) == len(result.runs) < len(found.rows)  # one that went on from a rung is one run
    assert {"optimizer", "phase", "seed", "lr", "final", "diverged", "seconds"} <= set(runs.columns)
    for pruned, of in ((False, runs[runs.until.isna()]), (True, runs[runs.until.notna()])):
        finals = [r["final"] for r in result.runs if r["final"] is not None and r["pruned"] == pruned]
        assert sorted(of.final.dropna()) == sorted(finals) != []
    assert list(curves.key.unique()) == list(runs.key)
    assert curves.groupby("key").step.max().to_dict() == runs.set_index("key").taken.to_dict()
    last = curves[curves.key == runs.key[0]].iloc[-1]
    assert (last.step, last.metric) == (20, runs.final[0])
    assert found.result == json.loads((out / "result.json").read_text())


def test_a_hyper_parameter_named_like_a_column_has_one_of_its_own(first):
    found = load(first[1])
    row = {**found.rows[0], "hyper": (("lr", 0.1), ("steps", 7.0), ("final", 8.0))}
    [flat] = dataclasses.replace(found, rows=(row,)).table
    assert (flat["lr"], flat["hyper.steps"], flat["hyper.final"]) == (0.1, 7.0, 8.0)
    assert (flat["steps"], flat["final"]) == (20, row["run"].final)


def test_tensorboard_gets_every_point_of_every_curve(first, monkeypatch):
    written = {}

    class Writer:
        def __init__(self, folder):
            self.points = written.setdefault(Path(folder), [])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def add_scalar(self, name, value, step):
            self.points.append((name, value, step))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    found = load(first[1])
    [root] = exports.tensorboard(found)
    assert len(written) == len(found.furthest) < len(found.rows)
    for row in found.furthest:
        points = written[root / row["optimizer"] / row["key"]]
        for name in ("loss", "metric"):
            wanted = [(name, v, p.step) for p in row["run"].curve if (v := getattr(p, name)) is not None]
            assert [point for point in points if point[0] == name] == wanted != []


def test_what_tensorboard_reads_is_every_curve(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made_and_known(TOY, tmp_path / "out")
    found = load(tmp_path / "out")
    [root] = exports.tensorboard(found)
    for row in found.furthest:
        events = EventAccumulator(str(root / row["optimizer"] / row["key"])).Reload()
        for name in ("loss", "metric"):
            read = [(event.step, event.value) for event in events.Scalars(name)]
            wanted = [(p.step, v) for p in row["run"].curve if (v := getattr(p, name)) is not None]
            assert read == [(step, pytest.approx(v, rel=1e-6)) for step, v in wanted] != []  # they are kept in float32


def test_without_tensorboard_one_sentence_says_what_to_install(first, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(MissingExtra, match="tensorboard is not installed: pip install tensorboard"):
        exports.tensorboard(load(first[1]))


def test_a_folder_without_a_comparison_is_one_sentence(tmp_path):
    for look in (load, resume):
        with pytest.raises(StoreError, match=r"holds no thalweg\.sqlite; it must be the folder of a comparison"):
            look(tmp_path)
    (tmp_path / NAME).write_text("not a database, but long enough to look like a file of something")
    with pytest.raises(StoreError, match="is no database that can be read"):
        load(tmp_path)


def test_a_damaged_database_is_one_sentence(tmp_path):
    compare(toy_task.task, "sgd,momentum", points=2, steps=2, jobs=1, out=tmp_path)
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the first page stays: it opens, and breaks when it is read
    path.write_bytes(content)
    for use in (load, resume, lambda out: compare(toy_task.task, "sgd,momentum", points=2, steps=2, jobs=1, out=out)):
        with pytest.raises(StoreError, match="is no database that can be read: database disk image is malformed"):
            use(tmp_path)


def test_a_result_that_finds_no_place_is_one_sentence_and_the_runs_are_kept(first, tmp_path, monkeypatch):
    monkeypatch.undo()  # there is a report here
    (tmp_path / "report.md.part").mkdir()
    said = rf"the result cannot be written to '{tmp_path}': Is a directory; every run is kept there, and thalweg"
    with pytest.raises(StoreError, match=rf"{said} resume {tmp_path} writes it\.$"):
        compare(TOY, **ASKED, out=tmp_path)
    (tmp_path / "report.md.part").rmdir()
    assert ledger(resume(tmp_path).data) == ledger(first[0].data)


def test_a_folder_that_cannot_be_made_is_one_sentence():
    with pytest.raises(StoreError, match="'/dev/null/out' cannot be written to: Not a directory; choose another"):
        compare(toy_task.task, "sgd,momentum", points=2, steps=2, jobs=1, out="/dev/null/out")
