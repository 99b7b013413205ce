"""Runs and model versions in MLflow. The only other file that imports it is `pyfunc_model`.

What lives here: the run of a training, the registered version with its lineage, loading a version after its sha256 is
checked. What does not: who becomes champion after the first (that is a verdict, made elsewhere).

    registry = Registry("sqlite:///runs/mlflow.db", artifacts=Path("runs/mlartifacts"), experiment="demo")
    run = registry.run("demo-1f0c…", parameters={"model.cell": "minconvgru"})
    run.log_metrics({"train/loss": 0.4}, step=1)
    version = registry.register(run, checkpoint, tags={"snapshot_id": "…"})
    model = registry.load("models:/demo@champion")
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minconv
from minconv.checkpoint import DESCRIPTION, WEIGHTS

from .climatology import Climatology
from .errors import RegistryError

CHAMPION, CHALLENGER = "champion", "challenger"
CLIMATOLOGY_FILE = "climatology.npz"  # beside the checkpoint of a model of anomalies
# The files that decide a forecast, and the tags of a version that keep their sha256.
SEALS = {WEIGHTS: "sha256", DESCRIPTION: "sha256_description", CLIMATOLOGY_FILE: "sha256_climatology"}
_METRICS_PER_CALL = 1000


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model.

    Attributes:
        name: Registered model.
        version: Its number, from 1.
        run_id: MLflow run that trained it.
        aliases: E.g. ``("champion",)``.
        tags: Lineage: snapshot_id, config_hash, sha256 of the weights, ….
        created_at: Seconds since 1970.
        metrics: Newest value of each metric of its run.
    """

    name: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: float
    metrics: Mapping[str, float]

    @property
    def uri(self) -> str:
        """``models:/NAME/VERSION``."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class RegisteredModel:
    """A version, loaded: the Forecaster on the CPU in evaluation mode, and what is known about it."""

    version: ModelVersion
    forecaster: minconv.Forecaster
    metadata: Mapping[str, Any]
    climatology: Climatology | None


class Registry:
    """A connection to MLflow.

    Args:
        tracking_uri: ``sqlite:///FILE`` or a server's URL.
        artifacts: Folder of the artifacts; None leaves that to the server.
        experiment: MLflow experiment, and name of the registered model.

    Raises:
        RegistryError: It cannot be reached.
    """

    def __init__(self, tracking_uri: str, artifacts: Path | None, experiment: str) -> None:
        self.tracking_uri, self.name = tracking_uri, experiment
        self._artifacts = artifacts
        with _reachable(tracking_uri):
            import mlflow

            if tracking_uri.startswith("sqlite:///"):
                Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self._client = mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)
            self._client.search_experiments(max_results=1)

    def run(self, name: str, parameters: Mapping[str, Any]) -> Run:
        """The MLflow run of this name: the one that exists, or a new one."""
        with _reachable(self.tracking_uri):
            experiment = self._experiment_id()
            found = self._client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
            run = found[0] if found else self._client.create_run(experiment, run_name=name)
            self._client.update_run(run.info.run_id, status="RUNNING")
            if not run.data.params:  # a run keeps those it was started with
                from mlflow.entities import Param

                params = [Param(key, str(value)[:6000]) for key, value in parameters.items()]
                for first in range(0, len(params), 100):
                    self._client.log_batch(run.info.run_id, params=params[first : first + 100])
        return Run(self._client, run.info.run_id, self.tracking_uri)

    def open_run(self, run_id: str) -> Run:
        """A run by its id."""
        return Run(self._client, run_id, self.tracking_uri)

    def register(
        self,
        run: Run,
        checkpoint: Path,
        tags: Mapping[str, str],
        sizes: tuple[int, int, int, int],
        extra: Sequence[Path] = (),
    ) -> ModelVersion:
        """Store a checkpoint as the next version: champion where there is none, else challenger.

        The version appears with all its tags in one step, after its files are stored: a kill before leaves no version.

        Args:
            run: The run that trained it.
            checkpoint: Folder written by `minconv.save`.
            tags: Lineage; the sha256 of the files in `SEALS` are added.
            sizes: Channels in, channels out, height, width, for the signature.
            extra: Files kept beside it, e.g. ``config.yaml``.
        """
        import mlflow
        from mlflow.exceptions import MlflowException

        with _reachable(self.tracking_uri), _current(self.tracking_uri):
            with mlflow.start_run(run_id=run.run_id, log_system_metrics=False), warnings.catch_warnings():
                # An example would be the size of the grid, as text; the signature says what the input is.
                warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
                info = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                    artifacts={"checkpoint": str(checkpoint), **{path.stem: str(path) for path in extra}},
                    signature=_signature(*sizes),
                    pip_requirements=["minconv-pipeline"],
                )
            with contextlib.suppress(MlflowException):  # it exists already
                self._client.create_registered_model(self.name)
            created = self._client.create_model_version(
                self.name,
                source=info.model_uri,
                run_id=run.run_id,
                model_id=info.model_id,
                tags={**tags, **_seals((*checkpoint.iterdir(), *extra))},
            )
            return self._give_alias(int(created.version), CHALLENGER)

    def ensure_champion(self, version: ModelVersion) -> ModelVersion:
        """Make a version champion where there is none: a kill may have come between a version and its alias."""
        with _reachable(self.tracking_uri):
            return self._give_alias(version.version, None)

    def _give_alias(self, version: int, otherwise: str | None) -> ModelVersion:
        """Champion if there is none, else `otherwise`."""
        taken = CHAMPION in self._client.get_registered_model(self.name).aliases
        alias = otherwise if taken else CHAMPION
        if alias is not None:
            self._client.set_registered_model_alias(self.name, alias, str(version))
        return self._describe(self._client.get_model_version(self.name, str(version)))

    def versions(self) -> list[ModelVersion]:
        """All versions of the model, newest first."""
        with _reachable(self.tracking_uri):
            found = self._client.search_model_versions(f"name = '{self.name}'", max_results=1000)
            # A search leaves aliases out; the single look-up has them.
            full = [self._client.get_model_version(self.name, entry.version) for entry in found]
            return sorted((self._describe(entry) for entry in full), key=lambda v: v.version, reverse=True)

    def find(self, **tags: str) -> ModelVersion | None:
        """The newest version with these tags, if there is one."""
        return next((v for v in self.versions() if all(v.tags.get(k) == value for k, value in tags.items())), None)

    def resolve(self, uri: str | None = None) -> ModelVersion:
        """The version that a URI names.

        Args:
            uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or None for the champion.

        Raises:
            RegistryError: There is no such model, version or alias.
        """
        from mlflow.exceptions import MlflowException

        uri = uri or f"models:/{self.name}@{CHAMPION}"
        name, version, alias = _parse(uri)
        with _reachable(self.tracking_uri):
            try:
                if alias is not None:
                    return self._describe(self._client.get_model_version_by_alias(name, alias))
                return self._describe(self._client.get_model_version(name, str(version)))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
            except OverflowError:  # a number that no database holds
                pass
        known = ", ".join(f"{self.name}/{v.version}" for v in self.versions()[:5]) or "none yet"
        raise RegistryError(
            f"there is no model {uri} in {self.tracking_uri} (versions of {self.name}: {known}); "
            "train one, or name one that 'minconv models' lists"
        )

    def load(self, uri: str | None = None) -> RegisteredModel:
        """Load a version for forecasting.

        Raises:
            RegistryError: There is no such version, or one of its files is not the one that was registered.
        """
        import mlflow

        version = self.resolve(uri)
        with tempfile.TemporaryDirectory(prefix="minconv-model-") as folder:
            with _reachable(self.tracking_uri), _current(self.tracking_uri):
                path = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.uri, dst_path=folder))
            files = {file.name: file for file in path.rglob("*") if file.name in SEALS}
            _check_seals(version, files)
            try:
                forecaster, metadata = minconv.load(files[DESCRIPTION].parent)
            except minconv.MinconvError as error:
                raise RegistryError(f"{version.uri} cannot be loaded: {error}") from error
            normal = files.get(CLIMATOLOGY_FILE)
            climatology = None if normal is None else Climatology.load(normal)
        forecaster.eval()
        return RegisteredModel(version, forecaster, metadata, climatology)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.name)
        if found is not None:
            return str(found.experiment_id)
        location = self._artifacts.resolve().as_uri() if self._artifacts is not None else None
        return str(self._client.create_experiment(self.name, artifact_location=location))

    def _describe(self, entry: Any) -> ModelVersion:
        metrics = self._client.get_run(entry.run_id).data.metrics if entry.run_id else {}
        return ModelVersion(
            name=entry.name,
            version=int(entry.version),
            run_id=entry.run_id or "",
            aliases=tuple(sorted(entry.aliases)),
            tags=dict(entry.tags),
            created_at=entry.creation_timestamp / 1000,
            metrics=dict(metrics),
        )


class Run:
    """One MLflow run, open for logging."""

    def __init__(self, client: Any, run_id: str, tracking_uri: str) -> None:
        self._client, self.run_id, self._tracking_uri = client, run_id, tracking_uri

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers under readable names, e.g. ``test/rmse/t2m/06h``; ones that are not finite are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items() if math.isfinite(value)]
        with _reachable(self._tracking_uri):
            for first in range(0, len(metrics), _METRICS_PER_CALL):
                self._client.log_batch(self.run_id, metrics=metrics[first : first + _METRICS_PER_CALL])

    def log_input(self, name: str, snapshot_id: str, source: Mapping[str, Any], context: str) -> None:
        """The dataset of the run: a version of an Archive."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name, digest=snapshot_id, source_type="icechunk", source=json.dumps(dict(source), default=str)
        )
        with _reachable(self._tracking_uri):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_file(self, path: Path, folder: str = "") -> None:
        """A file, e.g. a figure."""
        with _reachable(self._tracking_uri):
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run."""
        with _reachable(self._tracking_uri):
            for key, value in tags.items():
                self._client.set_tag(self.run_id, key, value)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        with _reachable(self._tracking_uri):
            self._client.set_terminated(self.run_id, status)


class EpochLog:
    """Sends a training's records to its run as they come; what MLflow did not take is sent at the end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._sent: set[int] = set()

    def add(self, record: Mapping[str, float]) -> None:
        """Log the record of one epoch; an MLflow that is down does not stop the training."""
        with contextlib.suppress(RegistryError):
            self._send(record)

    def complete(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs that are still missing.

        Raises:
            RegistryError: MLflow is down; the training's checkpoint has the history.
        """
        for record in history:
            if int(record["epoch"]) not in self._sent:
                self._send(record)

    def _send(self, record: Mapping[str, Any]) -> None:
        epoch = int(record["epoch"])
        values = {f"training/{key}": float(value) for key, value in record.items() if key != "epoch"}
        self._run.log_metrics(values, step=epoch)
        self._sent.add(epoch)


def _parse(uri: str) -> tuple[str, int | None, str | None]:
    """Name, version and alias of a models URI."""
    body = uri.removeprefix("models:/")
    name, at, alias = body.partition("@")
    if uri != body and at and name and alias:
        return name, None, alias
    name, _, number = body.partition("/")
    if uri != body and name and number.isdecimal():
        return name, int(number), None
    raise RegistryError(
        f"model {uri!r} must have the form models:/NAME@ALIAS or models:/NAME/VERSION, e.g. models:/demo@champion"
    )


def _seals(files: Iterable[Path]) -> dict[str, str]:
    """Tag and sha256 of each file that decides a forecast."""
    seals = {}
    for file in files:
        if file.name in SEALS:
            with file.open("rb") as stream:
                seals[SEALS[file.name]] = hashlib.file_digest(stream, "sha256").hexdigest()
    return seals


def _check_seals(version: ModelVersion, files: Mapping[str, Path]) -> None:
    found = _seals(files.values())
    for name, tag in SEALS.items():
        if found.get(tag) != version.tags.get(tag):
            raise RegistryError(
                f"{version.uri}: the stored {name} is not the registered one (sha256 differs, or one is missing); "
                "train again"
            )
    if WEIGHTS not in files:
        raise RegistryError(f"{version.uri} holds no minconv checkpoint; register one with 'minconv train'")


def _signature(channels_in: int, channels_out: int, height: int, width: int) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    frames = np.dtype(np.float32)
    forcings = channels_in - channels_out
    inputs = [TensorSpec(frames, (-1, -1, channels_in, height, width), "history")]
    if forcings:
        inputs.append(TensorSpec(frames, (-1, -1, forcings, height, width), "forcing"))
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema([TensorSpec(frames, (-1, -1, channels_out, height, width))]),
        params=ParamSchema([ParamSpec("steps", "long", 1)]),
    )


@contextlib.contextmanager
def _reachable(tracking_uri: str) -> Iterator[None]:
    """Turn MLflow's, SQLAlchemy's and the network's errors into one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise RegistryError(
            f"MLflow at {tracking_uri} failed ({reason}); check MLFLOW_TRACKING_URI and disk space"
        ) from error


@contextlib.contextmanager
def _current(tracking_uri: str) -> Iterator[None]:
    """Make this server the one that MLflow's module-level functions speak to, for the body only.

    MLflow keeps that setting in the environment too, where the next configuration of this process would find it.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
