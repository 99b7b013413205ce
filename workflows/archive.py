"""The bodies of `minconv archive …`: what an archive holds, whether it is sound, a copy of it, less of it.

archive.verify(context, snapshot_id=None)
"""

from __future__ import annotations

from pathlib import Path

from pipeline import archive, kept_statistics
from pipeline.errors import ArchiveError

from .console import bytes_text
from .context import Context


def info(context: Context) -> None:
    """What an archive holds."""
    found = archive.info(context.config.archive_path)
    dims = ", ".join(f"{name} {size}" for name, size in found.dims.items())
    missing = f", {found.missing} frame(s) in gaps" if found.missing else ""
    rows = [
        ("archive", str(found.path)),
        ("snapshot_id", f"{found.snapshot_id} (of {found.commits} commits)"),
        ("dimensions", dims),
        ("variables", ", ".join(f"{name} [{units}]" for name, units in found.variables.items())),
        ("times", f"{found.first_time} to {found.last_time}{missing}"),
        ("chunks", " x ".join(map(str, found.chunks)) + ", in shards of " + " x ".join(map(str, found.shards))),
        ("on disk", bytes_text(found.size_bytes)),
    ]
    for name, value in rows:
        context.console.line(f"{name:<12} {value}")


def log(context: Context, files: bool) -> None:
    """The versions of an archive, and the files that made each."""
    commits = archive.log(context.config.archive_path)
    rows = [(one.snapshot_id, f"{one.written_at:%Y-%m-%d %H:%M:%S}", one.message) for one in commits]
    context.console.table("", ("snapshot_id", "written (UTC)", "message"), rows)
    for commit in commits if files else ():
        context.console.line(f"\n{commit.snapshot_id}")
        for file in commit.metadata.get("files", []):
            part = "" if file.get("complete") else ", in part"
            context.console.line(f"  file     {file['sha256'][:8]} {file['name']}{part}")
        for one in commit.metadata.get("revised", []):
            times = f"{one['first']} to {one['last']}, {one['stop'] - one['start']} frames"
            verb = "filled " if one.get("fills") else "revised"
            context.console.line(f"  {verb}  {one['variable']}, {times}, by {one['sha256'][:8]} {one['file']}")


def verify(context: Context, snapshot_id: str | None) -> None:
    """Read every chunk of a version and name the bad ones.

    Raises:
        ArchiveError: Some are damaged.
    """
    path, console = context.config.archive_path, context.console
    with console.stage("verify") as progress:
        found = archive.verify(path, snapshot_id, progress)
    for damage in found.damaged:
        console.line(f"damaged     {damage}")
    if found.unrecorded:
        console.line(f"unrecorded  {found.unrecorded} chunks are of a release that kept no checksums: they can be read")
    if found.damaged:
        raise ArchiveError(
            f"archive {path}: {len(found.damaged)} of {found.chunks + found.unrecorded} chunks are damaged; put back "
            "its files from a backup, or move the archive away and ingest its files again"
        )
    console.line(f"sound       {found.chunks} chunks hold the bytes that were committed")


def export(context: Context, out: Path, snapshot_id: str | None) -> None:
    """Copy a version for other tools."""
    archive.export(context.config.archive_path, out, snapshot_id)
    context.console.line(f"exported {context.config.archive_path} to {out}")


def collect(context: Context, apply: bool) -> None:
    """Drop old versions that no registered model names, and the statistics that are kept of versions that are gone."""
    versions = context.registry.versions() if context.has_registry else []
    pinned = {version.tags["snapshot_id"] for version in versions if "snapshot_id" in version.tags}
    path, keep_days = context.config.archive_path, context.config.archive.keep_days
    found = archive.collect(path, pinned, keep_days, apply)
    there = {commit.snapshot_id for commit in archive.log(path)} - {commit.snapshot_id for commit in found.dropped}
    statistics = kept_statistics.prune(context.config, there | pinned, apply)
    console, would = context.console, "" if apply else "would be "
    for commit in found.dropped:
        console.line(
            f"{would}dropped {commit.snapshot_id} of {commit.written_at:%Y-%m-%d %H:%M:%S} UTC: {commit.message}"
        )
    for snapshot_id in found.pinned:
        console.line(f"kept {snapshot_id}: a registered model names it")
    console.line(
        f"{len(found.dropped)} versions older than {keep_days} days and {found.chunks} chunks "
        f"({bytes_text(found.bytes)} in all) {would or 'were '}dropped{'' if apply else '; --apply does it'}"
    )
    if statistics:
        console.line(f"{statistics} file(s) of statistics of versions that are gone {would or 'were '}removed")
