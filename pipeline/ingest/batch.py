"""Each file of a batch by itself: opened, brought to the contract, surveyed, checked, and sorted by what becomes of it.

batch = examine(config, paths, held, progress, opened)
batch.good, batch.rejected, batch.ignored
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import xarray as xr

from ..assembly import Candidate
from ..checksums import check_digest, stated_digests
from ..config import Config
from ..errors import SourceError
from ..executor import DaskScheduler
from ..holdings import Holdings
from ..plausible import is_often_zero, plausible_range, tiny_negative
from ..progress import Event, Progress
from ..quality import Lenience, Rejection, VariableSurvey, check_finite, lenience_of, take_survey
from ..relations import relations_of
from ..repairs import repairs
from ..rules import RULES
from ..sources import (
    check_container,
    coarsened,
    digest,
    harmonise,
    harmonise_static,
    open_lazily,
    open_table,
    present_variables,
    settled,
)
from ..sources.enclosure import check_enclosed
from ..sources.files import TABLES
from ..sources.packing import check_packing, storage, unlike_most
from ..sources.settling import Stamp, check_settled, stamp
from ..sources.units import conversion
from ..static_fields import StaticFile
from ..suspicion import (
    check_frozen,
    check_jumps,
    check_plausible,
    check_range,
    check_relations,
    check_repeated,
    check_sentinels,
    check_zero,
    check_zero_blocks,
)
from ..tiny_negatives import without_tiny_negatives


@dataclass
class Batch:
    """Files sorted by what becomes of them.

    Attributes:
        leniences: What is not to be held against a file that was opened.
        unopened: Whether some file could not be opened, so that nobody knows what it holds.
    """

    good: list[Candidate] = field(default_factory=list)
    static: list[StaticFile] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    warned: list[Rejection] = field(default_factory=list)
    fixed: list[Rejection] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    digests: dict[Path, str] = field(default_factory=dict)
    leniences: dict[Path, Lenience] = field(default_factory=dict)
    waiting: list[Rejection] = field(default_factory=list)
    unopened: bool = False

    def reject(self, path: Path, error: SourceError) -> None:
        """A file that breaks a rule."""
        self.rejected.append(Rejection(error.rule, path, error.message))

    def withdraw(self, path: Path, reason: SourceError) -> None:
        """Whatever was found out about a file is void; it waits."""
        self.good = [one for one in self.good if one.path != path]
        self.static = [one for one in self.static if one.path != path]
        for told in (self.rejected, self.warned, self.fixed):
            told[:] = [one for one in told if one.path != path]
        for paths in (self.skipped, self.ignored):
            paths[:] = [one for one in paths if one != path]
        self.digests.pop(path, None)
        self.unopened = True
        self.waiting.append(Rejection(reason.rule, path, reason.message))

    def passing(self, candidates: Iterable[Candidate], check: Callable[[Candidate], None]) -> list[Candidate]:
        """Those that pass; the others are rejected."""
        passed = []
        for candidate in candidates:
            try:
                check(candidate)
            except SourceError as error:
                self.reject(candidate.path, error)
            else:
                passed.append(candidate)
        return passed


def examine(
    config: Config,
    paths: Sequence[Path],
    state: Holdings,
    accepted: Mapping[str, frozenset[str]],
    progress: Progress,
    opened: ExitStack,
    scheduler: DaskScheduler = "threads",
) -> Batch:
    """Each file by itself.

    Args:
        config: Read are the sections source and variables.
        paths: The files.
        state: What is archived already.
        accepted: The rules that a person said do not apply to a file, by its sha256.
        progress: Called for each file.
        opened: Keeps the files open.
        scheduler: What Dask reads the files with.
    """
    batch = Batch()
    stated = stated_digests(config.source_path)
    seen = set(state.digests)
    varying = {name: config.variables[name] for name in config.varying}
    fixed = {name: config.variables[name] for name in config.of_role("static")}
    past = _past(config, state)
    stamps: dict[Path, Stamp] = {}
    stored: dict[Path, dict[str, str]] = {}
    for number, path in enumerate(paths):
        if path in past:
            batch.skipped.append(path)
            continue
        progress(Event("ingest", number, len(paths), "files", message=path.name))
        stamps[path] = stamp(path)
        try:
            check_settled(stamps[path], config.source.settle_seconds, time.time())
        except SourceError as error:
            batch.withdraw(path, error)
            continue
        try:
            with _in_our_words():
                path.stat()  # a link to nowhere has no bytes to know it by
                sha256 = batch.digests[path] = digest(path)
                lenience = lenience_of(config.quality.actions, accepted.get(sha256, frozenset()))
                batch.warned += lenience.judged(path, partial(check_enclosed, config.source_path, path))
                check_container(path)
                if sha256 in seen:
                    batch.skipped.append(path)
                    continue
                check_digest(path, sha256, stated)
                dataset = opened.enter_context(_opened(config, path, lenience.off))
                held, held_fixed = present_variables(dataset, varying), present_variables(dataset, fixed)
        except SourceError as error:
            batch.unopened = True
            batch.reject(path, error)
            continue
        if not held and not held_fixed:
            batch.ignored.append(path)
            continue
        batch.names.update({**held, **held_fixed})
        batch.leniences[path] = lenience
        try:
            with _in_our_words():
                _check_budget(dataset, {**held, **held_fixed}, config.quality.max_values)
                check_packing(dataset, {**held, **held_fixed})
                findings = _judged_findings(dataset, path, lenience)
                # read now, so that what cannot be read is known of this file
                statics = harmonise_static(dataset, fixed).compute(scheduler="threads") if held_fixed else None
                if held:
                    fields = harmonise(dataset, varying, config.source.region)
                    scales = {name: _scale(dataset[source], varying[name].units) for name, source in held.items()}
                    candidate, warned, fixed_values = _candidate(
                        config, path, sha256, fields, scales, lenience, scheduler
                    )
                    put_right = repairs(dataset, held, fields, cut=config.source.region is not None)
                    told = [one for rule, message in put_right for one in lenience.repaired(path, rule, message)]
                    batch.good.append(candidate)
                    batch.warned += [*findings.warned, *warned]
                    batch.fixed += [*findings.fixed, *told, *fixed_values]
                    stored[path] = storage(dataset, held)
                if statics is not None:
                    batch.static.append(StaticFile(path, sha256, statics, alone=not held))
        except SourceError as error:
            batch.reject(path, error)
            continue
        seen.add(sha256)
    for path, before in stamps.items():
        if path not in [one.path for one in batch.waiting] and stamp(path) != before:
            changed = "it changed while it was looked at, expected it to be whole; ingest again once it is written"
            batch.withdraw(path, SourceError("Q-UNSETTLED", changed))
    batch.fixed += [Rejection("Q-FIX-PACKING", path, message) for path, message in unlike_most(stored).items()]
    progress(Event("ingest", len(paths), len(paths), "files", message="checked"))
    return batch


def _opened(config: Config, path: Path, off: frozenset[str] = frozenset()) -> xr.Dataset:
    if config.sensors is not None and path.suffix in TABLES:
        return open_table(path, config.sensors, config.variables, off)
    return open_lazily(path, config.source.group)


def _judged_findings(dataset: xr.Dataset, path: Path, lenience: Lenience) -> Batch:
    """What a source found wrong and left out or put right (its attribute `findings`): told, or a reason to reject.

    Raises:
        SourceError: By configuration.
    """
    found = Batch()
    for rule, message in dataset.attrs.get("findings", ()):
        if RULES[rule].default == "fix":
            found.fixed += lenience.repaired(path, rule, message)
        else:
            found.warned += lenience.judged(path, partial(_raise, SourceError(rule, message)))
    return found


def _raise(error: SourceError) -> None:
    raise error


def _past(config: Config, state: Holdings) -> frozenset[Path]:
    """Files that need not be opened: by their names they hold nothing after the Archive's end."""
    if state.archived is None or state.archived["time"].dtype.kind != "M" or "sample" in state.archived.dims:
        return frozenset()
    reopen = datetime.timedelta(hours=config.source.reopen_hours)
    return settled(config.source_path, config.source.files, state.archived["time"].values[-1], reopen)


