"""What a training has to remember to go on as if it had never stopped, beside weights and optimizer.

What lives here: the state between two steps, as JSON and back, on the same or another number of workers. What does
not: the files (`checkpoints`), the arithmetic (`optimization`).

    state = RunState()
    state.step += 1
    RunState.from_json(state.to_json())

Nothing of a random generator is kept: order and noise are functions of seed, epoch and step (`sampler`,
`optimization`). Neither is a scale for half precision: bfloat16 has the exponents of float32 and needs none.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from .checkpoints import Place


@dataclass
class RunState:
    """A training between two steps.

    Attributes:
        epoch: Epochs that are finished.
        step: Steps of the epoch after them that are done.
        seconds: Spent in training steps, those of validation and of earlier starts' start-up left out.
        epoch_seconds: The same of this epoch alone.
        losses: Sum of the losses of this epoch's steps, of each worker.
        waited: Seconds of this epoch that steps waited for data, mean over the workers.
        history: The record of every finished epoch; the learning from it (best epoch, patience) is made anew.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    waited: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """How far it is."""
        return Place(self.epoch, self.step)

    def loss_of(self, rank: int, world_size: int) -> float:
        """This worker's sum of losses so far: its own, or, where the workers were others, its share of all."""
        if len(self.losses) == world_size:
            return self.losses[rank]
        # A loss is a mean over a worker's part of the batch: of fewer workers each stands for more windows.
        return sum(self.losses) / max(1, len(self.losses))

    def next_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is finished."""
        self.history.append(record)
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []
        self.epoch_seconds = self.waited = 0.0

    def to_json(self) -> str:
        """As text; floating-point numbers come back as they are."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """The state of that text."""
        return cls(**json.loads(text))
