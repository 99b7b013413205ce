import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import SourceError
from pipeline.survey import VariableSurvey, take_survey


def fields(values):
    return xr.Dataset({"t": (("time", "lat", "lon"), values.astype("float32"))})


@given(
    hnp.arrays("float32", (6, 3, 4), elements=st.one_of(st.floats(-1e6, 1e6, width=32), st.just(float("nan")))),
    st.integers(1, 6),
)
@settings(deadline=None, max_examples=30)
def test_a_survey_by_blocks_equals_the_whole(values, rows):
    found = take_survey(fields(values).chunk(time=rows)).variables["t"]
    missing = np.isnan(values)
    np.testing.assert_array_equal(found.always_nan, missing.all(axis=0))
    np.testing.assert_array_equal(found.ever_nan, missing.any(axis=0))
    if not missing.all():
        assert found.lowest == np.nanmin(values)
        assert found.highest == np.nanmax(values)


def test_a_survey_of_samples_looks_at_points():
    values = np.zeros((2, 3, 4, 5), "float32")
    values[:, :, 1, 2] = np.nan
    values[1, 2, 3, 4] = np.nan
    found = take_survey(xr.Dataset({"v": (("sample", "time", "y", "x"), values)})).variables["v"]
    assert np.argwhere(found.always_nan).tolist() == [[1, 2]]
    assert np.argwhere(found.ever_nan).tolist() == [[1, 2], [3, 4]]


def test_unreadable_block():
    broken = fields(np.zeros((6, 3, 4))).chunk(time=2)

    def read(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 1:
            raise RuntimeError("NetCDF: HDF error")
        return block

    broken["t"].data = broken["t"].data.map_blocks(read, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    with pytest.raises(SourceError) as caught:
        take_survey(broken)
    assert caught.value.rule == "Q-TRUNCATED"
    assert (
        "'t' cannot be read at time 2 to 3 of 6, expected 3 blocks, read 2 (NetCDF: HDF error)" in caught.value.message
    )


def test_a_survey_keeps_one_array_where_the_masks_agree():
    values = np.zeros((6, 3, 4))
    values[:, 0, :2] = np.nan
    found = take_survey(fields(values)).variables["t"]
    assert isinstance(found, VariableSurvey)
    assert found.always_nan is found.ever_nan
