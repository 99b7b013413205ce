import numpy as np
import pytest
import xarray as xr

from pipeline.cadence import Cadence
from pipeline.errors import SourceError
from pipeline.quality import check_cadence, check_finite, check_grid, check_mask
from pipeline.survey import take_survey
from pipeline.suspicion import check_range

TIMES = np.datetime64("2020-01-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")


def fields(values, **coords):
    height, width = values.shape[-2:]
    places = {"time": TIMES[: len(values)], "lat": np.arange(float(height)), "lon": np.arange(float(width)), **coords}
    return xr.Dataset({"t": (("time", "lat", "lon"), values.astype("float32"))}, coords=places)


def survey(values):
    return take_survey(fields(values)).variables


def rule_of(action, *arguments):
    with pytest.raises(SourceError) as caught:
        action(*arguments)
    return caught.value.rule, caught.value.message


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite(value):
    values = np.zeros((6, 3, 4))
    check_finite(survey(values))
    values[3, 1, 2] = value
    assert rule_of(check_finite, survey(values))[0] == "Q-INF"


def test_nothing_but_nan():
    assert rule_of(check_finite, survey(np.full((6, 3, 4), np.nan)))[0] == "Q-NAN"


def test_range_holds_its_ends_in_single_precision():
    values = np.linspace(0.1, 0.7, 72).reshape(6, 3, 4)
    check_range(survey(values), {"t": (0.1, 0.7)})
    check_range(survey(values), {"t": None})
    check_range(survey(values), {})
    for bounds in ((0.11, 0.7), (0.1, 0.69)):
        rule, message = rule_of(check_range, survey(values), {"t": bounds})
        assert rule == "Q-RANGE"
        assert "0.1 to 0.7" in message


def masked_values():
    values = np.zeros((6, 3, 4))
    values[:, 0, :2] = np.nan
    return values, np.isnan(values[0])


def test_mask():
    values, masked = masked_values()
    check_mask(survey(values), masked, {"t": 2})
    # a point that another variable masks may have values, or gaps
    wider = masked.copy()
    wider[2, 3] = True
    check_mask(survey(values), wider, {"t": 2})
    values[3, 2, 3] = np.nan
    check_mask(survey(values), wider, {"t": 2})


def test_gap_beyond_the_mask():
    values, masked = masked_values()
    values[4, 2, 2] = np.nan
    rule, message = rule_of(check_mask, survey(values), masked, {"t": 2})
    assert rule == "Q-NAN"
    assert "at 1 points" in message


def test_larger_mask():
    values, masked = masked_values()
    values[:, 2, :] = np.nan
    rule, message = rule_of(check_mask, survey(values), masked, {"t": 2})
    assert rule == "Q-MASK"
    assert "at 4 points" in message


def test_smaller_mask():
    values, masked = masked_values()
    values[:, 0, 0] = 5.0
    rule, message = rule_of(check_mask, survey(values), masked, {"t": 2})
    assert rule == "Q-MASK"
    assert "has values at 1 points" in message


def test_grid():
    plain = fields(np.zeros((6, 3, 4)))
    check_grid(plain, plain)
    check_grid(plain.isel(time=slice(0, 2)), plain)
    check_grid(plain.assign_coords(lat=plain["lat"].astype("float32") + 1e-5), plain)
    assert rule_of(check_grid, plain.assign_coords(lat=plain["lat"] + 0.1), plain)[0] == "Q-GRID"
    assert rule_of(check_grid, plain.isel(lon=slice(0, 3)), plain)[0] == "Q-GRID"
    assert rule_of(check_grid, plain.rename(lat="y", lon="x"), plain)[0] == "Q-DIMENSIONS"
    assert rule_of(check_grid, plain.assign_coords(time=np.arange(6.0)), plain)[0] == "Q-TIME"


def test_samples_share_their_time_axis():
    coords = {"time": np.arange(3.0), "y": np.arange(4.0), "x": np.arange(5.0)}
    plain = xr.Dataset({"v": (("sample", "time", "y", "x"), np.zeros((2, 3, 4, 5)))}, coords=coords)
    check_grid(plain.isel(sample=[0]), plain)
    assert rule_of(check_grid, plain.assign_coords(time=2 * plain["time"]), plain)[0] == "Q-TIME"
    assert rule_of(check_grid, plain.isel(time=slice(0, 2)), plain)[0] == "Q-TIME"


def test_cadence():
    check_cadence(TIMES, Cadence(3600.0))
    check_cadence(TIMES[:1], Cadence(3600.0))
    check_cadence(TIMES, None)
    rule, message = rule_of(check_cadence, np.delete(TIMES, 2), Cadence(3600.0))
    assert rule == "Q-TIME"
    assert message.startswith("2020-01-01T03:00 follows 2020-01-01T01:00, expected steps of 1 h")
