"""GRIB 1 and 2, written with ecCodes itself: names, levels, members, times, namesakes, and files that are cut short."""

import pickle
import sys

import eccodes
import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest, rehearse
from pipeline.sources import check_container, open_input

SHAPE = (3, 5)
FIELD = np.random.default_rng(11).normal(280, 5, (40, *SHAPE))
ROUNDING = 2e-3  # of values around 280 in 16 bits
LAT, LON = np.array([42.0, 41, 40]), np.array([350.0, 351, 352, 353, 354])


def message(values, edition=2, short="2t", level_type="heightAboveGround", level=2, step=0, number=None, **keys):
    """One message; other keys of ecCodes come last but one, the values last."""
    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    grid = {"Ni": SHAPE[1], "Nj": SHAPE[0], "iDirectionIncrementInDegrees": 1, "jDirectionIncrementInDegrees": 1}
    corners = {
        "latitudeOfFirst": LAT[0],
        "latitudeOfLast": LAT[-1],
        "longitudeOfFirst": LON[0],
        "longitudeOfLast": LON[-1],
    }
    grid |= {f"{name}GridPointInDegrees": degrees for name, degrees in corners.items()}
    members = (
        {}
        if number is None
        else {"localDefinitionNumber": 1}
        if edition == 1
        else {"productDefinitionTemplateNumber": 1}
    )
    members |= {} if number is None else {"number": number}
    first = {
        "dataDate": 20200101,
        "dataTime": 0,
        **{key: keys.pop(key) for key in ("dataDate", "dataTime") if key in keys},
    }
    what = {"typeOfLevel": level_type, "level": level, "shortName": short}
    for key, value in {**grid, **members, **first, **what, "step": step, "bitsPerValue": 16, **keys}.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, np.asarray(values, dtype="float64").ravel())
    data = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return data


def settings(tmp_path, variables=None, **source):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "files": ["*"], **source},
            "variables": variables or {"t2m": {"units": "K", "source_name": "2t"}},
        }
    )


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    return made


def stored(config):
    return archive.open_dataset(config.archive_path)


def southern_first(values):
    return np.asarray(values)[..., ::-1, :]


def reason(config, path):
    with pytest.raises(SourceError) as caught:
        open_input(config, path)
    return str(caught.value)


# times


@pytest.mark.parametrize("edition", [1, 2])
def test_the_steps_of_one_forecast_stand_at_their_valid_times(folder, tmp_path, edition):
    (folder / "a.grib").write_bytes(b"".join(message(FIELD[n], edition, step=6 * n) for n in range(5)))
    config = settings(tmp_path)
    assert ingest(config).appended == 5
    found = stored(config)
    assert list(found["time"].values.astype("datetime64[h]").astype(str)) == [
        *("2020-01-01T00", "2020-01-01T06", "2020-01-01T12", "2020-01-01T18", "2020-01-02T00")
    ]
    np.testing.assert_allclose(found["t2m"].values, southern_first(FIELD[:5]), atol=ROUNDING)
    assert list(found["lat"].values) == [40, 41, 42]
    assert list(found["lon"].values) == [-10, -9, -8, -7, -6]
    assert [path.name for path in folder.iterdir()] == ["a.grib"]  # no index beside the data
    assert ingest(config).skipped == (folder / "a.grib",)


@pytest.mark.parametrize("step", [0, 6])
def test_one_step_of_many_forecasts_stands_at_its_valid_times(folder, tmp_path, step):
    days = [message(FIELD[n], step=step, dataDate=20200101 + n) for n in range(3)]
    (folder / "a.grib2").write_bytes(b"".join(days[:2]))
    (folder / "b.grib2").write_bytes(days[2])
    config = settings(tmp_path)
    assert ingest(config).appended == 3
    assert stored(config)["time"].values[-1] == np.datetime64(f"2020-01-03T{step:02}")
    np.testing.assert_allclose(stored(config)["t2m"].values, southern_first(FIELD[:3]), atol=ROUNDING)


