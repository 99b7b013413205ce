"""Registered versions as the commands name and list them.

version = resolve(context, "challenger")     # or "3", "models:/demo@champion", None for the champion
"""

from __future__ import annotations

import time

from pipeline import archive
from pipeline.errors import RegistryError
from pipeline.promotion import audit_trail
from pipeline.registry import ModelVersion

from .console import seconds_text
from .context import Context


def resolve(context: Context, model: str | None) -> ModelVersion:
    """The version to use; what is missing is named in the order in which it is made, and nothing is made here.

    Args:
        context: Configuration and registry.
        model: A version or alias of this configuration's model, NAME/VERSION or NAME@ALIAS with or without "models:/"
            before it; None: the champion.
    """
    archive.head(context.config.archive_path)
    check_registry(context)
    if model is None:
        return context.registry.resolve()
    if {"/", "@"} & set(model):
        return context.registry.resolve(f"models:/{model.removeprefix('models:/')}")
    return context.registry.resolve(f"models:/{context.config.name}{'/' if model.isdecimal() else '@'}{model}")


def check_registry(context: Context) -> None:
    """Refuse to ask a registry that is not there: asking would make it.

    Raises:
        RegistryError: There is none.
    """
    if not context.has_registry:
        raise RegistryError(_no_version(context))


def listing(context: Context) -> None:
    """The versions of the model."""
    versions = _versions(context)
    if not versions:
        context.console.line(_no_version(context))
        return
    variable = context.config.predicted[0]
    header = ("version", "aliases", "verdict", "cell", f"rmse {variable}", "skill vs persistence", "snapshot_id", "age")
    rows = [_row(version, variable) for version in versions]
    context.console.table(context.config.name, header, rows, right=(0, 4, 5))


def audit_log(context: Context) -> None:
    """Promotions, refusals and rollbacks, the oldest first."""
    entries = audit_trail(_versions(context))
    if not entries:
        context.console.line(f"no version of {context.config.name} was promoted, refused or rolled back")
        return
    header = ("when (UTC)", "version", "what", "other", "by", "why")
    rows = [
        (entry.at, str(entry.version), entry.what, "" if entry.other is None else str(entry.other), entry.by, entry.why)
        for entry in entries
    ]
    context.console.table(context.config.name, header, rows, right=(1, 3))


def _versions(context: Context) -> list[ModelVersion]:
    return context.registry.versions() if context.has_registry else []


def _no_version(context: Context) -> str:
    return f"no version of {context.config.name} is registered in {context.tracking_uri}; 'minconv train' makes one"


def _row(version: ModelVersion, variable: str) -> tuple[str, ...]:
    def metric(name: str) -> str:
        value = version.metrics.get(f"test/{name}/{variable}/mean")
        return "-" if value is None else f"{value:.4g}"

    return (
        str(version.version),
        ", ".join(version.aliases),
        version.tags.get("verdict", "-"),
        version.tags.get("cell", ""),
        metric("rmse"),
        metric("skill_persistence"),
        version.tags.get("snapshot_id", ""),
        seconds_text(time.time() - version.created_at),
    )
