"""Ingest: new input files checked, joined and committed to the Archive; bad ones rejected with a reason.

What lives here: the order of things, from files to one commit. What does not: what is there already and makes the same
file twice a no-op (`holdings`), reading (`sources`), the checks (`quality`, `reference`), joining (`assembly`), the
form of what is committed (`contents`), writing (`archive`).

    result = ingest(config)
    result.snapshot_id, result.appended, [str(rejection) for rejection in result.rejected]

The whole of it happens under the Archive's lock, so that two ingests of the same files make one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from . import archive
from .assembly import Assembly, Candidate, assemble_samples, assemble_times
from .config import Config
from .contents import coverage, finished, notes
from .errors import SourceError
from .executor import DaskScheduler
from .holdings import Holdings, holdings
from .progress import Event, Progress, silent
from .quality import Rejection, check_cadence, check_finite, check_grid, check_mask, check_range, take_survey
from .reference import Reference, grid_of, reference_of
from .sources import (
    check_container,
    coarsened,
    digest,
    find,
    harmonise,
    harmonise_static,
    open_lazily,
    present_variables,
)
from .static_fields import StaticFile, place_statics


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        snapshot_id: The newest version of the Archive, made by this ingest or not.
        committed: Files whose values went in, wholly or in part.
        skipped: Files that are in the Archive already.
        rejected: Files that broke a rule.
        waiting: Files that are good but cannot go in, wholly or in part, before others arrive.
        ignored: Files that hold none of the configured variables.
        appended: Frames (or samples) added along `dim`.
        coverage: What the Archive holds now, in words.
    """

    snapshot_id: str
    committed: tuple[Path, ...]
    skipped: tuple[Path, ...]
    rejected: tuple[Rejection, ...]
    waiting: tuple[Rejection, ...]
    ignored: tuple[Path, ...]
    appended: int
    dim: str
    coverage: str


@dataclass(frozen=True)
class Rehearsal:
    """What an ingest would do.

    Attributes:
        archived: What the Archive holds already, None where there is none.
        fields: What would be appended, lazily; None where there is nothing.
        good: Files that passed every check of their own.
        skipped: Files that are in the Archive already.
        rejected: Files that break a rule.
        waiting: Files that are good but cannot go in, wholly or in part, before others arrive.
        ignored: Files that hold none of the configured variables.
        ranges: Smallest and largest value of each variable in the good files, in the units of the configuration.
    """

    archived: xr.Dataset | None
    fields: xr.Dataset | None
    good: tuple[Path, ...]
    skipped: tuple[Path, ...]
    rejected: tuple[Rejection, ...]
    waiting: tuple[Rejection, ...]
    ignored: tuple[Path, ...]
    ranges: dict[str, tuple[float, float]]


@dataclass
class _Batch:
    """Files sorted by what becomes of them."""

    good: list[Candidate] = field(default_factory=list)
    static: list[StaticFile] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    unopened: bool = False

    def reject(self, path: Path, error: SourceError) -> None:
        self.rejected.append(Rejection(error.rule, path, error.message))


def ingest(config: Config, progress: Progress = silent, scheduler: DaskScheduler = "threads") -> IngestResult:
    """Check the files of `config.source_path`, and commit what is new and good to `config.archive_path` as one commit.

    Args:
        config: Read are the sections source, variables, boundary and archive.
        progress: Called for each file checked (unit "files"), then while writing (unit "MB").
        scheduler: What Dask reads the files with; what is committed does not depend on it.

    Raises:
        SourceError: No folder, no file, a variable that no file holds, more rejected files than the configuration
            allows, or nothing good for an Archive that holds nothing yet. The Archive is unchanged.
        ConfigError: The Archive was made with other variables, units or boundary.
        ArchiveError: It is locked, or the disk is full. The Archive is unchanged.
    """
    paths = find(config.source_path, config.source.files)
    with archive.lock(config.archive_path), ExitStack() as opened:
        state = holdings(config)
        batch = _examine(config, paths, state, progress, opened, scheduler)
        _require_variables(config, batch, state)
        assembly, reference = _assemble(config, batch, state)
        _enforce(config, batch, state, assembly)
        if assembly.fields is not None and reference is not None:
            fields = _completed(config, batch, state, assembly.fields, reference)
            message = f"ingest {len(assembly.used)} file(s): {coverage(fields)}"
            metadata = notes(config, assembly, reference, state, batch.static, batch.rejected)
            archive.write(
                config.archive_path,
                fields,
                config.archive,
                message=message,
                metadata=metadata,
                progress=progress,
                scheduler=scheduler,
            )
        return _result(config, batch, assembly)