def test_short_forecasts_put_in_a_row_are_one_series(folder, tmp_path):
    # as the accumulations of ERA5: the first forecast starts on the day before
    parts = [(20191231, 1200, 12), (20200101, 0, 6), (20200101, 0, 12), (20200101, 1200, 6)]
    (folder / "a.grib").write_bytes(
        b"".join(
            message(FIELD[n], step=step, dataDate=date, dataTime=time) for n, (date, time, step) in enumerate(parts)
        )
    )
    config = settings(tmp_path)
    assert ingest(config).appended == 4
    np.testing.assert_allclose(stored(config)["t2m"].values, southern_first(FIELD[:4]), atol=ROUNDING)


def test_a_valid_time_that_is_forecast_twice_is_no_frame(folder, tmp_path):
    overlapping = [
        message(FIELD[n], step=step, dataTime=time) for n, (time, step) in enumerate([(0, 6), (0, 12), (600, 6)])
    ]
    (folder / "a.grib").write_bytes(b"".join(overlapping))
    assert "Q-LEAD-TIME: variable '2t' is there 2 times for 2020-01-01T12:00" in (
        text := reason(settings(tmp_path), folder / "a.grib")
    )
    assert "time (2020-01-01T00:00, 2020-01-01T06:00) and step (12.0, 6.0)" in text
    config = settings(tmp_path, grib_keys={"step": 6})
    assert ingest(config).appended == 2
    np.testing.assert_allclose(stored(config)["t2m"].values, southern_first(FIELD[[0, 2]]), atol=ROUNDING)


def test_accumulations_over_different_intervals_are_told_apart(folder, tmp_path):
    sums = [
        message(FIELD[n], 2, "tp", "surface", 0, productDefinitionTemplateNumber=8, stepRange=interval)
        for n, interval in enumerate(("0-6", "3-6"))
    ]
    (folder / "a.grib").write_bytes(b"".join(sums))
    variables = {"tp": {"units": "kg m-2"}}
    assert "stepRange (0-6, 3-6)" in reason(settings(tmp_path, variables), folder / "a.grib")
    dataset = open_input(settings(tmp_path, variables, grib_keys={"stepRange": "3-6"}), folder / "a.grib")
    np.testing.assert_allclose(dataset["tp"].values.squeeze(), FIELD[1], atol=ROUNDING)
    assert dataset["tp"].attrs["cell_methods"] == "time: sum"


def test_a_field_that_is_there_twice(folder, tmp_path):
    (folder / "a.grib").write_bytes(message(FIELD[0]) * 2)
    (folder / "b.grib").write_bytes(message(FIELD[0]) + message(FIELD[1]))
    assert open_input(settings(tmp_path), folder / "a.grib")["2t"].sizes["time"] == 1
    assert "Q-TIME: variable '2t' is there 2 times for 2020-01-01T00:00, with different values" in reason(
        settings(tmp_path), folder / "b.grib"
    )


# names, levels and kinds of field


@pytest.mark.parametrize("name", ["2t", "t2m", "air_temperature"])
def test_a_variable_by_any_of_its_names(folder, tmp_path, name):
    (folder / "a").write_bytes(message(FIELD[0]) + message(FIELD[1], short="10u", level=10))
    dataset = open_input(settings(tmp_path, {"found": {"units": "K", "source_name": name}}), folder / "a")
    np.testing.assert_allclose(dataset[name].values.squeeze(), FIELD[0], atol=ROUNDING)


def levels(edition, step=0):
    high = [message(FIELD[n], edition, "t", "isobaricInhPa", p, step) for n, p in enumerate((850, 700, 500))]
    low = [message(FIELD[3], edition, "t", "heightAboveGround", 80, step)]
    return b"".join(
        [
            *low,
            *high,
            message(FIELD[4], edition, "2t", step=step),
            message(300 * FIELD[5], edition, "sp", "surface", 0, step),
        ]
    )


