"""The report: everything the data know is on the page, the page needs nothing else, and nothing gets lost."""

import copy
import html
import json
import math
import random
import re
from html.parser import HTMLParser
from statistics import mean, stdev

import pytest

from thalweg.lab.report import markdown, paper, render, write_report
from thalweg.lab.report.drawings import by_optimizer, pictures
from thalweg.lab.report.paper import table
from thalweg.lab.report.tables import rows
from thalweg.lab.report.words import code, events, ledger_sentence
from thalweg.pictures.style import short

SECTIONS = ("results", "differences", "curves", "lr", "tuning", "cost", "budget", "events", "repeat")
STEPS = 400
NAMES = {  # best lr in log10, best accuracy, state per parameter, ms per step
    "AdamW": (-2.4, 0.972, 2, 0.61),
    "SGD": (-0.6, 0.955, 0, 0.42),
    "Nesterov": (-1.2, 0.969, 1, 0.47),
    "RMSprop": (-2.6, 0.967, 1, 0.55),
    "Adagrad": (-1.5, 0.948, 1, 0.52),
}


def _run(name, lr, seed, phase, noise, **more):
    best_lr, best = NAMES[name][:2]
    miss = math.log10(lr) - best_lr
    diverged = miss > 1.6
    final = (
        None if diverged else round(best - 0.02 * miss**2 - (0.15 * miss if miss > 1 else 0) + noise.gauss(0, 0.003), 5)
    )
    curve = []
    for step in range(0, STEPS + 1, 20):
        if diverged and step > 100:
            break
        part = 1 - math.exp(-6 * step / STEPS)
        metric = None if diverged else 0.1 + ((final or 0) - 0.1) * part + noise.gauss(0, 0.004)
        curve.append({"step": step, "loss": 2.3 * (1 - part) + 0.02 + abs(noise.gauss(0, 0.01)), "metric": metric})
    return {
        "optimizer": name, "hyper_parameters": {"lr": lr, **more}, "seed": seed, "phase": phase,
        "final": final, "curve": curve, "seconds": 0.3, "diverged": diverged,
        "data": "reports" if phase == "confirmation" else "selects",
        "steps": STEPS, "why": "the loss became inf" if diverged else None,
    }  # fmt: skip


