"""Trials: settings that reach the configuration, or one sentence before anything is trained."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.study import read_space, sample_trials, study_name
from pipeline.training import prepare


@pytest.fixture(scope="module")
def job(sample_config, snapshot_of):
    return prepare(sample_config, snapshot_of(sample_config))


def test_a_trial_is_the_configuration_with_its_settings(job):
    space = read_space({"training.learning_rate": {"log": ["1e-3", "1e-2"]}, "model.hidden": {"choice": [[8], [4, 4]]}})
    trials = sample_trials(job, space, 0, 6)
    assert [one.trial.name for one in trials] == ["000", "001", "002", "003", "004", "005"]
    for one in trials:
        config = one.trial.config
        assert config.training.learning_rate == one.settings["training.learning_rate"]
        assert list(config.model.hidden) == one.settings["model.hidden"]
        assert config.seed == job.config.seed
        assert config.window == job.config.window
    assert len({one.trial.folder(job.config.work_dir, "S") for one in trials}) == 6


def test_the_seed_can_be_searched(job):
    trials = sample_trials(job, read_space({"seed": {"choice": [0, 1, 2]}}), 0, 3)
    assert {one.trial.config.seed for one in trials} == {0, 1, 2}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"training.closed_loop_steps": {"choice": [9]}}, "training.closed_loop_steps must be below window.horizon"),
        ({"model.patch": {"choice": [3]}}, "model.patch must divide"),
        ({"training.batch_size": {"uniform": [1, 4]}}, "training.batch_size: input should be a valid integer"),
        ({"model.kernel_size": {"choice": [4]}}, "must be odd"),
        ({"model.cell": {"choice": ["lstm"]}}, "model.cell"),
    ],
)
def test_an_invalid_corner_is_one_sentence_that_names_the_trial(job, space, words):
    with pytest.raises(ConfigError) as caught:
        sample_trials(job, read_space(space), 0, 4)
    assert str(caught.value).startswith("trial 0 of the space (")
    assert words in str(caught.value)
    assert str(caught.value).endswith("change the space so that all its combinations are")


def test_a_study_is_named_after_what_decides_its_trials(job):
    space, other = read_space({"seed": {"choice": [0, 1]}}), read_space({"seed": {"choice": [0, 2]}})
    name = study_name(job.config, "S", space, 0, 1, 3)
    assert name == study_name(job.config, "S", read_space(space.to_dict()), 0, 1, 3)
    others = {
        study_name(job.config, "T", space, 0, 1, 3),
        study_name(job.config, "S", other, 0, 1, 3),
        study_name(job.config, "S", space, 1, 1, 3),
        study_name(job.config, "S", space, 0, 2, 3),
        study_name(job.config, "S", space, 0, 1, 4),
    }
    assert len({name, *others}) == 6
    assert name.startswith("blobs-tune-")
