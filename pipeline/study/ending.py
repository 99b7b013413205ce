"""How a trial of a search ended, as one file that is there when it is true: such a trial is not run again.

Ending("stopped", "by successive halving after epoch 3", history).write(folder)
Ending.read(folder)          # None while it is not ended
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..durable_file import write_text

ENDING = "ending.json"
Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Ending:
    """The end of one trial.

    Attributes:
        status: ``finished``: trained as long as the configuration says; ``stopped``: others of its age were better;
            ``failed``: its loss was not finite, or memory did not suffice.
        reason: In words.
        history: The record of each finished epoch.
    """

    status: Status
    reason: str
    history: tuple[dict[str, Any], ...]

    @property
    def error(self) -> float:
        """Lowest validation error, in standard deviations; infinite where it failed."""
        if self.status == "failed":
            return math.inf
        return min((float(record["validation_loss"]) for record in self.history), default=math.inf)

    def write(self, folder: Path) -> None:
        """Keep it. Weights of a trial that did not finish are of no use, and are removed after that."""
        write_text(folder / ENDING, json.dumps(asdict(self), indent=1))
        if self.status != "finished":
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)

    @classmethod
    def read(cls, folder: Path) -> Ending | None:
        """What `write` kept in a folder; None: nothing yet."""
        if not (folder / ENDING).is_file():
            return None
        tree = json.loads((folder / ENDING).read_text(encoding="utf-8"))
        return cls(tree["status"], tree["reason"], tuple(tree["history"]))
