"""Of dated files, only those are opened that can hold something new."""

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError
from pipeline.ingest import ingest

VALUES = np.random.default_rng(3).normal(280, 5, (6 * 24, 4, 5)).astype("float32")
START = np.datetime64("2020-01-30T00", "ns")


def save(folder, day, values=VALUES, hours=24):
    times = START + np.arange(24 * day, 24 * day + hours) * np.timedelta64(1, "h")
    path = folder / f"{times[0].astype('datetime64[D]').item():%Y/%m/t2m_%d.nc}"
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset(
        {"t": (("time", "lat", "lon"), values[24 * day : 24 * day + hours], {"units": "K"})},
        coords={"time": times, "lat": [40.0, 41, 42, 43], "lon": [0.0, 1, 2, 3, 4]},
    ).to_netcdf(path, engine="netcdf4")
    return path


def settings(tmp_path, **source):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "files": ["{time:%Y/%m}/t2m_{time:%d}.nc"], **source},
            "variables": {"t": {"units": "K"}},
        }
    )


def test_files_before_the_end_are_not_opened_and_late_ones_are_when_asked(tmp_path):
    folder, config = tmp_path / "input", settings(tmp_path)
    days = [save(folder, day) for day in range(3)]
    assert ingest(config).appended == 72
    for path in days[:2]:
        path.write_bytes(b"not read, so nobody minds")
    days.append(save(folder, 3))
    result = ingest(config)
    assert (result.appended, result.rejected, result.committed) == (24, (), (days[3],))
    assert result.skipped == tuple(days[:3])
    days.append(save(folder, 4))
    reopened = ingest(settings(tmp_path, reopen_hours=60))
    assert reopened.appended == 24
    assert [(one.path, one.rule) for one in reopened.rejected] == [(days[1], "Q-NOT-NETCDF")]
    assert np.array_equal(archive.open_dataset(config.archive_path)["t"].values, VALUES[:120])


def test_a_file_that_was_not_whole_yet_is_opened_again(tmp_path):
    folder, config = tmp_path / "input", settings(tmp_path)
    save(folder, 0)
    save(folder, 1, hours=5)
    assert ingest(config).appended == 29
    save(folder, 1)
    save(folder, 2)
    assert ingest(config).appended == 43


def test_a_pattern_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"source\.files.*year"):
        settings(tmp_path, files=["{time:%m%d}.nc"])
