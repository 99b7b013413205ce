"""The ingest, all checks on, against the plain way from the same files into Zarr, as ratios within one run.

    python tests/bench/ingest.py                         # the table of docs/performance.md, about ten minutes
    python tests/bench/ingest.py --files 10 --form packed --mb 50 --rounds 3
    python tests/bench/ingest.py --form deflated --no-cache      # what is larger than compute.cache_bytes is read twice

The plain way is ``xr.open_mfdataset(...).to_zarr(...)`` in its fast form (no comparison of coordinates between files),
with the same codec, chunks and shards, blocks of whole shards, and no check, checksum or version at all. Each of 1, 10
and 100 files together holds the same frames of two variables; `--form` says how they are stored: `plain` as float32,
`deflated` so with zlib, `packed` as int16 with scale and offset and zlib (as ERA5 comes). Contestants take turns in one
process (A, B, B, A, …), each into a new folder, after every written page has gone to the disk; the files are read once
before, so that both find them in the page cache. A rate is the fields' size as float32 by the clock; the ratio is the
median over rounds of ours over the plain one's, once more by the processor time of all threads, which other work on the
machine disturbs less. Before that both archives are compared value by value. Peak memory is
that of a process of its own for each contestant, libraries included. Results: ``ingest.json`` and ``ingest.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec

from pipeline import archive
from pipeline.config import Config, check_config
from pipeline.ingest import ingest
from pipeline.layout import plan
from pipeline.machine import processor_name

FORMS = ("plain", "deflated", "packed")
GRID = (180, 360)
UNITS = {"t2m": "K", "q2m": "kg kg-1"}
LIBRARIES = ("xarray", "dask", "zarr", "icechunk", "netCDF4", "numpy")


@dataclass(frozen=True)
class Case:
    """Files that hold `frames` hourly frames, stored in one of FORMS; `cache`: bytes that the ingest may keep."""

    form: str
    files: int
    frames: int
    folder: Path
    cache: int | None = None

    @property
    def megabytes(self) -> float:
        """Of the fields as float32."""
        return len(UNITS) * self.frames * GRID[0] * GRID[1] * 4 / 1e6

    @property
    def paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.nc"))


def frames_for(megabytes: float, most_files: int) -> int:
    """The number of frames nearest to a size that every number of files divides."""
    frame = len(UNITS) * GRID[0] * GRID[1] * 4 / 1e6
    return max(1, round(megabytes / frame / most_files)) * most_files


def make(case: Case) -> None:
    """Write the files: a daily cycle over a smooth field, with noise to the precision of an analysis."""
    case.folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    lat, lon = np.linspace(-89.5, 89.5, GRID[0]), np.linspace(-179.5, 179.5, GRID[1])
    smooth = 40 * np.cos(np.deg2rad(lat))[:, None] + 10 * np.sin(3 * np.deg2rad(lon))
    length = case.frames // case.files
    for number in range(case.files):
        hours = number * length + np.arange(length)
        cycle = 5 * np.sin(2 * np.pi * (hours[:, None] / 24 + lon / 360))[:, None, :]
        t2m = (250 + smooth + cycle + random.normal(0, 0.3, (length, *GRID))).round(2).astype("f4")
        q2m = (1e-4 * (t2m - 200) + random.normal(0, 1e-5, t2m.shape)).round(6).astype("f4")
        dims = ("time", "lat", "lon")
        fields = xr.Dataset(
            {"t2m": (dims, t2m, {"units": "K"}), "q2m": (dims, q2m, {"units": "kg kg-1"})},
            {
                "time": np.datetime64("2020-01-01", "ns") + hours * np.timedelta64(1, "h"),
                "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
                "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
            },
        )
        fields.to_netcdf(case.folder / f"{number:03d}.nc", encoding=_storage(case.form, min(length, 24)))


def _storage(form: str, rows: int) -> dict[str, dict[str, Any]]:
    if form == "plain":
        return {}
    squeezed = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (rows, *GRID)}
    packing = {"t2m": (0.01, 270.0), "q2m": (1e-6, 0.01)}
    if form == "deflated":
        return {name: dict(squeezed) for name in UNITS}
    return {
        name: {**squeezed, "dtype": "i2", "scale_factor": scale, "add_offset": offset, "_FillValue": np.int16(-32768)}
        for name, (scale, offset) in packing.items()
    }


def configuration(case: Case, root: Path) -> Config:
    """Of our contestant; layout and all else as it comes."""
    return check_config(
        {
            "name": "bench",
            "root": str(root),
            "source": {"path": str(case.folder)},
            "variables": {name: {"units": unit} for name, unit in UNITS.items()},
            "compute": {} if case.cache is None else {"cache_bytes": case.cache},
        }
    )


def ours(case: Case, root: Path) -> Path:
    """The archive of an ingest."""
    config = configuration(case, root)
    result = ingest(config)
    if result.appended != case.frames:
        raise SystemExit(f"the ingest took {result.appended} of {case.frames} frames: {result.rejected}")
    return config.archive_path


def plainly(case: Case, root: Path) -> Path:
    """The Zarr group of the plain way."""
    target = root / "plain.zarr"
    options: dict[str, Any] = {"coords": "minimal", "data_vars": "minimal", "compat": "override", "join": "override"}
    with xr.open_mfdataset(case.paths, combine="nested", concat_dim="time", engine="netcdf4", **options) as dataset:
        fields = dataset.astype("float32")
        dims = ("time", "lat", "lon")
        layout = plan(dims, {str(dim): size for dim, size in fields.sizes.items()}, configuration(case, root).archive)
        codec = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
        storage = {"dtype": "float32", "chunks": layout.chunks, "shards": layout.shards, "compressors": (codec,)}
        for field in fields.variables.values():
            field.encoding = {}
        blocks = fields.chunk(dict(zip(dims, layout.shards, strict=True)))
        blocks.to_zarr(target, zarr_format=3, consolidated=False, encoding=dict.fromkeys(UNITS, storage))
    return target


CONTESTANTS: dict[str, Callable[[Case, Path], Path]] = {"ingest": ours, "open_mfdataset, to_zarr": plainly}


def check(case: Case, folder: Path) -> None:
    """Both hold the same values at the same places."""
    with (
        archive.open_dataset(ours(case, folder / "ours"), chunks={}) as kept,
        xr.open_zarr(plainly(case, folder / "plain"), consolidated=False) as other,
    ):
        for name in UNITS:
            if not np.array_equal(kept[name].values, other[name].values, equal_nan=True):
                raise SystemExit(f"{case.form}, {case.files} file(s): wrong before it is fast: {name} differs")
        for name in ("time", "lat", "lon"):
            if not np.array_equal(kept[name].values, other[name].values):
                raise SystemExit(f"{case.form}, {case.files} file(s): wrong before it is fast: {name} differs")


@dataclass(frozen=True)
class Turn:
    """Seconds of one run, by the clock and of all processors."""

    clock: float
    processors: float


def measure(case: Case, folder: Path, rounds: int) -> dict[str, list[Turn]]:
    """What each contestant took in each round, after one that is not counted; the order alternates."""
    turns: dict[str, list[Turn]] = {name: [] for name in CONTESTANTS}
    for number in range(rounds + 1):
        for name in list(CONTESTANTS)[:: 1 if number % 2 else -1]:
            root = folder / "round"
            root.mkdir()
            os.sync()
            clock, processors = time.perf_counter(), time.process_time()
            CONTESTANTS[name](case, root)
            if number:
                turns[name].append(Turn(time.perf_counter() - clock, time.process_time() - processors))
            shutil.rmtree(root)
    return turns


def peak_memory(case: Case, folder: Path) -> dict[str, int]:
    """Peak resident MiB of each contestant in a process of its own."""
    peaks = {}
    for name in CONTESTANTS:
        root = folder / "alone"
        root.mkdir()
        request = json.dumps([name, case.form, case.files, case.frames, case.cache, str(case.folder), str(root)])
        done = subprocess.run([sys.executable, __file__, "--only", request], capture_output=True, text=True, check=True)
        peaks[name] = int(done.stdout)
        shutil.rmtree(root)
    return peaks


def _run_alone(request: str) -> None:
    """One run of one contestant; prints the peak of this process in MiB."""
    name, form, files, frames, cache, folder, root = json.loads(request)
    CONTESTANTS[name](Case(form, files, frames, Path(folder), cache), Path(root))
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)


def row(case: Case, turns: dict[str, list[Turn]], peaks: dict[str, int]) -> dict[str, Any]:
    """What is reported of a case."""
    pairs = list(zip(*turns.values(), strict=True))
    ratios = sorted(theirs.clock / ours.clock for ours, theirs in pairs)
    return {
        "form": case.form if case.cache is None else f"{case.form}, read twice",
        "files": case.files,
        "megabytes": round(case.megabytes, 1),
        "stored_megabytes": round(sum(path.stat().st_size for path in case.paths) / 1e6, 1),
        "rates": {name: case.megabytes / statistics.median(t.clock for t in own) for name, own in turns.items()},
        "ratio": statistics.median(ratios),
        "range": [ratios[0], ratios[-1]],
        "processor_ratio": statistics.median(theirs.processors / ours.processors for ours, theirs in pairs),
        "rounds": len(ratios),
        "seconds": {name: [asdict(turn) for turn in own] for name, own in turns.items()},
        "peak_mib": peaks,
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and with."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "commit": revision.stdout.strip(),
        "date": f"{datetime.date.today()}",
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; MB/s of both, ours over theirs by the clock with its range and by processor time, peak MiB of both."""
    lines = [
        "| stored as | files | ingest MB/s | to_zarr MB/s | ratio | range | of CPU time | rounds | peak MiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in rows:
        (mine, theirs), (low, high) = one["rates"].values(), one["range"]
        peaks = " / ".join(map(str, one["peak_mib"].values()))
        lines.append(
            f"| {one['form']} | {one['files']} | {mine:.0f} | {theirs:.0f} | {one['ratio']:.2f} | {low:.2f}–{high:.2f} "
            f"| {one['processor_ratio']:.2f} | {one['rounds']} | {peaks} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cases and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, action="append", help="repeatable; default: 1, 10 and 100")
    parser.add_argument("--form", action="append", choices=FORMS, help="repeatable; default: all")
    parser.add_argument("--mb", type=float, default=260.0, help="of each case, as float32")
    parser.add_argument("--no-cache", action="store_true", help="nothing is kept: all is read twice")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", metavar="REQUEST", help=argparse.SUPPRESS)  # a process that measures its memory
    arguments = parser.parse_args()
    if arguments.only:
        return _run_alone(arguments.only)
    counts = arguments.files or [1, 10, 100]
    here, rows, cache = machine(), [], 0 if arguments.no_cache else None
    for form in arguments.form or FORMS:
        for files in counts:
            with tempfile.TemporaryDirectory(prefix="minconv-bench-") as made:
                folder = Path(made)
                case = Case(form, files, frames_for(arguments.mb, max(counts)), folder / "source", cache)
                make(case)
                check(case, folder)
                rows.append(row(case, measure(case, folder, arguments.rounds), peak_memory(case, folder)))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "ingest.json").write_text(json.dumps({"machine": here, "rows": rows}, indent=2) + "\n")
    heading = ", ".join(f"{name}: {value}" for name, value in here.items())
    (arguments.out / "ingest.md").write_text(f"{heading}\n\n{table(rows)}")
    print(f"\n{heading}\n\n{table(rows)}")
    return None


if __name__ == "__main__":
    main()
