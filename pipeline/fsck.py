"""All that a pipeline keeps below its folder, looked at after a crash: one `Finding` per kind of thing, and per damage.

What lives here: what is looked at, what counts as damage, what to do about it. What does not: the checks themselves
(`archive.verify`, `training.checkpoints`, `Registry.check`, `Ledger.damage`), the machine (`health`), a configuration
and its input (`preflight`), the look of it (`workflows`).

    for finding in examine(config, registry, ledger=config.work_dir / "nights.db", repair=False):
        finding.name, finding.state, finding.found, finding.advice

Broken is what a later command would stumble over; a note is what does no harm. `repair` sweeps up what killed writers
left, as the next write would, and touches nothing else: whatever is damaged stays where it is for a person to judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from . import archive, quarantine
from .config import Config
from .durable_file import partials, remove_partials
from .errors import ArchiveError, LedgerError, PipelineError, RegistryError
from .health import Finding, State
from .ledger import Ledger
from .progress import Event, Progress, silent
from .registry import CHAMPION, ModelVersion, Registry
from .scorecard import Scorecard
from .training import checkpoints

SHOWN = 10  # damaged chunks that are named; the rest are counted
_BACKUP = "put back its files from a backup, or move the archive away and ingest its files again"


def examine(
    config: Config, registry: Registry | None, ledger: Path, repair: bool = False, progress: Progress = silent
) -> Iterator[Finding]:
    """Look at everything, the Archive first; what is not there yet is fine.

    Args:
        config: With absolute paths.
        registry: None: there is none yet.
        ledger: The file of the ledger of nights.
        repair: Sweep up what killed writers left.
        progress: Told about chunks and versions.
    """
    if config.work_dir.is_dir():
        yield from leftovers(config, repair)
    yield from archived(config.archive_path, progress)
    yield from entries(config.quarantine_path)
    yield from files("ingest reports", _found(config.ingests_path, "*.json"), _report, "note")
    yield from files("scorecards", _found(config.work_dir / "scorecards", "*.json"), _scorecard, "broken")
    made = _found(config.work_dir, "forecasts/*.nc", "nights/*/forecast.nc")
    yield from files("forecasts", made, _forecast, "broken")
    folders = [path.parent for path in _found(config.work_dir / "training", f"*/*/{checkpoints.MANIFEST}")]
    torn = [path for path in _found(config.work_dir / "training", "*/checkpoint-*") if path.is_dir()]
    yield from files("checkpoints", sorted({*folders, *torn}), checkpoints.verify, "note")
    yield from registered(config.archive_path, registry, progress)
    yield from nights(ledger, config.name)


def leftovers(config: Config, repair: bool) -> Iterator[Finding]:
    """What killed writers left: told, or swept up. The lock is free again as soon as its holder is dead."""
    path, folders = config.archive_path, (config.quarantine_path, config.ingests_path)
    try:
        with archive.lock(path, 0):
            found = archive.leftovers(path, remove=repair)
            half = [one for folder in folders for one in (remove_partials if repair else partials)(folder)]
    except ArchiveError as error:
        yield Finding("leftovers", "note", f"not looked for: {error}", "run 'minconv fsck' again when nobody writes")
        return
    parts = [
        *["the marker of a write that did not end"] * found.unfinished,
        *[f"{found.files} files that no version needs ({found.bytes / 1e6:.1f} MB)"] * bool(found.files),
        *[str(folder) for folder in (*found.beside, *half)],
    ]
    if not parts:
        yield Finding("leftovers", "ok", "none")
    elif repair:
        yield Finding("leftovers", "ok", f"swept up: {', '.join(parts)}")
    else:
        advice = "they do no harm; the next ingest, or 'minconv fsck --repair', sweeps them up"
        yield Finding("leftovers", "note", ", ".join(parts), advice)


def archived(path: Path, progress: Progress = silent) -> Iterator[Finding]:
    """The Archive opens, and every chunk of its newest version is what was committed."""
    try:
        if not archive.exists(path) and not (path.exists() and any(path.iterdir())):
            yield Finding("archive", "ok", "none yet")
            return
        commits = archive.log(path)
        found = archive.verify(path, progress=progress)
    except PipelineError as error:
        yield Finding("archive", "broken", str(error), _BACKUP)
        return
    for damage in found.damaged[:SHOWN]:
        yield Finding("archive", "broken", str(damage), _BACKUP)
    if found.damaged:
        told = f"{len(found.damaged)} of {found.chunks + found.unrecorded} chunks are damaged"
        yield Finding("archive", "broken", told, _BACKUP)
        return
    yield Finding("archive", "ok", f"{len(commits)} versions; {found.chunks} chunks hold what was committed")
    if found.unrecorded:
        told = f"{found.unrecorded} chunks are of a release that kept no checksums"
        yield Finding("archive", "note", told, "they can be read; to have checksums, ingest into a new archive")


def entries(folder: Path) -> Iterator[Finding]:
    """Every entry of the quarantine can be read."""
    read, broken = list[quarantine.Entry](), list[Finding]()
    for path in _found(folder, "*.json"):
        try:
            read.append(quarantine.read_entry(path))
        except PipelineError as error:
            broken.append(Finding("quarantine", "broken", str(error), "move it elsewhere; the next ingest writes anew"))
    rejected = sum(entry.state == "rejected" for entry in read)
    yield from broken or [Finding("quarantine", "ok", f"{len(read)} entries, {rejected} of files still rejected")]


def files(name: str, paths: Sequence[Path], check: Callable[[Path], Any], state: State) -> Iterator[Finding]:
    """Files, or folders, each of which `check` accepts; `state` is that of one that it does not."""
    harm = {"note": "nothing reads it", "broken": "the command that made it makes it anew"}[state]
    bad = []
    for path in paths:
        try:
            check(path)
        except Exception as error:  # whatever our readers and the libraries make of damaged bytes
            reason = str(error) if isinstance(error, PipelineError) else f"it cannot be read ({type(error).__name__})"
            bad.append(Finding(name, state, f"{path}: {reason}", f"delete it; {harm}"))
    yield from bad or [Finding(name, "ok", f"{len(paths)}, all of them whole" if paths else "none yet")]


def registered(path: Path, registry: Registry | None, progress: Progress = silent) -> Iterator[Finding]:
    """There is one champion, all versions have the files that were registered, and the Archive the data they name."""
    if registry is None:
        yield Finding("registry", "ok", "none yet")
        return
    try:
        versions, aliases = registry.versions(), registry.aliases()
    except RegistryError as error:
        yield Finding("registry", "broken", str(error), "start its server, or put back its database from a backup")
        return
    sound = True
    for done, version in enumerate(versions):
        progress(Event("verify", done, len(versions), "versions"))
        for finding in _version(path, registry, version):
            sound = sound and finding.state != "broken"
            yield finding
    if sound and versions:
        yield Finding("registry", "ok", f"{len(versions)} versions, all with the files that were registered")
    if not versions:
        yield Finding("champion", "ok", "none yet")
    elif aliases.get(CHAMPION) in {version.version for version in versions}:
        yield Finding("champion", "ok", f"version {aliases[CHAMPION]}")
    else:
        told = "no version is champion" if CHAMPION not in aliases else f"version {aliases[CHAMPION]} is not there"
        yield Finding("champion", "broken", told, "make one champion: minconv promote")


def _version(path: Path, registry: Registry, version: ModelVersion) -> Iterator[Finding]:
    try:
        registry.check(version)
    except RegistryError as error:
        leave = "minconv rollback, then " if CHAMPION in version.aliases else ""
        yield Finding("registry", "broken", str(error), f"{leave}put back its files from a backup, or train again")
    snapshot_id = version.tags.get("snapshot_id")
    try:
        if snapshot_id is not None:
            archive.log(path, snapshot_id)
    except ArchiveError as error:
        advice = "it can forecast, but not be trained again from the same data ('minconv reproduce')"
        yield Finding("registry", "note", f"{version.uri}: {error}", advice)


def nights(path: Path, pipeline: str) -> Iterator[Finding]:
    """The ledger is whole, and nobody dead holds its lease."""
    if not path.is_file():
        yield Finding("ledger", "ok", "none yet")
        return
    try:
        ledger = Ledger(path)
        damage, lease, known = ledger.damage(), ledger.abandoned(pipeline), ledger.nights(pipeline)
    except LedgerError as error:
        yield Finding("ledger", "broken", str(error), f"put back {path} from a backup, or move it away")
        return
    for text in damage:
        yield Finding("ledger", "broken", text, f"put back {path} from a backup, or move it away")
    if not damage:
        yield Finding("ledger", "ok", f"{len(known)} nights")
    if lease is not None:
        told = f"{lease.holder} held the lease for the night of {lease.date} and did not give it back"
        yield Finding("ledger", "note", told, "'minconv nightly' takes it over and goes on where that night stopped")


def _found(folder: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith("."))


def _report(path: Path) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree["at"], tree["accepted"], tree["rejected"]


def _scorecard(path: Path) -> None:
    Scorecard.from_json(path.read_text(encoding="utf-8"))


def _forecast(path: Path) -> None:
    with xr.open_dataset(path, decode_timedelta=True) as dataset:
        dataset.load()
