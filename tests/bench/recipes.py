"""Training recipes and cells against each other: equal time or equal frames, several seeds, one thread; not a test.

    python tests/bench/recipes.py fluid                      # six cells, 225 s each, three seeds: an hour on two cores
    python tests/bench/recipes.py fluid --case ablation --seconds 40
    python tests/bench/recipes.py wfde5 --data ../shared/data/wfde5_gb_2017-01
    python tests/bench/recipes.py fluid --variant "wide model.hidden=[56,56,56,56]" --seeds 0

`fluid` is the Navier-Stokes set-up of Horuz et al. 2025 (arXiv 2508.03614, section 4): 64 x 64 points averaged to
16 x 16, 200 training and 50 test sequences, 20 frames seen and 30 forecast. Trials run in processes of their own, as
many at a time as --jobs says, are kept under --root, and are not run again. Scores are those of the pipeline: closed
loop on the test split, RMSE at each lead time over all cases and points; beside them persistence, climatology (of a
simulation the training mean) and damped persistence.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from studies import STUDIES, Study

from pipeline import archive
from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.ingest import ingest
from pipeline.lead_time import milestones
from pipeline.lineage import code_version
from pipeline.study import Trial, TrialResult, alike, run_trial
from pipeline.synthetic import generate
from pipeline.training import prepare
from workflows.context import load_config

CONTROL = "conv"  # without memory
CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", CONTROL)
SOURCES = {"persistence": "persistence", "climatology": "climatology", "damped_persistence": "damped persistence"}


MILESTONES = 4  # lead times of the table of skill


@dataclass(frozen=True)
class Row:
    """The trials of one name, one per seed."""

    name: str
    results: tuple[TrialResult, ...]

    def rmse(self, variable: str) -> list[float]:
        """Mean over lead times, of each seed."""
        return [float(one.rmse(variable).mean()) for one in self.results]

    def last(self, variable: str) -> list[float]:
        """At the last lead time."""
        return [float(one.rmse(variable)[-1]) for one in self.results]

    def line(self, variable: str) -> str:
        """Of a table; numbers are means over the seeds, with their range."""
        first = self.results[0]
        seconds, frames, bytes_ = (
            statistics.mean(float(getattr(one, name)) for one in self.results)
            for name in ("seconds", "frames", "peak_bytes")
        )
        cells = [
            self.name,
            f"{len(first.hidden)} x {first.hidden[0]}",
            f"{first.parameters:,}",
            f"{seconds:.0f}",
            f"{frames / 1000:,.0f}",
            f"{statistics.mean(one.step_seconds for one in self.results) * 1000:.1f}",
            f"{bytes_ / 2**20:,.0f}",
            spread(self.rmse(variable)),
            spread(self.last(variable)),
        ]
        return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """``0.0312 (0.0305-0.0320)``."""
    middle = f"{statistics.mean(values):.4f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.4f}-{max(values):.4f})"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train recipes and cells for equal time and print a table of closed-loop RMSE.",
        epilog="Example: python tests/bench/recipes.py fluid --seconds 40 --seeds 0 --jobs 2",
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--case", choices=("cells", "ablation"), default="cells", help="what differs (default: cells)")
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
    limit.add_argument("--epochs", type=int, help="train so many epochs in place of a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time, one thread each (default: 1)")
    parser.add_argument("--data", metavar="DIR", help="folder of the input files")
    parser.add_argument("--root", type=Path, default=Path("runs/bench/recipes"), help="where all of it is kept")
    return parser.parse_args(arguments)


def configured(study: Study, options: argparse.Namespace, settings: Iterable[str] = (), seed: int = 0) -> Config:
    """The study's configuration with the settings of one trial."""
    seconds = None if options.epochs else options.seconds or study.seconds
    limit = [f"training.epochs={options.epochs}"] if options.epochs else []
    limit += [f"training.max_seconds={seconds}", "training.epochs=1000000"] if seconds else []
    always = [f"root={json.dumps(str(options.root))}", f"seed={seed}", "training.threads=1"]
    return load_config(study.config, [*study.settings, *always, *limit, *options.set, *settings], options.data)


def trials(study: Study, options: argparse.Namespace, snapshot_id: str) -> dict[str, list[Trial]]:
    """By name, one for each seed."""
    if options.variant:
        named = {text.split()[0]: tuple(text.split()[1:]) for text in options.variant}
    else:
        named = dict.fromkeys(CELLS, ()) if options.case == "cells" else study.ablation
    if unknown := set(options.only or ()) - set(named):
        sys.exit(f"error: --only takes names of the case ({', '.join(named)}), got {', '.join(sorted(unknown))}")
    found = {}
    for name, settings in named.items():
        if options.only and name not in options.only:
            continue
        configs = [configured(study, options, settings, seed) for seed in options.seeds]
        if not options.variant and options.case == "cells":
            configs = [of_cell(config, name, snapshot_id) for config in configs]
        slug = "".join(letter if letter.isalnum() else "_" for letter in name)
        found[name] = [Trial(f"{slug}-{config.seed}", config) for config in configs]
    return found


