"""Groups, packed values, Zarr of both versions and Icechunk, each from the input to the archive."""

import icechunk
import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import SourceError
from pipeline.fields import is_whole
from pipeline.ingest import ingest
from pipeline.sources import check_container, open_lazily

VALUES = np.random.default_rng(3).normal(280, 5, (12, 8, 10)).astype("float32")


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K"})},
        coords={
            "time": times,
            "lat": ("lat", np.linspace(40, 47, 8), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(-10, -1, 10), {"units": "degrees_east"}),
        },
    )


def settings(tmp_path, **source):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), **source},
            "variables": {"t": {"units": "K"}},
        }
    )


def stored(config):
    return archive.open_dataset(config.archive_path)["t"].values


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    return made


def commit(path, dataset, append=False):
    storage = icechunk.local_filesystem_storage(str(path))
    repository = icechunk.Repository.open(storage) if append else icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    mode = {"append_dim": "time"} if append else {"mode": "w"}
    dataset.to_zarr(session.store, zarr_format=3, consolidated=False, **mode)
    session.commit("made")


def test_a_group_of_netcdf_is_read_and_its_neighbours_are_not(folder, tmp_path):
    fields(0, 12).to_netcdf(folder / "a.nc", group="forecast/surface", engine="netcdf4")
    (fields(0, 12) + 50).to_netcdf(folder / "a.nc", group="analysis", mode="a", engine="netcdf4")
    config = settings(tmp_path, group="forecast/surface")
    assert ingest(config).appended == 12
    assert np.array_equal(stored(config), VALUES)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("group", [None, "forecast/surface"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_zarr_of_both_versions_is_read(folder, tmp_path, version, consolidated, group):
    for first, last in ((0, 5), (5, 12)):
        fields(first, last).to_zarr(
            folder / f"{first}.zarr", zarr_format=version, consolidated=consolidated, group=group
        )
    config = settings(tmp_path, files=["*.zarr"], group=group)
    assert len(ingest(config).committed) == 2
    assert np.array_equal(stored(config), VALUES)


def test_an_icechunk_repository_is_read_at_its_newest_version(folder, tmp_path):
    config = settings(tmp_path, files=["repository"])
    commit(folder / "repository", fields(0, 5))
    assert ingest(config).appended == 5
    assert ingest(config).skipped == (folder / "repository",)
    commit(folder / "repository", fields(5, 12), append=True)
    assert ingest(config).appended == 7
    assert np.array_equal(stored(config), VALUES)


def test_a_damaged_repository_is_rejected(folder):
    commit(folder / "repository", fields(0, 5))
    for file in (folder / "repository" / "snapshots").iterdir():
        file.write_bytes(b"")
    check_container(folder / "repository")
    with pytest.raises(SourceError, match="Q-TRUNCATED"):
        open_lazily(folder / "repository")


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_a_group_that_is_not_there_is_named(folder, kind):
    path = folder / "a"
    if kind == "netcdf":
        fields(0, 2).to_netcdf(path, engine="netcdf4")
    else:
        fields(0, 2).to_zarr(path, consolidated=False)
    with pytest.raises(SourceError, match=r"Q-MISSING-VARIABLE: expected the group 'a/b'.*source\.group"):
        open_lazily(path, "a/b")


def test_files_packed_each_in_its_own_way_arrive_as_the_values_they_stand_for(folder, tmp_path):
    packing = [((0, 5), "int16", 0.002, 280.0), ((5, 9), "int16", 0.001, 283.0), ((9, 12), "int32", 1e-5, 0.0)]
    for (first, last), dtype, scale, offset in packing:
        form = {"dtype": dtype, "scale_factor": scale, "add_offset": offset, "_FillValue": -(2**15)}
        fields(first, last).to_netcdf(folder / f"{first}.nc", engine="netcdf4", encoding={"t": form})
    config = settings(tmp_path)
    assert ingest(config).appended == 12
    for (first, last), _, scale, _ in packing:
        # half a step of the packing, and the rounding of single precision near 280
        assert np.abs(stored(config)[first:last] - VALUES[first:last]).max() <= scale / 2 + 4e-5


def test_a_small_file_is_read_without_dask(tmp_path):
    values = np.arange(24, dtype="float32").reshape(2, 3, 4)
    saved = xr.Dataset({"t": (("time", "lat", "lon"), values)}, {"time": [0, 1]})
    saved.to_netcdf(tmp_path / "a.nc")
    with open_lazily(tmp_path / "a.nc", whole=2**20) as whole, open_lazily(tmp_path / "a.nc", whole=16) as cut:
        assert is_whole(whole)
        assert not is_whole(cut)
        xr.testing.assert_identical(whole.load(), cut.load())
