import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArchiveError, ConfigError
from pipeline.grid import GridSpec

latitudes = st.lists(st.floats(-90, 90, width=32), min_size=1, max_size=12, unique=True).map(sorted)


def spec(y=(0.0, 1.0), x=(0.0, 1.0, 2.0), geographic=False, boundary="periodic"):
    names = ("lat", "lon") if geographic else ("y", "x")
    return GridSpec(tuple(y), tuple(x), *names, geographic, boundary)


def test_weights_of_a_plane_are_ones():
    assert spec().shape == (2, 3)
    np.testing.assert_array_equal(spec().area_weights(), np.ones((2, 3)))


@given(latitudes)
def test_weights_of_a_globe_are_cosines_with_mean_one(y):
    weights = spec(y, geographic=True, boundary="closed").area_weights()
    assert weights.shape == (len(y), 3)
    assert weights.min() >= 0
    assert weights.mean() == pytest.approx(1.0)
    cosines = np.cos(np.deg2rad(y))
    np.testing.assert_allclose(weights[:, 0] * cosines.mean(), cosines, atol=1e-12)


def test_weights_at_sixty_degrees_are_half_of_those_at_the_equator():
    weights = spec((0.0, 60.0), geographic=True).area_weights()
    assert weights[1, 0] / weights[0, 0] == pytest.approx(0.5)


@given(latitudes, st.booleans(), st.sampled_from(["periodic", "cylinder", "closed"]))
def test_survives_json(y, geographic, boundary):
    grid = spec(y, geographic=geographic, boundary=boundary)
    assert GridSpec.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


def test_read_from_a_dataset():
    dataset = xr.Dataset(coords={"lat": [50.0, 51.0], "lon": [-1.0, 0.0, 1.0]}, attrs={"boundary": "cylinder"})
    grid = GridSpec.from_dataset(dataset)
    assert (grid.y_name, grid.x_name, grid.geographic, grid.boundary) == ("lat", "lon", True, "cylinder")
    assert grid.x == (-1.0, 0.0, 1.0)
    assert GridSpec.from_dataset(dataset, boundary="closed").boundary == "closed"
    plane = xr.Dataset(coords={"y": [0.5], "x": [0.1, 0.2]})
    assert not GridSpec.from_dataset(plane, "periodic").geographic


@pytest.mark.parametrize(
    ("dataset", "boundary", "said"),
    [
        (xr.Dataset(coords={"y": [0.0], "x": [0.0]}), None, "boundary"),
        (xr.Dataset(coords={"lat": [0.0], "x": [0.0]}), "closed", "lat, x"),
    ],
)
def test_refuses_datasets_without_a_grid(dataset, boundary, said):
    with pytest.raises(ArchiveError, match=said):
        GridSpec.from_dataset(dataset, boundary)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"y": ()}, "'y'"),
        ({"x": (0.0, float("nan"))}, "'x'"),
        ({"x": (0.0, 1.0, 1.0)}, "monotonic"),
        ({"x": (0.0, 2.0, 1.0)}, "monotonic"),
        ({"y": (0.0, 91.0), "geographic": True}, "-90..90"),
        ({"boundary": "torus"}, "torus"),
    ],
)
def test_refuses_what_is_no_regular_grid(values, said):
    with pytest.raises(ConfigError, match=said):
        spec(**values)
