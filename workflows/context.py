"""What every command starts from: the configuration, the console, and what the environment says.

The only room here that reads environment variables: MLFLOW_TRACKING_URI (an MLflow server instead of the SQLite file)
and RAY_AUTH_TOKEN_PATH (the token of a Ray cluster that is named with --address).
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.cluster import Cluster, RayExecutor, check_shared, connect, dask_cluster, dask_processes
from pipeline.config import Config, read_config
from pipeline.errors import ConfigError
from pipeline.executor import IN_PROCESS, DaskScheduler, Executor
from pipeline.registry import Registry

from .console import Console

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Context:
    """One invocation of a command.

    Attributes:
        config: The configuration, with absolute paths.
        console: Where to show things.
        address: A running Ray cluster; None starts a private one.
        ray: The connection to it, while there is one.
    """

    config: Config
    console: Console
    address: str | None = None
    ray: Cluster | None = None

    @property
    def tracking_uri(self) -> str:
        """Where MLflow's records lie."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{self.config.root / 'mlflow.db'}"

    @property
    def promotion_lock(self) -> Path:
        """File that all who change a champion of this registry share."""
        return self.config.root / "promotion.lock"

    @property
    def has_registry(self) -> bool:
        """Whether there is a registry to read: a file that is not there would be made by asking."""
        return not self.tracking_uri.startswith(_SQLITE) or Path(self.tracking_uri.removeprefix(_SQLITE)).is_file()

    @contextmanager
    def connected(self) -> Iterator[Cluster]:
        """Ray; what is connected already stays so.

        Raises:
            ClusterError: It cannot be started or reached, or its nodes do not see the files.
        """
        if self.ray is not None:
            yield self.ray
            return
        with connect(self.address, ray_token()) as ray:
            if self.address is not None:
                source, by_nodes = self.config.source_path, self.config.compute.dask == "ray"
                check_shared(ray, self.config.work_dir, [source] if by_nodes and source.exists() else [])
            yield ray

    @contextmanager
    def workers(self) -> Iterator[Context]:
        """A context that is connected to where its training runs: to Ray, unless that is this process."""
        if self.config.training.workers == 0:
            yield self
            return
        with self.connected() as ray:
            yield replace(self, ray=ray)

    @contextmanager
    def executor(self, on_ray: bool) -> Iterator[Executor]:
        """Where a stage does its work: in this process, or in as many on Ray as the training has workers."""
        if not on_ray:
            yield IN_PROCESS
            return
        with self.connected() as ray:
            workers = self.config.training.most_workers
            yield RayExecutor(ray, workers, self.config.training.threads or ray.threads_for(workers))

    @contextmanager
    def dask(self) -> Iterator[DaskScheduler]:
        """What Dask computes with, as `compute.dask` says."""
        compute = self.config.compute
        if compute.dask in ("threads", "ray"):
            with self.executor(on_ray=compute.dask == "ray") as executor:
                yield executor.dask
        elif compute.dask == "processes":
            with dask_processes(compute.processes) as scheduler:
                yield scheduler
        else:
            with dask_cluster(compute.dask, [self.config.source_path]) as scheduler:
                yield scheduler

    @contextmanager
    def joined(self) -> Iterator[Context]:
        """A context whose stages share one connection to the cluster at `address`; without one, each starts its own."""
        if self.address is None:
            yield self
            return
        with self.connected() as ray:
            yield replace(self, ray=ray)

    @cached_property
    def registry(self) -> Registry:
        """The model registry; connecting takes seconds, so it is done when first needed."""
        local = self.tracking_uri.startswith("sqlite:")
        artifacts = self.config.root / "mlartifacts" if local else None
        return Registry(self.tracking_uri, artifacts, self.config.name)


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(
        path.name.removesuffix(".yaml") for path in files("workflows.configs").iterdir() if path.name.endswith(".yaml")
    )


def load_config(name: str, overrides: Sequence[str] = (), data: Path | str | None = None) -> Config:
    """Read a configuration by path or by the name of a shipped one; relative paths count from the working directory.

    Args:
        name: ``my.yaml`` or ``demo``.
        overrides: ``section.key=value`` each.
        data: Folder of input files, or its URL, in place of `source.path` or of what `generate` makes.

    Raises:
        ConfigError: There is no such configuration, or it is not valid.
    """
    settings = list(overrides)
    if data is not None:
        # JSON is YAML, whatever characters the path has
        settings += ["generate=null", f"source.path={json.dumps(str(data), ensure_ascii=False)}"]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or (path.exists() and not path.is_dir()):  # /dev/stdin is no file
        config = read_config(path, settings)
    elif name in shipped_configs():
        with as_file(files("workflows.configs") / f"{name}.yaml") as shipped:
            config = read_config(shipped, settings)
    else:
        raise ConfigError(
            f"there is no configuration {name!r}: give the path of a YAML file or one of {', '.join(shipped_configs())}"
        )
    source = config.source
    if isinstance(source.path, Path):
        source = source.model_copy(update={"path": source.path.expanduser().absolute()})
    return config.model_copy(update={"root": config.root.expanduser().absolute(), "source": source})


def ray_token() -> Path | None:
    """Token file of a running cluster; None: Ray's default place, or the environment holds the token itself."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(path) if path else None


def job_variables() -> dict[str, str]:
    """What a job on a cluster takes over from our environment.

    Raises:
        ConfigError: There is a password in it, which a cluster would show to everyone who may look at its jobs.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return {}
    if urlsplit(uri).password is not None:
        raise ConfigError(
            "MLFLOW_TRACKING_URI holds a password, which must not travel with a job; set it in the environment of the "
            "cluster's nodes instead, and unset it here"
        )
    return {"MLFLOW_TRACKING_URI": uri}


def quiet_libraries() -> None:
    """Keep other people's log lines and deprecations off the screen; ours are errors, warnings and results only."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    # Not even errors: they come with a traceback, and again as the exception that we turn into a sentence. By variable,
    # because MLflow sets its loggers up anew when imported.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    # A server that is down or hangs is reported, not waited for.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for name in ("mlflow", "alembic", "ray", "distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