@pytest.mark.parametrize("edition", [1, 2])
def test_levels_are_found_among_other_kinds_of_level(folder, tmp_path, edition):
    for step in (0, 6):
        (folder / f"{step}.grib").write_bytes(levels(edition, step))
    variables = {
        "t": {"units": "K", "levels": [500, 850]},
        "t2m": {"units": "degC", "source_name": "2t"},
        "pressure": {"units": "hPa", "source_name": "sp"},
    }
    config = settings(tmp_path, variables)
    assert ingest(config).appended == 2
    for name, n in {"t_500": 2, "t_850": 0}.items():
        np.testing.assert_allclose(stored(config)[name].values, southern_first(FIELD[[n, n]]), atol=ROUNDING)
    np.testing.assert_allclose(stored(config)["t2m"].values[0], southern_first(FIELD[4]) - 273.15, atol=ROUNDING)
    np.testing.assert_allclose(stored(config)["pressure"].values[0], southern_first(FIELD[5]) * 3, atol=5e-3)


def test_namesakes_are_told_apart_by_keys(folder, tmp_path):
    (folder / "a.grib").write_bytes(levels(2))
    plain = {"t": {"units": "K"}, "t2m": {"units": "K", "source_name": "2t"}}
    text = reason(settings(tmp_path, plain), folder / "a.grib")
    assert "2 kinds of field are called 't', which differ in typeOfLevel (heightAboveGround, isobaricInhPa)" in text
    for source, own in (({"typeOfLevel": "heightAboveGround"}, {}), ({}, {"typeOfLevel": "heightAboveGround"})):
        chosen = {**plain, "t": {"units": "K", "grib_keys": own}}
        dataset = open_input(settings(tmp_path, chosen, grib_keys=source), folder / "a.grib")
        np.testing.assert_allclose(dataset["t"].values.squeeze(), FIELD[3], atol=ROUNDING)
    both = {"t": {"units": "K", "level": 850}, "low": {"units": "K", "source_name": "t", "grib_keys": {"level": 80}}}
    assert "different source_names" in reason(settings(tmp_path, both), folder / "a.grib")
    both["low"]["source_name"] = "air_temperature"
    both["low"]["grib_keys"] = {"typeOfLevel": "heightAboveGround", "level": "80"}
    dataset = open_input(settings(tmp_path, both), folder / "a.grib")
    np.testing.assert_allclose(dataset["air_temperature"].values.squeeze(), FIELD[3], atol=ROUNDING)


def test_what_is_missing_is_told_with_what_is_there(folder, tmp_path):
    (folder / "a.grib").write_bytes(levels(2))
    for variables, told in (
        ({"t": {"units": "K", "level": 300}}, "variable 't' at level 300 is in no file"),
        ({"q": {"units": "1"}}, "variable 'q' is in no file"),
    ):
        with pytest.raises(SourceError, match=f"Q-MISSING-VARIABLE: {told} of .*, which hold 2t, sp, t;"):
            ingest(settings(tmp_path, variables))


def test_variables_with_other_times_are_not_mixed(folder, tmp_path):
    (folder / "a.grib").write_bytes(
        message(FIELD[0]) + message(FIELD[1], step=6) + message(FIELD[2], short="10u", level=10, step=6)
    )
    variables = {"t2m": {"units": "K", "source_name": "2t"}, "u": {"units": "m s-1", "source_name": "10u"}}
    assert "Q-DIMENSIONS: the variables '2t' and '10u' have different times (2 and 1)" in reason(
        settings(tmp_path, variables), folder / "a.grib"
    )
    dataset = open_input(settings(tmp_path, variables, grib_keys={"step": [6, 12]}), folder / "a.grib")
    assert dataset["10u"].attrs["units"] == "m s**-1"
    np.testing.assert_allclose(dataset["2t"].values.squeeze(), FIELD[1], atol=ROUNDING)


def test_a_static_field_needs_no_times_of_its_own(folder, tmp_path):
    land = (FIELD[9] > 280).astype(float)
    data = [message(FIELD[n], step=n) for n in range(4)] + [message(land, 2, "lsm", "surface", 0)]
    (folder / "a.grib").write_bytes(b"".join(data))
    config = settings(
        tmp_path,
        {"t2m": {"units": "K", "source_name": "2t"}, "land": {"units": "1", "source_name": "lsm", "role": "static"}},
    )
    assert ingest(config).appended == 4
    np.testing.assert_allclose(stored(config)["land"].values, southern_first(land), atol=1e-4)


# members


