"""Windows per second of the loader against xarray + Dask, plain Zarr and a memory-mapped npy; the wait of a training.

    python tests/bench/loader.py                                   # [24, 4, 256, 256] windows, a few minutes
    python tests/bench/loader.py --case wait                       # the share of a step that waits for data
    python tests/bench/loader.py --shape 4 2 16 16 --frames 40 --rounds 1

An archive of made fields, the same arrays as plain Zarr (same chunks, shards and codecs) and as one npy. Every
contestant first reads the same windows, which must be equal byte for byte. Then they take turns in rounds; in a turn
each reads the same windows of one round. What counts is the ratio within a round (tests/bench/rounds.py): time / ours,
ours being the loader with its frames in memory. Files are in the page cache for all: what is compared is the way, not
the disk.

`epoch` reads every window of an epoch of frames that are kept nowhere, shard by shard. `wait` trains
`configs/navier_stokes_paper.yaml` for a few steps on a few of its samples and prints what the loop itself reports as
data_wait, the share of the training time in which steps waited for data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import xarray as xr
import zarr
from rounds import Figure, Setting, compare, table
from torch.utils.data import DataLoader, Dataset

from pipeline import archive
from pipeline.config import ArchiveConfig, read_config
from pipeline.ingest import ingest
from pipeline.sampler import ByShards, order
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, prepare, run_loop
from pipeline.training.loader import Loader
from pipeline.windows import CachePlan, FrameReader, Span, Split, Window, windows

CASES = ("windows", "epoch", "wait")
CPU = torch.device("cpu")
Shape = tuple[int, int, int, int]  # T, C, H, W
Read = Callable[[Sequence[int]], list[np.ndarray]]
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "navier_stokes_paper.yaml"


def make(folder: Path, shape: Shape, frames: int) -> None:
    """Smooth fields with some noise: in the archive, as plain Zarr and as npy [frames, C, H, W]."""
    _, channels, height, width = shape
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(frames, channels, -(-height // 8), -(-width // 8)))
    fields = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    values = (fields + 0.01 * rng.normal(size=fields.shape)).astype(np.float32)
    dims, names = ("time", "y", "x"), [f"v{channel}" for channel in range(channels)]
    dataset = xr.Dataset(
        {name: (dims, values[:, channel], {"units": "1"}) for channel, name in enumerate(names)},
        coords={
            "time": ("time", np.arange(float(frames)), {"units": "s"}),
            "y": np.arange(height) / height,
            "x": np.arange(width) / width,
            "mask": (("y", "x"), np.ones((height, width), np.int8)),
        },
        attrs={"boundary": "periodic"},
    )
    archive.write(folder / "archive", dataset, ArchiveConfig(), message="made", metadata={})
    group = zarr.open_group(folder / "plain", mode="w")
    for channel, (name, ours) in enumerate(archive.open_arrays(folder / "archive", names).items()):
        plain = group.create_array(
            name, shape=ours.shape, dtype="f4", chunks=ours.chunks, shards=ours.shards, compressors=ours.compressors
        )
        plain[:] = values[:, channel]
    np.save(folder / "values.npy", values)


def reader_of(folder: Path, shape: Shape, frames: int, kind: str) -> FrameReader:
    """The loader's reader."""
    names = [f"v{channel}" for channel in range(shape[1])]
    plans = {
        "memory": CachePlan("memory"),
        "disk": CachePlan("disk", folder / "cache"),
        "none": CachePlan("none"),
    }
    split = Split("train", Span(0, 1), Span(0, frames))
    head = archive.head(folder / "archive")
    return FrameReader(folder / "archive", head, names, [], [0.0] * len(names), 0, split, cache=plans[kind])


class Windows(Dataset[torch.Tensor]):
    """The same reader for torch's loader, opened in each of its processes."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.reader: FrameReader | None = None

    def __getitem__(self, start: int) -> torch.Tensor:
        if self.reader is None:
            self.reader = reader_of(*self.arguments)
        return self.reader.read([Window(0, start)], self.arguments[1][0])[0][0]

    def __getitems__(self, starts: list[int]) -> list[torch.Tensor]:
        return [self[start] for start in starts]


class Starts:
    """What a turn of torch's loader reads: changed between turns, as its processes are kept."""

    def __init__(self) -> None:
        self.now: Sequence[int] = ()

    def __iter__(self) -> Any:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


