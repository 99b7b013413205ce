import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import VariableConfig
from pipeline.errors import SourceError
from pipeline.sources import check_container, digest, find, harmonise, open_lazily
from pipeline.sources.netcdf3 import expected_size
from pipeline.sources.units import conversion

KELVIN = {"t2m": VariableConfig(units="K")}
FORMATS = ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF3_64BIT_DATA"]


def weather(frames=12, lat=None, lon=None, units="K", name="t2m"):
    lat = np.linspace(-60, 60, 7) if lat is None else np.asarray(lat, float)
    lon = np.linspace(-180, 135, 8) if lon is None else np.asarray(lon, float)
    values = np.random.default_rng(1).normal(280, 10, (frames, len(lat), len(lon))).astype("float32")
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(frames) * np.timedelta64(6, "h")
    return xr.Dataset(
        {name: (("time", "lat", "lon"), values, {"units": units, "standard_name": "air_temperature"})},
        coords={
            "time": times,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    )


def saved(dataset, path, **options):
    dataset.to_netcdf(path, engine="netcdf4", **options)
    return path


def rule_of(action, *arguments):
    with pytest.raises(SourceError) as caught:
        action(*arguments)
    return caught.value.rule, caught.value.message


# files


def test_find_sorts_and_leaves_hidden_files_out(tmp_path):
    for name in ("b.nc", "a.nc", ".a.nc", "a.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find(tmp_path, ["*.nc", "a.*c"])] == ["a.nc", "b.nc"]


def test_find_names_what_is_missing(tmp_path):
    assert rule_of(find, tmp_path / "no", ["*.nc"])[0] == "Q-NO-FOLDER"
    rule, message = rule_of(find, tmp_path, ["*.nc", "*.zarr"])
    assert rule == "Q-NO-FILES"
    assert "*.nc, *.zarr" in message


def test_digest_follows_the_bytes_not_the_name(tmp_path):
    first, second = tmp_path / "a.nc", tmp_path / "b.nc"
    first.write_bytes(b"x" * 3_000_000)
    second.write_bytes(b"x" * 3_000_000)
    assert digest(first) == digest(second)
    second.write_bytes(b"x" * 2_999_999 + b"y")
    assert digest(first) != digest(second)
    folders = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    for folder in folders:
        folder.mkdir()
        (folder / "c").write_text("1")
    assert digest(folders[0]) == digest(folders[1])
    (folders[1] / "c").rename(folders[1] / "d")
    assert digest(folders[0]) != digest(folders[1])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("unlimited", [None, ["time"]])
@pytest.mark.parametrize("packed", [False, True])
def test_a_whole_file_is_whole_and_a_cut_one_is_not(tmp_path, form, unlimited, packed):
    dataset = weather(frames=13, lon=np.arange(-170.0, 170, 40))
    dataset["small"] = ("time", np.arange(13, dtype="int8"))
    dataset["note"] = ("lat", np.arange(7, dtype="int16"))
    encoding = (
        {"t2m": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}} if packed else {}
    )
    path = saved(dataset, tmp_path / "a.nc", format=form, unlimited_dims=unlimited, encoding=encoding)
    check_container(path)
    whole = path.read_bytes()
    size = expected_size(path)
    assert size is None if form == "NETCDF4" else len(whole) - 4 < size <= len(whole)
    for length in (len(whole) // 2, len(whole) // 100, len(whole) - 8, 9):
        path.write_bytes(whole[:length])

        def read():
            check_container(path)
            with open_lazily(path) as opened:
                opened["t2m"].values.sum()

        assert rule_of(read)[0] == "Q-TRUNCATED"


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=200)
def test_a_damaged_netcdf3_header_never_hangs(tmp_path_factory, body):
    path = tmp_path_factory.mktemp("fuzz") / "a.nc"
    path.write_bytes(b"CDF\x01" + body)
    try:
        expected = expected_size(path)
    except EOFError:
        return
    assert expected is not None
    assert expected >= 0


@pytest.mark.parametrize(
    ("content", "rule"), [(b"", "Q-EMPTY"), (b"<html>not found</html>", "Q-NOT-NETCDF"), (b"CDF\x01", "Q-TRUNCATED")]
)
def test_not_a_netcdf_file(tmp_path, content, rule):
    path = tmp_path / "a.nc"
    path.write_bytes(content)
    assert rule_of(check_container, path)[0] == rule


def test_a_folder_that_is_no_zarr(tmp_path):
    assert rule_of(check_container, tmp_path)[0] == "Q-NOT-ZARR"


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_equals_netcdf(tmp_path, version):
    path = tmp_path / "a.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of writing; reading must be quiet
        weather().to_zarr(path, zarr_format=version, consolidated=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_container(path)
        fields = harmonise(open_lazily(path), KELVIN)
    np.testing.assert_array_equal(fields["t2m"].values, weather()["t2m"].values)


def test_blocks_are_small_and_follow_the_chunks_of_the_file(tmp_path):
    path = saved(weather(frames=40), tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (3, 7, 8), "zlib": True}})
    with open_lazily(path, block_bytes=7 * 8 * 4 * 8) as dataset:
        assert dataset["t2m"].chunks == ((6,) * 6 + (4,), (7,), (8,))


