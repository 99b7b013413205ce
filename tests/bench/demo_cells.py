"""The cells against each other on the demo's fluid: equal parameters, equal training time, one thread; not a test.

    python tests/bench/demo_cells.py --seconds 225
    python tests/bench/demo_cells.py --seconds 40 --cells minconvgru conv --seed 1

Every cell is trained by the recipe of `configs/demo.yaml` for the same time; validation, which chooses the checkpoint,
is not counted. Layers are as many as in the configuration, and as wide as brings the number of parameters nearest to
that of the configured model. Scores are those of the pipeline: closed loop on the test samples, RMSE at each lead time
over all cases and points, and its mean over lead times; beside them persistence and the mean of the training split.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch

import minconv
from pipeline import archive
from pipeline.config import Config, check_config
from pipeline.config_model import Cell
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate
from pipeline.ingest import ingest
from pipeline.lineage import code_version, model_metadata
from pipeline.registry import ModelVersion, RegisteredModel
from pipeline.scorecard import Scorecard
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, TrainingJob, prepare, run_loop
from pipeline.training.job import build_forecaster, open_reader
from workflows.context import load_config

WIDEST = 512
BASELINES = (("persistence", "persistence"), ("climatology", "training mean"))


@dataclass(frozen=True)
class Row:
    """One line of the table; RMSE in the variable's units, one per lead time."""

    name: str
    layers: str
    parameters: int | None
    epochs: int | None
    frames_seen: int | None
    train_seconds: float | None
    cpu_share: float | None  # CPU time per wall time and thread; well below 1, others had the cores
    rmse: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.rmse) / len(self.rmse)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train cells on the demo's fluid for equal time with equal parameters; print a table of RMSE.",
        epilog="Example: python tests/bench/demo_cells.py --seconds 225 --out runs/bench/demo_cells.json",
    )
    parser.add_argument("--seconds", type=float, default=225.0, help="training time of each cell (default: 225)")
    parser.add_argument(
        "--cells",
        nargs="+",
        choices=get_args(Cell),
        default=["minconvgru", "convgru", "conv"],
        metavar="CELL",
        help=f"which to train, of {', '.join(get_args(Cell))} (default: minconvgru convgru conv)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the order of windows (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default: 1)")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("runs"),
        help="holds the demo's archive (demo/archive), which is made where it is absent (default: runs)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench/demo_cells.json"), help="JSON of everything")
    options = parser.parse_args(arguments)
    if not options.seconds > 0 or options.threads < 1:
        parser.error("--seconds must be above 0 and --threads at least 1")
    return options


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    config = load_config("demo", [f"root={json.dumps(str(options.root))}", f"seed={options.seed}"])
    job = prepare(config, snapshot_of(config))
    target = parameters_of(job)
    print(f"target {target} parameters ({config.model.cell}, {layers(config)}), {options.seconds:g} s each", flush=True)
    rows: list[Row] = []
    scorecard: Scorecard | None = None
    for cell in options.cells:
        row, scorecard = run(timed(of_size(job, cell, target), options.seconds))
        rows.append(row)
        print(f"{row.name}: RMSE {row.mean:.4f} over lead times, {row.rmse[-1]:.4f} at the last", flush=True)
    if scorecard is not None:  # the baselines are the same beside every cell
        rows += [Row(title, "", None, None, None, None, None, errors(scorecard, name)) for name, title in BASELINES]
        save(options.out, setting(options, config, job, scorecard), rows)
        print(f"\n{table(rows)}\n")
        for name, value in setting(options, config, job, scorecard).items():
            print(f"{name}: {value}")
        print(f"written: {options.out}")


def snapshot_of(config: Config) -> str:
    """The version of the demo's archive to use; simulated and ingested where there is none."""
    if config.generate is not None and not archive.exists(config.archive_path):
        print(f"simulating {config.generate.samples} samples into {config.source_path}", flush=True)
        generate(config.generate, config.source_path)
        ingest(config)
    return archive.head(config.archive_path)


def changed(job: TrainingJob, section: str, **values: Any) -> TrainingJob:
    """The job with other settings, checked like those of a file."""
    tree = job.config.model_dump(mode="json")
    tree[section] |= values
    return replace(job, config=check_config(tree))


def timed(job: TrainingJob, seconds: float) -> TrainingJob:
    """The job ended by the clock alone, so that warm-up and cosine follow it, too."""
    return changed(job, "training", max_seconds=seconds, epochs=10**6, patience=None)


