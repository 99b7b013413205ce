"""What a trial came to, as one file that is there when all of it is true.

result = TrialResult.read(folder)          # None while it is not finished
result.rmse("vorticity").mean()
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..durable_file import write_text
from ..scorecard import Scorecard

RESULT, SCORECARD = "result.json", "scorecard.json"


@dataclass(frozen=True)
class TrialResult:
    """One configuration, trained and scored.

    Attributes:
        name: Of the trial.
        cell: Its recurrent cell.
        hidden: Width of each layer.
        seed: Of weights and order of windows.
        parameters: Of the model.
        epochs: Finished ones.
        steps: Of the optimizer.
        frames: Of training windows, each as often as it was seen.
        seconds: Of training steps by the clock; neither validation nor start-up.
        cpu_share: Processor time over clock time and threads, of training and validation; well below 1, others had the
            processors, and equal time was not equal work.
        peak_bytes: Most memory of its process, Python and torch included (of the GPU where it trained on one).
        validation_error: Lowest, in standard deviations.
        checkpoint: Folder of the weights with that error, for `minconv.load`.
        key: Of configuration, data and code: an equal one is an equal trial.
        snapshot_id: Version of the Archive.
        scorecard: On the test split.
        curve: Seconds of training and validation error at the end of each epoch.
        took: Seconds of the process that finished it: start-up, training, validation and scoring.
    """

    name: str
    cell: str
    hidden: tuple[int, ...]
    seed: int
    parameters: int
    epochs: int
    steps: int
    frames: int
    seconds: float
    cpu_share: float
    peak_bytes: int
    validation_error: float
    checkpoint: Path
    key: str
    snapshot_id: str
    scorecard: Scorecard
    curve: tuple[tuple[float, float], ...] = ()
    took: float = 0.0

    @property
    def step_seconds(self) -> float:
        """Of a training step, in the mean."""
        return self.seconds / max(1, self.steps)

    def rmse(self, variable: str, source: str = "model") -> NDArray[np.float64]:
        """At each lead time, in the variable's units, over all cases and points."""
        values: NDArray[np.float64] = self.scorecard.scores["rmse"].sel(source=source, variable=variable).values
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the scorecard, which has a file of its own."""
        tree = asdict(self)
        del tree["scorecard"]
        return {**tree, "checkpoint": str(self.checkpoint)}

    def write(self, folder: Path) -> None:
        """Keep it; the result after the scorecard, so that a result means that both are there."""
        write_text(folder / SCORECARD, self.scorecard.to_json())
        write_text(folder / RESULT, json.dumps(self.to_dict(), indent=1))

    @classmethod
    def read(cls, folder: Path) -> TrialResult | None:
        """What `write` kept in a folder; None: nothing yet."""
        if not (folder / RESULT).is_file():
            return None
        tree = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        scorecard = Scorecard.from_json((folder / SCORECARD).read_text(encoding="utf-8"))
        made = {"hidden": tuple(tree["hidden"]), "checkpoint": Path(tree["checkpoint"]), "scorecard": scorecard}
        curve = tuple((seconds, error) for seconds, error in tree.get("curve", ()))
        return cls(**{**tree, **made, "curve": curve})
