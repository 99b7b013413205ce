"""Evaluation: a registered model on every test case, beside persistence, climatology and damped persistence.

What lives here: the test cases and the sources that are compared. What does not: the errors (`verification`),
the reading of them (`scorecard`).

    scorecard = evaluate(model, config, snapshot_id, progress)
    scorecard.metrics()["test/rmse/t2m/06h"]
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import archive
from .climatology import Climatology, fit_climatology
from .config import Config
from .damped_persistence import Damping, fit_damping
from .executor import IN_PROCESS, Executor
from .fields import long_name, time_text
from .forecast import lead_times, open_reader, predict, valid_times
from .progress import Event, Progress, silent
from .registry import RegisteredModel
from .scorecard import Scorecard
from .splits import Split
from .verification import Scorer
from .windows import FrameReader, Window, make_splits, windows


@dataclass(frozen=True)
class Batch:
    """Some test cases: their names, and fields as `Scorer.add` takes them."""

    names: tuple[str, ...]
    prediction: NDArray[np.float32]
    truth: NDArray[np.float32]
    persistence: NDArray[np.float32]
    climatology: NDArray[np.float32]
    damped: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Baselines:
    """What is fitted to the training split to score against."""

    climatology: Climatology
    damping: Damping


@dataclass(frozen=True, eq=False)
class CaseSet:
    """The test cases of a configuration, as one model sees them.

    Attributes:
        reader: Frames of the Archive.
        cases: Where the model's history starts in each.
        history: Frames that the model reads.
        steps: Lead times.
        baselines: Those that are fitted to the training split.
    """

    reader: FrameReader
    cases: tuple[Window, ...]
    history: int
    steps: int
    baselines: Baselines

    @property
    def lead_times(self) -> NDArray[np.timedelta64]:
        """Lead times of every case."""
        return lead_times(self.reader, self.history - 1, self.steps)

    def batches(self, model: RegisteredModel, size: int, progress: Progress = silent) -> Iterator[Batch]:
        """Forecasts beside what they are scored against, some cases at a time."""
        for first in range(0, len(self.cases), size):
            some = self.cases[first : first + size]
            yield self.batch(model, some)
            progress(Event("evaluation", first + len(some), len(self.cases), "cases"))

    def batch(self, model: RegisteredModel, cases: Sequence[Window]) -> Batch:
        """Forecasts of some cases beside what they are scored against; masked points are NaN in the truth."""
        truth = frames_at(self.reader, cases, self.history + self.steps)
        ends = [case.start + self.history - 1 for case in cases]
        when = [valid_times(self.reader, end, self.steps) for end in ends]
        normal = self.baselines.climatology
        persistence, then = truth[:, self.history - 1], np.stack([normal.at(times) for times in when])
        now = normal.at(self.reader.times[ends])
        return Batch(
            names=tuple(case_name(self.reader, case, self.history) for case in cases),
            prediction=predict(model, self.reader, cases, self.steps),
            truth=truth[:, self.history :],
            persistence=persistence,
            climatology=then,
            damped=self.baselines.damping.forecast(persistence, now, then),
        )


def open_cases(model: RegisteredModel, config: Config, snapshot_id: str, baselines: Baselines | None = None) -> CaseSet:
    """The test cases for a model.

    Args:
        model: The registered version.
        config: Names the archive, the splits, the lead times and the distance between cases.
        snapshot_id: The version of the Archive.
        baselines: Where they are fitted already.

    Raises:
        ConfigError: The test split holds no case.
        ForecastError: The grid differs from the model's.
    """
    history = int(model.metadata["history"])
    test, fitted = _test_and_baselines(model, config, snapshot_id, baselines)
    cases = scoring_cases(test, config, history)
    reader = open_reader(model, config.archive_path, snapshot_id, config.training.cache_bytes, test)
    return CaseSet(reader, tuple(cases), history, config.forecast_steps, fitted)


def _test_and_baselines(
    model: RegisteredModel, config: Config, snapshot_id: str, fitted: Baselines | None = None
) -> tuple[Split, Baselines]:
    """The test split, and the baselines, of the training split unless they are fitted already."""
    with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
        splits = make_splits(dataset, config.split, config.gap)
        variables = tuple(model.metadata["variables"])
        if fitted is not None:
            return splits.test, fitted
        climatology = fit_climatology(dataset, variables, splits.train)
        damping = fit_damping(dataset, climatology, splits.train, config.forecast_steps)
        return splits.test, Baselines(climatology, damping)


def scoring_cases(split: Split, config: Config, history: int) -> list[Window]:
    """Where the history of a model starts in each test case.

    The init_times follow from the configuration alone, so that models with histories of other lengths are scored on the
    same cases; only a model that reads more frames than `window.history` has fewer.
    """
    before = max(history, config.window.history)
    cases = windows(split, before + config.forecast_steps, config.evaluation.stride)
    return [Window(case.sample, case.start + before - history) for case in cases]


def evaluate(
    model: RegisteredModel,
    config: Config,
    snapshot_id: str,
    progress: Progress = silent,
    executor: Executor = IN_PROCESS,
) -> Scorecard:
    """Score a model on the test split.

    Args:
        model: The registered version.
        config: Names the archive, the splits, the lead times and the distance between cases.
        snapshot_id: The version of the Archive to score on.
        progress: Told after each batch of cases.
        executor: Where the batches are forecast and scored.

    Raises:
        ConfigError: The test split holds no case.
        ForecastError: The grid differs from the model's, or a forecast is not finite.
    """
    test, baselines = _test_and_baselines(model, config, snapshot_id)
    cases = scoring_cases(test, config, int(model.metadata["history"]))
    size = config.evaluation.batch_size
    batches = [cases[first : first + size] for first in range(0, len(cases), size)]
    make = functools.partial(_BatchScorer, model, config, snapshot_id, baselines)
    scorers: list[Scorer] = []
    for scorer in executor.map(make, batches):
        scorers.append(scorer)
        progress(Event("evaluation", min(len(scorers) * size, len(cases)), len(cases), "cases"))
    first, *others = scorers
    first.merge(others)
    return first.result()


class _BatchScorer:
    """Scores batches of cases in the process where it is made, which opens the Archive there."""

    def __init__(self, model: RegisteredModel, config: Config, snapshot_id: str, baselines: Baselines) -> None:
        self._model, self._snapshot_id = model, snapshot_id
        self._tested = open_cases(model, config, snapshot_id, baselines)

    def __call__(self, cases: Sequence[Window]) -> Scorer:
        """A Scorer of these cases alone."""
        scorer, batch = self._scorer(), self._tested.batch(self._model, cases)
        fields = (batch.prediction, batch.truth, batch.persistence, batch.climatology, batch.damped)
        scorer.add(*fields, cases=batch.names)
        return scorer

    def _scorer(self) -> Scorer:
        variables, reader = tuple(self._model.metadata["variables"]), self._tested.reader
        return Scorer(
            variables,
            self._tested.lead_times,
            reader.grid.area_weights(),
            reader.mask.numpy(),
            units=self._model.metadata["units"],
            long_names={name: long_name(reader.attributes[name], name) for name in variables},
            attrs={
                "model_name": self._model.version.name,
                "model_version": str(self._model.version.version),
                "snapshot_id": self._snapshot_id,
                "climatology": self._tested.baselines.climatology.description,
            },
        )


def frames_at(reader: FrameReader, cases: Sequence[Window], length: int) -> NDArray[np.float32]:
    """What the Archive holds, in physical units, [B, T, C, H, W], NaN where masked or missing."""
    times, there = (
        np.stack([every[case.start : case.start + length] for case in cases])
        for every in (reader.times, reader.present)
    )
    frames = reader.physical(reader.read(cases, length)[0].numpy(), times)
    return np.where(reader.mask.numpy() & there[:, :, None, None, None], frames, np.float32(np.nan))


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