def of_size(job: TrainingJob, cell: str, target: int) -> TrainingJob:
    """The job with a cell as wide as brings its parameters nearest to `target`."""
    depth = len(job.config.model.hidden)

    def of_width(width: int) -> TrainingJob:
        return changed(job, "model", cell=cell, hidden=[width] * depth)

    low, high = 1, WIDEST
    while low < high:  # the narrowest that has at least as many
        middle = (low + high) // 2
        low, high = (low, middle) if parameters_of(of_width(middle)) >= target else (middle + 1, high)
    near = (of_width(width) for width in (max(1, low - 1), low))
    return min(near, key=lambda one: abs(parameters_of(one) - target))


def parameters_of(job: TrainingJob) -> int:
    forecaster = build_forecaster(job, open_reader(job, job.splits.validation))
    return int(sum(parameter.numel() for parameter in forecaster.parameters()))


def run(job: TrainingJob) -> tuple[Row, Scorecard]:
    """Train and score one cell."""
    cell, count = job.config.model.cell, parameters_of(job)
    print(f"\n{cell}, {layers(job.config)}: {count} parameters", flush=True)
    with tempfile.TemporaryDirectory(prefix="minconv-bench-") as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        run_loop(job, LocalWorker(Path(folder), listener=say))
        share = (time.process_time() - cpu) / (time.perf_counter() - wall) / torch.get_num_threads()
        *_, newest = sorted(Path(folder).glob("checkpoint-*"))
        history = json.loads((newest / "state.json").read_text())["history"]
        forecaster, _ = minconv.load(newest / "best")
    known = ModelVersion(cell, 1, "", (), {}, time.time(), {})
    model = RegisteredModel(known, forecaster.eval(), model_metadata(job), job.climatology)
    scorecard = evaluate(model, job.config, job.snapshot_id)
    if share < 0.9:
        print(f"  warning: only {share:.0%} of the CPU time was had; on a busy machine equal time is not equal work")
    row = Row(
        name=cell,
        layers=layers(job.config),
        parameters=count,
        epochs=len(history),
        frames_seen=frames_seen(history),
        train_seconds=history[-1]["seconds"],
        cpu_share=share,
        rmse=errors(scorecard, "model"),
    )
    return row, scorecard


def say(message: dict[str, Any]) -> None:
    """One line per epoch."""
    if message["kind"] == "epoch":
        print(
            f"  epoch {message['epoch']}: {message['seconds']:.0f} s, {message['frames_per_second']:.0f} frames/s, "
            f"validation error {message['validation_loss']:.4f} standard deviations",
            flush=True,
        )


def frames_seen(history: Sequence[dict[str, Any]]) -> int:
    """Frames of all training windows, each as often as it was seen."""
    before = [0.0, *(record["seconds"] for record in history)]
    each = zip(history, before, strict=False)
    frames: float = sum(record["frames_per_second"] * (record["seconds"] - start) for record, start in each)
    return round(frames)


def layers(config: Config) -> str:
    return f"{len(config.model.hidden)} x {config.model.hidden[0]}"


def errors(scorecard: Scorecard, source: str) -> tuple[float, ...]:
    """RMSE of the first variable at each lead time."""
    values = scorecard.scores["rmse"].sel(source=source).isel(variable=0).values
    return tuple(float(value) for value in values)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    last = len(rows[0].rmse)
    lines = [
        f"| forecast | layers | parameters | frames seen | RMSE, mean of {last} leads | RMSE, lead {last} |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        counts = ("" if number is None else f"{number:,}" for number in (row.parameters, row.frames_seen))
        lines.append(f"| {row.name} | {row.layers} | {' | '.join(counts)} | {row.mean:.4f} | {row.rmse[-1]:.4f} |")
    return "\n".join(lines)


def setting(options: argparse.Namespace, config: Config, job: TrainingJob, scorecard: Scorecard) -> dict[str, Any]:
    """What the numbers depend on."""
    (variable,) = config.variables
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": f"python tests/bench/demo_cells.py --seconds {options.seconds:g} --seed {options.seed} "
        f"--threads {options.threads} --cells {' '.join(options.cells)}",
        "task": f"{variable} [{config.variables[variable].units}], {job.splits.train.samples.size} training and "
        f"{scorecard.cases} test simulations, {config.window.history} frames seen, {config.forecast_steps} forecast",
        "field": f"standard deviation {float(job.statistics.state.std[0]):.4f} in the training split",
        "hardware": f"{processor()}, {os.cpu_count()} cores, {options.threads} thread(s) used",
        "versions": f"minconv-pipeline {code_version()}, torch {version('torch')}, Python {platform.python_version()}",
        "snapshot_id": job.snapshot_id,
        "config_hash": config.hash(),
    }


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def save(path: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Everything as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    content = {**about, "rows": [{**asdict(row), "rmse_mean": row.mean} for row in rows]}
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
