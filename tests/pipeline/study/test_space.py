"""Spaces: what is read, what is refused, and which settings come out of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import check_config
from pipeline.errors import ConfigError
from pipeline.study import default_space, read_space
from pipeline.study.space import searchable

SPACE = {
    "training.learning_rate": {"log": ["1e-3", 1e-2]},
    "training.input_noise": {"uniform": [0, 0.3]},
    "training.batch_size": {"choice": [1, 2, 4]},
    "model.hidden": {"choice": [[40, 40], [56]]},
}


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40), more=st.integers(0, 20))
def test_settings_are_a_function_of_seed_and_number_within_their_bounds(seed, count, more):
    found = read_space(SPACE).settings(seed, count)
    assert found == read_space(SPACE).settings(seed, count + more)[:count]
    assert len(found) == count
    for one in found:
        assert list(one) == sorted(SPACE)
        assert 1e-3 <= one["training.learning_rate"] <= 1e-2
        assert 0 <= one["training.input_noise"] <= 0.3
        assert one["training.batch_size"] in (1, 2, 4)
        assert one["model.hidden"] in ([40, 40], [56])


def test_other_seeds_give_other_settings():
    assert read_space(SPACE).settings(0, 5) != read_space(SPACE).settings(1, 5)


def test_a_logarithmic_setting_is_as_often_in_each_decade():
    space = read_space({"training.learning_rate": {"log": [1e-4, 1e-2]}})
    values = [one["training.learning_rate"] for one in space.settings(0, 200)]
    assert sum(value < 1e-3 for value in values) == pytest.approx(100, abs=4)


def test_a_small_space_gives_each_of_its_settings_once():
    space = read_space({"training.batch_size": {"choice": [1, 2, 4]}, "model.patch": {"choice": [1, 2]}})
    found = space.settings(3, 50)
    assert len(found) == space.size == 6
    assert {(one["model.patch"], one["training.batch_size"]) for one in found} == {
        (patch, size) for patch in (1, 2) for size in (1, 2, 4)
    }


def test_a_space_is_the_same_after_a_round_trip():
    space = read_space(SPACE)
    assert read_space(space.to_dict()) == space
    assert space.size == math.inf


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ([1], "must map settings to their values"),
        ({}, "must map settings to their values"),
        ({3: {"choice": [1]}}, "must map settings to their values"),
        ({"training.learning_rat": {"log": [1, 2]}}, "no setting; did you mean 'training.learning_rate'?"),
        ({"learning_rate": {"log": [1, 2]}}, "did you mean 'training.learning_rate'?"),
        ({"zzz": {"log": [1, 2]}}, "keys that can be searched: seed, model.cell"),
        ({"window.history": {"choice": [1, 2]}}, "window.history cannot be searched"),
        ({"window": {"choice": [1, 2]}}, "window cannot be searched"),
        ({"training.epochs": {"choice": [1, 2]}}, "training.epochs cannot be searched"),
        ({"training.workers": {"choice": [1, 2]}}, "training.workers cannot be searched"),
        ({"model.anomaly": {"choice": [True, False]}}, "model.anomaly cannot be searched"),
        ({"training.learning_rate": [1e-3, 1e-2]}, "must have one of the forms"),
        ({"training.learning_rate": {"log": [1, 2], "choice": [1]}}, "must have one of the forms"),
        ({"training.learning_rate": {"normal": [1, 2]}}, "must have one of the forms"),
        ({"training.learning_rate": {"log": [0, 1]}}, "both above 0"),
        ({"training.learning_rate": {"log": [1e-2, 1e-3]}}, "the smaller first"),
        ({"training.learning_rate": {"uniform": [1, 1]}}, "the smaller first"),
        ({"training.learning_rate": {"uniform": [1, 2, 3]}}, "must be two numbers"),
        ({"training.learning_rate": {"uniform": [True, 2]}}, "must be two numbers"),
        ({"training.learning_rate": {"uniform": ["low", 2]}}, "must be two numbers"),
        ({"training.learning_rate": {"uniform": 3}}, "must be two numbers"),
        ({"training.learning_rate": {"uniform": [0, math.inf]}}, "finite"),
        ({"model.patch": {"choice": []}}, "must list values that differ"),
        ({"model.patch": {"choice": [1, 1]}}, "must list values that differ"),
        ({"model.patch": {"choice": 1}}, "must list values that differ"),
    ],
)
def test_what_is_no_space_is_one_sentence(tree, words):
    with pytest.raises(ConfigError) as caught:
        read_space(tree)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_space_is_around_the_configuration_and_fits_the_grid():
    config = check_config({"generate": {"size": 24, "coarsen": 2}, "model": {"hidden": [40] * 6, "patch": 2}})
    space = default_space(config, (12, 6)).to_dict()
    assert space["training.learning_rate"] == {"log": [1e-3, 1.6e-2]}
    assert space["model.patch"] == {"choice": [1, 2]}
    hidden = space["model.hidden"]["choice"]
    assert {len(one) for one in hidden} == {3, 6, 9}
    assert {one[0] for one in hidden} == {20, 40, 60}
    assert [40] * 6 in hidden


def test_all_that_can_be_searched_decides_the_weights():
    keys = searchable()
    assert {"seed", "model.cell", "training.learning_rate", "training.closed_loop_steps"} <= set(keys)
    assert not {"training.threads", "training.max_seconds", "training.gpu", "training.patience"} & set(keys)
