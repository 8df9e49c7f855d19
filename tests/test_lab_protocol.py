"""The protocol, answered with made-up runs: who gets what, in which order, and who is chosen."""

import collections
import math
from dataclasses import replace

import numpy as np
import pytest

from thalweg.card import Log, OneMinusLog
from thalweg.lab import budget as budgets
from thalweg.lab.budget import Budget
from thalweg.lab.plan import Findings, Plan
from thalweg.lab.protocol import protocol, search_lucks
from thalweg.lab.run import Point, Run
from thalweg.lab.space import SEQUENCE_SEED, Space, dimensions, points

RANGES = {"lr": Log(1e-4, 1.0), "beta1": OneMinusLog(0.02, 0.5), "weight_decay": Log(1e-3, 1.0)}


def space(n=9):
    return Space(RANGES, {"lr": 1e-3}, min(dimensions(n), 3))


def plan(names="abc", budget="quick", mode="min", **more):
    chosen = budgets.find(budget)
    return Plan({name: space(chosen.points) for name in names}, chosen, mode, steps=100, **more)


def answered(value):
    """A run with this final value; None is a divergence. Untrained, the metric is 50."""
    why = "the loss is nan in step 3" if value is None else None
    return Run(value, (Point(0, 1.0, 50.0), Point(100, 1.0, value)), 0.1, 100 if value is not None else 3, why)


def played(plan, answer):
    """The stages of a protocol whose trials `answer` gives final values to, and what was found."""
    findings, stages = Findings(), []
    for trials in protocol(plan, findings):
        stages.append(trials)
        findings.done += [(trial, answered(answer(trial))) for trial in trials]
    return stages, findings


def valley(trial, best=0.01, floor=1.0, spread=0.1):
    """Best in the middle of the range of lr; every optimizer a bit worse than the one before; noise by seed."""
    lr = dict(trial.hyper)["lr"]
    noise = np.random.default_rng([trial.seed, ord(trial.optimizer)]).normal()
    return floor + "abcdef".index(trial.optimizer) * 0.05 + math.log10(lr / best) ** 2 + spread * noise


def test_stages_come_in_order_and_everyone_gets_the_same():
    stages, findings = played(plan(), valley)
    assert [stage[0].phase for stage in stages] == ["default", "noise", "search", "search", "choice", "confirmation"]
    ledger = budgets.ledger("abc", findings.done)
    assert {name: own["search_runs"] for name, own in ledger.items()} == dict.fromkeys("abc", 10)
    steps = {own["search_steps"] for own in ledger.values()}
    assert steps == {100 + 9 * 34 + 3 * 66}  # a third of nine goes on from a third of the way
    least, most = limits = budgets.PRESETS["quick"].work(3)
    assert least - 0.5 <= sum(own["total_steps"] for own in ledger.values()) / 100 <= most + 0.5, limits


def test_all_search_the_same_points_at_the_same_seed():
    stages, _ = played(plan(), valley)
    tried = collections.defaultdict(list)
    for trial in stages[2]:
        tried[trial.optimizer].append((trial.hyper, trial.seed, trial.steps))
    assert tried["a"] == tried["b"] == tried["c"]
    assert [dict(h)["lr"] for h, *_ in tried["a"]] == [RANGES["lr"].at(u[0]) for u in points(9)]
    assert {t.optimizer for t in stages[2][:3]} == set("abc")  # point by point, so that a stop is fair


def test_points_are_one_sequence_that_covers_the_range():
    assert points(5) == points(27)[:5]
    assert all(len(p) == 8 for p in points(3))
    first = sorted(p[0] for p in points(8))
    assert np.diff(first) == pytest.approx([1 / 8] * 7)
    assert SEQUENCE_SEED == 3  # a change moves every published result


def test_another_seed_searches_other_points_that_cover_the_range_as_well():
    assert points(9, seed=0) == points(9)
    for seed in (1, 2, 1000):
        assert not set(points(27, seed)) & set(points(27))
        assert np.diff(sorted(p[0] for p in points(8, seed))) == pytest.approx([1 / 8] * 7)
    stages, _ = played(plan(seed=5), valley)
    tried = [dict(trial.hyper)["lr"] for trial in stages[2] if trial.optimizer == "a"]
    assert tried == [RANGES["lr"].at(u[0]) for u in points(9, seed=5)]


@pytest.mark.parametrize(("preset", "opened"), [("quick", 1), ("standard", 3), ("thorough", 3)])
def test_more_points_open_more_dimensions(preset, opened):
    stages, _ = played(plan("ab", preset), valley)
    assert {len(trial.hyper) for trial in stages[2]} == {opened}
    assert {trial.hyper for trial in stages[0]} == {(("lr", 1e-3),)}


