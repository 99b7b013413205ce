"""Input from S3: fetched, skipped, refused and read in place, against a server of this machine."""

import time

import fsspec
import icechunk
import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import SourceError
from pipeline.ingest import ingest

pytest.importorskip("s3fs", reason="needs the extra 's3'")
pytestmark = pytest.mark.slow

VALUES = np.random.default_rng(3).normal(280, 5, (72, 8, 10)).astype("float32")


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K"})},
        {"time": times, "lat": np.linspace(40, 47, 8), "lon": np.linspace(-10, -1, 10)},
    )


def settings(tmp_path, url, *files):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": url, "files": files},
            "variables": {"t": {"units": "K"}},
        }
    )


@pytest.fixture
def bucket(monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    system.mkdir("weather")
    yield system
    system.rm("weather", recursive=True)
    server.stop()


def upload(system, tmp_path, day):
    fields(24 * day, 24 * day + 24).to_netcdf(tmp_path / "day.nc", engine="netcdf4")
    system.put_file(str(tmp_path / "day.nc"), f"weather/in/2020/0{day + 1}.nc")


def test_files_of_a_bucket_are_fetched_once(bucket, tmp_path):
    upload(bucket, tmp_path, 0)
    upload(bucket, tmp_path, 1)
    config = settings(tmp_path, "s3://weather/in", "*/*.nc")
    assert ingest(config).appended == 48
    assert list(config.source_path.rglob("*.nc")) == []
    upload(bucket, tmp_path, 2)
    result = ingest(config)
    assert (result.appended, len(result.skipped)) == (24, 2)
    np.testing.assert_array_equal(archive.open_dataset(config.archive_path)["t"].values, VALUES)
    assert "nothing" not in config.to_yaml()


def test_zarr_in_a_bucket_is_read_where_it_is(bucket, tmp_path):
    fields(0, 24).to_zarr("s3://weather/in/a.zarr", consolidated=False)
    config = settings(tmp_path, "s3://weather/in", "*.zarr")
    assert ingest(config).appended == 24
    assert ingest(config).appended == 0
    fields(24, 72).to_zarr("s3://weather/in/a.zarr", append_dim="time", consolidated=False)
    assert ingest(config).appended == 48
    np.testing.assert_array_equal(archive.open_dataset(config.archive_path)["t"].values, VALUES)


def test_an_icechunk_repository_in_a_bucket_is_read_where_it_is(bucket, tmp_path):
    storage = icechunk.s3_storage(bucket="weather", prefix="in/repository", from_env=True)
    repository = icechunk.Repository.create(storage)

    def commit(data, **how):
        session = repository.writable_session("main")
        data.to_zarr(session.store, consolidated=False, **how)
        session.commit("hours")

    commit(fields(0, 24), zarr_format=3)
    config = settings(tmp_path, "s3://weather/in", "repository")
    assert ingest(config).appended == 24
    assert len(ingest(config).skipped) == 1
    commit(fields(24, 72), append_dim="time")
    assert ingest(config).appended == 48
    np.testing.assert_array_equal(archive.open_dataset(config.archive_path)["t"].values, VALUES)


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    with pytest.raises(SourceError, match=r"Q-NO-FOLDER: s3://other/in does not exist; set source\.path"):
        ingest(settings(tmp_path, "s3://other/in", "*.nc"))


def test_a_store_that_is_not_there_is_told_soon(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(SourceError, match="Q-UNREADABLE: s3://weather/in cannot be reached"):
        ingest(settings(tmp_path, "s3://weather/in", "*.nc"))
    assert time.monotonic() - began < 60