@contextmanager
def rehearse(config: Config, progress: Progress = silent) -> Iterator[Rehearsal]:
    """Do all that `ingest` does but the commit; the files stay open while the body runs. Nothing is written.

    Too many rejected files are no error here: they are what is looked for.

    Raises:
        SourceError: No folder, no file, or a variable that no file holds.
        ConfigError: The Archive was made with other variables, units or boundary.
    """
    paths = find(config.source_path, config.source.files)
    with ExitStack() as opened:
        state = holdings(config)
        batch = _examine(config, paths, state, progress, opened)
        _require_variables(config, batch, state)
        checked = list(batch.good)
        assembly, reference = _assemble(config, batch, state)
        fields = assembly.fields
        if fields is not None and reference is not None:
            fields = _completed(config, batch, state, fields, reference)
        yield Rehearsal(
            archived=state.archived,
            fields=fields,
            good=tuple(one.path for one in batch.good),
            skipped=(*batch.skipped, *assembly.skipped),
            rejected=(*batch.rejected, *assembly.rejected),
            waiting=assembly.waiting,
            ignored=tuple(batch.ignored),
            ranges=_ranges(checked),
        )


def _ranges(candidates: Iterable[Candidate]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for one in candidates:
        for name, survey in one.surveys.items():
            low, high = found.get(name, (survey.lowest, survey.highest))
            found[name] = (min(low, survey.lowest), max(high, survey.highest))
    return found


def _examine(
    config: Config,
    paths: Sequence[Path],
    state: Holdings,
    progress: Progress,
    opened: ExitStack,
    scheduler: DaskScheduler = "threads",
) -> _Batch:
    """Each file by itself."""
    batch = _Batch()
    seen = set(state.digests)
    varying = {name: config.variables[name] for name in config.varying}
    fixed = {name: config.variables[name] for name in config.of_role("static")}
    ranges = {name: variable.valid_range for name, variable in varying.items()}
    for number, path in enumerate(paths):
        progress(Event("ingest", number, len(paths), "files", message=path.name))
        try:
            check_container(path)
            sha256 = digest(path)
            if sha256 in seen:
                batch.skipped.append(path)
                continue
            dataset = opened.enter_context(open_lazily(path))
        except (SourceError, OSError) as error:
            batch.unopened = True
            batch.reject(path, error if isinstance(error, SourceError) else _unreadable(error))
            continue
        held = present_variables(dataset, varying)
        held_fixed = present_variables(dataset, fixed)
        if not held and not held_fixed:
            batch.ignored.append(path)
            continue
        batch.names.update({**held, **held_fixed})
        try:
            if held_fixed:
                batch.static.append(StaticFile(path, sha256, harmonise_static(dataset, fixed), alone=not held))
            if held:
                batch.good.append(
                    _candidate(
                        config, path, sha256, harmonise(dataset, varying, config.source.region), ranges, scheduler
                    )
                )
        except SourceError as error:
            batch.reject(path, error)
            continue
        seen.add(sha256)
    progress(Event("ingest", len(paths), len(paths), "files", message="checked"))
    return batch


def _candidate(
    config: Config,
    path: Path,
    sha256: str,
    fields: xr.Dataset,
    ranges: Mapping[str, tuple[float, float] | None],
    scheduler: DaskScheduler,
) -> Candidate:
    """Checked at the points of the file, then averaged to those of the Archive."""
    surveys = take_survey(fields, scheduler)
    check_finite(surveys)
    check_range(surveys, ranges)
    if config.source.coarsen == 1:
        return Candidate(path, sha256, fields, surveys)
    coarse = coarsened(fields, config.source.coarsen, {name: survey.always_nan for name, survey in surveys.items()})
    return Candidate(path, sha256, coarse, take_survey(coarse, scheduler))


def _unreadable(error: OSError) -> SourceError:
    return SourceError("Q-UNREADABLE", f"it cannot be read ({error.strerror}); check the file's permissions")


def _require_variables(config: Config, batch: _Batch, state: Holdings) -> None:
    """A variable that no file holds is a mistake in the configuration, not a bad file."""
    missing = [name for name in config.variables if name not in batch.names]
    if state.archived is not None or batch.unopened or not missing:
        return
    there: dict[str, None] = {}
    for path in [*batch.ignored, *(one.path for one in batch.good), *(one.path for one in batch.rejected)]:
        with open_lazily(path) as dataset:
            there.update(dict.fromkeys(map(str, dataset.data_vars)))
    wanted = config.variables[missing[0]]
    source = wanted.source_name or missing[0]
    at_level = "" if wanted.level is None else f" at level {wanted.level:g}"
    raise SourceError(
        "Q-MISSING-VARIABLE",
        f"variable {source!r}{at_level} is in no file of {config.source_path}, which hold "
        f"{', '.join(there) or 'no variables'}; "
        f"set variables.{missing[0]}.source_name to one of these",
    )


def _assemble(config: Config, batch: _Batch, state: Holdings) -> tuple[Assembly, Reference | None]:
    """The files against each other and against the Archive; those that do not fit move to the rejected."""
    names = list(config.varying)
    if batch.good:
        grid = grid_of(batch.good, state.archived)
        batch.good = [
            _on_grid(one, grid) for one in _passing(batch, batch.good, lambda one: _check_shape(one, grid, names))
        ]
    if not batch.good:
        return Assembly(None), None
    reference = reference_of(batch.good, state.archived, state.nan_points)

    def check(one: Candidate) -> None:
        if "sample" not in one.fields.dims:
            check_cadence(one.times, reference.cadence)
        check_mask(one.surveys, reference.masked, reference.nan_points)

    batch.good = list(_passing(batch, batch.good, check))
    if reference.masked.all():
        raise SourceError("Q-MASK", "no point has values in every variable; check that the files belong together")
    if "sample" in reference.grid.dims:
        return assemble_samples(batch.good, state.archived, state.samples), reference
    return assemble_times(batch.good, names, state.archived), reference


def _check_shape(candidate: Candidate, grid: xr.Dataset, names: Iterable[str]) -> None:
    check_grid(candidate.fields, grid)
    missing = [name for name in names if name not in candidate.fields]
    if "sample" in grid.dims and missing:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"expected all variables in each file of samples, {missing[0]!r} is missing; it has "
            f"{', '.join(map(str, candidate.fields.data_vars))}",
        )


