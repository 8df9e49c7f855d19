"""What a whole comparison costs: `compare` beside its own sequential form, and beside Optuna as written by hand.

    python benchmarks/compare_cost.py digits ours        the next round of one side; kept in costs/figures.json
    python benchmarks/compare_cost.py digits regret      20 fresh seeds of what the sides would have recommended
    python benchmarks/compare_cost.py                    all that is not there yet, then the table and the drawing

Sides run in turn, in rounds with other seeds of everything. Costs are compared within a round. What one search
recommends is luck by half a standard deviation and more, so regrets are compared in the mean over all rounds, beside
the standard error; benchmarks/pruning.py plays a thousand comparisons on recorded runs.

All sides get the same candidates, ranges, schedule (warm-up and cosine), horizon and validation halves, and one thread
in one process, whose CPU time is counted from its start, imports included:

- **ours**: `compare(task, budget=..., jobs=1, out=...)`: the default of every optimizer and the preset's points
  (standard: 27, quick: 9), halved on the way, trials trained together, the report written.
- **sequential**: the same without stacking and without halving (`stack="off", prune=False`), engine "auto".
- **optuna**: one study per optimizer, TPE and Hyperband with the same rungs, the default enqueued and as many trials
  more as ours has points, `torch.optim` in a plain loop, measured at the rungs and at the end only. Then what a verdict
  needs: of the best studies (as many as the preset confirms) the two best settings at two fresh seeds, and the preset's
  number of fresh seeds for the better one. It is counted up to three points: where its search has taken as many full
  horizons as ours, the end of its search, and the end.

Regret is that of the recommended setting on 20 seeds that nobody has seen, on the half of the data that chooses
nothing: its mean minus that of the best setting that any side recommended in any round, in standard deviations
between seeds (pooled over what was recommended).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from costs.report import SIDES, report
from step import machine

from thalweg import rules, schedule, workloads
from thalweg.lab.budget import PRESETS, Budget
from thalweg.lab.candidates import SHORT_LIST, Candidate
from thalweg.lab.comparison import compare
from thalweg.lab.events import Event, Finished
from thalweg.lab.plan import SEARCHED
from thalweg.lab.search import rung
from thalweg.lab.stacked import train_together
from thalweg.lab.task import Task
from thalweg.lab.train import Training, measure
from thalweg.signature import signature_of

FIGURES = Path(__file__).with_name("costs") / "figures.json"
FRESH = range(5000, 5020)
SEEDS = 1000  # of a round


@dataclass(frozen=True)
class Setup:
    """A workload, how many searches, the candidates and the preset."""

    make: Callable[[], Task]
    rounds: int
    optimizers: tuple[str, ...] = ("momentum", "rmsprop", "adamw")
    preset: str = "standard"

    @property
    def budget(self) -> Budget:
        """Its numbers."""
        return PRESETS[self.preset]


WORKLOADS = {
    "digits": Setup(lambda: workloads.load("digits"), 6, SHORT_LIST),
    "mnist1d": Setup(lambda: workloads.load("mnist1d", steps=1000), 4),
    "shakespeare": Setup(
        lambda: workloads.load("shakespeare", steps=150, validation_windows=128), 1, ("momentum", "adamw"), "quick"
    ),
}
TINY = 1e-12  # stands for a weight decay of 0 on a logarithmic range
TORCH = {"momentum": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adamw": "AdamW", "nadam": "NAdam"}
Setting = tuple[str, dict[str, Any]]  # an optimizer and its arguments, as torch's and our classes take them


class Clock:
    """The CPU time of this process, what would be recommended at each moment, and the full horizons trained."""

    def __init__(self, task: Task):
        self.task, self.best, self.horizons = task, math.inf, 0.0
        self.recommended: list[dict[str, Any]] = []
        self.marks: dict[str, dict[str, Any]] = {}

    def score(self, value: float | None) -> float:
        """Smaller is better."""
        return math.inf if value is None or math.isnan(value) else value if self.task.mode == "min" else -value

    def saw(self, setting: Setting, final: float | None) -> None:
        """A full run of the search has ended."""
        if self.score(final) < self.best:
            self.best = self.score(final)
            self.recommend(setting)

    def recommend(self, setting: Setting) -> None:
        """From now on this."""
        entry = {"cpu": time.process_time(), "horizons": self.horizons, "setting": setting}
        self.recommended.append(entry)

    def mark(self, name: str) -> None:
        """Keep what has been spent until now; the last call counts."""
        now = {"cpu": time.process_time(), "horizons": self.horizons, "setting": self.recommended[-1]["setting"]}
        self.marks[name] = now

    def told(self, **others: Any) -> dict[str, Any]:
        """As it is kept."""
        self.mark("end")
        return {"recommended": self.recommended, "marks": self.marks, **others}


def ours(name: str, round: int, **arguments: Any) -> dict[str, Any]:
    """`compare` in this process."""
    setup = WORKLOADS[name]
    task = setup.make()
    clock, ends = Clock(task), {}

    def progress(event: Event) -> None:
        if not isinstance(event, Finished):
            return
        trial = event.trial
        whole = trial.optimizer, trial.hyper, trial.seed, trial.data
        clock.horizons += (event.run.steps - ends.get(whole, 0)) / task.steps
        ends[whole] = event.run.steps
        if trial.phase in SEARCHED:
            if trial.end == task.steps:
                made = Candidate(trial.optimizer, trial.optimizer).arguments(dict(trial.hyper))
                clock.saw((trial.optimizer, made), event.run.final)
            clock.mark("searched")

    with TemporaryDirectory() as folder:
        result = compare(
            task, setup.optimizers, budget=setup.preset, seed=round, jobs=1, out=folder, progress=progress, **arguments
        )
    winner = result.data["winner"]
    clock.recommend((winner["optimizer"], winner["hyper_parameters"]))
    return clock.told(together=result.data["together"]["why"], verdict=result.verdict)


def optuna(name: str, round: int) -> dict[str, Any]:
    """What somebody would write who knows Optuna."""
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    setup = WORKLOADS[name]
    task, points = setup.make(), setup.budget.points
    clock = Clock(task)
    rungs = [rung(task.steps, level) for level in range(setup.budget.rungs, 0, -1)]
    studies, path, own = {}, [], SEEDS * round

    def run(setting: Setting, seed: int, half: Any, trial: Any = None) -> float:
        model = task.build(seed).train()
        optimizer = torch_optimizer(setting, model)
        find = schedule.warmup_cosine(optimizer, task.steps)
        batches = task.batches(seed)
        for step in range(1, task.steps + 1):
            loss = task.loss(model, next(batches))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            find.step()
            if not math.isfinite(loss.item()):
                clock.horizons += step / task.steps
                return math.nan
            if trial is not None and step in rungs:
                trial.report(evaluated(task, model, half), step)
                model.train()
                if trial.should_prune():
                    clock.horizons += step / task.steps
                    raise library.TrialPruned
        clock.horizons += 1
        return evaluated(task, model, half)

    def asked(optimizer: str, trial: Any) -> Setting:
        space = Candidate(optimizer, optimizer).space(points)
        hyper = {key: range_.at(trial.suggest_float(key, 0, 1)) for key, range_ in space.searched.items()}
        return optimizer, Candidate(optimizer, optimizer).arguments(hyper)

    for optimizer in setup.optimizers:
        studies[optimizer] = library.create_study(
            direction="minimize" if task.mode == "min" else "maximize",
            sampler=library.samplers.TPESampler(seed=round),
            pruner=library.pruners.HyperbandPruner(min_resource=rungs[0], max_resource=task.steps, reduction_factor=3),
            study_name=optimizer,  # Hyperband deals trials to brackets by the study's name: else by chance
        )
        space = Candidate(optimizer, optimizer).space(points)
        known = {**signature_of(rules.find(optimizer)).numbers, **space.default}
        studies[optimizer].enqueue_trial(
            {key: min(1.0, max(0.0, range_.where(known.get(key) or TINY))) for key, range_ in space.searched.items()}
        )
    for _ in range(1 + points):  # in turn, so that the search may be stopped at any time
        for optimizer, study in studies.items():
            trial = study.ask()
            setting = asked(optimizer, trial)
            trial.set_user_attr("setting", setting)
            try:
                final = run(setting, own, task.selects, trial)
            except library.TrialPruned:
                study.tell(trial, state=library.trial.TrialState.PRUNED)
                continue
            if math.isnan(final):
                study.tell(trial, state=library.trial.TrialState.FAIL)
                continue
            study.tell(trial, final)
            clock.saw(setting, final)
            path.append((time.process_time(), clock.horizons))
    clock.mark("searched")

    def best(study: Any) -> list[Any]:
        done = [trial for trial in study.trials if trial.state == library.trial.TrialState.COMPLETE]
        return sorted(done, key=lambda trial: clock.score(trial.value))[:2]

    first = sorted(studies.values(), key=lambda study: clock.score(study.best_value))[: setup.budget.promoted]
    means: list[tuple[float, Setting]] = []
    for study in first:
        contenders = [
            (
                sum(clock.score(run(t.user_attrs["setting"], seed, task.selects)) for seed in (own + 200, own + 201)),
                t.number,
                t,
            )
            for t in best(study)
        ]
        chosen = min(contenders)[2].user_attrs["setting"]
        fresh = [run(chosen, own + 300 + i, task.reports) for i in range(setup.budget.looks[-1])]
        means.append((statistics.fmean(map(clock.score, fresh)), chosen))
    clock.recommend(min(means, key=lambda pair: pair[0])[1])
    return clock.told(path=path)


def torch_optimizer(setting: Setting, model: torch.nn.Module) -> torch.optim.Optimizer:
    """torch's own."""
    name, arguments = setting
    extra = {"momentum": 0.9} if name == "momentum" and "momentum" not in arguments else {}
    return getattr(torch.optim, TORCH[name])(model.parameters(), **arguments, **extra)


