"""The files of a model version: the checkpoint with all its metadata, the configuration and the grid in plain text.

files = write_model_files(folder, outcome.checkpoint, job)
registry.register(run, files.checkpoint, tags, files.sizes, extra=files.extra)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minconv

from .lineage import model_metadata
from .registry import CLIMATOLOGY_FILE
from .training import TrainingJob


@dataclass(frozen=True)
class ModelFiles:
    """Where the files lie.

    Attributes:
        checkpoint: Folder for `minconv.load`.
        extra: ``config.yaml``, ``grid.json`` and, for a model of anomalies, the climatology.
        sizes: Channels in, channels out, height, width, and how many of the channels out are diagnostic.
    """

    checkpoint: Path
    extra: tuple[Path, ...]
    sizes: tuple[int, ...]


def write_model_files(
    folder: Path, checkpoint: Path, job: TrainingJob, epochs: Sequence[Mapping[str, Any]]
) -> ModelFiles:
    """Write what is registered.

    Args:
        folder: An empty folder.
        checkpoint: Weights of the training.
        job: What they were trained on.
        epochs: The training's record of each epoch.
    """
    forecaster, _ = minconv.load(checkpoint)
    minconv.save(folder / "checkpoint", forecaster, {**model_metadata(job), "epochs": list(epochs)})
    config, grid = folder / "config.yaml", folder / "grid.json"
    config.write_text(job.config.to_yaml(), encoding="utf-8")
    grid.write_text(json.dumps(job.grid.to_dict()), encoding="utf-8")
    known = forecaster.config
    sizes = (known.in_channels, known.out_channels, *job.grid.shape, known.diagnostic_channels)
    extra = [config, grid]
    if job.climatology is not None:
        extra.append(folder / CLIMATOLOGY_FILE)
        job.climatology.save(extra[-1])
    return ModelFiles(folder / "checkpoint", tuple(extra), sizes)
