"""Transforms from files to the archive: night after night as all at once, gaps and masks, what is refused."""

import contextlib

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest

START = np.datetime64("2020-01-01T00", "ns")
HOURS = 24 * 3
RNG = np.random.default_rng(11)
LAT, LON = np.arange(50.0, 56.0), np.arange(-4.0, 4.0)
VALUES = {
    "t": RNG.normal(280, 5, (HOURS, 6, 8)).astype("f4"),
    "u": RNG.normal(0, 8, (HOURS, 6, 8)).astype("f4"),
    "v": RNG.normal(0, 8, (HOURS, 6, 8)).astype("f4"),
    "hourly": RNG.gamma(0.3, 2.0, (HOURS, 6, 8)).astype("f4"),  # mm that fell in the hour before
}
SEA = np.zeros((6, 8), bool)
SEA[:2, :3] = True
UNITS = {"t": "K", "u": "m s-1", "v": "m s-1", "tp": "m"}


def since_midnight(hourly):
    """Accumulations as ERA5-Land keeps them: the one of 00 UTC is that of the whole day before."""
    padded = np.concatenate([np.full((23, 6, 8), 0.5), hourly])[: len(hourly) + 23]
    days = padded[: len(padded) // 24 * 24].reshape(-1, 24, 6, 8).cumsum(axis=1).reshape(-1, 6, 8)
    return (days[23 : 23 + len(hourly)] / 1000).astype("f8")


TOTALS = since_midnight(np.concatenate([VALUES["hourly"], np.zeros((24, 6, 8))]))[:HOURS]


def fields(first, last, names=("t",), masked=False):
    data = {
        name: (
            ("time", "lat", "lon"),
            (TOTALS if name == "tp" else VALUES[name])[first:last].copy(),
            {"units": UNITS[name]},
        )
        for name in names
    }
    dataset = xr.Dataset(
        data, {"time": START + np.arange(first, last) * np.timedelta64(1, "h"), "lat": LAT, "lon": LON}
    )
    if "tp" in names:
        dataset["tp"].attrs["standard_name"] = "lwe_thickness_of_precipitation_amount"
    return dataset.where(~xr.DataArray(SEA, dims=("lat", "lon"))).assign_attrs() if masked else dataset


def save(folder, name, dataset):
    folder.mkdir(parents=True, exist_ok=True)
    for field in dataset.data_vars.values():
        field.attrs.setdefault("units", UNITS[field.name])
    dataset.to_netcdf(folder / name, engine="netcdf4")


def config_of(tmp_path, variables=None, name="test", quality=None, **source):
    return check_config(
        {
            "name": name,
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "max_rejected_share": 1.0, **source},
            "variables": variables or {"t": {"units": "K"}},
            "archive": {"chunk_time": 4, "shard_time": 8},
            "quality": quality or {},
        }
    )


def stored(config):
    return archive.open_dataset(config.archive_path).load()


PR = {"pr": {"units": "kg m-2 s-1", "source_name": "tp", "derive": "rate", "accumulated": "24h"}}
CASES = {
    "right": ({"t": {"units": "K"}}, {"resample": {"step": "6h"}}),
    "left": ({"t": {"units": "K"}}, {"resample": {"step": "6h", "label": "left"}}),
    "rate": (PR, {}),
    "detected": ({"pr": {**PR["pr"], "accumulated": "start"}}, {}),
    "all": (
        {
            "t": {"units": "K", "resample": "max"},
            **PR,
            "wind": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}},
            "from": {"units": "degree", "derive": {"wind_direction": ["u", "v"]}},
        },
        {
            "resample": {"step": "6h"},
            "regrid": {"lat": [50.5, 54.5, 2], "lon": [-3, 2, 1.5]},
            "region": {"lat": [49, 56], "lon": [-4, 3]},
        },
    ),
}
FILES = {
    "daily": [(day, day + 24) for day in range(0, HOURS, 24)],
    "uneven": [(0, 7), (7, 8), (8, 31), (31, 33), (33, HOURS)],
    "hourly": [(hour, hour + 1) for hour in range(23, 34)],
    "overlapping": [(0, 30), (24, 60), (60, HOURS)],
}


