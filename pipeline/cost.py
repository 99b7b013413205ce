"""What a training would take of time, memory and disk, from the cost of one step, and what to change if it is too much.

What lives here: arithmetic on a `StepCost`, and its verdicts. What does not: the steps (`step_cost`).

    for finding in step_findings(config, cost, splits):
        finding.found
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from . import machine
from .config import Config, ModelConfig, TilesConfig, TrainingConfig
from .config_tiles import reach
from .frame_files import Storage, held_bytes, storage_of
from .health import Finding
from .splits import Split, Splits
from .step_cost import StepCost
from .tiles import Tiling
from .training.validation import MAX_VALIDATION_WINDOWS
from .windows import windows

MEMORY_SHARE = 0.8  # of what is free that a training may take
VALIDATION_SHARE = 1 / 3  # of a step's time for as many windows: no backward pass
START_SECONDS = 30.0  # Ray and its workers


def training_seconds(config: Config, cost: StepCost, splits: Splits) -> float:
    """All epochs with their validation, without the start of Ray; `max_steps` and `max_seconds` cut it."""
    options, length = config.training, config.window.history + config.window.horizon
    steps = cost.tiles * len(windows(splits.train, length, config.window.stride)) // options.batch_size
    validated = min(MAX_VALIDATION_WINDOWS, len(windows(splits.validation, length)))
    per_window = cost.seconds / options.batch_size  # all workers together
    return run_seconds(options, steps, cost.seconds, validated * cost.tiles * per_window * VALIDATION_SHARE)


def run_seconds(options: TrainingConfig, steps: int, step_seconds: float, validation_seconds: float) -> float:
    """All epochs of so many steps, each with its validation; `max_steps` and `max_seconds` cut it."""
    whole = options.total_steps(steps)
    total = whole * step_seconds + math.ceil(whole / max(1, steps)) * validation_seconds
    return total if options.max_seconds is None else min(total, options.max_seconds)


def largest_batch(cost: StepCost, workers: int, cached: int, available: int) -> int:
    """Windows of a step over all workers that fit into `available` bytes; 0 where not even one each does.

    Args:
        cost: Measured.
        workers: Of the training, all on this machine.
        cached: Bytes of frames that each worker holds.
        available: Bytes.
    """
    fixed = cost.peak_bytes - cost.windows * cost.bytes_per_window
    room = MEMORY_SHARE * available / workers - fixed - cached
    if room <= 0:
        return 0
    return workers * int(room / max(cost.bytes_per_window, 1.0))


def cached_bytes(config: Config, splits: Splits, points: int) -> int:
    """Bytes of frames that a worker keeps in memory."""
    sizes = (4 * _frames(split) * points for split in (splits.train, splits.validation))
    return sum(size for size in sizes if storage(config, size) == "memory")


def storage(config: Config, size: int) -> Storage:
    """Where a training would keep a split of so many bytes."""
    return storage_of(config.training.cache, size, config.training.cache_bytes, config.cache_path)


def cache_finding(config: Config, splits: Splits, points: int) -> Finding:
    """Where the decoded frames of a training would lie, and what lies on disk already.

    Args:
        config: Its training section and folders.
        splits: Of the whole Archive.
        points: Values of a frame: variables x grid.
    """
    told, on_disk = [], 0
    for split in (splits.train, splits.validation):
        size = 4 * _frames(split) * points
        place = storage(config, size)
        on_disk += size if place == "disk" else 0
        words = {"memory": "in each worker's memory", "disk": f"on disk in {config.cache_path}", "none": "not kept"}
        told.append(f"{split.name} {_size(size)} {words[place]}")
    there = held_bytes(config.cache_path)
    text = "; ".join(told) + (f"; {_size(there)} there from before" if there else "")
    if on_disk > machine.free_disk(config.root) + there:
        advice = "set training.cache=none, or root: to a larger disk"
        return Finding("cache", "broken", f"{text}, {_size(machine.free_disk(config.root))} are free", advice)
    return Finding("cache", "ok", text)


def tiles_finding(tiles: TilesConfig, model: ModelConfig, tiling: Tiling) -> Finding:
    """How many tiles there are, what share of what they read is halo, and whether the halo suffices."""
    height, width = tiling.shape
    halo, wanted = tiles.halo_of(model), reach(model)
    scored = sum(tile.rows.core.size * tile.columns.core.size for tile in tiling.tiles)
    read = max(len(tiling.tiles) * height * width, 1)
    without = tiling.total - len(tiling.tiles)
    masked = f", {without} more without a valid point are left out" if without else ""
    text = (
        f"{len(tiling.tiles)} of {height} x {width} points, halo {halo[0]} x {halo[1]} included, which is "
        f"{1 - scored / read:.0%} of what is read{masked}"
    )
    if min(halo) < wanted:
        advice = "leave tiles.halo empty, or accept seams where tiles meet"
        return Finding("tiles", "note", f"{text}; the model reaches {wanted} points, further than the halo", advice)
    return Finding("tiles", "ok", text)


def step_findings(config: Config, cost: StepCost, splits: Splits, points: int) -> Iterator[Finding]:
    """Time and memory of a step, predicted and measured; of the training; the largest batch.

    Args:
        config: Its training section.
        cost: Of a step of one worker.
        splits: Of the whole Archive.
        points: Values of a frame: variables x grid.
    """
    options = config.training
    yield Finding(
        "model",
        "ok",
        f"{cost.parameters:,} parameters, {cost.windows} window(s) a step on each of {options.most_workers} worker(s)",
    )
    yield Finding(
        "step time", "ok", f"{time_text(cost.seconds)} measured, {time_text(cost.predicted_seconds)} predicted"
    )
    yield Finding(
        "step memory", "ok", f"{_size(cost.peak_bytes)} measured, {_size(cost.predicted_bytes)} predicted, each worker"
    )
    seconds = training_seconds(config, cost, splits)
    least = f"about {time_text(seconds)} for {options.epochs} epoch(s), and {START_SECONDS:.0f} s to start"
    if seconds > options.deadline_seconds:
        advice = "raise training.deadline_seconds, or lower training.epochs, or use more workers or a GPU"
        yield Finding("training time", "broken", f"{least}: past training.deadline_seconds", advice)
    else:
        yield Finding("training time", "ok", least)
    yield batch_finding(config, cost, cached_bytes(config, splits, points), _available(config))


def batch_finding(config: Config, cost: StepCost, cached: int, available: int) -> Finding:
    """Whether the batch fits, and how large it could be."""
    options = config.training
    most = largest_batch(cost, config.training.most_workers, cached, available)
    found = f"training.batch_size {options.batch_size}; about {most} would fit into {_size(available)} free"
    if most >= options.batch_size:
        return Finding("batch", "ok", found)
    smaller = f"set training.batch_size={most}" if most else "set training.activation_checkpointing=true"
    return Finding("batch", "broken", found, f"{smaller}, or make window.horizon or model.hidden smaller")


def resource_findings(config: Config, frames: int, points: int) -> Iterator[Finding]:
    """Processors, GPUs and disk against what the configuration asks for.

    Args:
        config: Its training section and folders.
        frames: Of the Archive, all samples together.
        points: Values of a frame: variables x grid.
    """
    options = config.training
    asked, cpus, gpus = config.training.most_workers * (options.threads or 1), machine.processors(), len(machine.gpus())
    if asked > cpus:
        advice = "lower training.workers or training.threads, or train on a cluster: --address"
        yield Finding("processors", "note", f"{asked} asked for, {cpus} here", advice)
    if options.gpu and gpus < config.training.most_workers:
        advice = "set training.gpu=false or fewer workers, or train on a cluster: --address"
        yield Finding("gpu", "note", f"{config.training.most_workers} asked for, {gpus} here", advice)
    needed, free = frames * points * 4, machine.free_disk(config.root)
    if needed > free:
        yield Finding(
            "disk",
            "broken",
            f"the archive may take {_size(needed)}, {_size(free)} are free",
            "set root: to a larger disk",
        )
    else:
        yield Finding("disk", "ok", f"the archive takes at most {_size(needed)}, {_size(free)} are free")


def _available(config: Config) -> int:
    if config.training.gpu and (devices := machine.gpus()):
        return min(one.memory for one in devices) * config.training.most_workers
    return machine.memory().available


def _frames(split: Split) -> int:
    return split.samples.size * split.frames.size


def time_text(seconds: float) -> str:
    """A duration to three digits: ``230 ms``, ``85 s``, ``14.2 min``, ``3.1 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _size(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