def contestants(folder: Path, shape: Shape, frames: int) -> dict[str, Read]:
    """All ways to read the windows that start at some frames; ours in memory is the first."""
    length, names = shape[0], [f"v{channel}" for channel in range(shape[1])]

    def ours(kind: str, ahead: int) -> Read:
        loader = Loader(reader_of(folder, shape, frames, kind), length, CPU, ahead)
        return lambda starts: [
            batch.frames.numpy()[0] for batch in loader.batches([Window(0, start)] for start in starts)
        ]

    def processes(kind: str) -> Read:
        starts_of_turn = Starts()
        loader = DataLoader(
            Windows(folder, shape, frames, kind),
            batch_size=None,
            sampler=starts_of_turn,  # type: ignore[arg-type]
            num_workers=2,
            multiprocessing_context="forkserver",
            persistent_workers=True,
        )

        def read(starts: Sequence[int]) -> list[np.ndarray]:
            starts_of_turn.now = starts
            return [window.numpy() for window in loader]

        return read

    dataset = archive.open_dataset(folder / "archive", chunks={})
    plain = zarr.open_group(folder / "plain", mode="r")
    arrays = [plain[name] for name in names]
    mapped = np.load(folder / "values.npy", mmap_mode="r")

    def by_xarray(starts: Sequence[int]) -> list[np.ndarray]:
        cut = (dataset[names].isel(time=slice(start, start + length)) for start in starts)
        return [window.to_dataarray("c").transpose("time", "c", "y", "x").values for window in cut]

    def by_zarr(starts: Sequence[int]) -> list[np.ndarray]:
        return [np.stack([array[start : start + length] for array in arrays], axis=1) for start in starts]

    def by_map(starts: Sequence[int]) -> list[np.ndarray]:
        return [np.array(mapped[start : start + length]) for start in starts]

    return {
        "ours, in memory": ours("memory", 2),
        "ours, on disk": ours("disk", 2),
        "ours, in memory, no read-ahead": ours("memory", 0),
        "ours, in memory, 2 processes": processes("memory"),
        "ours, kept nowhere": ours("none", 2),
        "ours, kept nowhere, no read-ahead": ours("none", 0),
        "ours, kept nowhere, 2 processes": processes("none"),
        "xarray + Dask": by_xarray,
        "plain Zarr": by_zarr,
        "memory-mapped npy": by_map,
    }


def check(contenders: dict[str, Read], folder: Path, length: int, starts: Sequence[int]) -> None:
    """Every contestant reads the same bytes."""
    values = np.load(folder / "values.npy", mmap_mode="r")
    for name, read in contenders.items():
        for start, found in zip(starts, read(starts), strict=True):
            if found.tobytes() != values[start : start + length].tobytes():
                raise SystemExit(f"{name} reads other bytes for the window at {start}; nothing is timed that is wrong")


def windows_case(shape: Shape, frames: int, count: int, rounds: int) -> list[Figure]:
    """Time of `count` windows of each contestant."""
    rng = np.random.default_rng(1)
    last = frames - shape[0]
    with tempfile.TemporaryDirectory(prefix="minconv-loader-") as name:
        folder = Path(name)
        make(folder, shape, frames)
        contenders = contestants(folder, shape, frames)
        check(contenders, folder, shape[0], [0, last, *rng.integers(0, last + 1, 4).tolist()])
        at_random = [rng.integers(0, last + 1, count).tolist() for _ in range(3 + rounds)]

        def turn(read: Read) -> Callable[[], object]:
            turns = itertools.cycle(at_random)
            return lambda: sum(len(window) for window in read(next(turns)))

        steps = {contestant: turn(read) for contestant, read in contenders.items()}
        return compare("x".join(map(str, shape)), steps, Setting(CPU, "ours, in memory", rounds))


