"""The section `tiles`: what may stand in it, and what model does not go with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config, ModelConfig, TilesConfig, check_config
from pipeline.config_tiles import reach
from pipeline.errors import ConfigError


def made(tiles: dict[str, Any] | None, **model: Any) -> Config:
    return check_config({"generate": {}, "tiles": tiles, "model": model})


def test_one_number_is_both_sides() -> None:
    assert made({"size": 64, "halo": 8}).tiles == made({"size": [64, 64], "halo": [8, 8]}).tiles
    assert made({"size": [64, 32]}).tiles == TilesConfig(size=(64, 32))
    assert made(None).tiles is None
    assert check_config(made({"size": 64, "halo": 8}).model_dump(mode="json")) == made({"size": 64, "halo": 8})


def test_an_empty_halo_is_as_wide_as_the_model_reaches() -> None:
    config = made({"size": 64}, hidden=[8, 8, 8], patch=2, kernel_size=5)
    assert config.tiles is not None
    assert config.tiles.halo_of(config.model) == (12, 12)
    assert made({"halo": [4, 2]}).tiles.halo_of(ModelConfig()) == (4, 2)  # type: ignore[union-attr]


@given(st.integers(1, 6), st.integers(1, 4), st.sampled_from([1, 3, 5, 7]))
def test_the_reach_is_whole_patches(layers: int, patch: int, kernel: int) -> None:
    assert reach(ModelConfig(hidden=(4,) * layers, patch=patch, kernel_size=kernel)) == patch * layers * (kernel // 2)


@pytest.mark.parametrize(
    ("tiles", "model", "reason"),
    [
        ({}, {"cell": "convlstm"}, r"model\.cell must be a minconv cell or conv with tiles, got convlstm"),
        ({}, {"norm": "group"}, r"model\.norm must be channel or none with tiles, got group"),
        ({}, {"norm": "layer_hw"}, r"model\.norm must be channel or none with tiles, got layer_hw"),
        ({"size": [64, 63]}, {"patch": 2}, r"tiles\.size must be a multiple of model\.patch \(2\), got 64 x 63"),
        ({"halo": 5}, {"patch": 2}, r"tiles\.halo must be a multiple of model\.patch \(2\), got 5 x 5"),
        ({"size": 0}, {}, r"tiles\.size"),
        ({"size": True}, {}, r"tiles\.size"),
        ({"size": [1, 2, 3]}, {}, r"tiles\.size"),
        ({"halo": -2}, {}, r"tiles\.halo"),
        ({"overlap": 2}, {}, "overlap"),
    ],
)
def test_what_does_not_go_is_a_sentence(tiles: dict[str, Any], model: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        made(tiles, **model)