def of_cell(config: Config, cell: str, snapshot_id: str) -> Config:
    """As many parameters, another cell."""
    return alike(prepare(config, snapshot_id), cell)


def archived(study: Study, options: argparse.Namespace) -> str:
    """The version of the study's archive; simulated or read where there is none."""
    config = configured(study, options)
    if not archive.exists(config.archive_path):
        if config.generate is not None:
            print(f"simulating {config.generate.samples} samples into {config.source_path}", flush=True)
            generate(config.generate, config.source_path)
        ingest(config)
    return archive.head(config.archive_path)


def run(named: dict[str, list[Trial]], snapshot_id: str, options: argparse.Namespace) -> list[Row]:
    """All trials, some at a time; said as they finish."""

    def one(trial: Trial) -> TrialResult | str:
        try:
            result = run_trial(trial, snapshot_id, options.root / "trials")
        except PipelineError as error:
            print(f"{trial.name}: {error}", flush=True)
            return str(error)
        means = ", ".join(f"{name} {result.rmse(name).mean():.4f}" for name in result.scorecard.variables)
        busy = "" if result.cpu_share > 0.9 else f"; only {result.cpu_share:.0%} of the processor was had"
        print(f"{trial.name}: RMSE {means}; {result.frames} frames in {result.seconds:.0f} s{busy}", flush=True)
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        # by seed first, so that what is there after a while is comparable
        order = sorted((number, name) for name, several in named.items() for number in range(len(several)))
        futures = {(name, number): pool.submit(one, named[name][number]) for number, name in order}
        done = {place: future.result() for place, future in futures.items()}
    rows = []
    for name, several in named.items():
        results = [done[name, number] for number in range(len(several))]
        rows.append(Row(name, tuple(one for one in results if isinstance(one, TrialResult))))
    return [row for row in rows if row.results]


def table(rows: Sequence[Row], variable: str) -> str:
    """Markdown, baselines below."""
    card = rows[0].results[0].scorecard
    leads = len(card.scores["lead_time"])
    lines = [
        f"| {variable} | layers | parameters | s | 1000 frames | ms a step | peak MiB | RMSE, mean of {leads} leads | "
        f"RMSE, lead {leads} |",
        "|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    lines += [row.line(variable) for row in rows]
    for source in card.references:
        values = rows[0].results[0].rmse(variable, source)
        lines.append(f"| {SOURCES[source]} | | | | | | | {values.mean():.4f} | {values[-1]:.4f} |")
    return "\n".join(lines)


def skill_table(rows: Sequence[Row]) -> str:
    """Markdown: skill against the better of persistence and climatology at some lead times.

    Means over the seeds; ``+`` where the interval of every seed lies above zero, ``-`` where it lies below.
    """
    card = rows[0].results[0].scorecard
    leads = milestones(card.leads, MILESTONES)
    labels = " / ".join(card.leads.labels[lead] for lead in leads)
    lines = [f"| skill at {labels} | {' | '.join(card.variables)} |", f"|---|{'---|' * len(card.variables)}"]
    for row in rows:
        cells = [" / ".join(_skill(row, number, lead) for lead in leads) for number in range(len(card.variables))]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _skill(row: Row, variable: int, lead: int) -> str:
    found = []
    for result in row.results:
        intervals = [result.scorecard.skill_intervals[name] for name in ("persistence", "climatology")]
        against = min(intervals, key=lambda one: float(one.skill[variable, lead]))  # the better baseline
        found.append([float(values[variable, lead]) for values in (against.skill, against.lower, against.upper)])
    sign = "+" if all(one[1] > 0 for one in found) else "-" if all(one[2] < 0 for one in found) else ""
    return f"{statistics.mean(one[0] for one in found):.3f}{sign}"


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    options.root = options.root.absolute()
    study = STUDIES[options.study]
    options.root = options.root / options.study
    snapshot_id = archived(study, options)
    rows = run(trials(study, options, snapshot_id), snapshot_id, options)
    if not rows:
        sys.exit("error: no trial came to an end")
    variables = rows[0].results[0].scorecard.variables
    about = (
        f"date: {datetime.now(UTC):%Y-%m-%d}\n"
        f"command: python tests/bench/recipes.py {' '.join(map(str, arguments))}\n"
        f"versions: minconv-pipeline {code_version()}, torch {version('torch')}, Python {platform.python_version()}\n"
        f"cases: {rows[0].results[0].scorecard.cases}"
    )
    text = "\n\n".join([*(table(rows, variable) for variable in variables), skill_table(rows), about])
    out = options.root / f"{'variants' if options.variant else options.case}.md"
    out.write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nwritten: {out}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