def test_seeds_of_the_purposes_are_disjoint_and_confirmation_is_paired():
    for seed in (0, 7):
        stages, findings = played(plan("abcd", "thorough", seed=seed), valley)
        used = collections.defaultdict(set)
        for trial, _ in findings.done:
            purpose = "search" if trial.phase in ("default", "search", "edge") else trial.phase
            used[purpose].add(trial.seed)
            assert trial.seed // 1000 == seed
            assert trial.data == ("reports" if trial.phase == "confirmation" else "selects")
        assert sum(map(len, used.values())) == len(set().union(*used.values()))
        assert len(used["search"]) == 1
        first = [t for t in stages[-1] if t.phase == "confirmation"]
        assert len({frozenset(t.seed for t in first if t.optimizer == n) for n in {t.optimizer for t in first}}) == 1


def test_a_best_lr_at_the_edge_gets_a_decade_and_all_get_the_same_extra_runs():
    def answer(trial):
        best = {"a": 2.0, "b": 0.01, "c": 1e-5}[trial.optimizer]
        return valley(trial, best=best, spread=0.0)

    stages, findings = played(plan(), answer)
    edge = next(stage for stage in stages if stage[0].phase == "edge")
    lrs = {name: [dict(t.hyper)["lr"] for t in edge if t.optimizer == name] for name in "abc"}
    assert {name: len(values) for name, values in lrs.items()} == {"a": 2, "b": 2, "c": 2}
    assert all(1.0 <= lr <= 10.0 for lr in lrs["a"])
    assert all(1e-4 <= lr <= 1.0 for lr in lrs["b"])
    assert all(1e-5 <= lr <= 1e-4 for lr in lrs["c"])
    assert findings.edges == {"a": "high", "c": "low"}
    assert findings.spaces["a"].ranges["lr"] == Log(1e-4, 10.0)
    assert findings.spaces["b"].ranges["lr"] == Log(1e-4, 1.0)
    assert len(findings.notes) == 2
    assert {own["search_runs"] for own in budgets.ledger("abc", findings.done).values()} == {12}


def test_the_outermost_lr_that_was_tried_is_at_the_edge_as_well():
    """With few points it may lie further in than a tenth, and whether it does would be luck."""
    outermost = sorted(RANGES["lr"].at(u[0]) for u in points(9, seed=3))[-1]
    assert Space(RANGES, {"lr": 1e-3}).side(outermost) is None

    def answer(trial):
        return valley(trial, best={"a": outermost, "b": 0.01}[trial.optimizer], spread=0.0)

    _, findings = played(plan("ab", seed=3), answer)
    assert findings.edges == {"a": "high"}


def test_who_is_near_the_leader_is_promoted():
    def answer(trial):
        return valley(trial, spread=0.0) + (0.02 * (trial.seed % 3) if trial.phase == "noise" else 0.0)

    # noise 0, .02, .04: sd .02, band .04; the optimizers stand .05 apart: only the second place is given
    _, findings = played(plan("abcd", "standard"), answer)
    assert findings.seed_sd == pytest.approx(0.02)
    assert findings.promoted == ["a", "b"]
    _, findings = played(plan("abcdef", "standard"), lambda t: answer(t) + (t.phase == "noise") * 0.1 * (t.seed % 2))
    assert findings.seed_sd > 0.04
    assert len(findings.promoted) == 4


def test_fresh_seeds_choose_between_the_two_best_settings():
    lucky = {}

    def answer(trial):
        value = valley(trial, spread=0.0)
        if trial.phase in ("default", "search"):
            lucky[trial.optimizer] = min(lucky.get(trial.optimizer, (9e9, None)), (value, trial.hyper))
        if trial.phase == "choice" and trial.hyper == lucky[trial.optimizer][1]:
            return value + 1.0  # what looked best in the search does not on fresh seeds
        return value

    stages, findings = played(plan(), answer)
    choice = next(stage for stage in stages if stage[0].phase == "choice")
    for name in findings.promoted:
        tried = [t for t in choice if t.optimizer == name]
        assert len(tried) == 4
        assert len({t.hyper for t in tried}) == 2
        assert findings.chosen[name].hyper != lucky[name][1]
        assert {t.hyper for t in stages[-1] if t.optimizer == name} == {findings.chosen[name].hyper}


def test_settings_that_differ_only_on_the_half_that_reports_are_luck_as_well():
    def found(apart):
        findings = Findings()
        for trials in protocol(plan("ab"), findings):
            for trial in trials:
                run = answered(valley(trial, best=0.003, spread=0.001))
                if trial.phase == "choice":
                    run = replace(run, reported=apart * math.log10(dict(trial.hyper)["lr"]))
                findings.done.append((trial, run))
        return search_lucks(plan("ab"), findings), findings

    flat, findings = found(0.0)
    steep, _ = found(7.0)
    for name in "ab":
        lrs = [math.log10(lr) for lr in {dict(t.hyper)["lr"] for t, _ in findings.of(name, "choice")}]
        assert 0 < flat[name] < 1
        assert steep[name] == pytest.approx(7 * abs(lrs[0] - lrs[1]))