def evaluated(task: Task, model: torch.nn.Module, half: Any) -> float:
    """The metric; NaN where it is not finite."""
    value = measure(task, model, half)
    return math.nan if value is None else value


# ---- regret


def fresh_values(name: str, setting: Setting) -> list[float | None]:
    """The metric on the fresh seeds, trained as one."""
    task = WORKLOADS[name].make()
    optimizer, arguments = setting
    own = Candidate(optimizer, optimizer).optimizer

    def configure(parameters: Any, steps: int) -> tuple[Any, Any]:
        made = own(parameters, **arguments)
        return made, schedule.warmup_cosine(made, steps)

    trainings = [Training(task, configure, seed=seed, data="reports") for seed in FRESH]
    train_together(task, trainings, schedule.warmup_cosine)
    return [training.run().final for training in trainings]


def wanted(sides: Mapping[str, Any]) -> list[Setting]:
    """The settings whose regret the table and the curves need: at every mark, and some of the way there."""
    found = []
    for rounds in sides.values():
        found += [mark["setting"] for side in rounds for mark in side["marks"].values()]
        found += [entry["setting"] for entry in rounds[0]["recommended"]]  # whose curves are drawn
    return list({json.dumps(setting): setting for setting in found}.values())


# ---- keeping


def kept() -> dict[str, Any]:
    """What is in the file."""
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def keep(name: str, key: str, value: Any) -> None:
    """One more answer in the file."""
    found = kept()
    found.setdefault("machine", machine())
    of = found.setdefault("workloads", {}).setdefault(name, {})
    setup = WORKLOADS[name]
    task = setup.make()
    of["setup"] = f"{task.steps} steps, {', '.join(setup.optimizers)}, {setup.preset}"
    of["mode"] = task.mode
    of[key] = [*of.get(key, []), value] if key in SIDES else value
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")


