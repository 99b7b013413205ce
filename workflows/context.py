"""What every command starts from: the configuration, the console, and what the environment says.

The only room that reads environment variables: MLFLOW_TRACKING_URI (an MLflow server instead of the SQLite file) and
RAY_AUTH_TOKEN_PATH (the token of a Ray cluster that is joined with --address).
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

from pipeline.config import Config, read_config
from pipeline.errors import ConfigError
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
    """

    config: Config
    console: Console
    address: str | None = None

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

    @property
    def ray_token(self) -> Path | None:
        """Token file of the cluster at `address`."""
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        return Path(path) if path else None

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


def load_config(name: str, overrides: Sequence[str] = (), data: Path | None = None) -> Config:
    """Read a configuration by path or by the name of a shipped one; relative paths count from the working directory.

    Args:
        name: ``my.yaml`` or ``demo``.
        overrides: ``section.key=value`` each.
        data: Folder of input files, in place of `source.path` or of what `generate` makes.

    Raises:
        ConfigError: There is no such configuration, or it is not valid.
    """
    settings = list(overrides)
    if data is not None:
        # JSON is YAML, whatever characters the path has
        settings += ["generate=null", f"source.path={json.dumps(str(data), ensure_ascii=False)}"]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        config = read_config(path, settings)
    elif name in shipped_configs():
        with as_file(files("workflows.configs") / f"{name}.yaml") as shipped:
            config = read_config(shipped, settings)
    else:
        raise ConfigError(
            f"there is no configuration {name!r}: give the path of a YAML file or one of {', '.join(shipped_configs())}"
        )
    source = config.source
    if source.path is not None:
        source = source.model_copy(update={"path": source.path.expanduser().absolute()})
    return config.model_copy(update={"root": config.root.expanduser().absolute(), "source": source})


def quiet_libraries() -> None:
    """Keep other people's log lines and deprecations off the screen; ours are errors, warnings and results only."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    # Not even errors: they come with a traceback, and again as the exception that we turn into a sentence. By variable,
    # because MLflow sets its loggers up anew when imported.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is down is reported, not waited for
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for name in ("mlflow", "alembic", "ray", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
