"""Levels, regions, coarser grids and static fields, from files to the archive."""

import re

import numpy as np
import pytest
import xarray as xr
import yaml

from pipeline import archive
from pipeline.config import VariableConfig, check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.grid import GridSpec
from pipeline.ingest import ingest
from pipeline.sources import harmonise

HOURS = 6
TIME = np.datetime64("2020-01-01", "ns") + np.arange(HOURS) * np.timedelta64(1, "h")


def globe(step=10.0, names=("t",), first=0.0, land=False):
    """Values that say where they are: 1000 lat + lon (from -180), one more each hour; the Sahara missing."""
    lat, lon = np.arange(90 - step / 2, -90, -step), first + np.arange(0, 360, step)
    where = 1000 * lat[:, None] + ((lon + 180) % 360 - 180)[None]
    values = (where + np.arange(HOURS)[:, None, None]).astype("f4")
    if land:
        values[:, (np.abs(lat - 20) < 15)[:, None] & (((lon + 180) % 360 - 180 > 0) & (lon % 360 < 40))[None]] = np.nan
    fields = {name: (("time", "lat", "lon"), values, {"units": "K"}) for name in names}
    return xr.Dataset(
        fields,
        {
            "time": TIME,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    )


def config_of(tmp_path, variables=None, boundary="closed", name="test", **source):
    folder = tmp_path / "input"
    return check_config(
        {
            "name": name,
            "root": str(tmp_path / "runs"),
            "source": {"path": str(folder), **source},
            "variables": variables or {"t": {"units": "K"}},
            "boundary": boundary,
        }
    )


def save(tmp_path, dataset, name="a.nc"):
    (tmp_path / "input").mkdir(exist_ok=True)
    dataset.to_netcdf(tmp_path / "input" / name)


def archived(config):
    return archive.open_dataset(config.archive_path).load()


# regions


@pytest.mark.parametrize("first", [0.0, -180.0, 20.0])
@pytest.mark.parametrize(
    ("lon", "expected"),
    [
        ([-20, 10], [-20, -10, 0, 10]),
        ([350, 370], [-10, 0, 10]),
        ([165, -165], [170, 180, 190]),
        ([170, 190], [170, 180, 190]),
        ([0, 360], list(range(0, 360, 10))),
        ([100, 460], list(range(100, 460, 10))),
        ([-180, 180], list(range(-180, 180, 10))),
    ],
)
def test_a_region_anywhere_on_the_globe(tmp_path, first, lon, expected):
    save(tmp_path, globe(first=first))
    config = config_of(tmp_path, region={"lat": [-20, 25], "lon": lon})
    ingest(config)
    found = archived(config)
    assert found["lat"].values.tolist() == [-15, -5, 5, 15, 25]
    assert found["lon"].values.tolist() == expected
    place = 1000 * found["lat"] + (found["lon"] + 180) % 360 - 180
    np.testing.assert_allclose(found["t"].isel(time=2), place + 2)
    GridSpec.from_dataset(found)


def test_a_file_that_itself_crosses_the_date_line_needs_a_region(tmp_path):
    save(tmp_path, globe().isel(lon=slice(15, 22)))
    across = {"lat": [-90, 90], "lon": [150, -150]}
    with pytest.raises(SourceError, match=r"gap of 300 degrees where they should run on from -180"):
        ingest(config_of(tmp_path))
    config = config_of(tmp_path, region=across)
    ingest(config)
    assert archived(config)["lon"].values.tolist() == [150, 160, 170, 180, 190, 200, 210]


@pytest.mark.parametrize(
    ("source", "boundary", "message"),
    [
        ({"region": {"lon": [0, 10]}}, "cylinder", "boundary must be closed with this source.region, got cylinder"),
        ({"region": {"lat": [0, 10]}}, "periodic", "boundary must be cylinder or closed with this source.region"),
        ({"region": {"lat": [10, 0]}}, "closed", r"must be \[south, north\] within -90 and 90, got \[10, 0\]"),
        ({"region": {"lon": [0, 400]}}, "closed", r"at most 360 degrees apart, got \[0, 400\]"),
        ({"coarsen": 0}, "closed", "source.coarsen"),
    ],
)
def test_a_region_that_cannot_be_is_refused(tmp_path, source, boundary, message):
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, boundary=boundary, **source)


def test_a_band_around_the_globe_is_a_cylinder(tmp_path):
    save(tmp_path, globe())
    config = config_of(tmp_path, boundary="cylinder", region={"lat": [-60, 60]})
    ingest(config)
    assert archived(config)["t"].shape == (HOURS, 12, 36)


def test_a_region_without_a_point_is_said(tmp_path):
    save(tmp_path, globe())
    with pytest.raises(SourceError, match=r"no point in source.region"):
        ingest(config_of(tmp_path, region={"lat": [1, 2]}))


