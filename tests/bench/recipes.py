"""Training recipes and cells against each other: equal time or equal frames, several seeds, one thread; not a test.

    python tests/bench/recipes.py fluid                      # six cells, 225 s each, three seeds: more than an hour
    python tests/bench/recipes.py fluid --case ablation --steps 600
    python tests/bench/recipes.py wfde5 --data ../shared/data/wfde5_gb_2017-01
    python tests/bench/recipes.py fluid --variant "wide model.hidden=[56,56,56,56]" --seeds 0

`fluid` is the Navier-Stokes set-up of Horuz et al. 2025 (arXiv 2508.03614, section 4): 64 x 64 points averaged to
16 x 16, 200 training and 50 test sequences, 20 frames seen and 30 forecast; `noisy` is the same with noise on every
frame. Trials run in processes of their own, as many at a time as --jobs says, are kept under --root, and are not run
again. Scores are those of the pipeline: closed loop on the test split, RMSE at each lead time over all cases and
points; beside them persistence, climatology (of a simulation the training mean) and damped persistence.

A time becomes a number of steps: those of each recipe are measured first, one recipe after the other (--measure alone
stops there), which needs an idle machine; what follows does not, and gives the same weights wherever it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from recipe_figure import lead_curves
from recipe_tables import Row, against, skill_table, table
from studies import STUDIES, Study

from pipeline import archive
from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.ingest import ingest
from pipeline.lineage import code_version
from pipeline.report.style import png
from pipeline.study import Trial, TrialResult, alike, run_trial, with_settings
from pipeline.study.probe import run_probe
from pipeline.synthetic import generate
from pipeline.training import prepare
from workflows.context import load_config

ENDLESS = 10**6  # epochs
MEASURED_SECONDS = 20.0  # of steps, of each recipe
CONTROL = "conv"  # without memory
CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", CONTROL)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train recipes and cells for equal time and print a table of closed-loop RMSE.",
        epilog="Example: python tests/bench/recipes.py fluid --seconds 40 --seeds 0 --jobs 2",
    )
    parser.add_argument("study", choices=STUDIES)
    cases = ("cells", "published", "ablation")
    parser.add_argument("--case", choices=cases, default="cells", help="what differs (default: cells)")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME KEY=VALUE ...'",
        help="train these in place of the case's; repeatable",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the case's, those alone")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all trials; repeatable")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=float, help="training time of each (default: the study's)")
    limit.add_argument(
        "--steps",
        nargs="+",
        type=numbered,
        metavar="[NAME=]N",
        help="train so many steps in place of a time: all the same, or each name its own",
    )
    limit.add_argument("--epochs", type=int, help="train so many epochs in place of a time")
    parser.add_argument("--measure", action="store_true", help="only measure the steps of each, on an idle machine")
    parser.add_argument("--against", metavar="NAME", help="compare all others with it (default: the case's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time, one thread each (default: 1)")
    parser.add_argument("--data", metavar="DIR", help="folder of the input files")
    parser.add_argument("--root", type=Path, default=Path("runs/bench/recipes"), help="where all of it is kept")
    return parser.parse_args(arguments)


def numbered(text: str) -> tuple[str, int]:
    """``conv=2390`` or ``600``, which is of all names."""
    name, _, number = text.rpartition("=")
    return name, int(number)


def configured(study: Study, options: argparse.Namespace, settings: Iterable[str] = (), seed: int = 0) -> Config:
    """The study's configuration with the settings of one trial."""
    other = options.epochs or options.steps or seconds_of(study, options)
    limit = [f"training.epochs={options.epochs or ENDLESS}"] if other else []
    always = [f"root={json.dumps(str(options.root))}", f"seed={seed}", "training.threads=1"]
    return load_config(study.config, [*study.settings, *always, *limit, *options.set, *settings], options.data)


def seconds_of(study: Study, options: argparse.Namespace) -> float | None:
    """Training time of each; None: something else ends it."""
    return None if options.epochs or options.steps else options.seconds or study.seconds


