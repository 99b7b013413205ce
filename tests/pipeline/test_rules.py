"""Each rule of the table: a file that breaks it, what becomes of that file, and the page that describes it."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest
from pipeline.plausible import BOUNDS, plausible_range
from pipeline.quarantine import accept, entries
from pipeline.rules import RULES

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
VALUES = np.random.default_rng(5).normal(285, 3, (90, 6, 7)).astype("float32")
VALUES[:, 0, 0] = np.nan


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    attrs = {"units": "K", "standard_name": "air_temperature"}
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), attrs)},
        coords={"time": times, "lat": np.arange(6.0), "lon": np.arange(7.0)},
    )


def values(change):
    def edit(dataset):
        change(dataset["t"].values)
        return dataset

    return edit


def to_celsius(kelvin):
    kelvin -= np.float32(273.15)


def put(place, value):
    return values(lambda array: array.__setitem__(place, value))


def written(text):
    return lambda path: path.write_bytes(text)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_broken_link(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


# rule -> what is done to the fields before they are saved, or to the file that was saved
DATA = {
    "Q-UNITS": lambda data: data.assign(t=data["t"].assign_attrs(units="m")),
    "Q-DIMENSIONS": lambda data: data.expand_dims(height=2, axis=1),
    "Q-TIME": lambda data: data.isel(time=[0, 1, 2, 5, 6]),
    "Q-GRID": lambda data: data.assign_coords(lon=data["lon"] + 0.25),
    "Q-NAN": put((3, 2, 2), np.nan),
    "Q-MASK": put((slice(None), 2, 2), np.nan),
    "Q-INF": put((3, 2, 2), np.inf),
    "Q-PLAUSIBLE": values(to_celsius),
    "Q-SENTINEL": put((3, 2, 2), -9999.0),
    "Q-ZERO": values(lambda array: np.multiply(array, 0.0, out=array)),
    "Q-FROZEN": put(slice(4, 12), VALUES[60]),
    "Q-JUMP": values(lambda array: np.add(array[10:], 20.0, out=array[10:])),
    "Q-RANGE": put((3, 2, 2), 319.0),
}
BYTES = {
    "Q-EMPTY": written(b""),
    "Q-NOT-NETCDF": written(b"<html>404</html>"),
    "Q-TRUNCATED": halved,
    "Q-NOT-ZARR": a_folder,
    "Q-UNREADABLE": a_broken_link,
}
REPAIRED = {
    "Q-FIX-UNITS": lambda data: data.assign(t=(data["t"] - 273.15).assign_attrs(units="degC")),
    "Q-FIX-ORDER": lambda data: data.isel(lat=slice(None, None, -1)),
    "Q-FIX-TIME": lambda data: data.isel(time=[*range(29), 29, 29]),
    "Q-FIX-LONGITUDE": lambda data: data.assign_coords(lon=data["lon"] + 360.0),
}
# tested one by one below, in test_ingest and in transforms
OTHERS = {
    "Q-NO-FOLDER",
    "Q-NO-FILES",
    "Q-OVERLAP",
    "Q-GAP",
    "Q-BUDGET",
    "Q-CHECKSUM",
    "Q-MISSING-VARIABLE",
    "Q-ACCUMULATION",
    "Q-DIRECTION",
    "Q-FIX-PARTIAL",
}


def settings(folder, variable=None, **quality):
    return check_config(
        {
            "name": "test",
            "root": str(folder.parent / "runs"),
            "boundary": "closed",
            "source": {"path": str(folder), "max_rejected_share": 1.0},
            "variables": {"t": {"units": "K", **(variable or {})}},
            "quality": {"max_jump": {"t": 10.0}, **quality},
        }
    )


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    fields(0, 30).to_netcdf(made / "a.nc", engine="netcdf4")
    return made


def bad_file(folder, rule):
    dataset = fields(30, 60)
    (DATA[rule](dataset) if rule in DATA else dataset).to_netcdf(folder / "bad.nc", engine="netcdf4")
    if rule in BYTES:
        BYTES[rule](folder / "bad.nc")
    # a range of its own replaces the plausible one
    return {"valid_range": [250, 318]} if rule == "Q-RANGE" else {}


def test_every_rule_has_its_bad_file():
    assert DATA.keys() | BYTES.keys() | REPAIRED.keys() | OTHERS == RULES.keys()


@pytest.mark.parametrize("rule", [rule for rule in (*DATA, *BYTES) if RULES[rule].default == "reject"])
def test_what_breaks_a_rule_is_rejected_and_the_good_goes_in(folder, rule):
    config = settings(folder, bad_file(folder, rule))
    result = ingest(config)
    assert [one.rule for one in result.rejected] == [rule]
    message = result.rejected[0].message
    assert message.endswith("?") or re.search(r"[;:] .+", message), f"says no next step: {message}"
    np.testing.assert_array_equal(archive.open_dataset(config.archive_path)["t"].values, VALUES[:30])
    assert [one.rule for one in entries(config.quarantine_path)] == ([] if rule == "Q-UNREADABLE" else [rule])


MORE_REPAIRS = {
    "dimensions": ("Q-FIX-ORDER", lambda data: data.transpose("lon", "time", "lat")),
    "jitter": ("Q-FIX-TIME", lambda data: data.assign_coords(time=data["time"] + np.timedelta64(7, "ms"))),
    "unsorted": ("Q-FIX-TIME", lambda data: data.isel(time=[1, 0, *range(2, 30)])),
}


@pytest.mark.parametrize("case", [*REPAIRED, *MORE_REPAIRS])
def test_what_can_be_put_right_is_and_is_told(folder, case):
    rule, change = MORE_REPAIRS[case] if case in MORE_REPAIRS else (case, REPAIRED[case])
    change(fields(30, 60)).to_netcdf(folder / "b.nc", engine="netcdf4")
    config = settings(folder)
    result = ingest(config)
    assert [(one.rule, one.path.name) for one in result.fixed] == [(rule, "b.nc")]
    assert [text.split(":")[0] for text in archive.log(config.archive_path)[0].metadata["fixed"]] == [rule]
    tolerance = 1e-4 if case == "Q-FIX-UNITS" else 0.0
    np.testing.assert_allclose(archive.open_dataset(config.archive_path)["t"].values, VALUES[:60], atol=tolerance)
    assert result.rejected == ()


def test_an_equal_cyclic_column_is_told(tmp_path):
    globe = fields(0, 30).isel(lon=[0, 1, 2, 3, 0]).assign_coords(lon=[-180.0, -90.0, 0.0, 90.0, 180.0])
    (tmp_path / "input").mkdir()
    globe.to_netcdf(tmp_path / "input" / "a.nc", engine="netcdf4")
    assert [one.rule for one in ingest(settings(tmp_path / "input")).fixed] == ["Q-FIX-LONGITUDE"]


CHANGEABLE = [rule.id for rule in RULES.values() if rule.choices and rule.id not in OTHERS]


@pytest.mark.parametrize("rule", CHANGEABLE)
@pytest.mark.parametrize("action", ["reject", "warn", "off", "accept"])
def test_a_rule_can_be_changed_and_overruled(folder, rule, action):
    variable = bad_file(folder, rule)
    others = {other: "off" for other in CHANGEABLE if other != rule}  # -9999 is implausible too
    config = settings(folder, variable, rules={**others, rule: "reject" if action == "accept" else action})
    result = ingest(config)
    if action == "accept":
        accept(config.quarantine_path, entries(config.quarantine_path)[0].sha256, [], by="ann", why="checked")
        result = ingest(config)
    rejected = action == "reject"
    assert [one.rule for one in result.rejected] == ([rule] if rejected else [])
    assert [one.rule for one in result.warned] == ([rule] if action in ("warn", "accept") else [])
    found = archive.open_dataset(config.archive_path)["t"].values
    assert len(found) == (30 if rejected else 60)
    with xr.open_dataset(folder / "bad.nc") as bad:
        np.testing.assert_array_equal(found[30:], bad["t"].values[: len(found) - 30])
    noted = archive.log(config.archive_path)[0].metadata["warned"]
    assert [text.split(":")[0] for text in noted] == [one.rule for one in result.warned]


def test_a_rule_that_cannot_be_changed_is_refused(folder):
    for rules in ({"Q-TRUNCATED": "warn"}, {"Q-RANG": "warn"}, {"Q-RANGE": "ignore"}):
        with pytest.raises(ConfigError, match=r"quality\.rules"):
            settings(folder, rules=rules)
    with pytest.raises(ConfigError, match=r"quality\.max_jump must name variables"):
        settings(folder, max_jump={"u": 1.0})


def test_too_large_before_a_value_is_read(folder):
    config = settings(folder, max_values=30 * 6 * 7)
    fields(30, 61).to_netcdf(folder / "b.nc", engine="netcdf4")
    assert [(one.rule, one.path.name) for one in ingest(config).rejected] == [("Q-BUDGET", "b.nc")]


def test_the_sha256_that_is_stated_is_that_of_the_file(folder):
    config = settings(folder)
    fields(30, 60).to_netcdf(folder / "b.nc", engine="netcdf4")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {mark}{path.name}"
        for path, mark in zip(sorted(folder.glob("*.nc")), " *", strict=True)
    ]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    with (folder / "b.nc").open("r+b") as file:  # one bit of one value, which nothing else could find
        file.seek(-1000, 2)
        byte = file.read(1)[0]
        file.seek(-1000, 2)
        file.write(bytes([byte ^ 1]))
    assert [(one.rule, one.path.name) for one in ingest(config).rejected] == [("Q-CHECKSUM", "b.nc")]
    (folder / "SHA256SUMS").write_text("no sums")
    with pytest.raises(SourceError, match="Q-CHECKSUM: line 1 of"):
        ingest(config)
    (folder / "SHA256SUMS").unlink()
    assert ingest(config).appended == 30


def test_a_mark_is_found_in_converted_units(folder):
    bad_file(folder, "Q-SENTINEL")
    for path in sorted(folder.glob("*.nc")):
        with xr.open_dataset(path) as opened:
            data = opened.load()
        data["t"].attrs["units"] = "degC"
        data["t"].values[:] = np.where(data["t"].values == -9999, -9999, data["t"].values - np.float32(273.15))
        data.to_netcdf(path, engine="netcdf4")
    assert [one.rule for one in ingest(settings(folder)).rejected] == ["Q-SENTINEL"]


def test_frames_of_one_value_are_not_frozen_and_a_single_frame_neither_jumps_nor_freezes(folder):
    for path in folder.glob("*.nc"):
        shutil.move(path, folder.parent)
    data = fields(0, 30)
    data["t"].values[5:25] = np.where(np.isnan(VALUES[0]), np.nan, np.float32(285.0))
    data.to_netcdf(folder / "a.nc", engine="netcdf4")
    fields(30, 31).to_netcdf(folder / "b.nc", engine="netcdf4")
    result = ingest(settings(folder))
    assert result.warned == ()
    assert result.appended == 31


@pytest.mark.parametrize("name", BOUNDS)
def test_plausible_bounds_are_ordered_in_their_own_units(name):
    low, high, units = BOUNDS[name]
    assert plausible_range(name, units) == (low, high)
    assert low < high


def test_plausible_bounds_are_converted():
    low, high = plausible_range("air_temperature", "degC")
    assert (low, high) == (pytest.approx(-173.15), pytest.approx(86.85))
    assert plausible_range("air_temperature", "m") is None
    assert plausible_range("vorticity", "s-1") is None


def test_no_file_and_no_folder(folder):
    with pytest.raises(SourceError, match="Q-NO-FOLDER"):
        ingest(settings(folder / "none"))
    (folder / "a.nc").unlink()
    with pytest.raises(SourceError, match="Q-NO-FILES"):
        ingest(settings(folder))


def test_the_page_lists_the_rules_as_they_are():
    rows = re.findall(r"^\| `(Q-[A-Z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [
        (
            rule.id,
            rule.what,
            rule.default,
            ", ".join(
                [
                    *([f"`quality.rules.{rule.id}`: {', '.join(rule.choices)}"] if rule.choices else []),
                    *(f"`{key}`" for key in rule.keys),
                ]
            )
            or "nothing",
        )
        for rule in RULES.values()
    ]
    bounds = re.findall(r"^\| ([a-z_]+) \| ([-\d.]+) \| ([-\d.]+) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert {name: (float(low), float(high), units) for name, low, high, units in bounds} == BOUNDS
