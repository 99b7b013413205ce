"""A made stream of daily files: a wave that travels over a small cylinder, whose speed changes from one day on.

What the nights of a pipeline are tested and shown with: a model learns the wave in a few epochs, persistence does not,
and after the change an old model is wrong.

    stream = Stream(folder, change=15)
    stream.write(3)          # folder/day_003.nc
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

HEIGHT, WIDTH, FRAMES = 6, 12, 24
START = datetime.date(2020, 3, 1)


@dataclass(frozen=True)
class Stream:
    """Daily files of hourly frames; day `change` is the first of the other regime."""

    folder: Path
    change: int = 10**6

    def date(self, day: int) -> str:
        """Of a day's night."""
        return (START + datetime.timedelta(days=day)).isoformat()

    def path(self, day: int) -> Path:
        """A day's file."""
        return self.folder / f"day_{day:03d}.nc"

    def write(self, day: int) -> Path:
        """Write a day's file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.frames(day).to_netcdf(self.path(day))
        return self.path(day)

    def write_torn(self, day: int) -> Path:
        """A file of a day that was cut off on its way."""
        whole = self.write(day).read_bytes()
        self.path(day).write_bytes(whole[: len(whole) // 2])
        return self.path(day)

    def frames(self, day: int) -> xr.Dataset:
        """A day: two waves round the cylinder at one or the other speed, and a little noise."""
        random = np.random.default_rng(day)
        hours = day * FRAMES + np.arange(FRAMES)
        angle = 2 * np.pi * np.arange(WIDTH) / WIDTH
        changed = max(0, self.change * FRAMES)
        phase = np.where(hours < changed, 0.35 * hours, 0.35 * changed - 0.5 * (hours - changed))
        wave = np.cos(angle - phase[:, None]) + 0.4 * np.sin(2 * angle - 2.0 * phase[:, None])
        north = np.linspace(0.6, 1.0, HEIGHT)[:, None]
        field = 280 + 3 * north * wave[:, None, :] + random.normal(0, 0.15, (FRAMES, HEIGHT, WIDTH))
        start = np.datetime64(START, "ns")
        coords = {
            "time": start + hours * np.timedelta64(1, "h"),
            "lat": ("lat", np.linspace(-25, 25, HEIGHT), {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("lon", 30.0 * np.arange(WIDTH), {"standard_name": "longitude", "units": "degrees_east"}),
        }
        attrs = {"units": "K", "long_name": "air temperature"}
        return xr.Dataset({"t2m": (("time", "lat", "lon"), field.astype("f4"), attrs)}, coords)


def configuration(root: Path, folder: Path, **sections: Any) -> dict[str, Any]:
    """The tree of a configuration for the stream: a tiny model, trained in this process in a second or two."""
    tree: dict[str, Any] = {
        "name": "stream",
        "root": str(root),
        "source": {"path": str(folder)},
        "variables": {"t2m": {"units": "K"}},
        "boundary": "cylinder",
        "split": {"train": 0.7, "validation": 0.1, "test": 0.2, "gap": 6, "newest": 240},
        "window": {"history": 6, "horizon": 3, "stride": 3},
        "model": {"hidden": [12], "patch": 1},
        "training": {"epochs": 12, "batch_size": 8, "learning_rate": 0.02, "workers": 0, "threads": 1},
        "evaluation": {"stride": 2},
        "nightly": {"epochs": 4, "learning_rate": 0.005, "lease_seconds": 30.0},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return tree
