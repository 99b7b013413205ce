"""Damaged files through the checks of an ingest, in a process whose memory and time are limited; see `test_fuzz`.

python -m tests.pipeline.fuzzed_ingest FOLDER KIND FIRST LAST          # a line of JSON before and after each case
python -m tests.pipeline.fuzzed_ingest FOLDER KIND FIRST LAST --batch  # all in one ingest: one line
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import SourceError
from pipeline.ingest import ingest, rehearse
from pipeline.quarantine import entries
from pipeline.sources import digest

MEMORY_BYTES = 6 * 2**30
KINDS = {
    "netcdf3": {"format": "NETCDF3_64BIT"},
    "netcdf4": {"format": "NETCDF4"},
    "netcdf4_checksums": {"format": "NETCDF4", "encoding": {"t": {"zlib": True, "fletcher32": True}}},
}
VALUES = np.random.default_rng(7).normal(285, 3, (48, 12, 14)).astype("float32")


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    attrs = {"units": "K", "standard_name": "air_temperature"}
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last], attrs)},
        coords={"time": times, "lat": np.arange(12.0), "lon": np.arange(14.0)},
    )


def damaged(whole: bytes, header: int, seed: int) -> tuple[bytes, str]:
    """Some bytes flipped, set, cut or put in, in the first `header` bytes or behind them; and where."""
    random = np.random.default_rng(seed)
    place, (low, high) = [("header", (4, header)), ("body", (header, len(whole)))][seed % 2]
    data = bytearray(whole)
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(low, high))
        match int(random.integers(0, 6)):
            case 0 | 1:
                data[at] ^= 1 << int(random.integers(0, 8))
            case 2:
                data[at] = int(random.choice([0, 1, 127, 128, 255]))
            case 3:
                length = int(random.integers(1, 9))
                data[at : at + length] = bytes(random.integers(0, 256, length, dtype="uint8"))
            case 4:
                data[at : at + 4] = int(random.choice([0, 2**31 - 1, 2**32 - 1, 2**24])).to_bytes(4, "big")
            case _:
                if random.integers(0, 2):
                    del data[at : at + int(random.integers(1, 65))]
                else:
                    data[at:at] = bytes(random.integers(0, 256, int(random.integers(1, 65)), dtype="uint8"))
        high = min(high, len(data))
        low = min(low, high - 1)
    return bytes(data), place


def outcome(config, path) -> str:
    """What an ingest would do with the file beside a good one."""
    try:
        with rehearse(config) as found:
            if rules := [one.rule for one in (*found.rejected, *found.waiting) if one.path == path]:
                return rules[0]
            if path in (*found.ignored, *found.skipped):
                return "left out"
            taken = found.fields.sel(time=slice(fields(24, 25)["time"].values[0], None))
            same = taken.sizes["time"] == 24 and np.array_equal(taken["t"].values, VALUES[24:])
            return "unchanged" if same else "changed"
    except SourceError as error:
        return f"error {error.rule}"


def batch_outcome(config, folder) -> dict[str, object]:
    """What one ingest of all files left: whether the good file is archived as it is, and who is in quarantine."""
    result = ingest(config)
    archived = archive.open_dataset(config.archive_path)["t"].values
    known = {entry.sha256 for entry in entries(config.quarantine_path)}
    return {
        "good": bool(np.array_equal(archived[:24], VALUES[:24])) and folder / "a.nc" in result.committed,
        "rejected": len(result.rejected),
        "quarantined": sum(digest(one.path) in known for one in result.rejected),
        "other": len({*result.committed, *result.skipped, *(one.path for one in result.waiting), *result.ignored}) - 1,
    }


def main(folder: Path, kind: str, first: int, last: int, batch: bool) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    good, path = folder / "a.nc", folder / "b.nc"
    fields(0, 24).to_netcdf(good, engine="netcdf4")
    fields(24, 48).to_netcdf(folder / "whole", engine="netcdf4", **KINDS[kind])
    whole = (folder / "whole").read_bytes()
    header = len(whole) - VALUES[24:].nbytes if kind == "netcdf3" else len(whole) // 4
    tree = {"name": "fuzz", "root": str(folder / "runs"), "boundary": "closed", "variables": {"t": {"units": "K"}}}
    config = check_config({**tree, "source": {"path": str(folder), "max_rejected_share": 1.0}})
    if batch:
        for seed in range(first, last):
            (folder / f"c{seed}.nc").write_bytes(damaged(whole, header, seed)[0])
        print(json.dumps(batch_outcome(config, folder)))
        return
    for seed in range(first, last):
        data, place = damaged(whole, header, seed)
        path.write_bytes(data)
        print(json.dumps({"seed": seed, "place": place}), flush=True)
        print(json.dumps({"seed": seed, "place": place, "outcome": outcome(config, path)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "--batch" in sys.argv)
