"""However the frames are cut into files, the same frames are made of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.assembly import Candidate
from pipeline.config import check_config
from pipeline.errors import SourceError
from pipeline.survey import take_survey
from pipeline.transforms import plan_of, transformed

HOURS = 40
RNG = np.random.default_rng(1)
HOURLY = RNG.gamma(0.3, 2.0, (HOURS, 2, 3))


def sums(reset):
    """Of what fell, starting anew after each hour that is a multiple of `reset`."""
    total, made = np.full((2, 3), 9.0), []
    for hour in range(HOURS):
        total = HOURLY[hour] + (0 if hour % reset == 1 else total)
        made.append(total)
    return np.array(made)


def fields(hours, reset=12):
    time = np.datetime64("2020-01-01T00", "ns") + np.asarray(hours) * np.timedelta64(1, "h")
    data = {"t": RNG_T[hours], "pr": sums(reset)[hours]}
    dims = ("time", "lat", "lon")
    units = {"t": "K", "pr": "kg m-2 s-1 s"}
    made = {name: (dims, values.astype("f4"), {"units": units[name]}) for name, values in data.items()}
    return xr.Dataset(made, {"time": time, "lat": [1.0, 2.0], "lon": [1.0, 2.0, 3.0]})


RNG_T = RNG.normal(280, 5, (HOURS, 2, 3))


def config_of(accumulated="12h", **source):
    return check_config(
        {
            "source": {"path": "x", **source},
            "boundary": "closed",
            "variables": {
                "t": {"units": "K"},
                "pr": {"units": "kg m-2 s-1", "derive": "rate", "accumulated": accumulated},
            },
        }
    )


def candidates(cuts):
    made = []
    for number, hours in enumerate(cuts):
        part = fields(hours)
        made.append(Candidate(Path(f"{number:02}.nc"), f"{number}", part, take_survey(part).variables))
    return made


def outcome(config, cuts):
    return transformed(config, plan_of(config), candidates(cuts), None)


SOURCES = [
    {},
    {"resample": {"step": "6h"}},
    {"resample": {"step": "6h", "label": "left", "how": "max"}},
    {"resample": {"step": "4h", "how": "last"}},
]


@pytest.mark.parametrize(("source", "accumulated"), [*((source, "12h") for source in SOURCES), (SOURCES[1], "start")])
@settings(max_examples=5)
@given(edges=st.sets(st.integers(1, HOURS - 1), max_size=6), overlap=st.integers(0, 5))
def test_frames_do_not_depend_on_how_files_are_cut(source, accumulated, edges, overlap):
    config = config_of(accumulated, **source)
    (whole,) = outcome(config, [np.arange(HOURS)]).made
    borders = [0, *sorted(edges), HOURS]
    cuts = [np.arange(max(0, first - overlap), last) for first, last in itertools.pairwise(borders)]
    changed = outcome(config, cuts)
    assert not changed.failed
    found = {}
    for one in changed.made:
        assert one.surveys.keys() == {"t", "pr"}
        assert {data.load().dtype for data in one.fields.data_vars.values()} == {np.dtype("float32")}
        for time in one.fields["time"].values:
            frame = one.fields.sel(time=time)
            if time in found:  # an overlap says the same again
                xr.testing.assert_equal(frame, found[time])
            found[time] = frame
    joined = xr.concat([found[time] for time in sorted(found)], "time")
    np.testing.assert_array_equal(joined["time"].values, whole.fields["time"].values)
    np.testing.assert_array_equal(joined["t"].values, whole.fields["t"].values)
    np.testing.assert_array_equal(joined["pr"].values, whole.fields["pr"].values)


def test_rates_are_what_fell_in_each_hour():
    (whole,) = outcome(config_of(), [np.arange(HOURS)]).made
    np.testing.assert_allclose(whole.fields["pr"].values, HOURLY[1:] / 3600, atol=1e-8)
    assert (whole.lead, whole.rest, whole.needed) == (1, None, True)


@pytest.mark.parametrize("accumulated", ["12h", "start"])
def test_a_file_that_starts_where_sums_start_needs_none_before_it_where_that_is_said(accumulated):
    (found,) = outcome(config_of(accumulated), [np.arange(13, 30)]).made
    assert found.fields.sizes["time"] == (17 if accumulated == "12h" else 16)


def test_a_file_is_done_with_when_nothing_waits_for_it():
    config = check_config(
        {
            "source": {"path": "x", "resample": {"step": "6h"}},
            "boundary": "closed",
            "variables": {"t": {"units": "K"}, "pr": {"units": "kg m-2 s-1 s"}},
        }
    )
    first, second = outcome(config, [np.arange(1, 13), np.arange(13, 30)]).made
    assert (first.needed, first.rest, first.partners) == (False, None, ())
    assert second.needed
    assert second.rest == np.datetime64("2020-01-02T01")
    assert second.fields.sizes["time"] == 2


def test_a_hole_between_files_is_not_bridged():
    changed = outcome(config_of(resample={"step": "6h"}), [np.arange(0, 10), np.arange(11, 30)])
    times = [one.fields["time"].values.astype("datetime64[h]").astype(int) % 24 for one in changed.made]
    assert [hours.tolist() for hours in times] == [[6], [18, 0]]


def test_a_single_frame_of_which_nothing_tells_the_step_waits():
    changed = outcome(config_of(resample={"step": "6h"}), [np.arange(6, 7)])
    assert (changed.made, len(changed.withheld)) == ([], 1)
    assert changed.withheld[0].rest == np.datetime64("2020-01-01T06")


def test_irregular_frames_are_refused():
    changed = outcome(config_of(resample={"step": "6h"}), [np.array([0, 1, 2, 4, 5, 6, 7])])
    ((_, error),) = changed.failed
    assert isinstance(error, SourceError)
    assert error.rule == "Q-TIME"
