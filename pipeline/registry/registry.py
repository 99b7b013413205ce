"""The `Registry`: runs, versions and aliases of one model in MLflow.

What lives here: every question to MLflow about a model, and every change of it. What does not: an open run (`runs`),
the form of what is stored (`flavor`), the decision which version is champion (`promotion`).

    registry = Registry("sqlite:///runs/mlflow.db", artifacts=Path("runs/mlartifacts"), experiment="demo")
    registry.find(run_name="demo-1f0c…")
    registry.set_alias("champion", 3)
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import minconv
from minconv.checkpoint import DESCRIPTION

from ..climatology import Climatology
from ..errors import RegistryError
from .connection import current, make_database, reachable
from .flavor import log_model
from .runs import Run
from .seals import CLIMATOLOGY_FILE, SEALS, check_seals, seals
from .versions import CHALLENGER, CHAMPION, ModelVersion, RegisteredModel, parse_uri

_VERSIONS_PER_CALL = 200
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_PARENT = "mlflow.parentRunId"


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
        with reachable(tracking_uri):
            import mlflow

            if tracking_uri.startswith("sqlite:///") and "?" not in tracking_uri:
                make_database(Path(tracking_uri.removeprefix("sqlite:///")))
            self._client = mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)
            self._client.search_experiments(max_results=1)

    def run(self, name: str, parameters: Mapping[str, Any], parent: Run | None = None) -> Run:
        """The MLflow run of this name: the one that exists, or a new one, shown below its parent in MLflow's pages."""
        with reachable(self.tracking_uri):
            experiment = self.experiment_id()
            found = self._client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
            tags = {} if parent is None else {_PARENT: parent.run_id}
            run = found[0] if found else self._client.create_run(experiment, run_name=name, tags=tags)
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
        sizes: tuple[int, ...],
        extra: Sequence[Path] = (),
        *,
        candidate: bool = False,
    ) -> ModelVersion:
        """Store a checkpoint as the next version: champion where there is none, else challenger.

        The version appears with all its tags in one step, after its files are stored: a kill before leaves no version.

        Args:
            run: The run that trained it.
            checkpoint: Folder written by `minconv.save`.
            tags: Lineage; the sha256 of the files in `SEALS` are added.
            sizes: Channels in, channels out, height, width and, if any, diagnostic channels out, for the signature.
            extra: Files kept beside it, e.g. ``config.yaml``.
            candidate: It is challenger even where there is no champion.
        """
        from mlflow.exceptions import MlflowException

        with reachable(self.tracking_uri), current(self.tracking_uri):
            info = log_model(run.run_id, checkpoint, sizes, extra)
            with contextlib.suppress(MlflowException):  # it exists already
                self._client.create_registered_model(self.name)
            created = self._client.create_model_version(
                self.name,
                source=info.model_uri,
                run_id=run.run_id,
                model_id=info.model_id,
                tags={**tags, **seals((*checkpoint.iterdir(), *extra))},
            )
            if candidate:
                self._client.set_registered_model_alias(self.name, CHALLENGER, str(created.version))
                return self._describe(self._client.get_model_version(self.name, str(created.version)))
            return self._give_alias(int(created.version), CHALLENGER)

    def ensure_champion(self, version: ModelVersion) -> ModelVersion:
        """Make a version champion where there is none: a kill may have come between a version and its alias."""
        with reachable(self.tracking_uri):
            return self._give_alias(version.version, None)

    def _give_alias(self, version: int, otherwise: str | None) -> ModelVersion:
        """Champion if there is none, else `otherwise`."""
        taken = CHAMPION in self._client.get_registered_model(self.name).aliases
        alias = otherwise if taken else CHAMPION
        if alias is not None:
            self._client.set_registered_model_alias(self.name, alias, str(version))
        return self._describe(self._client.get_model_version(self.name, str(version)))

    def champion(self) -> ModelVersion | None:
        """The version that is champion, if one is."""
        number = self.aliases().get(CHAMPION)
        return None if number is None else self.resolve(f"models:/{self.name}/{number}")

    def aliases(self) -> dict[str, int]:
        """The version that each alias names; empty where nothing is registered."""
        from mlflow.exceptions import MlflowException

        with reachable(self.tracking_uri):
            try:
                found = self._client.get_registered_model(self.name).aliases
            except MlflowException as error:
                if error.error_code != _MISSING:
                    raise
                return {}
        return {alias: int(version) for alias, version in found.items()}

    def set_alias(self, alias: str, version: int) -> None:
        """Let an alias name this version; it leaves the one it named before."""
        with reachable(self.tracking_uri):
            self._client.set_registered_model_alias(self.name, alias, str(version))

    def remove_alias(self, alias: str) -> None:
        """Let an alias name no version."""
        with reachable(self.tracking_uri):
            self._client.delete_registered_model_alias(self.name, alias)

    def set_tags(self, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or replace their values."""
        with reachable(self.tracking_uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, str(version), key, value)

    def describe(self, version: int, text: str) -> None:
        """The description of a version in MLflow's pages, Markdown."""
        with reachable(self.tracking_uri):
            self._client.update_model_version(self.name, str(version), text)

    def versions(self) -> list[ModelVersion]:
        """All versions of the model, newest first."""
        aliases = self.aliases()
        with reachable(self.tracking_uri):
            entries = list(self._search({}))
            metrics = self._metrics([entry.run_id for entry in entries if entry.run_id])
        return [_described(entry, aliases, metrics.get(entry.run_id, {})) for entry in entries]

    def find(self, **tags: str) -> ModelVersion | None:
        """The newest version with these tags, if there is one."""
        with reachable(self.tracking_uri):
            entry = next(self._search(tags), None)
        return None if entry is None else self.resolve(f"models:/{self.name}/{entry.version}")

    def _search(self, tags: Mapping[str, str]) -> Iterator[Any]:
        """MLflow's entries of the versions with these tags, newest first, without aliases."""
        # Quotes would end the filter's own: such a tag is compared here alone.
        asked = [f"tags.`{key}` = '{value}'" for key, value in tags.items() if not {"'", "`"} & set(key + value)]
        token = None
        while True:
            page = self._client.search_model_versions(
                " and ".join([f"name = '{self.name}'", *asked]),
                max_results=_VERSIONS_PER_CALL,
                order_by=["version_number DESC"],
                page_token=token,
            )
            yield from (entry for entry in page if all(entry.tags.get(key) == tags[key] for key in tags))
            token = page.token
            if not token:
                return

    def _metrics(self, run_ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """Newest value of each metric of these runs, by run."""
        found: dict[str, dict[str, float]] = {}
        distinct = sorted(set(run_ids))
        for first in range(0, len(distinct), _VERSIONS_PER_CALL):
            names = ", ".join(f"'{run_id}'" for run_id in distinct[first : first + _VERSIONS_PER_CALL])
            runs = self._client.search_runs(
                [self.experiment_id()], f"attributes.run_id IN ({names})", max_results=_VERSIONS_PER_CALL
            )
            found |= {run.info.run_id: dict(run.data.metrics) for run in runs}
        return found

    def resolve(self, uri: str | None = None) -> ModelVersion:
        """The version that a URI names.

        Args:
            uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or None for the champion.

        Raises:
            RegistryError: There is no such model, version or alias.
        """
        from mlflow.exceptions import MlflowException

        uri = uri or f"models:/{self.name}@{CHAMPION}"
        name, version, alias = parse_uri(uri)
        with reachable(self.tracking_uri):
            try:
                if alias is not None:
                    return self._describe(self._client.get_model_version_by_alias(name, alias))
                return self._describe(self._client.get_model_version(name, str(version)))
            except MlflowException as error:
                if error.error_code not in (_MISSING, "INVALID_PARAMETER_VALUE"):
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
        version = self.resolve(uri)
        with tempfile.TemporaryDirectory(prefix="minconv-model-") as folder:
            files = self._checked_files(version, Path(folder))
            try:
                forecaster, metadata = minconv.load(files[DESCRIPTION].parent)
            except minconv.MinconvError as error:
                raise RegistryError(f"{version.uri} cannot be loaded: {error}") from error
            normal = files.get(CLIMATOLOGY_FILE)
            climatology = None if normal is None else Climatology.load(normal)
        forecaster.eval()
        return RegisteredModel(version, forecaster, metadata, climatology)

    def check(self, version: ModelVersion) -> None:
        """Compare the stored files of a version with its seals; nothing of them is run.

        Raises:
            RegistryError: One is not the file that was registered.
        """
        with tempfile.TemporaryDirectory(prefix="minconv-model-") as folder:
            self._checked_files(version, Path(folder))

    def _checked_files(self, version: ModelVersion, folder: Path) -> dict[str, Path]:
        """Fetch a version into a folder; its sealed files by name."""
        import mlflow

        with reachable(self.tracking_uri), current(self.tracking_uri):
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.uri, dst_path=str(folder)))
        files = {file.name: file for file in path.rglob("*") if file.name in SEALS}
        check_seals(version, files)
        return files

    def experiment_id(self) -> str:
        """The MLflow experiment of this model's runs; made where there is none."""
        found = self._client.get_experiment_by_name(self.name)
        if found is not None:
            return str(found.experiment_id)
        location = self._artifacts.resolve().as_uri() if self._artifacts is not None else None
        # So that MLflow's pages are those of models, not of language models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(self.name, artifact_location=location, tags=kind))

    def _describe(self, entry: Any) -> ModelVersion:
        """An entry that was looked up by itself, which has its aliases."""
        metrics = self._client.get_run(entry.run_id).data.metrics if entry.run_id else {}
        return _described(entry, dict.fromkeys(entry.aliases, int(entry.version)), metrics)


def _described(entry: Any, aliases: Mapping[str, int], metrics: Mapping[str, float]) -> ModelVersion:
    return ModelVersion(
        name=entry.name,
        version=int(entry.version),
        run_id=entry.run_id or "",
        aliases=tuple(sorted(alias for alias, number in aliases.items() if number == int(entry.version))),
        tags=dict(entry.tags),
        created_at=entry.creation_timestamp / 1000,
        metrics=dict(metrics),
    )