def _on_grid(candidate: Candidate, grid: xr.Dataset) -> Candidate:
    """With the very coordinates of the reference, which differ at most by rounding."""
    fixed = [dim for dim in grid.dims if dim != "sample" and (dim != "time" or "sample" in grid.dims)]
    return Candidate(
        candidate.path,
        candidate.digest,
        candidate.fields.assign_coords({dim: grid[dim].variable for dim in fixed}),
        candidate.surveys,
    )


def _passing(batch: _Batch, candidates: Iterable[Candidate], check: Callable[[Candidate], None]) -> list[Candidate]:
    passed = []
    for candidate in candidates:
        try:
            check(candidate)
        except SourceError as error:
            batch.reject(candidate.path, error)
        else:
            passed.append(candidate)
    return passed


def _enforce(config: Config, batch: _Batch, state: Holdings, assembly: Assembly) -> None:
    """Stop where too much is rejected, or where a first commit would hold nothing."""
    rejected = [*batch.rejected, *assembly.rejected]
    files = len(batch.rejected) + len(batch.good) + len(batch.skipped)
    limit = config.source.max_rejected_share
    nothing = state.archived is None and assembly.fields is None
    if not nothing and len(rejected) <= limit * files:
        return
    if not rejected and assembly.waiting:
        rejected = list(assembly.waiting)
    if not rejected:
        raise SourceError(
            "Q-NO-FILES", f"no file in {config.source_path} holds a configured variable; correct source.files"
        )
    first = rejected[0]
    others = f", and {len(rejected) - 1} more file(s) were rejected" if len(rejected) > 1 else ""
    reason = (
        "nothing is left to commit"
        if nothing
        else f"{len(rejected)} of {files} files is above source.max_rejected_share"
    )
    raise SourceError(first.rule, f"{first.path.name}: {first.message}{others}; {reason}, the archive is unchanged")


def _completed(config: Config, batch: _Batch, state: Holdings, fields: xr.Dataset, reference: Reference) -> xr.Dataset:
    """The fields as they are committed; static fields that do not fit move to the rejected."""
    missing = [name for name in config.of_role("static") if all(name not in one.fields for one in batch.static)]
    if state.archived is None and missing:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"static field {missing[0]!r} is in no good file ({batch.rejected[0]}); the archive is unchanged",
        )
    statics, unfit = place_statics(config, batch.static, reference, state.archived)
    batch.static = [one for one in batch.static if all(one.path != rejection.path for rejection in unfit)]
    batch.rejected += unfit
    return finished(config, fields, reference, state.archived is None, statics)


def _result(config: Config, batch: _Batch, assembly: Assembly) -> IngestResult:
    archived = archive.open_dataset(config.archive_path)
    dim = "sample" if "sample" in archived.dims else "time"
    alone = [one for one in batch.static if one.alone and assembly.fields is not None]
    return IngestResult(
        snapshot_id=archive.head(config.archive_path),
        committed=(*(one.path for one in assembly.used), *(one.path for one in alone)),
        skipped=(*batch.skipped, *assembly.skipped),
        rejected=(*batch.rejected, *assembly.rejected),
        waiting=assembly.waiting,
        ignored=tuple(batch.ignored),
        appended=0 if assembly.fields is None else int(assembly.fields.sizes[dim]),
        dim=dim,
        coverage=coverage(archived),
    )
