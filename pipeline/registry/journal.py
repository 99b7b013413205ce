"""What a training has to tell MLflow, in a file before it goes anywhere: one line for each epoch, added whole.

What lives here: the file. What does not: sending it (`tracking`).

    journal = Journal(folder / "metrics.jsonl")
    journal.add({"epoch": 3, "train_loss": 0.4})
    journal.entries[-1].values     # {"training/train_loss": 0.4}

An epoch has one line for good, with the time at which it was added. So it may be sent as often as it takes: MLflow's
database keeps a number once by run, name, step, time and value. An epoch that is trained again, because a kill came
between this file and the checkpoint, is known already.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """The numbers of one epoch.

    Attributes:
        epoch: From 1.
        at: When it was added, in milliseconds since 1970.
        values: By the name of the metric; finite ones only.
    """

    epoch: int
    at: int
    values: Mapping[str, float]


class Journal:
    """The file of one run; what is in it already is taken over, but for a last line that a kill tore."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.registered: str | None = None
        self._epochs: set[int] = set()
        self._length = 0  # bytes of whole lines
        if path.is_file():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                self._take(json.loads(line))
                self._length += len(line)

    def add(self, record: Mapping[str, Any]) -> None:
        """Write down the numbers of an epoch, unless they are there."""
        if int(record["epoch"]) in self._epochs:
            return
        values = {f"training/{key}": float(value) for key, value in record.items() if key != "epoch"}
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        self._write({"epoch": int(record["epoch"]), "at": int(time.time() * 1000), "values": finite})

    def close(self, version: str) -> None:
        """Write down that the result of the training is registered, as ``models:/NAME/VERSION``."""
        if self.registered != version:
            self._write({"registered": version})

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(self._length)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._length += len(data)
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "registered" in line:
            self.registered = str(line["registered"])
        else:
            self.entries.append(Entry(line["epoch"], line["at"], line["values"]))
            self._epochs.add(line["epoch"])
