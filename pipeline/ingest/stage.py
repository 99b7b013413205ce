"""The order of an ingest, from files to one commit.

The whole of it happens under the Archive's lock, so that two ingests of the same files make one commit.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xarray as xr

from .. import archive
from ..assembly import Assembly, Candidate
from ..config import Config
from ..contents import coverage, extent, headline, notes
from ..durable_file import remove_partials
from ..errors import SourceError
from ..executor import DaskScheduler
from ..holdings import finished_files, holdings
from ..memory_budget import MemoryBudget
from ..progress import Event, Progress, silent
from ..quarantine import SHORT, Entry, Rejected, entries, record, settle
from ..rejection import Rejection
from ..revision import filled_frames, revised_frames
from .agreement import assemble, completed, enforce
from .batch import Batch, examine, require_variables
from .inputs import inputs, release
from .outcome import IngestResult, Rehearsal
from .report import keep, report_of, size_of


def ingest(
    config: Config,
    progress: Progress = silent,
    scheduler: DaskScheduler = "threads",
    only: Collection[Path] | None = None,
) -> IngestResult:
    """Check the files of `config.source_path`, and commit what is new and good to `config.archive_path` as one commit.

    Args:
        config: Read are the sections source, variables, boundary and archive.
        progress: Called for each file checked (unit "files"), then while writing (unit "MB").
        scheduler: What Dask reads the files with; what is committed does not depend on it.
        only: Absolute paths: of the files in the folder, look at these alone, and let any share of them be rejected;
            None: all.

    Raises:
        SourceError: No folder, no file, a variable that no file holds, more rejected files than the configuration
            allows, or nothing good for an Archive that holds nothing yet. The Archive is unchanged.
        ConfigError: The Archive was made with other variables, units or boundary.
        ArchiveError: Another process still wrote to it after `archive.wait_seconds`, or the disk is full. The Archive
            is unchanged.
    """
    began = time.perf_counter()
    patience = config.archive.wait_seconds

    def waiting(seconds: float) -> None:
        message = "another process is writing to the archive, waiting"
        progress(Event("ingest", int(seconds), int(patience), "s", message=message))

    with archive.lock(config.archive_path, patience, waiting), ExitStack() as opened:
        archive.recover(config.archive_path)
        for folder in (config.quarantine_path, config.ingests_path):
            remove_partials(folder)
        state = holdings(config)
        found = inputs(config, state, progress, only)
        known = {entry.sha256: entry for entry in entries(config.quarantine_path)}
        accepted = {sha256: entry.accepted_rules for sha256, entry in known.items()}
        batch = examine(config, found.paths, state, accepted, progress, opened, scheduler, named=only is not None)
        batch.unfetched(found)
        require_variables(config, batch, state)
        assembly, reference = assemble(config, batch, state)
        _quarantine(config, batch, assembly)
        try:
            enforce(config, batch, state, assembly, config.source.max_rejected_share if only is None else 1.0)
        except SourceError as error:
            failed = _result(config, batch, Assembly(None, rejected=assembly.rejected, waiting=assembly.waiting))
            keep(config.ingests_path, report_of(failed, time.perf_counter() - began, str(error)))
            raise
        archived = state.digests
        if assembly.commits and reference is not None:
            fields = completed(config, batch, state, assembly.fields, reference)
            _quarantine(config, batch, assembly)  # static fields that do not fit are known only now
            metadata = notes(config, assembly, reference, state, batch.static, batch.rejected)
            metadata["warned"] = [str(one) for one in batch.warned]
            metadata["fixed"] = [str(one) for one in batch.fixed]
            metadata["accepted"] = _overruled(assembly, known)
            archive.write(
                config.archive_path,
                fields,
                config.archive,
                message=headline(assembly),
                metadata=metadata,
                replacements=[one.replacement for one in assembly.revisions],
                progress=progress,
                scheduler=scheduler,
                memory=None if config.compute.memory_bytes is None else MemoryBudget.of(config.compute.memory_bytes),
            )
            archived |= finished_files(metadata["files"])
        settle(config.quarantine_path, archived | {batch.digests[path] for path in assembly.skipped}, batch.digests)
        release(config, batch.digests, archived)
        result = _result(config, batch, assembly)
        if result.committed or result.rejected or result.waiting:
            keep(config.ingests_path, report_of(result, time.perf_counter() - began))
        return result


@contextmanager
def rehearse(config: Config, progress: Progress = silent) -> Iterator[Rehearsal]:
    """Do all that `ingest` does but the commit; the files stay open while the body runs. Nothing is written
    but files that are fetched.

    Too many rejected files are no error here: they are what is looked for.

    Raises:
        SourceError: No folder, no file, or a variable that no file holds.
        ConfigError: The Archive was made with other variables, units or boundary.
    """
    with ExitStack() as opened:
        state = holdings(config)
        found = inputs(config, state, progress)
        accepted = {entry.sha256: entry.accepted_rules for entry in entries(config.quarantine_path)}
        batch = examine(config, found.paths, state, accepted, progress, opened)
        batch.unfetched(found)
        require_variables(config, batch, state)
        checked = list(batch.good)
        assembly, reference = assemble(config, batch, state)
        try:
            enforce(config, batch, state, assembly, config.source.max_rejected_share)
            refused = ""
        except SourceError as error:
            refused = str(error)
        fields = assembly.fields
        if assembly.commits and reference is not None:
            fields = completed(config, batch, state, fields, reference)
        yield Rehearsal(
            archived=state.archived,
            fields=fields,
            good=tuple(one.path for one in batch.good),
            skipped=(*batch.skipped, *assembly.skipped),
            rejected=(*batch.rejected, *assembly.rejected),
            waiting=(*batch.waiting, *assembly.waiting),
            ignored=tuple(batch.ignored),
            ranges=_ranges(checked),
            warned=tuple(batch.warned),
            fixed=tuple(batch.fixed),
            refused=refused,
            revised=len(revised_frames(assembly.revisions)),
            filled=frozenset(filled_frames(assembly.revisions)),
        )


def _overruled(assembly: Assembly, known: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """Which files went in against a rule, by whose word and why; JSON-able."""
    return [
        {"name": one.path.name, "sha256": one.digest, **asdict(step)}
        for one in assembly.used
        if one.digest in known
        for step in known[one.digest].accepted
    ]


def _quarantine(config: Config, batch: Batch, assembly: Assembly) -> None:
    """Enter the rejected files; one that cannot even be read has no sha256 to know it by."""
    record(
        config.quarantine_path,
        [
            Rejected(batch.digests[one.path], one.path, size_of(one.path), one.rule, one.message)
            for one in (*batch.rejected, *assembly.rejected)
            if one.path in batch.digests
        ],
        config.hash(),
    )


def _named(batch: Batch, rejected: Iterable[Rejection]) -> Iterator[Rejection]:
    """With the names of their entries in the quarantine."""
    for one in rejected:
        yield replace(one, entry=batch.digests[one.path][:SHORT]) if one.path in batch.digests else one


def _ranges(candidates: Iterable[Candidate]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for one in candidates:
        for name, survey in one.surveys.items():
            low, high = found.get(name, (survey.lowest, survey.highest))
            found[name] = (min(low, survey.lowest), max(high, survey.highest))
    return found


def _result(config: Config, batch: Batch, assembly: Assembly) -> IngestResult:
    there = archive.exists(config.archive_path)
    archived = archive.open_dataset(config.archive_path) if there else xr.Dataset()
    dim = "sample" if "sample" in archived.dims else "time"
    alone = [one for one in batch.static if one.alone and assembly.commits]
    ended = [path for path in assembly.complete if path not in assembly.skipped]
    used = [*(one.path for one in assembly.used), *(one.path for one in alone)]
    committed = tuple(dict.fromkeys((*used, *ended)))
    return IngestResult(
        snapshot_id=archive.head(config.archive_path) if there else "",
        committed=committed,
        skipped=(*batch.skipped, *assembly.skipped),
        rejected=tuple(_named(batch, (*batch.rejected, *assembly.rejected))),
        waiting=(*batch.waiting, *assembly.waiting),
        ignored=tuple(batch.ignored),
        appended=0 if assembly.fields is None else extent(assembly.fields),
        dim=dim,
        coverage=coverage(archived) if there else "nothing",
        warned=tuple(batch.warned),
        fixed=tuple(one for one in batch.fixed if one.path in committed),
        revised=len(revised_frames(assembly.revisions)),
        filled=len(filled_frames(assembly.revisions)),
    )
