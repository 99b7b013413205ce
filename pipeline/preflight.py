"""A configuration and its data, looked at before anything is run: what would be ingested, how it would be split,
whether something leaks, what a training would cost. Each thing is a `Finding`; what is wrong comes with a fix.

What lives here: what is looked at and what counts as wrong. What does not: the checks themselves (`ingest`, `splits`,
`leaks`, `step_cost`), the machine (`health`), the look (`workflows`).

    for finding in check(config, progress):
        finding.name, finding.state, finding.found, finding.advice

Nothing is written beside the configuration's folders; an archive of one window, for these steps, lies in memory
(or in the temporary folder where there is no file system in memory) while they last.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from . import archive
from .cadence import infer
from .config import Config, check_config
from .cost import cache_finding, resource_findings, step_findings, tiles_finding
from .errors import PipelineError
from .fields import time_text
from .grid import GridSpec
from .health import Finding, State
from .ingest import Rehearsal, rehearse
from .leaks import Leak, forcing_leaks, repeat_leaks, split_leaks, statistics_leaks, trained_leaks
from .presence import PRESENT, flags, gaps_of, present
from .progress import Event, Progress, silent
from .registry import RegisteredModel
from .rejection import Rejection
from .splits import Span, Split, Splits, make_splits
from .statistics import Statistics
from .step_cost import measure
from .synthetic import generate
from .tiles import Halo, Tiling
from .training import TrainingJob, prepare
from .windows import windows, windows_lost

SHOWN_FILES = 5
_JUDGED_BY_PEOPLE = ("L-GAP", "L-FORCING")  # leaks in some data, and none in others
_IN_MEMORY = Path("/dev/shm")
_BYTES_IN_MEMORY = 2**28


def check(config: Config, progress: Progress = silent) -> Iterator[Finding]:
    """Look at everything in the order in which `run` would meet it; what cannot be looked at ends it with a finding.

    Args:
        config: With absolute paths.
        progress: Told about the files.
    """
    with tempfile.TemporaryDirectory(prefix="minconv-check-", dir=_scratch_parent()) as folder:
        scratch = Path(folder)
        try:
            with _input(config, scratch, progress) as (source, note):
                if note is not None:
                    yield note
                with rehearse(source, progress) as rehearsal:
                    yield from file_findings(config, rehearsal)
                    yield from _data_findings(config, rehearsal, scratch, progress)
        except PipelineError as error:
            yield from_sentence("problem", "broken", str(error))


def from_sentence(name: str, state: State, sentence: str) -> Finding:
    """A finding from one sentence of ours: what comes after the last semicolon is the next step."""
    found, _, advice = sentence.rpartition("; ")
    return Finding(name, state, found or sentence, advice if found else "")


@contextmanager
def _input(config: Config, scratch: Path, progress: Progress) -> Iterator[tuple[Config, Finding | None]]:
    """The configuration to look at: with a few samples simulated in its place where its input is not generated yet."""
    request = config.generate
    if request is None or any(config.source_path.glob("*.nc")) or archive.exists(config.archive_path):
        yield config, None
        return
    few = request.model_copy(update={"samples": 3})
    generate(few, scratch / "generated", progress)
    tree = config.model_copy(
        update={
            "generate": None,
            "root": scratch,
            "source": config.source.model_copy(update={"path": scratch / "generated"}),
        }
    )
    note = Finding(
        "input", "ok", f"{request.samples} samples that 'run' will simulate; looked at is what 3 of them would be"
    )
    yield tree, note


def _scratch_parent() -> Path | None:
    """A file system in memory, if there is one with room."""
    if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _BYTES_IN_MEMORY:
        return _IN_MEMORY
    return None


def model_findings(config: Config, model: RegisteredModel) -> Iterator[Finding]:
    """Whether a registered model has seen what it would be scored on, and what its statistics were taken over.

    Args:
        config: What it would be scored with, on the newest version of the Archive.
        model: Loaded from the registry.
    """
    made_with = check_config(dict(model.metadata["config"]), where=model.version.uri)
    with archive.open_dataset(config.archive_path, model.metadata["snapshot_id"]) as dataset:
        points = int(dataset["mask"].sum())
        trained = make_splits(dataset, made_with.split, made_with.gap)
    with archive.open_dataset(config.archive_path) as dataset:
        splits = make_splits(dataset, config.split, config.gap)
    statistics = Statistics.from_dict(model.metadata["statistics"])
    leaks = [*statistics_leaks(statistics, trained.train, points), *trained_leaks(trained, splits)]
    yield from (_of_leak(leak) for leak in leaks)
    if not leaks:
        found = f"{model.version.uri} has seen nothing of the test split, and its statistics nothing outside train"
        yield Finding("model's leaks", "ok", found)


def file_findings(config: Config, rehearsal: Rehearsal) -> Iterator[Finding]:
    """What ingest would take and turn down, and why."""
    counts = {
        "new": len(rehearsal.good),
        "in the archive already": len(rehearsal.skipped),
        "rejected": len(rehearsal.rejected),
        "waiting for others": len(rehearsal.waiting),
        "without a configured variable": len(rehearsal.ignored),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    total = len(rehearsal.good) + len(rehearsal.skipped) + len(rehearsal.rejected)
    nothing = rehearsal.archived is None and rehearsal.fields is None
    if nothing or len(rehearsal.rejected) > config.source.max_rejected_share * total:
        yield Finding("files", "broken", told or "none", "nothing would be ingested: correct or remove those below")
    else:
        yield Finding("files", "ok", told)
    for one in (*rehearsal.rejected, *rehearsal.waiting)[:SHOWN_FILES]:
        yield _of_file(one)
    if (rest := len(rehearsal.rejected) + len(rehearsal.waiting) - SHOWN_FILES) > 0:
        yield Finding("files", "note", f"{rest} more like these", "correct these first")
    for name, variable in config.variables.items():
        if name in rehearsal.ranges:
            low, high = rehearsal.ranges[name]
            plausible = "" if variable.valid_range is None else " (valid_range holds)"
            yield Finding(f"variable {name}", "ok", f"{low:.4g} to {high:.4g} {variable.units}{plausible}")


def _of_file(one: Rejection) -> Finding:
    return from_sentence(one.path.name, "note", f"{one.rule}: {one.message}")


def _data_findings(config: Config, rehearsal: Rehearsal, scratch: Path, progress: Progress) -> Iterator[Finding]:
    """The time axis, the grid, the splits, the leaks and the cost, as they would be after an ingest."""
    held = rehearsal.fields if rehearsal.fields is not None else rehearsal.archived
    if held is None:
        return
    axes = after_ingest(config, rehearsal)
    yield time_finding(axes)
    grid = GridSpec.from_dataset(held, config.boundary)
    yield grid_finding(config, grid)
    length = config.window.history + config.window.horizon
    splits = make_splits(axes, config.split, config.gap, length)
    yield Finding("splits", "ok", "; ".join(_describe(split, length, config.window.stride) for split in splits))
    if splits.train.gaps:
        yield gaps_finding(axes, splits, length, config.window.stride)
    leaks = [*split_leaks(splits, length), *forcing_leaks({name: one.role for name, one in config.variables.items()})]
    if rehearsal.archived is not None and rehearsal.fields is None:
        leaks += repeat_leaks(rehearsal.archived, splits)
    elif rehearsal.archived is None and held.sizes.get("sample", 1) == axes.sizes.get("sample", 1):
        leaks += repeat_leaks(held, splits)
    yield from (_of_leak(leak) for leak in leaks)
    if not leaks:
        yield Finding("leaks", "ok", "none: no frame, window or sample is in two splits")
    points = len(config.varying) * math.prod(grid.shape)
    if config.tiles is not None:
        halo = Halo(*config.tiles.halo_of(config.model))
        mask = held["mask"].values.astype(bool) if "mask" in held.coords else None
        tiling = Tiling.of(grid, config.tiles.size, halo, mask)
        yield tiles_finding(config.tiles, config.model, tiling)
    yield cache_finding(config, splits, points)
    yield from resource_findings(config, axes.sizes["time"] * axes.sizes.get("sample", 1), points)
    progress(Event("check", 0, None, "training steps", message="a process does a few training steps"))
    cost = measure(step_job(config, rehearsal, scratch))
    yield from step_findings(config, cost, splits, points)


def after_ingest(config: Config, rehearsal: Rehearsal) -> xr.Dataset:
    """The axes that the Archive would have, without fields."""
    parts = [one for one in (rehearsal.archived, rehearsal.fields) if one is not None]
    dim = "sample" if "sample" in parts[0].dims else "time"
    times = parts[0]["time"].values
    if dim == "time":
        there = np.concatenate([present(part) for part in parts])
        there[sorted(rehearsal.filled)] = True
        axes = xr.Dataset(coords={"time": np.concatenate([part["time"].values for part in parts])})
        return axes.assign_coords({PRESENT: flags(there)})
    count = sum(part.sizes["sample"] for part in parts)
    simulated = config.generate is not None and rehearsal.archived is None and count < config.generate.samples
    samples = config.generate.samples if simulated and config.generate is not None else count
    return xr.Dataset(coords={"sample": np.arange(samples), "time": times})


def time_finding(axes: xr.Dataset) -> Finding:
    """First and last time, their number and distance."""
    times = axes["time"].values
    cadence = infer(times)
    steps = "" if cadence is None else f" in steps of {cadence}"
    samples = f"{axes.sizes['sample']} samples of " if "sample" in axes.sizes else ""
    text = f"{samples}{len(times)} frames{steps}, {time_text(times[0])} to {time_text(times[-1])}"
    return Finding("time axis", "ok", text)


def gaps_finding(axes: xr.Dataset, splits: Splits, length: int, stride: int) -> Finding:
    """Gaps in time, and how many windows they cost."""
    there, times = present(axes), axes["time"].values
    gaps = gaps_of(there)
    first, stop = max(gaps, key=lambda gap: gap[1] - gap[0])
    lost = ", ".join(
        f"{windows_lost(one, length, stride if one.name == 'train' else 1)} of {one.name}" for one in splits
    )
    text = (
        f"{len(gaps)} in time, {int((~there).sum())} of {len(there)} frames are missing, the longest from "
        f"{time_text(times[first])} to {time_text(times[stop - 1])}; windows lost to them: {lost}"
    )
    return Finding("gaps", "note", text, "ingest what is missing, and it fills them; shorter windows lose less")


def grid_finding(config: Config, grid: GridSpec) -> Finding:
    """Shape, and whether the boundary is that of the axes."""
    height, width = grid.shape
    rows, columns = (f"{axis[0]:g}...{axis[-1]:g}" for axis in (grid.y, grid.x))
    text = f"{height} x {width} points, {grid.y_name} {rows}, {grid.x_name} {columns}"
    around = grid.geographic and width > 2 and abs((grid.x[-1] - grid.x[0]) * width / (width - 1) - 360.0) < 1e-2
    text += f", boundary {config.boundary}"
    if grid.geographic and config.boundary != (wanted := "cylinder" if around else "closed"):
        reach = "go around the Earth" if around else "end at the region's edge"
        return Finding("grid", "note", f"{text}, but its longitudes {reach}", f"set boundary: {wanted}")
    return Finding("grid", "ok", text)


def step_job(config: Config, rehearsal: Rehearsal, scratch: Path) -> TrainingJob:
    """A training on one window, from the Archive or, where there is none yet, from one made in `scratch`."""
    length = config.window.history + config.window.horizon
    # Departures from a climatology cost what fields cost, and one window may be too short for a climatology.
    # In memory, as one window is: nothing is written.
    plain = config.model_copy(
        update={
            "model": config.model.model_copy(update={"anomaly": False}),
            "training": config.training.model_copy(update={"cache": "memory"}),
        }
    )
    if rehearsal.archived is None and rehearsal.fields is not None:
        plain = plain.model_copy(update={"root": scratch})
        part = rehearsal.fields.isel(time=slice(0, length))
        part = part.isel(sample=slice(0, 1)) if "sample" in part.dims else part
        archive.write(plain.archive_path, part, config.archive, message="one window", metadata={})
    one = Splits(*(Split(name, Span(0, 1), Span(0, length)) for name in ("train", "validation", "test")))
    return prepare(plain, archive.head(plain.archive_path), splits=one)


def _describe(split: Split, length: int, stride: int) -> str:
    count = len(windows(split, length, stride if split.name == "train" else 1))
    samples = f"{split.samples.size} sample(s) of " if split.samples.size > 1 else ""
    return f"{split.name} {samples}{split.frames.size} frames, {count} windows"


def _of_leak(leak: Leak) -> Finding:
    return Finding(
        "leak", "note" if leak.rule in _JUDGED_BY_PEOPLE else "broken", f"{leak.rule}: {leak.found}", leak.advice
    )
