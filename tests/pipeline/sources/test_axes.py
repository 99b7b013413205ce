"""Which coordinate is which by CF attributes, against cf-xarray's accessor."""

from __future__ import annotations

import cf_xarray  # noqa: F401  (adds the accessor `.cf`)
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.axes import described

KEYS = ("T", "X", "Y", "Z", "time", "latitude", "longitude", "vertical")
WORDS = {
    "standard_name": ("time", "latitude", "air_pressure", "vertical", "projection_x_coordinate", "model_level_number"),
    "long_name": ("time", "height"),
    "axis": ("T", "Z", "Y", "X", "t"),
    "units": ("degrees_east", "degrees_north", "hPa"),
    "positive": ("up", "down", "no"),
    "_CoordinateAxisType": ("Lat", "Pressure", "Time"),
}
ATTRIBUTES = st.fixed_dictionaries({}, optional={name: st.sampled_from(words) for name, words in WORDS.items()})


def found(dataset, key):
    return {str(name) for name in {**dataset.cf.axes, **dataset.cf.coordinates}.get(key, ())}


@given(st.lists(ATTRIBUTES, min_size=4, max_size=4), st.sampled_from(["", "c", "c b", "nothing"]))
def test_as_the_library(attributes, stated):
    along, flat, scalar, other = attributes
    dataset = xr.Dataset(
        {"t": (("a", "b"), np.zeros((2, 3)), other)},
        {"a": ("a", [0, 1], along), "c": (("a", "b"), np.zeros((2, 3)), flat), "d": ((), 1.0, scalar)},
    )
    if stated:
        dataset.attrs["coordinates"] = stated
    for key in KEYS:
        assert described(dataset).get(key, set()) == found(dataset, key)


def test_staggered_grid():
    topology = {"cf_role": "grid_topology", "topology_dimension": 2, "node_dimensions": "a b"}
    topology["face_dimensions"] = "xi: a (padding: none) eta: b (padding: none)"
    dataset = xr.Dataset(
        {"grid": ((), 0, topology), "t": (("xi", "eta"), np.zeros((2, 3)))}, {"xi": ("xi", [0, 1]), "eta": [0, 1, 2]}
    )
    assert found(dataset, "X")
    assert described(dataset).get("X") == found(dataset, "X")


@pytest.mark.parametrize("word", [np.array([1.0, 2.0]), 3])
def test_attribute_that_is_no_word(word):
    dataset = xr.Dataset(coords={"a": ("a", [0, 1], {"axis": word}), "b": ("b", [0.0], {"axis": "Z"})})
    assert described(dataset)["Z"] == {"b"}