def test_an_archive_keeps_its_region_and_its_coarsening(tmp_path):
    save(tmp_path, globe())
    ingest(config_of(tmp_path, region={"lat": [-20, 20]}))
    with pytest.raises(ConfigError, match=r"made with source.region .*; use another name for a new archive"):
        ingest(config_of(tmp_path))
    with pytest.raises(ConfigError, match=r"made with source.coarsen 1, but the configuration says 2"):
        ingest(config_of(tmp_path, region={"lat": [-20, 20]}, coarsen=2))


# coarsening


def test_blocks_are_averaged_with_their_mask(tmp_path):
    save(tmp_path, globe(land=True))
    fine, coarse = config_of(tmp_path, name="fine"), config_of(tmp_path, name="coarse", coarsen=2)
    for config in (fine, coarse):
        ingest(config)
    before, after = archived(fine), archived(coarse)
    assert after["t"].shape == (HOURS, 9, 18)
    assert after["lat"].values[:2].tolist() == [-80, -70 + 10]
    assert 0 < int((after["mask"] == 0).sum()) < int((before["mask"] == 0).sum())
    block = before["t"].isel(lat=slice(0, 2), lon=slice(0, 2))
    weights = np.cos(np.deg2rad(block["lat"]))
    np.testing.assert_allclose(after["t"][:, 0, 0], block.weighted(weights).mean(("lat", "lon")), rtol=1e-6)


def test_values_are_checked_before_they_are_averaged(tmp_path):
    odd = globe()
    odd["t"].values[3, 4, 5] = 1e6
    save(tmp_path, odd)
    variables = {"t": {"units": "K", "valid_range": [-1e5, 1e5]}}
    with pytest.raises(SourceError, match="Q-RANGE"):
        ingest(config_of(tmp_path, variables, coarsen=2))
    gap = globe()
    gap["t"].values[3, 4, 5] = np.nan
    save(tmp_path, gap)
    with pytest.raises(SourceError, match=r"missing at times at 1 points"):
        ingest(config_of(tmp_path, coarsen=2))


# static fields


def mask_file(step=5.0, name="lsm"):
    lat, lon = np.arange(-90 + step / 2, 90, step), np.arange(-180 + step / 2, 180, step)
    where = 1000 * lat[:, None] + lon[None]
    return xr.Dataset(
        {name: (("latitude", "longitude"), where, {"units": "1"})},
        {"latitude": ("latitude", lat, {"units": "degrees_north"}), "longitude": lon},
    )


STATIC = {"t": {"units": "K"}, "land": {"units": "1", "source_name": "lsm", "role": "static"}}


@pytest.mark.parametrize("region", [None, {"lat": [-30, 30], "lon": [165, -165]}])
@pytest.mark.parametrize("coarsen", [1, 2])
def test_a_static_field_of_the_globe_is_cut_to_the_archive(tmp_path, region, coarsen):
    save(tmp_path, globe(step=5.0, first=2.5))
    save(tmp_path, mask_file(), "mask.nc")
    config = config_of(tmp_path, STATIC, region=region, coarsen=coarsen)
    result = ingest(config)
    assert {path.name for path in result.committed} == {"a.nc", "mask.nc"}
    found = archived(config)
    assert "land" not in found.data_vars
    assert found["land"].dims == ("lat", "lon")
    expected = found["t"].isel(time=0)
    np.testing.assert_allclose(found["land"], expected, rtol=1e-5)
    again = ingest(config)
    assert again.committed == ()
    assert len(again.skipped) == 2


def test_more_frames_go_in_without_the_static_file(tmp_path):
    whole = globe(step=5.0, first=2.5)
    save(tmp_path, whole.isel(time=slice(0, 3)))
    save(tmp_path, mask_file(), "mask.nc")
    config = config_of(tmp_path, STATIC)
    ingest(config)
    (tmp_path / "input" / "mask.nc").unlink()
    save(tmp_path, whole.isel(time=slice(3, 6)), "b.nc")
    assert ingest(config).appended == 3
    assert archived(config)["land"].shape == (36, 72)


def test_static_and_other_fields_may_share_a_file(tmp_path):
    both = xr.merge([globe(step=5.0, first=2.5), mask_file().rename(latitude="lat", longitude="lon")], join="right")
    save(tmp_path, both)
    config = config_of(tmp_path, STATIC)
    assert [path.name for path in ingest(config).committed] == ["a.nc"]
    assert np.isfinite(archived(config)["land"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask.isel(latitude=slice(0, 20)), "Q-GRID.*mask.nc: static field 'land' has no value at lat"),
        (lambda mask: mask.where(mask["lsm"] > 0), "Q-NAN.*has no value at .* valid points"),
        (
            lambda mask: mask.expand_dims(time=TIME[:2]),
            r"static field .land. is in no good file \(Q-DIMENSIONS: mask.nc: .*has 2 times",
        ),
        (lambda mask: mask.rename(lsm="other"), "Q-MISSING-VARIABLE.*'lsm' is in no file"),
    ],
)
def test_a_static_field_that_does_not_fit_is_refused(tmp_path, change, message):
    save(tmp_path, globe(step=5.0, first=2.5))
    save(tmp_path, change(mask_file()), "mask.nc")
    config = config_of(tmp_path, STATIC)
    with pytest.raises(SourceError) as refused:
        ingest(config)

    assert re.search(message, f"{refused.value.rule}: {refused.value.message}")
    assert not archive.exists(config.archive_path)