@pytest.mark.parametrize(
    ("case", "cut"),
    [
        pytest.param("all", "daily", marks=pytest.mark.slow),
        pytest.param("right", "hourly", marks=pytest.mark.slow),
        ("detected", "overlapping"),
    ],
)
def test_night_after_night_the_archive_is_what_it_is_at_once(tmp_path, case, cut):
    variables, source = CASES[case]
    names = {"right": ["t"], "detected": ["tp"], "all": ["t", "tp", "u", "v"]}[case]
    folder, cuts = tmp_path / "input", FILES[cut]
    save(folder, "whole.nc", fields(cuts[0][0], cuts[-1][1], names))
    reference = config_of(tmp_path, variables, "reference", **source)
    ingest(reference)
    (folder / "whole.nc").unlink()
    config = config_of(tmp_path, variables, **source)
    for first, last in cuts:
        save(folder, f"{first:03}.nc", fields(first, last, names))
        with contextlib.suppress(SourceError):  # the first hours alone make nothing yet
            assert ingest(config).rejected == ()
    xr.testing.assert_identical(stored(config), stored(reference))
    result = ingest(config)
    assert result.appended == 0
    noted = {
        file["name"]
        for commit in archive.log(config.archive_path)
        for file in commit.metadata["files"]
        if file["complete"]
    }
    # all but the newest need not be opened again
    open_still = {f"{first:03}.nc" for first, _ in cuts} - noted
    assert open_still == ({"031.nc", "032.nc", "033.nc"} if cut == "hourly" else {f"{cuts[-1][0]:03}.nc"})


def test_rates_are_what_fell_in_each_hour(tmp_path):
    save(tmp_path / "input", "a.nc", fields(0, HOURS, ["tp"]))
    config = config_of(tmp_path, PR)
    result = ingest(config)
    found = stored(config)
    assert found["time"].values[0] == START + np.timedelta64(1, "h")  # the hour before the first frame is not known
    np.testing.assert_allclose(found["pr"].values, VALUES["hourly"][1:] / 3600, atol=2e-7)
    assert float(found["pr"].min()) >= 0.0
    assert found["pr"].attrs["standard_name"] == "precipitation_flux"
    assert found["pr"].attrs["cell_methods"] == "time: mean"
    assert [(one.rule, one.message.split()[0]) for one in result.fixed] == [
        ("Q-FIX-UNITS", "variable"),
        ("Q-FIX-PARTIAL", "1"),
    ]


def test_means_extremes_and_winds_over_six_hours(tmp_path):
    save(tmp_path / "input", "a.nc", fields(0, HOURS, ["t", "tp", "u", "v"]))
    variables = {**CASES["all"][0], "u": {"units": "km h-1"}, "mm": {**PR["pr"], "units": "mm h-1", "resample": "sum"}}
    config = config_of(tmp_path, variables, resample={"step": "6h"})
    ingest(config)
    found = stored(config)
    rows = {name: values[1:67].astype("f8").reshape(11, 6, 6, 8) for name, values in VALUES.items()}
    u, v = rows["u"].mean(axis=1), rows["v"].mean(axis=1)
    np.testing.assert_allclose(found["t"], rows["t"].max(axis=1), rtol=1e-7)
    np.testing.assert_allclose(found["u"], u * 3.6, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["wind"], np.hypot(u, v), rtol=1e-5)
    towards = np.radians(found["from"].values + 180)
    np.testing.assert_allclose(np.hypot(u, v) * np.sin(towards), u, atol=1e-4)
    np.testing.assert_allclose(np.hypot(u, v) * np.cos(towards), v, atol=1e-4)
    np.testing.assert_allclose(found["mm"], rows["hourly"].sum(axis=1), rtol=1e-3, atol=1e-4)
    assert found["from"].attrs["standard_name"] == "wind_from_direction"
    assert found["wind"].attrs["units"] == "m s-1"
    assert found["time"].values[0] == START + np.timedelta64(6, "h")


