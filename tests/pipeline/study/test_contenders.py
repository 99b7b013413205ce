import math

import pytest

from pipeline import archive
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.study import CELLS, alike, parameters_of, with_settings
from pipeline.study.contenders import contenders, timed
from pipeline.training import TrainingJob, prepare


@pytest.fixture(scope="module")
def job(sample_config: Config) -> TrainingJob:
    return prepare(sample_config, archive.head(sample_config.archive_path))


def test_cells_differ_in_the_cell_alone_and_have_equal_parameters(job: TrainingJob) -> None:
    wide = with_settings(job.config, {"model.hidden": [24, 24, 24]})
    job = TrainingJob(wide, job.snapshot_id, job.grid, job.splits, job.statistics, None)
    target = parameters_of(job)
    for cell in CELLS:
        config = alike(job, cell)
        made = TrainingJob(config, job.snapshot_id, job.grid, job.splits, job.statistics, None)
        assert config.model.cell == cell
        assert len(set(config.model.hidden)) == 1
        assert len(config.model.hidden) == 3
        assert abs(parameters_of(made) - target) < 0.05 * target
        same = config.model_copy(update={"model": wide.model})
        assert same.hash() == wide.hash()
    assert alike(job, wide.model.cell).hash() == wide.hash()


def test_changed_settings_are_checked(sample_config: Config) -> None:
    config = with_settings(sample_config, {"training.epochs": 7, "seed": 3})
    assert (config.training.epochs, config.seed, config.training.batch_size) == (7, 3, 2)
    assert config.archive_path == sample_config.archive_path
    with pytest.raises(ConfigError, match="epochz"):
        with_settings(sample_config, {"training.epochz": 7})


def test_contenders_differ_in_the_cell_alone_and_are_as_large(sample_config: Config) -> None:
    job = prepare(sample_config, archive.head(sample_config.archive_path))
    configs = contenders(job)
    assert list(configs) == list(CELLS)
    assert configs["minconvgru"] is sample_config
    sizes = [parameters_of(prepare(config, job.snapshot_id)) for config in configs.values()]
    assert max(sizes) < 1.35 * min(sizes)  # widths are whole numbers, and these are of 8
    for cell, config in configs.items():
        assert config.model.cell == cell
        assert config.training == sample_config.training


def test_a_timed_trial_ends_by_its_time_alone(sample_config: Config) -> None:
    trial = timed("minconvgru", sample_config, 12.345)
    options = trial.config.training
    assert (options.max_seconds, options.patience, options.compile, options.workers) == (12.35, None, False, 0)
    assert options.epochs * 1.0 > 1e5
    assert options.learning_rate == sample_config.training.learning_rate
    assert timed("minconvgru", sample_config).config.training.epochs == sample_config.training.epochs
    assert math.isfinite(options.max_seconds)
