"""What an ingest looks at: the files of a folder, or those at a URL, fetched.

What lives here: what of the configuration and of the Archive says which files these are. What does not: the disk
(`sources.files`) and the network (`sources.remote`).

    found = inputs(config, held, progress)
    found.paths, found.known, found.failed
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..file_pattern import FilePattern
from ..holdings import Holdings
from ..presence import present
from ..progress import Event, Progress
from ..sources import Fetched, discard, fetch, find


def inputs(config: Config, state: Holdings, progress: Progress, only: Collection[Path] | None = None) -> Fetched:
    """The files of the configuration, of which `only` these (absolute) are wanted; None: all.

    Raises:
        SourceError: As in `find` and `fetch`.
    """
    folder, url = config.source_path, config.source.url
    if url is None:
        found = Fetched(find(folder, config.source.files))
    else:
        known = settled_until(config, state)

        def is_past(pattern: FilePattern, names: Mapping[str, str]) -> set[str]:
            past = set() if known is None else pattern.past(names, known.last, known.missing)
            return past | {name for name in names if not _wanted(folder / name, only)}

        def tell(name: str) -> None:
            progress(Event("ingest", 0, 0, "files", message=f"fetching {name}"))

        found = fetch(url, folder, config.source.files, state.digests, is_past, tell)
    return Fetched(
        [path for path in found.paths if _wanted(path, only)],
        [path for path in found.known if _wanted(path, only)],
        found.failed,
    )


def release(config: Config, digests: Mapping[Path, str], archived: Collection[str]) -> None:
    """Fetched files that are in the Archive as a whole need no longer be here; files of a folder stay."""
    if config.source.url is not None:
        discard(config.source_path, digests, archived)


def _wanted(path: Path, only: Collection[Path] | None) -> bool:
    return only is None or path.absolute() in only


@dataclass(frozen=True)
class Known:
    """Times that need not be looked at again: all up to `last` but those that are `missing`, in ascending order."""

    last: datetime.datetime
    missing: tuple[datetime.datetime, ...]


def settled_until(config: Config, state: Holdings) -> Known | None:
    """The times that the Archive has for good; None where it has none, or where its times are no dates."""
    archived = state.archived
    if archived is None or archived["time"].dtype.kind != "M" or "sample" in archived.dims:
        return None
    times = archived["time"].values.astype("datetime64[s]")
    reopen = datetime.timedelta(hours=config.source.reopen_hours)
    return Known(times[-1].item() - reopen, tuple(times[~present(archived)].tolist()))
