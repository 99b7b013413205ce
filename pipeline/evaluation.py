"""Evaluation: a registered model on every test case, beside persistence and climatology.

What lives here: the test cases and the sources that are compared. What does not: the errors (`verification`),
the reading of them (`scorecard`).

    scorecard = evaluate(model, config, snapshot_id, progress)
    scorecard.metrics()["test/rmse/t2m/06h"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import archive
from .climatology import Climatology, fit_climatology
from .config import Config
from .fields import time_text
from .forecast import lead_times, open_reader, predict, valid_times
from .progress import Event, Progress, silent
from .registry import RegisteredModel
from .scorecard import Scorecard
from .verification import Scorer
from .windows import FrameReader, Window, make_splits, windows


def evaluate(model: RegisteredModel, config: Config, snapshot_id: str, progress: Progress = silent) -> Scorecard:
    """Score a model on the test split.

    Args:
        model: The registered version.
        config: Names the archive, the splits, the lead times and the distance between cases.
        snapshot_id: The version of the Archive to score on.
        progress: Told after each batch of cases.

    Raises:
        ConfigError: The test split holds no case.
        ForecastError: The grid differs from the model's, or a forecast is not finite.
    """
    history, steps, path = int(model.metadata["history"]), config.forecast_steps, config.archive_path
    variables = tuple(model.metadata["variables"])
    with archive.open_dataset(path, snapshot_id) as dataset:
        splits = make_splits(dataset, config.split, config.gap)
        cases = windows(splits.test, history + steps, config.evaluation.stride)
        climatology = fit_climatology(dataset, variables, splits.train)
    reader = open_reader(model, path, snapshot_id, config.training.cache_bytes, splits.test)
    scorer = Scorer(
        variables,
        lead_times(reader, history - 1, steps),
        reader.grid.area_weights(),
        reader.mask.numpy(),
        units=model.metadata["units"],
        long_names={name: str(reader.attributes[name].get("long_name", name)) for name in variables},
        attrs={
            "model_name": model.version.name,
            "model_version": str(model.version.version),
            "snapshot_id": snapshot_id,
            "climatology": climatology.description,
        },
    )
    size = config.evaluation.batch_size
    for first in range(0, len(cases), size):
        _score(scorer, model, reader, climatology, cases[first : first + size], history, steps)
        progress(Event("evaluation", min(first + size, len(cases)), len(cases), "cases"))
    return scorer.result()


def _score(
    scorer: Scorer,
    model: RegisteredModel,
    reader: FrameReader,
    climatology: Climatology,
    batch: Sequence[Window],
    history: int,
    steps: int,
) -> None:
    """Add one batch of cases. Only masked points are filled by the reader, and those are not scored."""
    truth = frames_at(reader, batch, history + steps)
    when = [valid_times(reader, case.start + history - 1, steps) for case in batch]
    scorer.add(
        predict(model, reader, batch, steps),
        truth[:, history:],
        truth[:, history - 1],
        np.stack([climatology.at(times) for times in when]),
        cases=[case_name(reader, case, history) for case in batch],
    )


def frames_at(reader: FrameReader, cases: Sequence[Window], length: int) -> NDArray[np.float32]:
    """What the Archive holds, in physical units, [B, T, C, H, W], NaN where masked."""
    times = np.stack([reader.times[case.start : case.start + length] for case in cases])
    frames = reader.physical(reader.read(cases, length)[0].numpy(), times)
    return np.where(reader.mask.numpy(), frames, np.float32(np.nan))


def case_name(reader: FrameReader, case: Window, history: int) -> str:
    """Name of a case: its init_time, or its sample and the time its forecast starts."""
    time: Any = reader.times[case.start + history - 1]
    text = time_text(time)
    return f"sample {case.sample} at {text}" if reader.sampled else text


def truth_at(reader: FrameReader, case: Window, history: int, steps: int) -> NDArray[np.float32]:
    """What the Archive holds at the forecast's valid times, [steps, C, H, W], NaN where it holds nothing."""
    held = max(0, min(steps, len(reader.times) - case.start - history))
    frames = frames_at(reader, [case], history + held)[0, history:]
    missing = np.full((steps - held, *frames.shape[1:]), np.nan, dtype=np.float32)
    return np.concatenate((frames, missing))