def test_a_revised_static_field_is_turned_down(tmp_path):
    whole = globe(step=5.0, first=2.5)
    save(tmp_path, whole.isel(time=slice(0, 3)))
    save(tmp_path, mask_file(), "mask.nc")
    config = config_of(tmp_path, STATIC)
    ingest(config)
    save(tmp_path, mask_file() + 1.0, "revised.nc")
    revised = xr.open_dataset(tmp_path / "input" / "revised.nc").load()
    revised["lsm"].attrs["units"] = "1"
    save(tmp_path, revised, "other.nc")
    (tmp_path / "input" / "revised.nc").unlink()
    save(tmp_path, whole.isel(time=slice(3, 6)), "b.nc")
    result = ingest(config)
    assert [(one.rule, one.path.name) for one in result.rejected] == [("Q-OVERLAP", "other.nc")]
    assert result.appended == 3


# levels


def pressure_levels(units, values, name="plev"):
    """z = 100 x level in hPa + hour."""
    hectopascal = np.asarray(values) / (100 if units == "Pa" else 1)
    z = 100 * hectopascal[None, :, None, None] + np.arange(HOURS)[:, None, None, None] + np.zeros((1, 1, 4, 5))
    return xr.Dataset(
        {"z": (("time", name, "lat", "lon"), z.astype("f4"), {"units": "m2 s-2"})},
        {
            "time": TIME,
            name: (name, np.asarray(values, "f4"), {"units": units}),
            "lat": np.arange(4.0),
            "lon": np.arange(5.0),
        },
    )


LEVELS = {"z": {"units": "m2 s-2", "levels": [850, 500]}}


@pytest.mark.parametrize(
    ("units", "values", "name"),
    [
        ("hPa", [850, 700, 500], "level"),
        ("millibars", [500, 700, 850], "isobaricInhPa"),
        ("Pa", [85000, 70000, 50000], "plev"),
    ],
)
def test_levels_become_variables(tmp_path, units, values, name):
    save(tmp_path, pressure_levels(units, values, name))
    config = config_of(tmp_path, LEVELS)
    assert list(config.variables) == ["z_850", "z_500"]
    ingest(config)
    found = archived(config)
    np.testing.assert_allclose(found["z_850"][:, 0, 0], 85000 + np.arange(HOURS))
    np.testing.assert_allclose(found["z_500"][:, 0, 0], 50000 + np.arange(HOURS))


def test_each_level_may_have_a_file_of_its_own(tmp_path):
    both = pressure_levels("hPa", [850, 500])
    for place, level in enumerate((850, 500)):
        save(tmp_path, both.isel(plev=place), f"z{level}.nc")  # the level is a scalar coordinate
    config = config_of(tmp_path, LEVELS)
    ingest(config)
    np.testing.assert_allclose(archived(config)["z_500"][0], 50000)


def test_numbered_levels_are_taken_as_they_are(tmp_path):
    numbered = pressure_levels("1", [1, 2, 3], "lev")
    save(tmp_path, numbered)
    config = config_of(tmp_path, {"low": {"units": "m2 s-2", "source_name": "z", "level": 3}})
    ingest(config)
    np.testing.assert_allclose(archived(config)["low"][0], 300)


def test_a_missing_level_is_said(tmp_path):
    save(tmp_path, pressure_levels("hPa", [850, 700]))
    with pytest.raises(SourceError, match="variable 'z' at level 500 is in no file"):
        ingest(config_of(tmp_path, LEVELS))
    no_axis = pressure_levels("hPa", [500]).isel(plev=0, drop=True)
    save(tmp_path, no_axis)
    with pytest.raises(SourceError, match="at level 850 is in no file"):
        ingest(config_of(tmp_path, LEVELS))


def test_a_field_of_several_levels_without_one_named_is_refused():
    with pytest.raises(SourceError, match=r"'plev' of length 2, .* name its levels in the configuration"):
        harmonise(pressure_levels("hPa", [850, 500]), {"z": VariableConfig(units="m2 s-2")})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"z": {"units": "1", "level": 500, "levels": [850]}}, "either level or levels, got both"),
        ({"z": {"units": "1", "levels": [500, 500.0]}}, "levels must differ"),
        ({"z": {"units": "1", "levels": [500]}, "z_500": {"units": "1"}}, "'z_500' is there twice"),
        ({"z": {"units": "1", "levels": []}}, "levels"),
    ],
)
def test_levels_that_make_no_sense_are_refused(tmp_path, variables, message):
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, variables)


def test_an_expanded_configuration_reads_back(tmp_path):

    config = config_of(tmp_path, LEVELS)
    assert check_config(yaml.safe_load(config.to_yaml())) == config
