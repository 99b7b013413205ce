"""Seals: the sha256 of the files that decide a forecast, kept as tags of their version.

What lives here: which files those are, making seals and checking them. What does not: fetching the files (`registry`).

    tags = seals([checkpoint / "weights.safetensors"])     # {"sha256": "9f86…"}
    check_seals(version, {"weights.safetensors": path})
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from minconv.checkpoint import DESCRIPTION, WEIGHTS

from ..errors import RegistryError
from .versions import ModelVersion

CLIMATOLOGY_FILE = "climatology.npz"  # beside the checkpoint of a model of anomalies
# The files that decide a forecast, and the tags of a version that keep their sha256.
SEALS = {WEIGHTS: "sha256", DESCRIPTION: "sha256_description", CLIMATOLOGY_FILE: "sha256_climatology"}


def seals(files: Iterable[Path]) -> dict[str, str]:
    """Tag and sha256 of each file that decides a forecast."""
    found = {}
    for file in files:
        if file.name in SEALS:
            with file.open("rb") as stream:
                found[SEALS[file.name]] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def check_seals(version: ModelVersion, files: Mapping[str, Path]) -> None:
    """Compare stored files, by name, with what was registered.

    Raises:
        RegistryError: A file differs, is missing, was not registered, or there are no weights.
    """
    found = seals(files.values())
    for name, tag in SEALS.items():
        if found.get(tag) != version.tags.get(tag):
            raise RegistryError(
                f"{version.uri}: the stored {name} is not the registered one (sha256 differs, or one is missing); "
                "train again"
            )
    if WEIGHTS not in files:
        raise RegistryError(f"{version.uri} holds no minconv checkpoint; register one with 'minconv train'")