def test_u_and_v_of_speed_and_direction_are_averaged_and_give_the_direction_back(tmp_path):
    data = fields(0, 24, ["t"])
    data["ff"] = data["t"].copy(data=np.full((24, 6, 8), 10.0, "f4")).assign_attrs(units="m s-1")
    around = np.where(np.arange(24) % 2, 350.0, 10.0)[:, None, None] * np.ones((1, 6, 8))
    data["dd"] = (
        data["t"].copy(data=around.astype("f4")).assign_attrs(units="degree", standard_name="wind_from_direction")
    )
    (tmp_path / "input").mkdir()
    data.to_netcdf(tmp_path / "input" / "a.nc")
    plain = {"t": {"units": "K"}, "dd": {"units": "degree"}}
    for source in ({"coarsen": 2}, {"resample": {"step": "2h"}}):
        with pytest.raises(SourceError, match=r"Q-DIRECTION.*'dd' is a direction and would be averaged as a number"):
            ingest(config_of(tmp_path, plain, **source))
    variables = {
        "u": {"units": "m s-1", "derive": {"eastward_wind": ["ff", "dd"]}},
        "v": {"units": "m s-1", "derive": {"northward_wind": ["ff", "dd"]}},
        "from": {"units": "degree", "derive": {"wind_direction": ["u", "v"]}},
    }
    config = config_of(tmp_path, variables, resample={"step": "2h", "label": "left"}, coarsen=2)
    ingest(config)
    found = stored(config)
    np.testing.assert_allclose(found["v"], -10 * np.cos(np.radians(10)), rtol=1e-5)
    np.testing.assert_allclose(found["u"], 0.0, atol=1e-5)
    turned = (found["from"].values + 180) % 360
    np.testing.assert_allclose(turned, 180.0, atol=1e-4)


def test_a_mask_and_a_gap_stay_apart_through_all_of_it(tmp_path):
    variables, source = CASES["all"]
    names = ["t", "tp", "u", "v"]
    save(tmp_path / "input", "a.nc", fields(0, 48, names, masked=True))
    config = config_of(tmp_path, variables, **source)
    ingest(config)
    found = stored(config)
    mask = found["mask"].values == 0
    assert 0 < mask.sum() < mask.size
    for name in variables:
        assert np.isnan(found[name].values[:, mask]).all()
        assert np.isfinite(found[name].values[:, ~mask]).all()
    gap = fields(48, 72, names, masked=True)
    gap["u"].values[20, 4, 4] = np.nan
    save(tmp_path / "input", "b.nc", gap)
    assert [(one.rule, one.path.name) for one in ingest(config).rejected] == [("Q-NAN", "b.nc")]


def test_what_is_missing_before_a_file_is_waited_for(tmp_path):
    folder, config = tmp_path / "input", config_of(tmp_path, resample={"step": "6h"})
    save(folder, "0.nc", fields(0, 24))
    first = ingest(config)
    assert [(one.rule, one.path.name) for one in first.waiting] == [("Q-GAP", "0.nc")]
    assert "its frames from 2020-01-01T19:00 on wait for the others that make a whole step" in first.waiting[0].message
    (folder / "0.nc").rename(tmp_path / "0.nc")  # its last hours are needed, and gone
    save(folder, "1.nc", fields(24, 48))
    second = ingest(config)
    assert (second.appended, [one.rule for one in second.waiting]) == (0, ["Q-GAP"])
    (tmp_path / "0.nc").rename(folder / "0.nc")
    third = ingest(config)
    assert third.appended == 4
    assert stored(config).sizes["time"] == 7
    assert [path.name for path in ingest(config).skipped].count("0.nc") == 1


