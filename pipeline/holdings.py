"""What an Archive holds before an ingest, and which files made it.

What lives here: reading that off the Archive, and refusing a configuration that would make another one. What does not:
the files that are to go in (`ingest`).

    held = holdings(config)
    held.archived, held.digests      # None and nothing where there is no Archive yet
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from . import archive
from .config import Config
from .errors import ConfigError

# What an archive keeps to for good, and what those say that were made before there was such a setting.
_SELECTED: dict[str, Any] = {"region": None, "member": None, "coarsen": 1, "regrid": None, "resample": None}
_MADE: dict[str, Any] = {"derive": None, "accumulated": "start", "resample": None}


@dataclass(frozen=True)
class Holdings:
    """What the Archive holds.

    Attributes:
        archived: All of it, lazily; None where there is no Archive.
        digests: The sha256 of files all of whose values are in it.
        nan_points: For each variable, at how many points it is permanently missing by itself.
        taken: How many frames were taken of files of which more is to come, by sha256.
        together: The sets of variables that files which made it held.
        samples: First and last number of the samples of each file, and where in the Archive they start.
    """

    archived: xr.Dataset | None = None
    digests: frozenset[str] = frozenset()
    nan_points: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    samples: dict[tuple[int, int], int] = field(default_factory=dict)
    together: frozenset[frozenset[str]] = frozenset()


def holdings(config: Config) -> Holdings:
    """What the Archive of a configuration holds.

    Raises:
        ConfigError: It was made with other variables, units, boundary, member or transforms.
    """
    path = config.archive_path
    if not archive.exists(path):
        return Holdings()
    archived = archive.open_dataset(path)
    fixed = [name for name, data in archived.coords.items() if data.ndim == 2 and name != "mask"]
    units = {str(name): str(archived[name].attrs.get("units")) for name in (*archived.data_vars, *fixed)}
    wanted = {name: variable.units for name, variable in config.variables.items()}
    if units != wanted:
        there, here = (", ".join(f"{name} [{unit}]" for name, unit in each.items()) for each in (units, wanted))
        raise ConfigError(
            f"archive {path} holds {there}, but 'variables' names {here}; use another name for a new archive"
        )
    if archived.attrs.get("boundary", config.boundary) != config.boundary:
        raise ConfigError(
            f"archive {path} has the boundary {archived.attrs['boundary']!r}, but the configuration says "
            f"{config.boundary!r}; use another name for a new archive"
        )
    commits = archive.log(path)
    _check_selection(config, commits[-1])
    files = [file for commit in commits for file in commit.metadata.get("files", [])]
    return Holdings(
        archived,
        finished_files(files),
        dict(commits[-1].metadata.get("nan_points", {})),
        {file["sha256"]: file["taken"] for file in reversed(files) if file.get("taken")},
        {(file["samples"][0], file["samples"][1]): file["start"] for file in files if file.get("samples")},
        frozenset(frozenset(file.get("variables", ())) for file in files),
    )


def finished_files(files: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The sha256 of files all of whose values are in an Archive, by the notes of its commits."""
    return frozenset(file["sha256"] for file in files if file.get("complete"))


def _check_selection(config: Config, first: archive.Commit) -> None:
    """What was cut, averaged and made in one way is so for good."""
    known = first.metadata.get("config", {})
    tree = config.model_dump(mode="json")
    settings = [
        ("source", known.get("source", {}), tree["source"], _SELECTED),
        *(
            (f"variables.{name}", known.get("variables", {}).get(name, {}), tree["variables"][name], _MADE)
            for name in config.variables
        ),
    ]
    for where, there, wanted, defaults in settings:
        for key, default in defaults.items():
            if there.get(key, default) != wanted[key]:
                raise ConfigError(
                    f"archive {config.archive_path} was made with {where}.{key} {there.get(key, default)}, but the "
                    f"configuration says {wanted[key]}; use another name for a new archive"
                )
