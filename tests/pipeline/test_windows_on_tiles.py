"""Windows on tiles hold what the whole grid has there; only the tile is read; blocks are decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from pipeline import archive
from pipeline.climatology import fit_climatology
from pipeline.config import ArchiveConfig
from pipeline.splits import Span, Split
from pipeline.tiles import Halo, Tile, Tiling
from pipeline.windows import CachePlan, FrameReader, Window
from pipeline.windows import reader as room

HOURS, LENGTH = 48, 7
LAYOUT = ArchiveConfig(chunk_time=4, chunk_space=4, shard_time=8, shard_space=8)
TRAIN = Split("train", Span(0, 1), Span(3, 39))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    mask = rng.random((12, 10)) > 0.2
    fields = rng.normal(size=(2, HOURS, 12, 10)).astype(np.float32)
    fields[:, :, ~mask] = np.nan
    dims = ("time", "lat", "lon")
    dataset = xr.Dataset(
        {"t2m": (dims, fields[0], {"units": "K"}), "known": (dims, fields[1], {"units": "1"})},
        coords={
            "time": np.datetime64("2017-06-01T00", "ns") + np.arange(HOURS) * np.timedelta64(1, "h"),
            "lat": ("lat", np.linspace(-80, 80, 12), {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.arange(10) * 36.0 - 180.0, {"units": "degrees_east", "standard_name": "longitude"}),
            "mask": (("lat", "lon"), mask.astype(np.int8)),
            "height": (("lat", "lon"), rng.random((12, 10)).astype(np.float32), {"units": "m"}),
        },
        attrs={"boundary": "cylinder"},
    )
    path = tmp_path_factory.mktemp("archive") / "globe"
    archive.write(path, dataset, LAYOUT, message="made", metadata={})
    return path


def reader(folder: Path, cache_bytes: int = 0, plan: CachePlan | None = None, anomaly: bool = False) -> FrameReader:
    climatology = None
    if anomaly:
        with archive.open_dataset(folder) as dataset:
            climatology = fit_climatology(dataset, ("t2m",), TRAIN)
    return FrameReader(
        folder,
        archive.head(folder),
        ["t2m"],
        ["time_of_day", "insolation", "latitude", "longitude", "mask"],
        [0.5],
        cache_bytes,
        TRAIN,
        climatology,
        static_variables=["height"],
        forcing_variables={"known": -1.0},
        cache=plan,
    )


def tiles(of: FrameReader) -> tuple[Tile, ...]:
    return Tiling.of(of.grid, (4, 4), Halo(2, 3)).tiles


PLANS: dict[str, tuple[int, CachePlan | None]] = {
    "nothing": (0, None),
    "memory": (2**20, None),
    "blocks": (40_000, CachePlan("none", window=LENGTH, shape=(8, 10))),
    "blocks of the grid": (40_000, CachePlan("none", window=LENGTH)),
}


@pytest.mark.parametrize("anomaly", [False, True])
@pytest.mark.parametrize("kept", [*PLANS, "disk"])
def test_a_window_on_a_tile_is_the_tile_of_the_window(folder: Path, tmp_path: Path, kept: str, anomaly: bool) -> None:
    cache_bytes, plan = (0, CachePlan("disk", tmp_path)) if kept == "disk" else PLANS[kept]
    whole, tiled = reader(folder, anomaly=anomaly), reader(folder, cache_bytes, plan, anomaly)
    assert tiled.cached is (kept in ("memory", "disk"))
    assert (tiled.blocks is not None) is kept.startswith("blocks")
    for start in (3, 9, 20, 32, 41):
        frames, forcing = whole.read([Window(0, start)], LENGTH)
        assert frames.shape[2] + forcing.shape[2] == 1 + len(whole.forcing_channels)
        for tile in tiles(whole):
            found = tiled.read([Window(0, start, tile)], LENGTH)
            assert found[0].shape == (1, LENGTH, 1, *tile.shape)
            assert torch.equal(found[0], tile.cut(frames))
            assert torch.equal(found[1], tile.cut(forcing))
        found = tiled.read([Window(0, start)], LENGTH)
        assert torch.equal(found[0], frames)
        assert torch.equal(found[1], forcing)


def test_tiles_of_a_batch_each_have_their_own_forcing(folder: Path) -> None:
    one = reader(folder)
    cases = [Window(0, 5 + n, tile) for n, tile in enumerate(tiles(one))]
    frames, forcing = one.read(cases, LENGTH)
    for row, case in enumerate(cases):
        alone = one.read([case], LENGTH)
        assert torch.equal(frames[row], alone[0][0])
        assert torch.equal(forcing[row], alone[1][0])
    channel = one.forcing_channels.index("latitude_sin")
    wanted = np.sin(np.deg2rad(np.asarray(one.grid.y)))[cases[-1].tile.rows.index]  # type: ignore[union-attr]
    np.testing.assert_allclose(forcing[-1, 0, channel, :, 0], wanted, atol=1e-6)


def test_windows_of_other_shapes_are_no_batch(folder: Path) -> None:
    one = reader(folder)
    with pytest.raises(ValueError, match="must have one shape"):
        one.read([Window(0, 5), Window(0, 5, tiles(one)[0])], LENGTH)


class Counting:
    """An array that counts the values that are read of it, by frame."""

    def __init__(self, array: Any) -> None:
        self.array, self.values, self.frames = array, 0, np.zeros(array.shape[-3], dtype=int)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.array, name)

    def __getitem__(self, key: Any) -> Any:
        found = self.array[key]
        self.values += found.size
        self.frames[key[0] if isinstance(key, tuple) else key] += 1
        return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counting]:
    arrays: dict[str, Counting] = {}
    original = room.open_arrays

    def opened(*arguments: Any) -> dict[str, Counting]:
        arrays.update({name: Counting(array) for name, array in original(*arguments).items()})
        return arrays

    monkeypatch.setattr(room, "open_arrays", opened)
    return arrays


def test_only_the_tile_is_read(folder: Path, counted: dict[str, Counting]) -> None:
    one = reader(folder)
    for tile in tiles(one):
        before = counted["t2m"].values
        one.read([Window(0, 5, tile)], LENGTH)
        assert counted["t2m"].values - before == LENGTH * tile.shape[0] * tile.shape[1]


def test_of_windows_shard_by_shard_each_frame_is_decoded_about_once(folder: Path, counted: dict[str, Counting]) -> None:
    one = reader(folder, 30_000, CachePlan("none", window=LENGTH))
    assert one.blocks is not None
    assert one.blocks.frames == 8
    cases = [Window(0, start) for start in range(3, 39 - LENGTH + 1)]
    cases.sort(key=lambda case: (one.blocks.number(case.start) * 7 % 5, case.start * 3 % 4))
    for case in cases:
        one.read([case], LENGTH)
    # a block and the frames of the next that its windows reach into: never more than twice
    for name in ("t2m", "known"):
        assert counted[name].frames.max() <= 2
        assert counted[name].frames.sum() <= 36 + 4 * LENGTH
    plain = reader(folder)
    for case in cases:
        plain.read([case], LENGTH)
    assert counted["t2m"].frames.max() == LENGTH


def test_no_blocks_where_two_do_not_fit(folder: Path) -> None:
    assert reader(folder, 10_000, CachePlan("none", window=LENGTH)).blocks is None
    smaller = reader(folder, 25_000, CachePlan("none", window=LENGTH)).blocks
    assert smaller is not None
    assert smaller.frames == 4


def test_the_file_holds_what_was_asked_for_and_is_not_mistaken(folder: Path, tmp_path: Path) -> None:
    plan = CachePlan("disk", tmp_path)
    fields = reader(folder, 0, plan).read([Window(0, 5)], LENGTH)[0]
    names = {path.name for path in tmp_path.glob("*.npy")}
    assert {name.rpartition("-")[0] for name in names} == {"train-fields", "train-forcings"}
    reader(folder, 0, plan)
    assert {path.name for path in tmp_path.glob("*.npy")} == names
    anomalies = reader(folder, 0, plan, anomaly=True).read([Window(0, 5)], LENGTH)[0]
    assert not torch.equal(anomalies, fields)
    changed = {path.name for path in tmp_path.glob("*.npy")}
    assert len(changed) == 2
    assert len(changed & names) == 1  # the forcings' is the same
