"""The MLflow run of a training: numbers, files and tags go there while it lasts.

What lives here: an open run. What does not: finding or making a run (`registry`), the epochs of a training, which
MLflow may miss for a while (`tracking`).

    run = registry.run("demo-1f0c…", parameters={"model.cell": "minconvgru"})
    run.log_metrics({"test/rmse/t2m/06h": 0.8})
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .connection import reachable
from .journal import Entry

_METRICS_PER_CALL = 1000


class Run:
    """One MLflow run, open for logging."""

    def __init__(self, client: Any, run_id: str, tracking_uri: str) -> None:
        self._client, self.run_id, self._tracking_uri = client, run_id, tracking_uri

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers under readable names, e.g. ``test/rmse/t2m/06h``; ones that are not finite are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items() if math.isfinite(value)]
        self._log(metrics)

    def log_series(self, values: Mapping[str, Sequence[float]]) -> None:
        """Curves: each name's numbers at steps 1, 2, …; ones that are not finite are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, step)
            for name, series in values.items()
            for step, value in enumerate(series, start=1)
            if math.isfinite(value)
        ]
        self._log(metrics)

    def log_entries(self, entries: Sequence[Entry]) -> None:
        """What a journal holds; sent again, the numbers are those that are there already."""
        from mlflow.entities import Metric

        self._log([Metric(key, value, one.at, one.epoch) for one in entries for key, value in one.values.items()])

    def log_input(self, name: str, snapshot_id: str, source: Mapping[str, Any], context: str) -> None:
        """The dataset of the run: a version of an Archive."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name, digest=snapshot_id, source_type="icechunk", source=json.dumps(dict(source), default=str)
        )
        with reachable(self._tracking_uri):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_file(self, path: Path, folder: str = "") -> None:
        """A file, e.g. a figure."""
        with reachable(self._tracking_uri):
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run."""
        with reachable(self._tracking_uri):
            for key, value in tags.items():
                self._client.set_tag(self.run_id, key, value)

    def describe(self, text: str) -> None:
        """The description of the run in MLflow's pages, Markdown."""
        self.set_tags({"mlflow.note.content": text})

    def _log(self, metrics: Sequence[Any]) -> None:
        with reachable(self._tracking_uri):
            for first in range(0, len(metrics), _METRICS_PER_CALL):
                self._client.log_batch(self.run_id, metrics=metrics[first : first + _METRICS_PER_CALL])

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        with reachable(self._tracking_uri):
            self._client.set_terminated(self.run_id, status)