def epoch_case(shape: Shape, frames: int) -> dict[str, float]:
    """Windows per second of a whole epoch of frames that are kept nowhere, two shards in memory at a time."""
    length, names = shape[0], [f"v{channel}" for channel in range(shape[1])]
    split = Split("train", Span(0, 1), Span(0, frames))
    cases = windows(split, length)
    with tempfile.TemporaryDirectory(prefix="minconv-loader-") as name:
        make(Path(name), shape, frames)
        chunk = archive.open_arrays(Path(name) / "archive", names)[names[0]].shards or (frames,)
        room = 2 * 4 * math.prod(shape[1:]) * (chunk[0] + length)
        plan, head = CachePlan("none", window=length), archive.head(Path(name) / "archive")
        reader = FrameReader(Path(name) / "archive", head, names, [], [0.0] * len(names), room, split, cache=plan)
        if reader.blocks is None:
            raise SystemExit("two shards do not fit into the memory for them")
        shards = ByShards(np.array([reader.blocks.number(case.start) for case in cases]), 1)
        steps = order(0, 0, len(cases), 1, 0, 1, shards)
        started = time.perf_counter()
        for _ in Loader(reader, length, CPU, 2).batches([cases[number] for number in numbers] for numbers in steps):
            pass
        return {"windows": len(steps), "per_second": len(steps) / (time.perf_counter() - started)}


def wait_case(samples: int, overrides: Sequence[str]) -> dict[str, float]:
    """Share of the training time in which steps waited for data, by where frames are kept and what is read ahead."""
    ways = {
        "in memory, 2 ahead (as shipped)": [],
        "in memory, none ahead": ["training.prefetch=0"],
        "on disk, 2 ahead": ["training.cache=disk"],
        "kept nowhere, 2 ahead": ["training.cache=none", "training.shuffle=windows"],
        "kept nowhere, none ahead": ["training.cache=none", "training.shuffle=windows", "training.prefetch=0"],
    }
    shares = {}
    with tempfile.TemporaryDirectory(prefix="minconv-loader-") as name:
        few = [f"root={name}", f"generate.samples={samples}", "training.epochs=2", *overrides]
        config = read_config(CONFIG, few)
        torch.set_num_threads(config.training.threads or 1)
        if config.generate is None:
            raise SystemExit(f"{CONFIG} generates nothing")
        generate(config.generate, config.source_path)
        ingest(config)
        for way, changes in ways.items():
            job = prepare(read_config(CONFIG, [*few, *changes]), archive.head(config.archive_path))
            records: list[dict[str, Any]] = []
            folder = Path(name) / "training" / str(len(shares))
            run_loop(job, LocalWorker(folder, listener=lambda message, to=records: to.append(message)))
            epochs = [record for record in records if record["kind"] == "epoch"]
            shares[way] = float(np.mean([record["data_wait"] for record in epochs]))
    return shares


def main() -> None:
    """Measure, print, and write ``loader.json`` where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--shape", type=int, nargs=4, default=(24, 4, 256, 256), metavar=("T", "C", "H", "W"))
    parser.add_argument("--frames", type=int, default=480, help="frames of the archive")
    parser.add_argument("--count", type=int, default=8, help="windows of a turn")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=40, help="of navier_stokes_paper, for the wait")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of its configuration")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if "windows" in (cases := options.case or CASES):
        figures = windows_case(tuple(options.shape), options.frames, options.count, options.rounds)
        found["windows"] = {
            figure.contestant: {"per_second": 1e3 * options.count / figure.milliseconds, "ratio": figure.ratio}
            for figure in figures
        }
        print(table(figures))
        print()
        for name, row in found["windows"].items():
            print(f"{name}: {row['per_second']:.1f} windows/s")
    if "epoch" in cases:
        found["epoch"] = epoch_case(tuple(options.shape), options.frames)
        print(f"ours, kept nowhere, an epoch shard by shard: {found['epoch']['per_second']:.1f} windows/s")
    if "wait" in cases:
        found["data_wait"] = wait_case(options.samples, options.overrides)
        for way, share in found["data_wait"].items():
            print(f"waited for data, {way}: {share:.2%} of the training time")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "loader.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