@pytest.mark.parametrize(
    ("variables", "source", "change", "rule", "message"),
    [
        (
            None,
            {"resample": {"step": "6h"}},
            lambda data: data.isel(time=[*range(5), *range(6, 24)]),
            "Q-TIME",
            "follows",
        ),
        (None, {"resample": {"step": "90min"}}, lambda data: data, "Q-TIME", "steps of 1 h do not make 90min"),
        (PR, {}, lambda data: data.drop_vars("tp"), "Q-MISSING-VARIABLE", "'tp' is in no file"),
        (PR, {}, lambda data: data.assign(tp=data["tp"].assign_attrs(units="K")), "Q-UNITS", "'K' cannot be converted"),
        ({"pr": {**PR["pr"], "accumulated": "90min"}}, {}, lambda data: data, "Q-TIME", "do not divide 90min"),
        ({"pr": {**PR["pr"], "accumulated": "12h"}}, {}, lambda data: data, "Q-PLAUSIBLE", "precipitation|expected"),
        (
            {"w": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}}},
            {},
            lambda data: data.drop_vars("v"),
            "Q-MISSING-VARIABLE",
            "'v' is in no file",
        ),
    ],
)
def test_what_cannot_be_transformed_is_refused(tmp_path, variables, source, change, rule, message):
    save(tmp_path / "input", "a.nc", change(fields(0, 24, ["t", "tp", "u", "v"])))
    quality = {"rules": {"Q-ACCUMULATION": "off"}} if rule == "Q-PLAUSIBLE" else None
    if rule == "Q-PLAUSIBLE":
        whole = fields(0, 24, ["tp"])
        whole["tp"].values[12:] += 10.0  # not since noon
        save(tmp_path / "input", "a.nc", whole)
    with pytest.raises(SourceError, match=message) as refused:
        ingest(config_of(tmp_path, variables, quality=quality, **source))
    assert refused.value.rule == rule


WIND = {
    "w": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}},
    "from": {"units": "degree", "role": "diagnostic", "derive": {"wind_direction": ["u", "v"]}},
}


@pytest.mark.parametrize("source", [{"resample": {"step": "6h"}}, {"coarsen": 2}])
def test_components_in_files_of_their_own_make_the_wind_of_one_file(tmp_path, source):
    for day in range(3):
        save(tmp_path / "together" / "input", f"{day}.nc", fields(24 * day, 24 * day + 24, ["u", "v"], masked=True))
    expected = config_of(tmp_path / "together", WIND, **source)
    ingest(expected)
    config, input = config_of(tmp_path, WIND, **source), tmp_path / "input"
    for night in ("u0 v0", "u1", "v2", "v1 u2"):
        for name, day in night.split():
            save(input, f"{name}{day}.nc", fields(24 * int(day), 24 * int(day) + 24, [name], masked=True))
        result = ingest(config)
        assert result.rejected == ()
        if night == "u1":
            (waits,) = (one for one in result.waiting if one.path.name == "u1.nc")
            assert str(waits).startswith("Q-GAP: u1.nc: its frames from 2020-01-02T00:00 on wait for 'v', of which and")
    xr.testing.assert_identical(stored(config).drop_attrs(), stored(expected).drop_attrs())
    assert ingest(config).snapshot_id == result.snapshot_id
    noted = {file["name"] for commit in archive.log(config.archive_path) for file in commit.metadata["files"]}
    # of the last day some frames still wait, so that neither of its files is done with
    assert noted | {"v2.nc"} == {f"{name}{day}.nc" for name in "uv" for day in range(3)}


