"""The survey of a block against plain numpy, and of a variable in blocks against the whole."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline import block_survey
from pipeline.block_survey import joined, survey_block
from pipeline.survey import take_survey, take_survey_and_keep

VALUES = st.one_of(st.floats(-1e6, 1e6, width=32), st.just(float("nan")), st.just(float("inf")))
FIELDS = hnp.arrays("float32", (3, 6, 2, 4), elements=VALUES)


def assert_equal(one, other):
    for name in ("always", "ever", "lowest", "highest", "sums", "prints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


@given(FIELDS, st.integers(1, 3), st.integers(1, 6), st.sampled_from([1, 16, 2**17]))
@settings(deadline=None, max_examples=60)
def test_blocks_joined_are_the_whole(values, samples, rows, strip):
    parts = [
        [survey_block(values[s : s + samples, t : t + rows]) for t in range(0, 6, rows)] for s in range(0, 3, samples)
    ]
    blocks = np.empty((len(parts), len(parts[0])), object)
    for place in np.ndindex(blocks.shape):
        blocks[place] = parts[place[0]][place[1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_survey, "_STRIP_VALUES", strip)
        assert_equal(joined(blocks), survey_block(values))


@given(FIELDS)
@settings(deadline=None, max_examples=60)
def test_a_block_is_what_numpy_says(values):
    found, missing = survey_block(values), np.isnan(values)
    np.testing.assert_array_equal(found.always, missing.all(axis=(0, 1)))
    np.testing.assert_array_equal(found.ever, missing.any(axis=(0, 1)))
    for place in np.ndindex(values.shape[:2]):
        there = values[place][~missing[place]]
        assert found.lowest[place] == there.min(initial=np.inf)
        assert found.highest[place] == there.max(initial=-np.inf)
        if np.isfinite(there).all():
            assert found.sums[place] == pytest.approx(math.fsum(there), rel=1e-12, abs=1e-6)


@given(hnp.arrays("float64", (2, 3, 4), elements=st.floats(-1e6, 1e6)), st.integers(0, 11))
@settings(deadline=None, max_examples=60)
def test_a_fingerprint_is_that_of_equal_frames_only(values, place):
    values[1] = values[0]
    assert np.ptp(survey_block(values).prints) == 0
    values[1].flat[place] = np.nextafter(values[1].flat[place], np.inf)
    first, second = survey_block(values).prints
    assert first != second


def test_a_fingerprint_counts_a_gap_as_zero_and_sees_a_change_of_place():
    values = np.zeros((4, 1, 5), "float32")
    values[1, 0, 2] = np.nan
    values[2, 0, 2] = 1.0  # one and one, or two beside it: their mean and their middle are the same
    values[3, 0, [1, 3]] = 1.0
    prints = survey_block(values).prints
    assert prints[0] == prints[1]
    assert len(set(prints[1:])) == 3


def test_a_variable_cut_in_space_is_read_whole():
    values = np.random.default_rng(0).normal(size=(7, 5, 6)).astype("float32")
    values[:, 2, 3] = np.nan
    values[4] = values[3]
    fields = xr.Dataset({"t": (("time", "lat", "lon"), values), "q": (("time", "lat", "lon"), values[::-1])})
    cut = take_survey(fields.chunk(time=3, lat=2, lon=4)).variables
    for name, survey in take_survey(fields).variables.items():
        np.testing.assert_array_equal(cut[name].always_nan, survey.always_nan)
        np.testing.assert_array_equal(cut[name].means, survey.means)
        assert np.flatnonzero(survey.unchanged) == np.flatnonzero(cut[name].unchanged) == [3 if name == "t" else 2]


def test_what_is_kept_is_what_was_read_and_is_read_once():
    reads = []

    def read(block, block_info=None):
        if block_info:
            reads.append(block_info[0]["chunk-location"])
        return block + np.float32(1)

    fields = xr.Dataset({"t": (("time", "lat", "lon"), np.arange(24, dtype="float32").reshape(6, 2, 2))})
    lazy = fields.assign_coords(time=np.arange(6.0)).chunk(time=2)
    lazy["t"].data = lazy["t"].data.map_blocks(read, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    lazy["t"].attrs["units"] = "K"
    survey, kept = take_survey_and_keep(lazy)
    xr.testing.assert_identical(kept.compute(), lazy.compute(scheduler="threads"))
    assert len(reads) == 6  # three blocks for each of the two that were just compared
    assert survey.variables["t"].highest == 24.0
