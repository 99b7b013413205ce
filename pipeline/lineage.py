"""Where a model comes from: what is stored with it, and the tags by which its version is found again.

What lives here: metadata of the checkpoint, tags of the version, the hash and commit of the code. What does not: MLflow
(`registry`), training (`training`).

    name = run_name(config, snapshot_id)
    metadata = model_metadata(job)
    tags = version_tags(job)
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import minconv

from .config import Config
from .training.job import TrainingJob
from .training.parent import Parent

# A change in any other section (paths, chunks, evaluation) cannot change the weights.
OUTCOME_SECTIONS = ("seed", "variables", "boundary", "forcings", "split", "window", "tiles", "model", "training")

# The rooms whose code can change them, beside minconv: the training, and what makes its input from the archive.
OUTCOME_ROOMS = (
    "training",
    "climatology",
    "cycle",
    "day_cycle",
    "exact_sums",
    "forcings",
    "frame_files",
    "frames",
    "grid",
    "insolation",
    "kept_statistics",
    "recent",
    "sampler",
    "splits",
    "statistics",
    "tiled_rollout",
    "tiles",
    "windows",
)


def run_name(config: Config, snapshot_id: str, parent: Parent | None = None, date: str | None = None) -> str:
    """Name of a training run: the same data, configuration and code give the same name, and so resume the same run.

    Args:
        config: Its sections that decide the weights count.
        snapshot_id: The version of the Archive.
        parent: The version that the training starts from, if it does not start afresh.
        date: The logical date of a nightly run, which the name then shows.
    """
    start = () if parent is None else (parent.sha256,)
    key = "-".join((snapshot_id, config.hash(OUTCOME_SECTIONS), code_hash(), *start))
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return "-".join(part for part in (config.name, date, digest) if part is not None)


@functools.cache
def code_hash() -> str:
    """First 12 hex digits of the sha256 over the code that decides the weights."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    files = sorted(path for path in Path(minconv.__file__).parent.rglob("*") if path.suffix in (".py", ".cpp"))
    for room in OUTCOME_ROOMS:
        files += sorted((here / room).rglob("*.py")) if (here / room).is_dir() else [here / f"{room}.py"]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def git_commit() -> str:
    """The commit of the code in full, with ``+changes`` where files differ from it; empty outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    changes = "+changes" if commit and _git("status", "--porcelain", "--untracked-files=no") else ""
    return commit + changes


def code_version() -> str:
    """Version of the distribution and, in a git checkout, the commit (``+changes`` where files differ from it)."""
    try:
        number = version("minconv-pipeline")
    except PackageNotFoundError:
        number = "unknown"
    commit, plus, changes = git_commit().partition("+")
    return f"{number} ({commit[:12]}{plus}{changes})" if commit else number


def model_metadata(job: TrainingJob) -> dict[str, Any]:
    """What a forecast needs to know about a model beside its weights, as plain JSON."""
    config = job.config
    return {
        "name": config.name,
        "variables": list(config.predicted),
        "units": {name: config.variables[name].units for name in config.predicted},
        "static_variables": list(config.of_role("static")),
        "forcing_variables": job.forcing_mean,
        "forcings": list(config.forcings),
        "fill": list(job.mean),
        "history": config.window.history,
        "horizon": config.window.horizon,
        "grid_shape": list(job.grid.shape),
        "grid": job.grid.to_dict(),
        "tiles": None if job.tiles is None else dict(zip(("size", "halo"), map(list, job.tiles), strict=True)),
        "snapshot_id": job.snapshot_id,
        "statistics": job.statistics.to_dict(),
        "config": config.model_dump(mode="json"),
    }


def version_tags(job: TrainingJob, name: str | None = None) -> dict[str, str]:
    """Tags of a model version, trained in the run of this name (default: the one without a date)."""
    return {
        "run_name": name or run_name(job.config, job.snapshot_id, job.parent),
        "snapshot_id": job.snapshot_id,
        "statistics_hash": job.statistics.hash(),
        "config_hash": job.config.hash(),
        "code_hash": code_hash(),
        "code_version": code_version(),
        "git_commit": git_commit() or "unknown",
        "cell": job.config.model.cell,
        **({} if job.parent is None else {"parent": job.parent.uri, "parent_sha256": job.parent.sha256}),
    }


def _git(*arguments: str) -> str:
    """Output of a git command in the folder of the code; empty where that is no checkout of ours."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