def _candidate(
    config: Config,
    path: Path,
    sha256: str,
    fields: xr.Dataset,
    scales: Mapping[str, tuple[float, float]],
    lenience: Lenience,
    scheduler: DaskScheduler,
) -> tuple[Candidate, list[Rejection], list[Rejection]]:
    """Checked at the points of the file, then averaged to those of the Archive; with its warnings and repairs."""
    relations = () if "Q-CROSS" in lenience.off else tuple(relations_of(fields, _levels(config)))
    survey = take_survey(fields, scheduler, [relation.excess for relation in relations])
    check_finite(survey.variables)
    sizes = {} if "Q-FIX-NEGATIVE" in lenience.off else _tiny(config, fields)
    clipped, surveys, put_right = without_tiny_negatives(fields, survey.variables, sizes)
    fixed = [one for message in put_right for one in lenience.repaired(path, "Q-FIX-NEGATIVE", message)]
    checks: list[Callable[[], None]] = list(_suspicions(config, clipped, surveys, scales))
    checks.append(partial(check_relations, relations, survey.excesses))
    warned = [warning for check in checks for warning in lenience.judged(path, check)]
    if config.source.coarsen == 1:
        return Candidate(path, sha256, clipped, surveys), warned, fixed
    coarse = coarsened(clipped, config.source.coarsen, {name: found.always_nan for name, found in surveys.items()})
    return Candidate(path, sha256, coarse, take_survey(coarse, scheduler).variables), warned, fixed