@pytest.mark.parametrize("edition", [1, 2])
def test_a_member_of_an_ensemble(folder, tmp_path, edition):
    data = [message(FIELD[2 * n + number], edition, step=6 * n, number=number) for n in range(4) for number in (0, 1)]
    (folder / "a.grib").write_bytes(b"".join(data))
    assert "has the members 0, 1; choose one by source.member" in reason(settings(tmp_path), folder / "a.grib")
    assert "Q-MEMBER: expected the member 7 of the ensemble, it has 0, 1; fetch" in reason(
        settings(tmp_path, member=7), folder / "a.grib"
    )
    config = settings(tmp_path, member=1)
    assert ingest(config).appended == 4
    np.testing.assert_allclose(stored(config)["t2m"].values, southern_first(FIELD[[1, 3, 5, 7]]), atol=ROUNDING)
    with pytest.raises(ConfigError, match=r"was made with source\.member 1, but the configuration says 0"):
        ingest(settings(tmp_path, member=0))


@pytest.mark.parametrize("dim", ["number", "member", "realization", "run"])
@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
@pytest.mark.parametrize("numbered", [True, False])
def test_a_member_of_other_files(folder, tmp_path, dim, kind, numbered):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(4) * np.timedelta64(1, "h")
    dataset = xr.Dataset(
        {"2t": ((dim, "time", "lat", "lon"), FIELD[:12].reshape(3, 4, *SHAPE).astype("f4"), {"units": "K"})},
        {"time": times, "lat": LAT, "lon": LON},
    )
    if numbered or dim == "run":
        dataset = dataset.assign_coords({dim: (dim, [2, 1, 0], {"standard_name": "realization"})})
    save = dataset.to_netcdf if kind == "netcdf" else dataset.to_zarr
    save(folder / "a", **({"engine": "netcdf4"} if kind == "netcdf" else {"consolidated": False}))
    with pytest.raises(SourceError, match="source.member" if dim != "realization" else "Q-"):
        ingest(settings(tmp_path))
    with pytest.raises(SourceError, match=r"Q-MEMBER.*expected the member 5 of the ensemble, it has "):
        ingest(settings(tmp_path, member=5))
    config = settings(tmp_path, member=0)
    ingest(config)
    place = 2 if numbered or dim == "run" else 0
    np.testing.assert_allclose(
        stored(config)["t2m"].values, southern_first(FIELD[4 * place : 4 * place + 4]), atol=ROUNDING
    )


# grids and values


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("northward", [0, 1])
@pytest.mark.parametrize("by_column", [0, 1])
def test_points_are_where_they_belong_in_any_order(folder, tmp_path, edition, backward, northward, by_column):
    lat, lon = LAT[::-1] if northward else LAT, LON[::-1] if backward else LON
    truth = 280 + 10 * (LAT[:, None] - 40) + (LON[None] - 350)
    ordered = truth[:: -1 if northward else 1, :: -1 if backward else 1]
    data = message(
        ordered.T if by_column else ordered,
        edition,
        iScansNegatively=backward,
        jScansPositively=northward,
        jPointsAreConsecutive=by_column,
        latitudeOfFirstGridPointInDegrees=lat[0],
        latitudeOfLastGridPointInDegrees=lat[-1],
        longitudeOfFirstGridPointInDegrees=lon[0],
        longitudeOfLastGridPointInDegrees=lon[-1],
    )
    (folder / "a.grib").write_bytes(data)
    config = settings(tmp_path)
    if by_column:
        assert "Q-GRID: the values of variable '2t' are not stored row by row" in reason(config, folder / "a.grib")
        return
    with rehearse(config) as found:
        assert (found.rejected, found.waiting, found.ignored, found.refused) == ((), (), (), "")
        np.testing.assert_allclose(found.fields["t2m"].values[0], southern_first(truth), atol=5e-2)


def test_missing_values_are_missing(folder, tmp_path):
    values = FIELD[:2].copy()
    values[:, 1, 2] = 9999
    data = [message(values[n], step=n, bitmapPresent=1, missingValue=9999) for n in range(2)]
    (folder / "a.grib").write_bytes(b"".join(data))
    config = settings(tmp_path)
    ingest(config)
    found = stored(config)["t2m"].values
    assert np.isnan(found[:, 1, 2]).all()
    assert np.isnan(found).sum() == 2


