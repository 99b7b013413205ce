"""What one ingest did, file by file, as JSON and as text; kept in the folder `ingests` of a pipeline.

What lives here: the form of a report and the files it is kept in. What does not: what is done (`stage`).

    report = report_of(result, seconds=3.2, paths=paths)
    keep(config.ingests_path, report)          # 20200101T000000.000000Z.json and .txt
    report.rejected_by_rule                    # {"Q-TRUNCATED": 2}
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..contents import coverage, extent
from ..durable_file import write_text
from ..rejection import Rejection
from .outcome import IngestResult, Rehearsal


@dataclass(frozen=True)
class Remark:
    """What a rule says about a file."""

    file: str
    rule: str
    message: str


@dataclass(frozen=True)
class Report:
    """What one ingest did, or, as a `dry_run`, would do.

    Attributes:
        at: When it ended; UTC, ISO 8601.
        snapshot_id: The version of the archive that it left; None: there is no archive.
        accepted: Files whose values went in, wholly or in part.
        skipped: Files that are in the archive already; `ignored`: those without a configured variable.
        fixed: What was put right in accepted files.
        warned: Rules broken by files that were taken all the same; `rejected`: by files that were not.
        waiting: Gaps: files, good as they are, whose frames wait for others.
        appended: Frames (or samples) added along `dim`; `revised`: frames that got other values; `filled`: frames that
            came for gaps in the archive.
        coverage: What the archive holds, in words.
        size_bytes: Of the files that were read: all but the skipped and ignored ones.
        error: Why nothing was committed at all, if that was so.
    """

    at: str
    dry_run: bool
    snapshot_id: str | None
    accepted: tuple[str, ...]
    skipped: tuple[str, ...]
    ignored: tuple[str, ...]
    fixed: tuple[Remark, ...]
    warned: tuple[Remark, ...]
    waiting: tuple[Remark, ...]
    rejected: tuple[Remark, ...]
    appended: int
    dim: str
    coverage: str
    seconds: float
    size_bytes: int
    error: str = ""
    revised: int = 0
    filled: int = 0

    @property
    def rejected_by_rule(self) -> dict[str, int]:
        """How many files each rule rejected."""
        return dict(sorted(Counter(one.rule for one in self.rejected).items()))

    @property
    def megabytes_per_second(self) -> float:
        """Input read, per second of the whole ingest; MB are 10^6 bytes."""
        return self.size_bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> str:
        """All of it, the counts included."""
        tree: dict[str, Any] = asdict(self)
        tree["rejected_by_rule"] = self.rejected_by_rule
        tree["megabytes_per_second"] = round(self.megabytes_per_second, 3)
        return json.dumps(tree, indent=1, ensure_ascii=False)

    def to_text(self) -> str:
        """The same for people."""
        head = f"ingest of {self.at}{', a rehearsal: nothing was written' if self.dry_run else ''}"
        by_rule = ", ".join(f"{count} by {rule}" for rule, count in self.rejected_by_rule.items())
        lines = [
            head,
            f"{len(self.accepted)} accepted, {len(self.fixed)} repairs, {len(self.warned)} warnings, "
            f"{len(self.waiting)} waiting, {len(self.rejected)} rejected{f' ({by_rule})' if by_rule else ''}, "
            f"{len(self.skipped)} skipped, {len(self.ignored)} ignored",
            f"{self.appended} new along {self.dim}{self._changed()}; the archive: {self.coverage}",
            f"{self.seconds:.2f} s, {self.size_bytes / 1e6:.2f} MB read, {self.megabytes_per_second:.1f} MB/s",
            f"snapshot_id {self.snapshot_id or 'none'}",
        ]
        if self.error:
            lines.append(f"nothing is committed: {self.error}")
        for label, files in (("accepted", self.accepted), ("skipped", self.skipped), ("ignored", self.ignored)):
            lines += [f"{label:<9} {file}" for file in files]
        told = {"fixed": self.fixed, "warning": self.warned, "waiting": self.waiting, "rejected": self.rejected}
        for label, remarks in told.items():
            lines += [f"{label:<9} {one.file}: {one.rule}: {one.message}" for one in remarks]
        return "\n".join(lines) + "\n"

    def _changed(self) -> str:
        told = (("revised", self.revised), ("filled", self.filled))
        return "".join(f", {verb} {count} frame{'s' if count > 1 else ''}" for verb, count in told if count)


def report_of(found: IngestResult | Rehearsal, seconds: float, error: str = "") -> Report:
    """The report of what was done, or of what would be."""
    if isinstance(found, Rehearsal):
        accepted, snapshot_id = found.good, None
        held = found.archived if found.archived is not None else found.fields
        dim = "sample" if held is not None and "sample" in held.dims else "time"
        appended = 0 if found.fields is None else extent(found.fields)
        covered = "nothing" if found.archived is None else coverage(found.archived)
    else:
        accepted, snapshot_id = found.committed, found.snapshot_id or None
        dim, appended, covered = found.dim, found.appended, found.coverage
    read = {*accepted, *(one.path for one in (*found.rejected, *found.waiting))}
    return Report(
        at=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        dry_run=isinstance(found, Rehearsal),
        snapshot_id=snapshot_id,
        accepted=tuple(map(str, accepted)),
        skipped=tuple(map(str, found.skipped)),
        ignored=tuple(map(str, found.ignored)),
        fixed=_remarks(found.fixed),
        warned=_remarks(found.warned),
        waiting=_remarks(found.waiting),
        rejected=_remarks(found.rejected),
        appended=appended,
        dim=dim,
        coverage=covered,
        seconds=round(seconds, 3),
        size_bytes=sum(size_of(path) for path in read),
        error=error,
        revised=found.revised,
        filled=len(found.filled) if isinstance(found, Rehearsal) else found.filled,
    )


def keep(folder: Path, report: Report) -> Path:
    """Write the report under its time, as JSON (whose path is returned) and as text."""
    stem = report.at.replace("-", "").replace(":", "")
    write_text(folder / f"{stem}.txt", report.to_text())
    write_text(folder / f"{stem}.json", report.to_json())
    return folder / f"{stem}.json"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a Zarr folder; 0 where it is gone."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _remarks(found: Iterable[Rejection]) -> tuple[Remark, ...]:
    return tuple(Remark(str(one.path), one.rule, one.message) for one in found)
