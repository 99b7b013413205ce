"""What the settings of DistributedDataParallel's buckets are worth: two gloo processes, one thread each.

    python tests/bench/training.py --case buckets --rounds 5

The demo's model and one of seven times its weights, on the demo's fluid. Both processes measure one setting after the
other, in rounds; the ratio is to the setting that is shipped, in the same round.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import minconv
from pipeline import archive
from pipeline.training import TrainingJob, prepare
from pipeline.training.profile import profile_steps
from tests.bench.fluid import archived_fluid
from tests.bench.process_group import ProcessGroup, torchrun

MODELS = {"the demo's": [40] * 6, "a wider one": [108] * 6}
SETTINGS: dict[str, dict[str, Any]] = {
    "as shipped (25 MB)": {},
    "bucket_cap_mb=0.1": {"bucket_cap_mb": 0.1},
    "bucket_cap_mb=1": {"bucket_cap_mb": 1},
    "bucket_cap_mb=100": {"bucket_cap_mb": 100},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
    "static_graph": {"static_graph": True},
}


def job_of(root: Path, samples: int, hidden: list[int]) -> TrainingJob:
    """Two workers, one window each: the batch that a step cannot be smaller than, where the exchange counts most."""
    config = archived_fluid(root, samples, workers=2, batch_size=2)
    config = config.model_copy(update={"model": config.model.model_copy(update={"hidden": tuple(hidden)})})
    return prepare(config, archive.head(config.archive_path))


def worker(root: Path, samples: int, rounds: int, steps: int) -> None:
    """In each of the two processes; the first writes down what it measured."""
    torch.set_num_threads(1)
    minconv.keep_freed_memory()
    group, found = ProcessGroup(root / "checkpoints"), list[dict[str, Any]]()
    for model, hidden in MODELS.items():
        job = job_of(root, samples, hidden)
        for number in range(rounds):
            for setting, group.options in SETTINGS.items():
                profile = profile_steps(job, group, steps)
                row = {"model": model, "round": number, "setting": setting, "seconds": profile.seconds}
                row |= {"outlasting": profile.parts["all-reduce"], "gradient_bytes": profile.gradient_bytes}
                found.append(row)
    if group.rank == 0:
        (root / "buckets.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def buckets(root: Path, samples: int, rounds: int, steps: int = 20) -> None:
    """Measure and print the table."""
    archived_fluid(root, samples)
    torchrun(__file__, root, samples, rounds, steps)
    rows = json.loads((root / "buckets.json").read_text())
    print("| model | gradients, MB | setting | ms a step | exchange that outlasts, ms | of the shipped | range |")
    print("|---|--:|---|--:|--:|--:|--:|")
    for model in MODELS:
        of_model = [row for row in rows if row["model"] == model]
        shipped = [row["seconds"] for row in of_model if not SETTINGS[row["setting"]]]
        size = f"{of_model[0]['gradient_bytes'] / 1e6:.1f}"
        for setting in SETTINGS:
            those = [row for row in of_model if row["setting"] == setting]
            ratios = [row["seconds"] / first for row, first in zip(those, shipped, strict=True)]
            seconds, waited = (f"{1e3 * statistics.median(r[k] for r in those):.1f}" for k in ("seconds", "outlasting"))
            ratio = f"{statistics.median(ratios):.3f} | {min(ratios):.3f}–{max(ratios):.3f}"
            print(f"| {model} | {size} | {setting} | {seconds} | {waited} | {ratio} |")


if __name__ == "__main__":
    folder, *counts = sys.argv[1:]
    worker(Path(folder), *map(int, counts))