def test_two_files_of_one_component_contradict_each_other(tmp_path):
    for name in ("u", "v"):
        save(tmp_path / "input", f"{name}.nc", fields(0, 24, [name]))
    other = fields(0, 24, ["v"])
    save(tmp_path / "input", "v2.nc", other.assign(v=other["v"] + 3.0))
    result = ingest(config_of(tmp_path, WIND))
    assert [(one.rule, one.path.name) for one in result.rejected] == [("Q-OVERLAP", "v2.nc")]
    np.testing.assert_allclose(
        stored(config_of(tmp_path, WIND))["w"].values, np.hypot(VALUES["u"][:24], VALUES["v"][:24]), rtol=1e-5
    )


@pytest.mark.parametrize("action", ["reject", "warn", "off"])
def test_a_sum_that_falls_in_between_is_found(tmp_path, action):
    odd = fields(0, 24, ["tp"])
    odd["tp"].values[10, 2, 2] *= 0.3
    save(tmp_path / "input", "a.nc", odd)
    config = config_of(tmp_path, PR, quality={"rules": {"Q-ACCUMULATION": action, "Q-PLAUSIBLE": "off"}})
    if action == "reject":
        with pytest.raises(SourceError, match=r"Q-ACCUMULATION: a.nc: what variable 'pr' is made of falls"):
            ingest(config)
        return
    assert [one.rule for one in ingest(config).warned] == (["Q-ACCUMULATION"] if action == "warn" else [])
    assert float(stored(config)["pr"].min()) < 0


def test_amounts_of_hours_taken_for_sums_of_a_day_are_found(tmp_path):
    hourly = fields(0, 24, ["tp"])
    hourly["tp"].values[:] = VALUES["hourly"][:24] / 1000
    save(tmp_path / "input", "a.nc", hourly)
    with pytest.raises(SourceError, match="Q-ACCUMULATION"):
        ingest(config_of(tmp_path, {"pr": {**PR["pr"], "accumulated": "start"}}))
    config = config_of(tmp_path, {"pr": {**PR["pr"], "accumulated": "step"}})
    assert ingest(config).appended == 24
    np.testing.assert_allclose(stored(config)["pr"].values, VALUES["hourly"][:24] / 3600, rtol=1e-5)


def test_amounts_of_a_rate_and_rates_of_energy(tmp_path):
    data = fields(0, 24, ["t"])
    data["pr"] = (
        data["t"]
        .copy(data=VALUES["hourly"][:24] / 3600)
        .assign_attrs(units="kg m-2 s-1", standard_name="precipitation_flux")
    )
    data["ssrd"] = (
        data["t"]
        .copy(data=np.full((24, 6, 8), 3.6e6, "f4").cumsum(axis=0))
        .assign_attrs(units="J m**-2", standard_name="integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air")
    )
    (tmp_path / "input").mkdir()
    data.to_netcdf(tmp_path / "input" / "a.nc")
    config = config_of(
        tmp_path,
        {
            "rain": {"units": "mm", "source_name": "pr", "derive": "amount"},
            "sw": {"units": "W m-2", "derive": {"rate": ["ssrd"]}},
        },
    )
    ingest(config)
    found = stored(config)
    np.testing.assert_allclose(found["rain"], VALUES["hourly"][1:24], rtol=1e-5)
    np.testing.assert_allclose(found["sw"], 1000.0, rtol=1e-4)
    assert found["rain"].attrs["standard_name"] == "lwe_thickness_of_precipitation_amount"
    assert found["sw"].attrs["standard_name"] == "surface_downwelling_shortwave_flux_in_air"


def test_a_static_field_is_regridded_as_the_others_are(tmp_path):
    lat, lon = np.arange(40.0, 66.0), np.arange(-20.0, 20.0)
    height = 10 * lat[:, None] + lon[None]
    land = xr.Dataset({"z": (("lat", "lon"), height, {"units": "m"})}, {"lat": lat, "lon": lon})
    save(tmp_path / "input", "a.nc", fields(0, 24))
    land.to_netcdf(tmp_path / "input" / "z.nc")
    variables = {"t": {"units": "K"}, "z": {"units": "m", "role": "static"}}
    grid = {"lat": [50.25, 54.75, 0.5], "lon": [-3, 2, 0.25], "method": "linear"}
    config = config_of(tmp_path, variables, regrid=grid)
    ingest(config)
    found = stored(config)
    np.testing.assert_allclose(found["z"], 10 * found["lat"] + found["lon"], rtol=1e-5)
    assert found["t"].shape == (24, 10, 21)


