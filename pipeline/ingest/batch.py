"""Each file of a batch by itself: opened, judged, and sorted by what becomes of it.

batch = examine(config, paths, held, progress, opened)
batch.good, batch.rejected, batch.ignored
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..assembly import Candidate
from ..checksums import check_digest, stated_digests
from ..config import Config
from ..errors import SourceError
from ..executor import DaskScheduler
from ..holdings import Holdings
from ..progress import Event, Progress
from ..rejection import Lenience, Rejection, lenience_of
from ..sources import (
    Fetched,
    check_container,
    digest,
    harmonise_static,
    names_held,
    open_input,
    present_variables,
    settled,
)
from ..sources.enclosure import check_enclosed
from ..sources.packing import check_packing, storage, unlike_most
from ..sources.settling import Stamp, check_settled, stamp
from ..static_fields import StaticFile
from ..transforms import Plan, is_identity, plan_of, transformed
from .ahead import ahead
from .cache import Cache
from .derived import derived_suspicions
from .inputs import settled_until
from .judgement import judge
from .wording import check_budget, in_our_words


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
    withheld: list[Candidate] = field(default_factory=list)
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

    def unfetched(self, found: Fetched) -> None:
        """Files at a URL that did not come: those that are archived, and those that could not be fetched."""
        self.skipped += found.known
        for path, error in found.failed.items():
            self.unopened = True
            self.reject(path, error)

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
    named: bool = False,
) -> Batch:
    """Each file by itself.

    Args:
        config: Read are the sections source and variables.
        paths: The files.
        state: What is archived already.
        accepted: The rules that a person said do not apply to a file, by its sha256.
        progress: Called for each file.
        opened: Keeps the files open that are read again.
        scheduler: What Dask reads the files with.
        named: A person named these files; they are opened whatever their names say about their times.
    """
    batch = Batch()
    stated = stated_digests(config.source_path)
    seen = set(state.digests)
    plan = plan_of(config)
    fixed = {name: config.variables[name] for name in config.of_role("static")}
    past = frozenset() if named else _past(config, state)
    kept = config.compute.cache_bytes if config.compute.memory_bytes is None else 0
    cache = Cache(kept, scheduler)
    written = is_identity(config, plan)  # what is read is what is written
    stamps: dict[Path, Stamp] = {}
    stored: dict[Path, dict[str, str]] = {}

    def identified(path: Path) -> str:
        if path in past:
            return ""
        stamps[path] = stamp(path)
        check_settled(stamps[path], config.source.settle_seconds, time.time())
        path.stat()  # a link to nowhere has no bytes to know it by
        return digest(path)

    for number, (path, identity) in enumerate(ahead(identified, paths)):
        if path in past:
            batch.skipped.append(path)
            continue
        progress(Event("ingest", number, len(paths), "files", message=path.name))
        with ExitStack() as own:
            whole = cache.room if written else 0
            try:
                with in_our_words():
                    sha256 = batch.digests[path] = identity.result()
                    lenience = lenience_of(config.quality.actions, accepted.get(sha256, frozenset()))
                    batch.warned += lenience.judged(path, partial(check_enclosed, config.source_path, path))
                    check_container(path)
                    if sha256 in seen:
                        batch.skipped.append(path)
                        continue
                    check_digest(path, sha256, stated)
                    dataset = own.enter_context(open_input(config, path, {**plan.read, **fixed}, lenience.off, whole))
                    held, held_fixed = present_variables(dataset, plan.read), present_variables(dataset, fixed)
            except SourceError as error:
                if error.rule == "Q-UNSETTLED":
                    batch.withdraw(path, error)
                    continue
                batch.unopened = True
                batch.reject(path, error)
                continue
            if not held and not held_fixed:
                batch.ignored.append(path)
                continue
            batch.names.update({**held, **held_fixed})
            batch.leniences[path] = lenience
            try:
                with in_our_words():
                    check_budget(dataset, {**held, **held_fixed}, config.quality.max_values)
                    check_packing(dataset, {**held, **held_fixed})
                    # read now, so that what cannot be read is known of this file
                    statics = harmonise_static(dataset, fixed).compute(scheduler="threads") if held_fixed else None
                    if held:
                        judged = judge(config, plan, path, sha256, dataset, held, lenience, cache)
                        batch.good.append(judged.candidate)
                        batch.warned += judged.warned
                        batch.fixed += judged.fixed
                        stored[path] = storage(dataset, held)
                        if not judged.kept:
                            opened.push(own.pop_all())
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
    if not written:
        _transform(config, plan, batch, state, scheduler)
    progress(Event("ingest", len(paths), len(paths), "files", message="checked"))
    return batch


def _transform(config: Config, plan: Plan, batch: Batch, state: Holdings, scheduler: DaskScheduler) -> None:
    """The good files as the Archive keeps them; what was made of their values is checked in turn."""
    changed = transformed(config, plan, batch.good, state.archived, scheduler)
    for one, error in changed.failed:
        batch.reject(one.path, error)
    batch.withheld = changed.withheld

    def check(one: Candidate) -> None:
        for suspicion in derived_suspicions(config, plan, one):
            batch.warned += batch.leniences[one.path].judged(one.path, suspicion)

    batch.good = batch.passing(changed.made, check)


def _past(config: Config, state: Holdings) -> frozenset[Path]:
    """Files that need not be opened: by their names they hold nothing that the Archive lacks."""
    span = settled_until(config, state)
    return frozenset() if span is None else settled(config.source_path, config.source.files, span.last, span.missing)


def require_variables(config: Config, batch: Batch, state: Holdings) -> None:
    """A variable that no file holds is a mistake in the configuration, not a bad file."""
    read = {**plan_of(config).read, **{name: config.variables[name] for name in config.of_role("static")}}
    missing = [name for name in read if name not in batch.names]
    if state.archived is not None or batch.unopened or not missing:
        return
    there: dict[str, None] = {}
    candidates = [one.path for one in (*batch.good, *batch.withheld)]
    for path in [*batch.ignored, *candidates, *(one.path for one in batch.rejected)]:
        with open_input(config, path, read) as dataset:
            there.update(dict.fromkeys(names_held(dataset)))
    wanted = read[missing[0]]
    source = wanted.source_name or missing[0]
    at_level = "" if wanted.level is None else f" at level {wanted.level:g}"
    raise SourceError(
        "Q-MISSING-VARIABLE",
        f"variable {source!r}{at_level} is in no file of {config.source_path}, which hold "
        f"{', '.join(there) or 'no variables'}; "
        + (
            f"set variables.{missing[0]}.source_name to one of these"
            if missing[0] in config.variables
            else "name one of these in derive"
        ),
    )