def test_who_is_separated_stops_and_the_others_go_on():
    def answer(trial):
        noise = np.random.default_rng([trial.seed, ord(trial.optimizer)]).normal()
        far = 3.0 if trial.optimizer == "c" and trial.phase == "confirmation" else 0.0
        return 10 + 0.1 * noise + far

    stages, findings = played(plan("abc", "thorough"), answer)
    looks = [stage for stage in stages if stage[0].phase == "confirmation"]
    assert [len(look) for look in looks] == [15, 10, 20]
    assert {t.optimizer for t in looks[1]} == {"a", "b"}
    assert findings.decision.outcome == "undecided"
    assert findings.decision.alpha == 0.03
    assert {c.rival: c.verdict for c in findings.decision.comparisons}["c"] == "better"
    assert findings.decision.n == 20


def test_a_decision_ends_the_looks():
    def answer(trial):
        far = 3.0 if trial.optimizer == "b" and trial.phase == "confirmation" else 0.0
        return valley(trial) + far

    stages, findings = played(plan("ab", "thorough"), answer)
    assert sum(stage[0].phase == "confirmation" for stage in stages) == 1
    assert (findings.decision.outcome, findings.decision.alpha) == ("winner", 0.01)


def test_divergence_is_worst_and_never_dropped():
    def answer(trial):
        value = valley(trial, spread=0.01)
        return None if trial.optimizer == "a" and dict(trial.hyper)["lr"] > 0.005 else value

    _, findings = played(plan("ab"), answer)
    ledger = budgets.ledger("ab", findings.done)
    assert ledger["a"]["search_steps"] == ledger["b"]["search_steps"]
    best = findings.best("a", "min")
    assert dict(best[0].hyper)["lr"] <= 0.005


def test_a_confirmation_that_diverges_cannot_win():
    def answer(trial):
        if trial.phase == "confirmation" and trial.optimizer == "a" and trial.seed == 302:
            return None
        return valley(trial, spread=0.01) - (0.5 if trial.optimizer == "a" else 0)

    _, findings = played(plan("ab"), answer)
    assert findings.decision.leader == "b"
    assert findings.decision.outcome == "undecided"
    assert "a diverged on 1" in findings.decision.notes[0]


def test_everything_diverged():
    _, findings = played(plan(), lambda trial: None)
    assert findings.decision is None
    assert findings.notes == ["every run of every optimizer diverged"]


def test_one_survivor_has_no_rival():
    _, findings = played(plan("ab"), lambda t: valley(t) if t.optimizer == "a" else None)
    assert findings.promoted == ["a"]
    assert (findings.decision.outcome, findings.decision.leader) == ("undecided", "a")
    assert findings.decision.comparisons == ()


def test_max_is_min_turned_round():
    def flipped(trial):
        return -valley(trial)

    _, low = played(plan("abcd"), valley)
    _, high = played(plan("abcd", mode="max"), flipped)
    assert [t for t, _ in low.done] == [t for t, _ in high.done]
    assert low.decision.outcome == high.decision.outcome
    assert low.decision.comparisons[0].difference == pytest.approx(-high.decision.comparisons[0].difference)


def test_trials_are_known_by_what_they_are():
    trial = plan().trial("a", {"lr": 0.1}, "choice", 1)
    assert replace(trial, phase="search") == trial
    assert replace(trial, seed=5) != trial


def test_too_few_points_are_no_comparison():
    with pytest.raises(ValueError, match=r"points is 1; a comparison needs at least 2 points per optimizer"):
        budgets.find("quick", points=1)
    with pytest.raises(ValueError, match=r"points is 2\.5; it must be a whole number"):
        budgets.find("quick", points=2.5)
    assert budgets.find("quick", points=2).points == 2
    with pytest.raises(ValueError, match=r"budget is 'thorugh'.*Did you mean 'thorough'"):
        budgets.find("thorugh")
    with pytest.raises(ValueError, match="looks is"):
        Budget("mine", points=9, promoted=2, looks=(5, 5))
    assert all(sum(b.alphas) == pytest.approx(0.05) for b in budgets.PRESETS.values())


@pytest.mark.parametrize("preset", ["quick", "thorough"])
def test_one_optimizer_under_several_names_rarely_wins(preset):
    # Whole protocol, promotion and looks included: all names draw from one distribution that depends on lr.
    names, repeats, winners = ("ab" if preset == "quick" else "abcd"), 1000, 0
    looks = budgets.PRESETS[preset].looks
    small = Budget(preset, points=4, promoted=4, looks=looks)  # the search's size does not matter here
    for seed in range(repeats):
        random = np.random.default_rng(seed)
        _, findings = played(
            replace(plan(names), budget=small), lambda t, random=random: dict(t.hyper)["lr"] + random.normal()
        )
        winners += findings.decision.outcome == "winner"
    assert winners / repeats <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5