def trials(study: Study, options: argparse.Namespace, snapshot_id: str) -> dict[str, list[Trial]]:
    """By name, one for each seed."""
    if options.variant:
        named = {text.split()[0]: tuple(text.split()[1:]) for text in options.variant}
    elif options.case == "ablation":
        named = study.ablation
    else:
        shared = study.published if options.case == "published" else ()
        named = {cell: (*shared, f"model.cell={cell}") for cell in CELLS}
    found, steps = {}, dict(options.steps or ())
    for option, given in (("--only", set(options.only or ())), ("--steps", set(steps) - {""})):
        if unknown := given - set(named):
            sys.exit(f"error: {option} takes names of the case ({', '.join(named)}), got {', '.join(sorted(unknown))}")
    for name, settings in named.items():
        if options.only and name not in options.only:
            continue
        if steps:
            if (number := steps.get(name, steps.get(""))) is None:
                sys.exit(f"error: --steps has no number for {name}; give {name}=N, or one number for all")
            settings = (*settings, f"training.max_steps={number}")
        others = [setting for setting in settings if not setting.startswith("model.cell=")]
        configs = [configured(study, options, others, seed) for seed in options.seeds]
        for setting in set(settings) - set(others):
            cell = setting.removeprefix("model.cell=")
            configs = [alike(prepare(config, snapshot_id), cell) for config in configs]
        slug = "".join(letter if letter.isalnum() else "_" for letter in name)
        found[name] = [Trial(f"{slug}-{config.seed}", config) for config in configs]
    return found


def timed(
    named: dict[str, list[Trial]], seconds: float, snapshot_id: str, options: argparse.Namespace
) -> tuple[dict[str, list[Trial]], dict[str, float]]:
    """The trials with as many steps as fit into a time, and the seconds of a step of each name."""
    found, costs = {}, {}
    for name, several in named.items():
        costs[name] = run_probe(several[0], snapshot_id, options.root / "trials", MEASURED_SECONDS).step_seconds
        steps = max(1, round(seconds / costs[name]))
        print(f"{name}: {costs[name] * 1000:.1f} ms a step, {steps} steps in {seconds:g} s", flush=True)
        limit = {"training.max_steps": steps}
        found[name] = [replace(trial, config=with_settings(trial.config, limit)) for trial in several]
    return found, costs


def archived(study: Study, options: argparse.Namespace) -> str:
    """The version of the study's archive; simulated or read where there is none."""
    config = configured(study, options)
    if not archive.exists(config.archive_path):
        if config.generate is not None:
            print(f"simulating {config.generate.samples} samples into {config.source_path}", flush=True)
            generate(config.generate, config.source_path)
        ingest(config)
    return archive.head(config.archive_path)


def run(
    named: dict[str, list[Trial]], costs: dict[str, float], snapshot_id: str, options: argparse.Namespace
) -> list[Row]:
    """All trials, some at a time; said as they finish."""

    def one(trial: Trial) -> TrialResult | str:
        try:
            result = run_trial(trial, snapshot_id, options.root / "trials")
        except PipelineError as error:
            say(f"{trial.name}: {error}")
            return str(error)
        means = ", ".join(f"{name} {result.rmse(name).mean():.4f}" for name in result.scorecard.variables)
        say(f"{trial.name}: RMSE {means}; {result.frames} frames in {result.seconds:.0f} s")
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        # by seed first, so that what is there after a while is comparable
        order = sorted((number, name) for name, several in named.items() for number in range(len(several)))
        futures = {(name, number): pool.submit(one, named[name][number]) for number, name in order}
        done = {place: future.result() for place, future in futures.items()}
    rows = []
    for name, several in named.items():
        results = [done[name, number] for number in range(len(several))]
        rows.append(Row(name, tuple(one for one in results if isinstance(one, TrialResult)), costs.get(name)))
    return [row for row in rows if row.results]


def say(line: str) -> None:
    """Print a line whole, whatever other threads print."""
    print(f"{line}\n", end="", flush=True)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    options.root = options.root.absolute()
    study = STUDIES[options.study]
    options.root = options.root / options.study
    snapshot_id = archived(study, options)
    named, costs = trials(study, options, snapshot_id), {}
    if seconds := seconds_of(study, options):
        named, costs = timed(named, seconds, snapshot_id, options)
    if options.measure:
        if not costs:
            sys.exit("error: --measure turns a time into steps, and there is none; give --seconds")
        return
    rows = run(named, costs, snapshot_id, options)
    if not rows:
        sys.exit("error: no trial came to an end")
    variables = rows[0].results[0].scorecard.variables
    about = (
        f"date: {datetime.now(UTC):%Y-%m-%d}\n"
        f"command: python tests/bench/recipes.py {' '.join(map(str, arguments))}\n"
        f"versions: minconv-pipeline {code_version()}, torch {version('torch')}, Python {platform.python_version()}\n"
        f"cases: {rows[0].results[0].scorecard.cases}"
    )
    base = options.against or (next(iter(named)) if options.case == "ablation" or options.variant else CONTROL)
    tables = [*(table(rows, variable) for variable in variables), skill_table(rows), against(rows, base)]
    text = "\n\n".join([*tables, about])
    out = options.root / f"{'variants' if options.variant else options.case}.md"
    out.write_text(text + "\n", encoding="utf-8")
    picture = out.with_suffix(".png")
    picture.write_bytes(png(lead_curves(rows)))
    print(f"\n{text}\n\nwritten: {out}, {picture}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