def _levels(config: Config) -> dict[str, float | None]:
    return {name: variable.level for name, variable in config.variables.items()}


def _tiny(config: Config, fields: xr.Dataset) -> dict[str, float]:
    """For each variable how far below zero a value counts as zero: as configured, else by its standard name."""
    return {
        str(name): config.quality.tiny_negative.get(
            str(name),
            tiny_negative(str(field.attrs.get("standard_name", "")), config.variables[str(name)].units),
        )
        for name, field in fields.data_vars.items()
    }


def _suspicions(
    config: Config,
    fields: xr.Dataset,
    surveys: Mapping[str, VariableSurvey],
    scales: Mapping[str, tuple[float, float]],
) -> Iterator[Callable[[], None]]:
    """The checks that a configuration may change, in order; variable by variable, so that none hides another."""
    for name, survey in surveys.items():
        alone, variable = {name: survey}, config.variables[name]
        standard_name = str(fields[name].attrs.get("standard_name", ""))
        plausible = plausible_range(standard_name, variable.units) if variable.valid_range is None else None
        yield partial(check_sentinels, alone, scales)
        yield partial(check_range, alone, {name: variable.valid_range})
        yield partial(check_plausible, alone, {name: plausible})
        yield partial(check_zero, alone)
        if not is_often_zero(standard_name):
            yield partial(check_zero_blocks, alone)
        yield partial(check_frozen, alone, config.quality.frozen_frames)
        yield partial(check_repeated, alone)
        yield partial(check_jumps, alone, config.quality.max_jump)


def _scale(field: xr.DataArray, units: str) -> tuple[float, float]:
    """Slope and offset from the units of a file to those of the Archive."""
    return conversion(str(field.attrs.get("units", units)).strip() or "1", units)


def _check_budget(dataset: xr.Dataset, held: Mapping[str, str], limit: int) -> None:
    for source in held.values():
        if dataset[source].size > limit:
            raise SourceError(
                "Q-BUDGET",
                f"variable {source!r} has {dataset[source].size} values, expected at most {limit} "
                "(quality.max_values); is its header damaged? fetch it again, or raise the limit",
            )


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Whatever a damaged file makes of the libraries that read it is an error of that file, not of the ingest.

    Raises:
        SourceError: ``Q-UNREADABLE``, or ``Q-BUDGET`` where memory does not suffice.
    """
    try:
        yield
    except SourceError:
        raise
    except MemoryError as error:
        raise SourceError(
            "Q-BUDGET", "memory does not suffice to read it, expected a smaller file; is its header damaged?"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(
            "Q-UNREADABLE", f"expected a file, it cannot be read ({reason}); check the file and its permissions"
        ) from error
    except Exception as error:  # the libraries raise a dozen types, by which bytes are damaged
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise SourceError(
            "Q-UNREADABLE", f"expected a whole file, it cannot be understood ({reason}); fetch it again"
        ) from error


def require_variables(config: Config, batch: Batch, state: Holdings) -> None:
    """A variable that no file holds is a mistake in the configuration, not a bad file."""
    missing = [name for name in config.variables if name not in batch.names]
    if state.archived is not None or batch.unopened or not missing:
        return
    there: dict[str, None] = {}
    for path in [*batch.ignored, *(one.path for one in batch.good), *(one.path for one in batch.rejected)]:
        with _opened(config, path) as dataset:
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