# the contract


def test_what_is_in_order_passes_unchanged(tmp_path):
    fields = harmonise(open_lazily(saved(weather(), tmp_path / "a.nc")), KELVIN)
    assert fields["t2m"].dims == ("time", "lat", "lon")
    assert fields["t2m"].dtype == "float32"
    assert fields["t2m"].chunks is not None
    assert fields["t2m"].attrs == {"standard_name": "air_temperature", "units": "K"}
    assert fields["lat"].attrs["units"] == "degrees_north"
    xr.testing.assert_equal(fields.compute(scheduler="threads"), weather())


@given(
    flip=st.booleans(),
    east=st.booleans(),
    cyclic=st.booleans(),
    order=st.permutations(["time", "lat", "lon"]),
    shuffle=st.booleans(),
    repeat=st.booleans(),
    names=st.sampled_from([("lat", "lon"), ("latitude", "longitude"), ("nav_lat", "nav_lon"), ("n", "e")]),
    double=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_any_layout_of_the_same_field_comes_out_the_same(flip, east, cyclic, order, shuffle, repeat, names, double):
    plain = weather()
    changed = plain
    if east:
        changed = changed.assign_coords(lon=changed["lon"] % 360).sortby("lon")
    if cyclic:
        edge = changed.isel(lon=[0]).assign_coords(lon=changed["lon"].values[:1] + 360)
        changed = xr.concat(
            [changed, edge], dim="lon", data_vars="all", coords="minimal", compat="override", join="outer"
        )
    if flip:
        changed = changed.isel(lat=slice(None, None, -1))
    if repeat:
        changed = changed.isel(time=[0, 1, 1, *range(2, 12), 5])
    if shuffle:
        changed = changed.isel(time=np.random.default_rng(0).permutation(changed.sizes["time"]))
    changed = changed.transpose(*order)
    if double:
        changed = changed.astype("float64")
    # CF attributes name the axes where their names do not
    attrs = {name: plain[name].attrs for name in ("lat", "lon")}
    changed["lat"].attrs, changed["lon"].attrs = attrs["lat"], attrs["lon"]
    changed["t2m"].attrs = plain["t2m"].attrs
    changed = changed.rename(lat=names[0], lon=names[1])
    fields = harmonise(changed, KELVIN)
    assert fields["t2m"].dims == ("time", "lat", "lon")
    xr.testing.assert_allclose(fields, plain, rtol=1e-6)
    np.testing.assert_array_equal(fields["t2m"].values, plain["t2m"].values)


@pytest.mark.parametrize(
    ("found", "wanted", "slope", "offset"),
    [
        ("degC", "K", 1.0, 273.15),
        ("celsius", "K", 1.0, 273.15),
        ("Kelvin", "K", 1.0, 0.0),
        ("hPa", "Pa", 100.0, 0.0),
        ("kg m-2 h-1", "kg m-2 s-1", 1 / 3600, 0.0),
        ("W m**-2", "W m-2", 1.0, 0.0),
        ("%", "1", 0.01, 0.0),
        ("kg/kg", "kg kg-1", 1.0, 0.0),
        ("m**2 s**-2", "m2 s-2", 1.0, 0.0),
    ],
)
def test_units(found, wanted, slope, offset):
    assert conversion(found, wanted) == pytest.approx((slope, offset))


@pytest.mark.parametrize(
    ("found", "wanted"), [("m", "K"), ("nonsense", "K"), ("K", "nonsense"), ("3 @#", "K"), ("kg m-2", "mm")]
)
def test_units_that_do_not_fit(found, wanted):
    rule, message = rule_of(conversion, found, wanted)
    assert rule == "Q-UNITS"
    assert repr(found) in message
    assert repr(wanted) in message


def test_units_are_converted():
    celsius = weather(units="degC")
    fields = harmonise(celsius, KELVIN)
    np.testing.assert_allclose(fields["t2m"].values, celsius["t2m"].values.astype("float64") + 273.15, rtol=1e-7)
    assert fields["t2m"].attrs["units"] == "K"


def test_missing_units():
    bare = weather()
    del bare["t2m"].attrs["units"]
    rule, message = rule_of(harmonise, bare, KELVIN)
    assert rule == "Q-UNITS"
    assert "'t2m' has no units" in message
    assert harmonise(bare, {"t2m": VariableConfig(units="1")})["t2m"].attrs["units"] == "1"


def test_fill_values_and_packing(tmp_path):
    gappy = weather()
    gappy["t2m"][:, 2, 3] = np.nan
    for encoding in (
        {"_FillValue": np.float32(1e20)},
        {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768},
    ):
        path = saved(gappy, tmp_path / "a.nc", encoding={"t2m": encoding})
        found = harmonise(open_lazily(path), KELVIN)["t2m"]
        assert found.dtype == "float32"
        np.testing.assert_allclose(found.values, gappy["t2m"].values, atol=0.006)
        path.unlink()


def test_source_name_and_missing_variable():
    renamed = weather(name="T_2M").assign(other=("time", np.zeros(12)))
    assert list(harmonise(renamed, {"t2m": VariableConfig(units="K", source_name="T_2M")}).data_vars) == ["t2m"]
    rule, message = rule_of(harmonise, renamed, KELVIN)
    assert rule == "Q-MISSING-VARIABLE"
    assert "T_2M, other" in message


def test_weatherbench_layout(tmp_path):
    lat, lon = np.linspace(-87.1875, 87.1875, 32), np.linspace(0, 354.375, 64)
    plain = weather(lat=lat, lon=lon, units="m**2 s**-2", name="z")
    plain["lat"].attrs, plain["lon"].attrs = {}, {}
    levelled = plain.expand_dims(level=np.array([500], "int32"), axis=1)
    for dataset in (plain.assign_coords(level=500), levelled):
        fields = harmonise(open_lazily(saved(dataset, tmp_path / "a.nc")), {"z": VariableConfig(units="m2 s-2")})
        assert fields["z"].shape == (12, 32, 64)
        assert list(fields.coords) == ["time", "lat", "lon"]
        assert fields["lon"].values[[0, -1]].tolist() == [-180.0, 174.375]
        np.testing.assert_array_equal(fields["z"].values, np.roll(plain["z"].values, 32, axis=2))
        (tmp_path / "a.nc").unlink()
    many = xr.concat([levelled, levelled.assign_coords(level=[850])], dim="level")
    rule, message = rule_of(harmonise, many, {"z": VariableConfig(units="m2 s-2")})
    assert rule == "Q-DIMENSIONS"
    assert "'level' of length 2" in message


def test_samples_keep_their_numbers_and_relative_time():
    values = np.zeros((3, 5, 4, 4), "float32")
    dataset = xr.Dataset(
        {"vorticity": (("sample", "time", "y", "x"), values, {"units": "s-1"})},
        coords={"sample": [4, 5, 6], "time": ("time", np.arange(5.0), {"units": "min"})},
    )
    fields = harmonise(dataset, {"vorticity": VariableConfig(units="s-1")})
    assert fields["sample"].values.tolist() == [4, 5, 6]
    assert fields["time"].values.tolist() == [0.0, 60.0, 120.0, 180.0, 240.0]
    assert fields["time"].attrs["units"] == "s"
    assert fields["y"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    unitless = harmonise(dataset.drop_vars("time"), {"vorticity": VariableConfig(units="s-1")})
    assert unitless["time"].values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_file_of_one_time_step(tmp_path):
    path = saved(weather().isel(time=3), tmp_path / "a.nc")
    fields = harmonise(open_lazily(path), KELVIN)
    assert fields["time"].values == [np.datetime64("2020-01-01T18")]
    assert fields["t2m"].dims == ("time", "lat", "lon")


def test_jitter_of_floating_point_days_is_taken_away(tmp_path):
    hourly = weather(frames=2000)
    hourly = hourly.assign_coords(time=np.datetime64("2020-01-01T00", "ns") + np.arange(2000) * np.timedelta64(1, "h"))
    path = saved(hourly, tmp_path / "a.nc", encoding={"time": {"units": "days since 1800-01-01", "dtype": "float64"}})
    fields = harmonise(open_lazily(path), KELVIN)
    assert (np.diff(fields["time"].values) == np.timedelta64(1, "h")).all()


BAD = {
    "time twice, differing": (
        lambda d: xr.concat([d, d.isel(time=[4]) + 1], dim="time").assign(
            t2m=lambda x: x["t2m"].assign_attrs(units="K")
        ),
        "Q-TIME",
    ),
    "time missing": (lambda d: d.assign_coords(time=[*d["time"].values[:-1], np.datetime64("NaT")]), "Q-TIME"),
    "time without values": (lambda d: d.drop_vars("time"), "Q-TIME"),
    "time without units": (lambda d: d.assign_coords(time=np.arange(12.0)), "Q-TIME"),
    "no time": (lambda d: d.isel(time=0, drop=True), "Q-TIME"),
    "other calendar": (lambda d: d.convert_calendar("noleap", use_cftime=True), "Q-TIME"),
    "latitude out of range": (lambda d: d.assign_coords(lat=d["lat"] * 2), "Q-GRID"),
    "latitude not monotonic": (lambda d: d.isel(lat=[0, 2, 1, 3, 4, 5, 6]), "Q-GRID"),
    "longitude NaN": (lambda d: d.assign_coords(lon=[np.nan, *d["lon"].values[1:]]), "Q-GRID"),
    "longitudes of more than a turn": (lambda d: d.assign_coords(lon=d["lon"] * 2), "Q-GRID"),
    "across the date line": (lambda d: d.assign_coords(lon=np.arange(160.0, 200.0, 5.0)), "Q-GRID"),
    "cyclic column differs": (lambda d: d.assign_coords(lon=np.linspace(-180.0, 180.0, 8)), "Q-GRID"),
    "no values": (lambda d: d.isel(time=slice(0, 0)), "Q-EMPTY"),
    "text": (lambda d: d.assign(t2m=d["t2m"].astype(str)), "Q-DIMENSIONS"),
    "two latitudes": (lambda d: d.rename(lon="latitude").drop_vars("latitude"), "Q-DIMENSIONS"),
    "members": (lambda d: d.expand_dims(member=3), "Q-DIMENSIONS"),
    "stations": (lambda d: d.stack(station=["lat", "lon"]).drop_vars(["station", "lat", "lon"]), "Q-DIMENSIONS"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_fixed_is_refused(name):
    change, rule = BAD[name]
    found, message = rule_of(harmonise, change(weather()), KELVIN)
    assert found == rule
    assert message
    assert "\n" not in message


def test_times_that_cannot_be_decoded(tmp_path):
    path = saved(
        weather().assign_coords(time=("time", np.arange(12.0), {"units": "hours since yesterday"})), tmp_path / "a.nc"
    )
    assert rule_of(open_lazily, path)[0] == "Q-TIME"
