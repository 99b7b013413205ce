"""What an ingest looks at: the files of a folder, or those at a URL, fetched.

What lives here: what of the configuration and of the Archive says which files these are. What does not: the disk
(`sources.files`) and the network (`sources.remote`).

    found = inputs(config, held, progress)
    found.paths, found.known, found.failed
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from pathlib import Path

from ..config import Config
from ..file_pattern import FilePattern
from ..holdings import Holdings
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
        last = _settled_until(config, state)

        def is_past(pattern: FilePattern, names: Mapping[str, str]) -> set[str]:
            ends = {} if last is None else pattern.ends(names)
            past = {name for name, until in ends.items() if last is not None and until <= last}
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


def _settled_until(config: Config, state: Holdings) -> datetime.datetime | None:
    """Files that end here need not be looked at again."""
    archived = state.archived
    if archived is None or archived["time"].dtype.kind != "M" or "sample" in archived.dims:
        return None
    last: datetime.datetime = archived["time"].values[-1].astype("datetime64[s]").item()
    return last - datetime.timedelta(hours=config.source.reopen_hours)