def perform(name: str, what: str) -> None:
    """One side of one workload, or the regrets."""
    torch.set_num_threads(1)
    if what == "regret":
        of = kept()["workloads"][name]
        values = of.get("fresh", {})
        for setting in wanted({side: of[side] for side in SIDES if side in of}):
            key = json.dumps(setting)
            if key not in values:
                values[key] = fresh_values(name, setting)
                keep(name, "fresh", values)
        return
    round = len(kept().get("workloads", {}).get(name, {}).get(what, []))
    plain = {"stack": "off", "prune": False} if what == "sequential" else {}
    keep(name, what, optuna(name, round) if what == "optuna" else ours(name, round, **plain))


def main() -> None:
    """Do what is asked, or what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="?", choices=WORKLOADS)
    parser.add_argument("what", nargs="?", choices=(*SIDES, "regret"))
    options = parser.parse_args()
    if options.what:
        return perform(options.workload, options.what)
    for name in [options.workload] if options.workload else WORKLOADS:
        for number in range(WORKLOADS[name].rounds):
            for side in SIDES:  # each in a process of its own
                if len(kept().get("workloads", {}).get(name, {}).get(side, [])) <= number:
                    subprocess.run([sys.executable, __file__, name, side], check=True)
        subprocess.run([sys.executable, __file__, name, "regret"], check=True)
    report(kept(), FIGURES.parent)
    return None


if __name__ == "__main__":
    main()
