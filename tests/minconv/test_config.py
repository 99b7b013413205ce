"""ForecasterConfig: its rules, and its way into JSON and back."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minconv
from minconv import ConfigurationError, ForecasterConfig

GOOD = {"in_channels": 3, "out_channels": 2, "hidden": (4, 5)}


@given(
    channels=st.tuples(st.integers(1, 9), st.integers(0, 9)),
    hidden=st.lists(st.integers(1, 99), min_size=1, max_size=5),
    cell=st.sampled_from(["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"]),
    kernel_size=st.sampled_from([1, 3, 5]),
    patch=st.integers(1, 4),
    boundary=st.sampled_from(["periodic", "cylinder", "zeros", "reflect"]),
    norm=st.sampled_from(["channel", "group", "none", "layer_hw"]),
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scale=st.floats(1e-3, 1e3),
    scales=st.none() | st.lists(st.floats(1e-3, 1e3), min_size=9, max_size=9),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_json_and_back(channels, hidden, cell, kernel_size, patch, boundary, norm, grid, scale, scales, flags):
    config = ForecasterConfig(
        in_channels=sum(channels),
        out_channels=channels[0],
        hidden=tuple(hidden),
        cell=cell,
        kernel_size=kernel_size,
        patch=patch,
        boundary=boundary,
        norm=norm,
        grid_shape=(grid[0] * patch, grid[1] * patch),
        tendency_scale=scale if scales is None else tuple(scales[: channels[0]]),
        residual=flags[0],
        tendency=flags[1],
    )
    assert ForecasterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.forcing_channels == channels[1]


def test_a_config_is_frozen_and_can_be_a_key():
    config = ForecasterConfig(**GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.patch = 2
    assert len({config, ForecasterConfig(**{**GOOD, "hidden": [4, 5]})}) == 1
    assert len({ForecasterConfig(**GOOD, tendency_scale=scale) for scale in ([0.1, 0.2], (0.1, 0.2))}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "gru"}, "cell must be one of minconvgru, .* got 'gru'"),
        ({"boundary": "open"}, "boundary must be one of periodic, cylinder, zeros, reflect, got 'open'"),
        ({"norm": None}, "norm must be one of channel, group, none, layer_hw, got None"),
        ({"in_channels": 0}, "in_channels must be a positive integer, got 0"),
        ({"in_channels": True}, "in_channels must be a positive integer, got True"),
        ({"out_channels": 1.0}, r"out_channels must be a positive integer, got 1\.0"),
        (
            {"diagnostic_channels": 2, "out_channels": 2},
            r"diagnostic_channels must be an integer from 0 to 1, .* got 2",
        ),
        ({"diagnostic_channels": -1}, r"diagnostic_channels must be an integer from 0 to"),
        ({"diagnostic_channels": True}, r"diagnostic_channels must be an integer from 0 to .* got True"),
        ({"out_channels": 4}, r"out_channels without the diagnostic ones must be at most in_channels \(3\), .* got 4"),
        ({"hidden": ()}, "hidden must be a non-empty sequence"),
        ({"hidden": 40}, "hidden must be a non-empty sequence of positive integers, got 40"),
        ({"hidden": (4, 0)}, "each entry of hidden must be a positive integer, got 0"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"encoder_kernel_size": 2}, "encoder_kernel_size must be odd, got 2"),
        ({"patch": -1}, "patch must be a positive integer, got -1"),
        ({"norm": "layer_hw"}, r"norm 'layer_hw' needs grid_shape=\(H, W\), got None"),
        ({"grid_shape": (4, 4, 4)}, r"grid_shape must be \(H, W\), got \(4, 4, 4\)"),
        ({"grid_shape": (4, 5), "patch": 2}, r"grid_shape must be a multiple of patch \(2\), got \(4, 5\)"),
        ({"residual": 1}, "residual must be true or false, got 1"),
        ({"tendency": "yes"}, "tendency must be true or false, got 'yes'"),
        ({"damping": 0.1, "tendency": True}, "damping must be true or false, got 0.1"),
        ({"damping": True}, "damping needs tendency=True, got tendency=False"),
        ({"tendency_scale": 0.0}, r"tendency_scale must be a positive number, got 0\.0"),
        ({"tendency_scale": float("inf")}, "tendency_scale must be a positive number, got inf"),
        ({"tendency_scale": "0.2"}, "tendency_scale must be a positive number, got '0.2'"),
        ({"tendency_scale": (0.2, 0.0)}, r"each entry of tendency_scale must be a positive number, got 0\.0"),
        (
            {"tendency_scale": (0.1, 0.2, 0.3)},
            "tendency_scale must be one number, or 2, one for each prognostic channel, got 3",
        ),
        (
            {"tendency_scale": (0.1, 0.2), "diagnostic_channels": 1},
            "tendency_scale must be one number, or 1, one for each prognostic channel, got 2",
        ),
    ],
)
def test_a_value_that_makes_no_model_gets_a_sentence(change, message):
    with pytest.raises(ConfigurationError, match=message):
        ForecasterConfig(**{**GOOD, **change})


def test_unknown_and_missing_keys_are_named():
    with pytest.raises(ConfigurationError, match=r"unknown key 'kernelsize' .* did you mean 'kernel_size'"):
        ForecasterConfig.from_dict({**GOOD, "kernelsize": 3})
    with pytest.raises(ConfigurationError, match=r"unknown key 'zzz' .* valid keys: "):
        ForecasterConfig.from_dict({**GOOD, "zzz": 3})
    with pytest.raises(ConfigurationError, match="key 'hidden' is missing"):
        ForecasterConfig.from_dict({"in_channels": 1, "out_channels": 1})


def test_the_subpackage_scan_is_not_hidden_by_its_function():
    assert not callable(minconv.scan)
    assert callable(minconv.scan.scan)
    assert "scan" not in minconv.__all__
    assert all(hasattr(minconv, name) for name in minconv.__all__)