def synthetic_result():
    """What a quick comparison of five optimizers might have left: three confirmed, some trials diverged."""
    noise = random.Random(0)
    runs, optimizers, tuning, ledger, spaces = [], {}, {}, {}, {}
    for name, (best_lr, _, state, ms) in NAMES.items():
        betas = {"betas": [0.9, 0.999], "weight_decay": 0.01} if name == "AdamW" else {}
        mine = [_run(name, 1e-3, 0, "default", noise, **betas)]
        for i in range(9):
            lr = float(f"{10 ** (best_lr - 2 + 4.2 * ((i * 0.618 + 0.1) % 1)):.6g}")
            mine.append(_run(name, lr, 0, "search", noise, **betas))
        runs += mine
        good = sorted((run for run in mine if run["final"] is not None), key=lambda run: -run["final"])
        chosen = good[0]["hyper_parameters"]
        promoted = name in ("AdamW", "Nesterov", "RMSprop")
        confirmed = None
        if promoted:
            fresh = [_run(name, chosen["lr"], 100 + seed, "confirmation", noise, **betas) for seed in range(5)]
            runs += fresh
            values = [run["final"] for run in fresh]
            half = 2.776 * stdev(values) / 5**0.5
            confirmed = {
                "n": 5, "mean": mean(values), "low": mean(values) - half, "high": mean(values) + half,
                "iqm": mean(sorted(values)[1:4]), "min": min(values), "max": max(values), "values": values,
            }  # fmt: skip
        optimizers[name] = {
            "title": name, "promoted": promoted, "search_best": good[0]["final"], "chosen": chosen,
            "edge": "high" if name == "Adagrad" else None, "diverged": sum(run["diverged"] for run in mine),
            "trials": 10, "confirmed": confirmed, "milliseconds_per_step": ms, "state_per_parameter": state,
            "lr_sensitivity": 0.05 + 0.01 * len(name),
        }  # fmt: skip
        best_so_far = [max(r["final"] or 0.0 for r in mine[:n]) for n in range(1, 11)]
        tuning[name] = [[n, value] for n, value in enumerate(best_so_far, 1)]
        ledger[name] = {"search_runs": 10, "search_steps": 4000, "choice_runs": 4 * promoted,
                        "confirmation_runs": 5 * promoted, "total_steps": 4000 + 3600 * promoted}  # fmt: skip
        low, high = 10 ** (best_lr - 2), 10 ** (best_lr + 2)
        spaces[name] = {"lr": {"scale": "log", "low": low, "high": high, "opened": True},
                        "beta1": {"scale": "1-log", "low": 0.5, "high": 0.98, "opened": False}}  # fmt: skip
    chosen = optimizers["AdamW"]["chosen"]
    comparisons = [
        {"rival": "Nesterov", "difference": 0.0034, "low": 0.0011, "high": 0.0057, "p": 0.011,
         "p_adjusted": 0.022, "n": 5, "verdict": "better", "ahead": 1.0, "ahead_low": 0.57, "ahead_high": 1.0},
        {"rival": "RMSprop", "difference": 0.0007, "low": -0.0011, "high": 0.0023, "p": 0.4, "p_adjusted": 0.4,
         "n": 5, "verdict": "undecided"},
    ]  # fmt: skip
    return {
        "verdict": "Undecided: AdamW leads with 0.9721, but RMSprop is only 0.0007 behind "
        "(95 % interval −0.0011 to 0.0023, n = 5).",
        "decision": {
            "outcome": "undecided", "leader": "AdamW", "recommended": "AdamW", "n": 5, "margin": 0.0015,
            "seed_sd": 0.003, "alpha": 0.05, "smallest_detectable_difference": 0.0054,
            "comparisons": comparisons,
            "notes": ["The noise between seeds was measured on three runs of AdamW's default."],
        },
        "task": {
            "name": "digits", "spec": "digits", "steps": STEPS, "mode": "max", "metric": "accuracy",
            "parameters": 4810, "selects": 270, "reports": 270,
            "description": "An MLP on 8 x 8 images of digits.",
            "source": "scikit-learn, UCI", "licence": "CC BY 4.0",
        },
        "budget": {
            "preset": "quick", "points": 9, "steps_per_run": STEPS, "looks": [5], "ledger": ledger,
            "schedule": "warm-up 5 %, then cosine to 0",
        },
        "spaces": spaces, "optimizers": optimizers, "tuning_curves": tuning, "runs": runs,
        "winner": {"optimizer": "AdamW", "class": "AdamW", "hyper_parameters": chosen, "seed": 100,
                   "final": 0.9721},
        "together": {"members": 32, "least": 4, "why": "measured", "loop": 0.0024, "together": 0.0005},
        "pruning": {
            name: [{"step": 45, "pruned": 0, "n": 4, "spearman": 0.8},
                   {"step": 134, "pruned": 6, "n": 4, "spearman": None if name == "SGD" else 0.4}]
            for name in NAMES
        },
        "target": {
            "value": 0.9691, "of": "AdamW", "tolerance": 0.003,
            "reached": {
                "AdamW": {"n": 5, "reached": 5, "steps": 260, "restricted_mean": 272.0, "seconds": 0.1586},
                "RMSprop": {"n": 5, "reached": 2, "steps": None, "restricted_mean": 388.0, "seconds": None},
            },
        },
        "versions": {"thalweg": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
        "machine": {"cpu": "a CPU", "cores": 2, "platform": "Linux"},
        "started": "2026-01-02T03:04:05+00:00", "seconds": 143.2, "interrupted": False,
    }  # fmt: skip


def synthetic_stop():
    """What is left when Ctrl-C came after the first two runs."""
    whole = synthetic_result()
    nothing = dict.fromkeys(("search_best", "chosen", "edge", "confirmed", "milliseconds_per_step", "lr_sensitivity"))
    optimizers = {
        name: {
            **nothing,
            "title": name,
            "promoted": False,
            "diverged": 0,
            "trials": 0,
            "state_per_parameter": None,
        }
        for name in NAMES
    }
    return whole | {
        "verdict": "Stopped early: 2 of 50 runs were finished, too few to name anything.",
        "decision": {
            "outcome": "stopped", "leader": None, "recommended": None, "n": 0, "margin": 0.0, "seed_sd": 0.0,
            "alpha": 0.05, "smallest_detectable_difference": None, "comparisons": [], "notes": [],
        },
        "optimizers": optimizers, "tuning_curves": {}, "winner": None, "interrupted": True,
        "runs": whole["runs"][:2], "budget": whole["budget"] | {"ledger": {}}, "pruning": {}, "target": None,
    }  # fmt: skip


def bare_stop():
    """As little as there can be: stopped before the first run."""
    return synthetic_stop() | dict.fromkeys(("decision", "budget", "spaces", "optimizers", "runs", "tuning_curves"))


class Page(HTMLParser):
    """Reads a page: its text, tags and attributes; fails where tags do not match."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self):
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]


@pytest.fixture(scope="module")
def result():
    return synthetic_result()


@pytest.fixture(scope="module")
def source(result):
    return render(result)


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_the_verdict_the_code_and_every_section_are_there(result, page):
    assert result["verdict"] in page.text
    assert "Recommended settings" in page.text
    assert code(result) in page.text
    assert [id for id in page.ids() if id in SECTIONS] == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    assert set(pictures(result)) == {"quality", "differences", "curves", "seconds", "lr", "tuning", "cost"}


def test_ids_are_unique_and_every_reference_hits_one(source, page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)) - {("", "")}
    used = {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)}
    used |= {id for _, attrs in page.tags for id in (attrs.get("aria-labelledby") or "").split()}
    assert used <= set(ids)


def test_the_file_is_self_contained_and_small(source, page):
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "img", "iframe"}
        for key in ("src", "href", "xlink:href"):
            assert attrs.get(key, "#").startswith("#")
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    assert len(source.encode()) < 1_000_000


def test_pictures_say_what_they_are(page):
    drawn = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(drawn) == 7
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in drawn)
    assert [tag for tag, _ in page.tags].count("desc") == 7


def test_the_same_data_give_the_same_bytes(result, source):
    assert render(copy.deepcopy(result)) == source


def test_the_table_ranks_confirmed_before_unconfirmed(result, page):
    order = rows(result)
    assert [bool(row.confirmed) for row in order] == [True, True, True, False, False]
    means = [row.confirmed["mean"] for row in order[:3]]
    assert means == sorted(means, reverse=True)
    assert [row.name for row in order if row.recommended] == ["AdamW"]
    assert page.text.count("not confirmed ") >= 2


def test_unconfirmed_optimizers_have_no_interval(result, source):
    table = source[source.index("results-caption") :]
    row = next(row for row in table.split("<tr>") if "SGD" in row)
    assert "not confirmed" in row
    assert f"{result['optimizers']['SGD']['search_best']:.4f}" in row
    assert " to " not in row


def test_a_smaller_metric_ranks_first_when_less_is_better(result):
    less = copy.deepcopy(result)
    less["task"]["mode"] = "min"
    means = [row.confirmed["mean"] for row in rows(less)[:3]]
    assert means == sorted(means)


def test_numbers_of_the_table_have_the_decimals_that_seeds_allow(result, page):
    best = result["optimizers"]["AdamW"]["confirmed"]
    assert f"{best['mean']:.4f} {best['low']:.4f} to {best['high']:.4f}" in page.text
    assert f"{best['mean']:.6f}" not in page.text


def test_failures_are_counted_and_explained(result, page):
    failed = sum(run["diverged"] for run in result["runs"])
    assert failed > 0
    assert f"{failed} trials diverged" in page.text
    for name, known in result["optimizers"].items():
        assert f"{known['diverged']} of 10" in page.text
        if known["diverged"] > 1:
            assert f"{name}: {known['diverged']} runs diverged (the loss became inf)." in events(result)
    assert any("high edge" in event for event in events(result))


def test_a_trial_without_a_value_is_never_drawn_as_one(result):
    one = copy.deepcopy(result)
    one["runs"] = [run for run in one["runs"] if run["phase"] == "default"]
    for run in one["runs"]:
        run.update(final=None, diverged=True)
    assert "5 trials diverged, marked by a cross" in pictures(one)["lr"].caption


def test_the_picture_of_the_lr_says_which_trials_did_not_come_to_the_end(result):
    one = copy.deepcopy(result)
    searched = [run for run in one["runs"] if run["phase"] == "search"]
    searched[0].update(pruned=True)
    before = pictures(one)["lr"].caption
    assert "at the end (of 1 that was pruned, where it stopped) against" in before
    searched[1].update(pruned=True)
    one["runs"].append({**searched[2], "final": None, "error": "ValueError: the task's own", "diverged": False})
    after = pictures(one)["lr"].caption
    assert "at the end (of 2 that were pruned, where they stopped) against" in after
    assert after.split("matters.")[1] == before.split("matters.")[1]  # a run that failed is no divergence


def test_the_probability_and_the_memory_are_said_where_they_are_known(result):
    known = copy.deepcopy(result)
    known["optimizers"]["AdamW"]["memory"] = 76_960
    known["optimizers"]["AdamW"]["confirmed"]["iqm_interval"] = [0.96, 0.98]
    for said in (markdown(known), Page(render(known)).text):
        assert said.count("1 (0.57 to 1)") == 1
        assert "77 kB" in said
        assert "0.9600 to 0.9800" in said


def test_the_ledger_is_judged_not_asserted(result):
    assert "same 4,000 steps" in ledger_sentence(result)
    other = copy.deepcopy(result)
    other["budget"]["ledger"]["SGD"]["search_steps"] = 10
    assert ledger_sentence(other) == "The steps of search are not equal: AdamW got 4,000, SGD only 10."


def test_what_comes_from_the_user_is_escaped():
    nasty = "<script>alert('x')</script> & $x$"
    data = synthetic_result()
    data["task"].update(name=nasty, metric=nasty, description=nasty)
    data["verdict"] = f"Undecided: {nasty}"
    data["decision"]["notes"] = [nasty]
    data["runs"][0].update(diverged=True, final=None, why=nasty)
    data = json.loads(json.dumps(data).replace('"RMSprop"', json.dumps(nasty)))
    source = render(data)
    assert "<script" not in source
    assert html.escape(nasty, quote=False).split("alert")[0] in source
    Page(source)


@pytest.mark.parametrize("make", [synthetic_stop, bare_stop])
def test_a_stopped_comparison_reports_what_is_known(make):
    data = make()
    page = Page(render(data))
    assert data["verdict"] in page.text
    assert "Interrupted." in page.text
    assert "No settings are recommended" in page.text
    assert [id for id in page.ids() if id in SECTIONS] == list(SECTIONS)
    assert "None" not in page.text


def test_curves_fall_back_to_the_search_when_nothing_was_confirmed():
    drawn = pictures(synthetic_stop())
    assert "one seed, so it proves nothing yet" in drawn["curves"].caption
    assert "differences" not in drawn


def test_the_code_is_exact_and_spelled_as_python(result):
    lr = result["winner"]["hyper_parameters"]["lr"]
    assert code(result) == f"tw.AdamW(model.parameters(), lr={lr!r}, betas=(0.9, 0.999), weight_decay=0.01)"


def test_settings_of_the_search_alone_are_not_called_recommended(result):
    early = copy.deepcopy(result)
    early["optimizers"]["AdamW"]["confirmed"] = None
    text = Page(render(early)).text
    assert "The best settings of the search, not confirmed" in text
    assert "Recommended settings" not in text
    assert "AdamW best of the search" in text
    assert "AdamW recommended" not in text
    assert "AdamW recommended" in Page(render(result)).text


def test_fresh_seeds_that_diverged_are_counted(result):
    other = copy.deepcopy(result)
    other["optimizers"]["AdamW"]["confirmed"]["values"][0] = None
    assert "5 1 diverged" in Page(render(other)).text


def test_what_was_not_searched_is_named(page):
    assert "lr log 0.002512 25.12 beta1" in page.text  # of SGD: lr from, to; beta1 left at its default


def test_the_files_are_replaced_as_a_whole(tmp_path, result, source):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_report(result | {"task": {"name": "broken"}}, tmp_path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    write_report(result, tmp_path)
    assert path.read_text(encoding="utf-8") == source
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    papers = {f"paper/{name}" for name in ("figure.pdf", "figure.svg", "table.tex")}
    assert written == {"report.html", "report.md"} | papers


def test_seconds_are_steps_times_what_a_step_took_alone(result):
    each = {name: known["milliseconds_per_step"] / 1000 for name, known in result["optimizers"].items()}
    runs = [run for run in result["runs"] if run["phase"] == "confirmation"]
    curves = by_optimizer(runs, "metric", each)
    assert curves["AdamW"][0][-1][0] == pytest.approx(
        STEPS * result["optimizers"]["AdamW"]["milliseconds_per_step"] / 1000
    )
    untimed = copy.deepcopy(result)
    for known in untimed["optimizers"].values():
        known["milliseconds_per_step"] = None
    assert "seconds" not in pictures(untimed)


def test_every_further_hyper_parameter_that_was_searched_has_a_slice(result):
    assert "slices" not in pictures(result)  # only lr was opened
    more = copy.deepcopy(result)
    more["spaces"]["AdamW"]["beta2"] = {"scale": "1-log", "low": 0.8, "high": 0.9999, "opened": True}
    drawn = pictures(more)["slices"].svg
    assert "AdamW: beta2" in drawn
    assert "SGD: beta" not in drawn
    Page(render(more))


def test_the_markdown_says_what_the_page_says(result):
    text = markdown(result)
    assert f"**{result['verdict']}**" in text
    assert code(result) in text
    known = result["optimizers"]["AdamW"]["confirmed"]
    row = next(line for line in text.splitlines() if line.startswith("| AdamW (recommended)"))
    assert f"| {known['mean']:.4f} | {known['low']:.4f} to {known['high']:.4f} |" in row
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert {13 + 1, 8 + 1, 7 + 1, 5 + 1, 6 + 1} == set(tables)
    assert "None" not in text


@pytest.mark.parametrize("make", [synthetic_stop, bare_stop])
def test_markdown_and_paper_of_a_stopped_comparison(make):
    data = make()
    assert "No settings are recommended" in markdown(data)
    assert set(paper(data)) == {"table.tex"}


def test_the_latex_table_holds_the_numbers_and_escapes_the_rest(result):
    nasty = copy.deepcopy(result)
    nasty["task"]["metric"] = "cost in $ & 5 %"
    text = table(nasty)
    assert r"cost in \$ \& 5 \%" in text
    known = result["optimizers"]["AdamW"]["confirmed"]
    assert rf"\textbf{{AdamW}} & lr={short(result['optimizers']['AdamW']['chosen']['lr'])}" in text
    assert f"{known['mean']:.4f} [{known['low']:.4f}, {known['high']:.4f}] & leader & 5" in text
    assert "0.0034 [0.0011, 0.0057]" in text
    assert text.count(r"\\") == 1 + len(result["optimizers"])  # one end of line for the head and for each row


def test_the_paper_figure_is_the_same_bytes_for_the_same_data(result):
    first, second = paper(result), paper(copy.deepcopy(result))
    assert first == second
    assert first["figure.pdf"].startswith(b"%PDF")
    assert b"<svg" in first["figure.svg"]


def test_what_scrolls_can_be_reached_by_the_keyboard(page):
    scrolling = [attrs for tag, attrs in page.tags if attrs.get("class") in ("wide", "drawing")]
    assert len(scrolling) >= 10
    assert all(attrs.get("tabindex") == "0" and attrs.get("role") for attrs in scrolling)
    assert ("a", {"class": "skip", "href": "#results"}) in page.tags


def test_the_time_to_the_target_is_said_with_the_seeds_that_missed_it(result, page):
    assert "The target is accuracy 0.9691: the median of AdamW on fresh seeds" in page.text
    assert "AdamW 5 of 5 260 0.159 272" in page.text
    assert "RMSprop 2 of 5 – – 388" in page.text
    assert "| RMSprop | 2 of 5 | – | – | 388 |" in markdown(result)


def test_what_was_dropped_where_and_whether_that_was_safe(result, page):
    assert "AdamW 134 6 0.4 4 " in page.text  # the rung at 45 dropped nothing and is left out
    assert "SGD 134 6 – 4 " in page.text
    whole = sum(run["optimizer"] == "SGD" and run["phase"] != "confirmation" and not run["diverged"]
                for run in result["runs"])  # fmt: skip
    assert f"| SGD | 134 | 6 | – | 4 | {whole} |" in markdown(result)
    unused = copy.deepcopy(result)
    for rungs in unused["pruning"].values():
        rungs[1]["pruned"] = 0
    assert "dropped at each rung" not in render(unused)


def test_how_trials_were_trained_is_said(result, page):
    said = (
        "Up to 32 trials were trained as one stack. A step of one cost 0.5 ms of CPU in such a stack and 2.4 ms alone."
    )
    assert said in page.text
    assert said in markdown(result)
    alone = result | {"together": {"members": 1, "least": 1, "why": "the model has a hook", "loop": None}}
    assert "Trials were trained one after the other: the model has a hook." in Page(render(alone)).text


def test_the_window_of_the_table_is_that_of_the_picture(result, page):
    one = copy.deepcopy(result)
    one["runs"] = [run for run in one["runs"] if run["phase"] == "confirmation"] + [
        {**result["runs"][0], "optimizer": "SGD", "phase": "search", "diverged": False, "final": final,
         "hyper_parameters": {"lr": lr}}
        for lr, final in ((1e-3, 0.5), (1e-2, 0.96), (1e-1, 1.0), (1.0, 0.96), (10.0, 0.94))
    ]  # fmt: skip
    row = next(line for line in markdown(one).splitlines() if line.startswith("| SGD |"))
    assert row.endswith("| 2 |")
    assert "2.0 decades" in pictures(one)["lr"].svg


def test_a_stopped_comparison_says_what_is_missing():
    text = Page(render(synthetic_stop())).text
    assert "The search is not done: AdamW 0 of 10, SGD 0 of 10" in text
    assert "No settings were confirmed on fresh seeds" in text
    assert "thalweg resume goes on" in text
    later = synthetic_result() | {"interrupted": True}
    later["budget"]["looks"] = [5, 10]
    later["optimizers"]["RMSprop"]["confirmed"]["n"] = 2
    assert "Not all fresh seeds were run: AdamW 5, Nesterov 5, RMSprop 2 of 5." in markdown(later)
