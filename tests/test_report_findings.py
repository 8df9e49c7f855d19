"""What the report says was found: ranks, intervals, failures, and no more than the data know."""

import copy
import re

from report_cases import Page
from thalweg.lab.report import markdown, render
from thalweg.lab.report.paper import table
from thalweg.lab.report.tables import rows
from thalweg.lab.report.words import code, events, ledger_sentence

pytest_plugins = ["report_fixtures"]


def test_the_table_ranks_confirmed_before_unconfirmed(result, page):
    order = rows(result)
    assert [bool(row.confirmed) for row in order] == [True, True, True, False, False]
    means = [row.confirmed["mean"] for row in order[:3]]
    assert means == sorted(means, reverse=True)
    assert [row.name for row in order if row.recommended] == ["AdamW"]
    assert page.text.count("not confirmed ") >= 2


def test_unconfirmed_optimizers_have_no_interval(result, source):
    table = source[source.index("<tbody>", source.index("results-caption")) :]
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
    for hyper, side in {"lr": "high", "beta2": "low"}.items():
        assert f"Adagrad: the chosen {hyper} lies at the {side} edge of its space" in page.text


def test_the_risk_is_that_of_all_looks_together(page):
    assert "risk of a false winner 0.05" in page.text


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


def test_equal_seconds_are_said_and_the_winner_has_its_own_horizon(result, source):
    other = copy.deepcopy(result)
    other["budget"] |= {"equal": "seconds", "horizons": {"AdamW": 350, "SGD": 450}}
    other["winner"]["steps"] = 350
    said = "steps of search: AdamW 4,000 in runs of 350, SGD 4,000 in runs of 450."
    for text in (Page(render(other)).text, markdown(other)):
        assert f"Runs are equal in seconds, not in steps; {said}" in text
        assert "The steps of search" not in text
        assert "over 350 steps" in text
        assert "over 400 steps" not in text
        assert "equal in steps, so a dearer step" not in text
    assert "equal in steps, so a dearer step" in source
    assert "over 400 steps" in Page(source).text


def test_a_schedule_that_was_searched_stands_beside_the_settings(result, source):
    other = copy.deepcopy(result)
    other["budget"]["schedule"] = "tuned"
    for known in other["optimizers"].values():
        known["schedule"] = "wsd(warmup=0.1)"
    for text in (Page(render(other)).text, markdown(other), table(other)):
        assert re.search(r"weight\\?_decay=0.01,? wsd\(warmup=0.1\)", text)
    assert "wsd(warmup=0.1)" not in source + table(result)


def test_the_heading_says_tuned_where_one_optimizer_was(result, source):
    assert "digits: optimizers compared" in source
    alone = copy.deepcopy(result)
    alone["optimizers"] = {"AdamW": alone["optimizers"]["AdamW"]}
    page = render(alone)
    assert "<title>digits: AdamW tuned</title>" in page
    assert "<h1>thalweg tune: digits</h1>" in page
    assert "<h1>thalweg compare: digits</h1>" in source
    assert markdown(alone).startswith("# digits: AdamW tuned\n")


def test_the_code_is_exact_and_spelled_as_python(result):
    lr = result["winner"]["hyper_parameters"]["lr"]
    assert code(result) == f"tw.AdamW(model.parameters(), lr={lr!r}, betas=(0.9, 0.999), weight_decay=0.01)"


def test_the_code_of_a_rule_of_the_users_is_made_from_the_rule(result):
    other = copy.deepcopy(result)
    other["winner"] |= {"rule": "steady", "class": "Steady", "hyper_parameters": {"lr": 0.5}}
    assert code(other) == "tw.optimizer(steady)(model.parameters(), lr=0.5)"


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


def test_the_version_of_the_ranges_and_their_sources_are_said(page):
    assert "Ranges: cards; of AdamW: a paper; of SGD: the user's file." in page.text


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


def test_the_items_that_report_have_their_sampling_error_where_the_metric_is_a_share_of_them(result, page):
    assert "270; how exactly so many tell accuracy is not known: it is no share of them" in page.text
    share = copy.deepcopy(result)
    share["optimizers"] = {"AdamW": share["optimizers"]["AdamW"]}
    share["optimizers"]["AdamW"]["confirmed"] |= {"values": [240 / 270, 246 / 270], "mean": 0.9}
    for text in (Page(render(share)).text, markdown(share)):
        assert "270; so few tell accuracy 0.9 to ±0.0183 (one sd)" in text  # the root of 0.9 * 0.1 / 270


def test_a_step_is_compared_with_sgds_or_with_the_cheapest(result, page):
    assert "ms per step against SGD" in page.text
    assert "0.61 × 1.45" in page.text
    assert "0.61 (× 1.45)" in markdown(result)
    without = copy.deepcopy(result)
    del without["optimizers"]["SGD"]
    text = Page(render(without)).text
    assert "ms per step against Nesterov" in text
    assert "0.61 × 1.3" in text


def test_markdown_has_the_spaces_and_what_is_needed_to_repeat_it(result):
    said = markdown(result)
    assert "| SGD | lr | log | 0.002512 | 25.12 | yes |" in said
    assert "| SGD | beta1 | 1-log | 0.5 | 0.98 | no, left at its default |" in said
    assert "Ranges: cards; of AdamW: a paper" in said
    assert "budget quick: 9 points each, 400 steps a run, looks at 5 seeds; a tie is within ±0.0015;" in said
    assert "confirmation: 100, 101, 102, 103, 104." in said
    assert "cpu: a CPU; cores: 2; platform: Linux." in said