def test_a_grid_without_rows_is_refused(folder, tmp_path):
    handle = eccodes.codes_grib_new_from_samples("reduced_gg_pl_32_grib2")
    eccodes.codes_set(handle, "shortName", "t")
    (folder / "a.grib").write_bytes(eccodes.codes_get_message(handle))
    text = reason(settings(tmp_path, {"t": {"units": "K"}}), folder / "a.grib")
    assert "Q-GRID: variable 't' is on a grid of the type reduced_gg, expected rows and columns" in text


def test_fields_travel_to_other_processes(folder, tmp_path):
    (folder / "a.grib").write_bytes(message(FIELD[0]))
    dataset = pickle.loads(pickle.dumps(open_input(settings(tmp_path), folder / "a.grib")))
    np.testing.assert_allclose(dataset["2t"].values.squeeze(), FIELD[0], atol=ROUNDING)


# whole files


@pytest.mark.parametrize("edition", [1, 2])
def test_a_file_that_is_cut_anywhere_is_rejected(folder, edition):
    one, two = message(FIELD[0], edition), message(FIELD[1], edition, step=6)
    path = folder / "a.grib"
    for cut in range(1, len(one) + len(two)):
        path.write_bytes((one + two)[:-cut])
        if cut == len(two):  # what is left is a whole file
            check_container(path)
            continue
        with pytest.raises(SourceError, match=r"Q-TRUNCATED|Q-NOT-GRIB"):
            check_container(path)


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda one: one[:-4] + b"7770", "Q-TRUNCATED: message 1 does not end with 7777"),
        (lambda one: one[:60] + one[61:] + one, "Q-TRUNCATED: message 1 does not end with 7777"),
        (lambda one: one + b"rubbish", "Q-TRUNCATED: 7 bytes after message 1"),
        (lambda one: b"GRIB" + bytes(40) + one, "Q-TRUNCATED: message 1 at byte 0 has a damaged or cut header"),
        (lambda one: b"<html>404</html>", "Q-NOT-GRIB: expected GRIB messages, but it starts with b'<html>40'"),
        (lambda one: b"", "Q-EMPTY"),
    ],
)
def test_a_damaged_file_is_rejected(folder, edition, damage, rule):
    (folder / "a.grib2").write_bytes(damage(message(FIELD[0], edition)))
    with pytest.raises(SourceError, match=rule):
        check_container(folder / "a.grib2")


def test_headings_and_padding_belong_to_no_message(folder, tmp_path):
    heading = b"\x01\r\r\n123\r\r\nHTXA02 KWBC 010000\r\r\n"
    data = b"".join(heading + message(FIELD[n], step=n) + b"\r\r\n\x03" for n in range(3)) + bytes(3000)
    (folder / "a.grib").write_bytes(data)
    config = settings(tmp_path)
    assert ingest(config).appended == 3


def test_a_message_beyond_eight_megabytes_of_edition_1(folder):
    values = np.random.default_rng(0).normal(size=(1700, 1700))
    grid = {"Ni": 1700, "Nj": 1700, "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01}
    last = {"latitudeOfLastGridPointInDegrees": 25.01, "longitudeOfLastGridPointInDegrees": 6.99, "bitsPerValue": 24}
    data = message(values, 1, **grid, **last)
    assert len(data) > 2**23
    (folder / "a.grib").write_bytes(data * 2)
    check_container(folder / "a.grib")
    (folder / "a.grib").write_bytes(data + data[:-1])
    with pytest.raises(SourceError, match="Q-TRUNCATED: message 2"):
        check_container(folder / "a.grib")


def test_without_the_library_one_sentence_says_what_to_install(folder, tmp_path, monkeypatch):
    (folder / "a.grib").write_bytes(message(FIELD[0]))
    monkeypatch.delitem(sys.modules, "pipeline.sources.grib", raising=False)
    monkeypatch.setitem(sys.modules, "cfgrib", None)
    with pytest.raises(ConfigError, match=r"a\.grib needs cfgrib and eccodes .*pip install 'minconv-pipeline\[grib\]'"):
        ingest(settings(tmp_path))
