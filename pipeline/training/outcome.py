"""What a training leaves and what it says on the way, whoever runs it.

What lives here: the outcome, a worker's message as an event, the errors that end a run for good. What does not: running
it (`local`, `ray_train`).

    outcome.checkpoint     # folder that minconv.load reads
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import TrainingConfig
from ..errors import TrainingError
from ..progress import Event
from .checkpoints import BEST, STATE, Checkpoints
from .state import RunState


@dataclass(frozen=True)
class TrainingOutcome:
    """A finished training run.

    Attributes:
        run_name: Its name.
        checkpoint: Folder of the weights with the lowest validation error, for `minconv.load`.
        history: One record per epoch: train_loss, validation_loss, learning_rate, seconds, frames_per_second,
            data_wait (share of the time that training steps waited for data), peak_memory_mb, workers, ….
        seconds: Wall time of this call, start-up included.
        nodes: Ray's ids of the nodes that had a worker; none where it ran without Ray.
    """

    run_name: str
    checkpoint: Path
    history: tuple[dict[str, Any], ...]
    seconds: float
    nodes: tuple[str, ...] = ()


def outcome_of(name: str, checkpoints: Checkpoints, seconds: float, nodes: Iterable[str] = ()) -> TrainingOutcome:
    """What a finished run left, read from its newest checkpoint.

    Raises:
        TrainingError: It left none.
    """
    newest = checkpoints.newest()
    if newest is None:
        raise TrainingError(
            f"training run {name} left no whole checkpoint in {checkpoints.folder}; start the same command again"
        )
    folder = checkpoints.path(newest)
    state = RunState.from_json((folder / STATE).read_text())
    return TrainingOutcome(name, folder / BEST, tuple(state.history), seconds, tuple(sorted(nodes)))


def event_of(message: Mapping[str, Any], options: TrainingConfig) -> Event:
    """A message of a worker (kind ``"step"`` or ``"epoch"``) as progress within a run.

    Args:
        message: Of the worker.
        options: Of the run. Seconds are counted where they are the first to end it.
    """
    steps, epoch = message["steps"], message["epoch"]
    total, limit = options.total_steps(steps), options.max_seconds
    if message["kind"] == "epoch":  # it is the number of finished ones
        values = {key: float(value) for key, value in message.items() if isinstance(value, int | float)}
        done, name = min(epoch * steps, total), f"epoch {epoch}"
    else:
        values = {"loss": message["loss"]}
        done, name = epoch * steps + message["step"] + 1, f"epoch {epoch + 1}"
    seconds = message.get("seconds", 0.0)
    if limit is not None and seconds / limit >= done / max(1, total):
        return Event("training", round(min(seconds, limit)), max(1, round(limit)), "s", values, name)
    if total == options.epochs * steps:  # no number of steps cuts them
        name += f" of {options.epochs}"
    return Event("training", done, total, "steps", values, name)


def diverged(failure: str) -> TrainingError:
    """The loss is not finite: to repeat the run would not help."""
    return TrainingError(f"{failure}; nothing was registered; lower training.learning_rate or check the data")


def too_late() -> TrainingError:
    """The run's deadline has passed."""
    return TrainingError("training ran past training.deadline_seconds; raise it and start the same command again")
