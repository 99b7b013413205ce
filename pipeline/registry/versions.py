"""What is known about a registered version, and how one is named.

What lives here: the values, the aliases, the form of a URI. What does not: looking versions up (`registry`).

    parse_uri("models:/demo@champion")     # ("demo", None, "champion")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import minconv

from ..climatology import Climatology
from ..errors import RegistryError

CHAMPION, CHALLENGER, PREVIOUS_CHAMPION = "champion", "challenger", "previous_champion"


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


def parse_uri(uri: str) -> tuple[str, int | None, str | None]:
    """Name, version and alias of a models URI.

    Raises:
        RegistryError: It has another form.
    """
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