@pytest.mark.parametrize(
    ("variables", "source", "message"),
    [
        (None, {"coarsen": 2, "regrid": {"lat": [50, 52, 1], "lon": [0, 2, 1]}}, "either regrid or coarsen"),
        (None, {"regrid": {"lat": [52, 50, 1], "lon": [0, 2, 1]}}, r"must be \[first, last, spacing\]"),
        (None, {"regrid": {"lat": [50, 91, 1], "lon": [0, 2, 1]}}, "within -90 and 90"),
        (None, {"regrid": {"lat": [50, 52, 1], "lon": [0, 360, 1]}}, "go around once at most"),
        (None, {"resample": {"step": "6 hours"}}, "source.resample.step"),
        ({"t": {"units": "K", "resample": "max"}}, {}, "variables.t.resample goes with source.resample"),
        ({"t": {"units": "K", "derive": "speed"}}, {}, "must name one of rate, amount, .* got speed"),
        ({"t": {"units": "K", "derive": {"wind_speed": ["u"]}}}, {}, r"made of 2 variable\(s\), got 1"),
        ({"t": {"units": "K", "accumulated": "6h"}}, {}, "accumulated goes with derive: rate"),
        ({"t": {"units": "K"}, "z": {"units": "m", "role": "static", "derive": "rate"}}, {}, "static"),
        (
            {
                "s": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}},
                "e": {"units": "m s-1", "derive": {"eastward_wind": ["s", "d"]}},
            },
            {},
            "variables.e.derive is made of s, which is itself made by wind_speed",
        ),
        (
            {"s": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}, "resample": "max"}},
            {"resample": {"step": "6h"}},
            "has no resample of its own",
        ),
    ],
)
def test_configurations_that_make_no_sense_are_refused(tmp_path, variables, source, message):
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, variables, **source)


def test_a_regridded_globe_may_wrap_and_a_region_may_not():
    tree = {"source": {"path": "x", "regrid": {"lat": [-85, 85, 10], "lon": [-180, 170, 10]}}, "boundary": "cylinder"}
    assert check_config({**tree, "variables": {"t": {"units": "K"}}}).source.regrid.goes_around
    tree["source"]["regrid"]["lon"] = [-180, 100, 10]
    with pytest.raises(ConfigError, match=r"boundary must be closed with this source.regrid, got cylinder"):
        check_config({**tree, "variables": {"t": {"units": "K"}}})


def test_an_archive_keeps_its_transforms(tmp_path):
    save(tmp_path / "input", "a.nc", fields(0, 24, ["t", "tp"]))
    ingest(config_of(tmp_path, PR, resample={"step": "6h"}))
    others = [
        (PR, {}, "source.resample"),
        (PR, {"resample": {"step": "12h"}}, "source.resample"),
        (PR, {"resample": {"step": "6h"}, "regrid": {"lat": [51, 53, 1], "lon": [0, 2, 1]}}, "source.regrid"),
        ({"pr": {**PR["pr"], "accumulated": "start"}}, {"resample": {"step": "6h"}}, "variables.pr.accumulated"),
        ({"pr": {**PR["pr"], "resample": "sum"}}, {"resample": {"step": "6h"}}, "variables.pr.resample"),
        ({"pr": {"units": "kg m-2 s-1"}}, {"resample": {"step": "6h"}}, "variables.pr.derive"),
    ]
    for variables, source, key in others:
        with pytest.raises(ConfigError, match=f"was made with {key} .*; use another name for a new archive"):
            ingest(config_of(tmp_path, variables, **source))
