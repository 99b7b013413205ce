"""What a retraining takes: epochs, validation, scoring, and the start, of Ray too where that is used."""

from __future__ import annotations

import pytest

from pipeline.config import TrainingConfig
from pipeline.cost import START_SECONDS
from pipeline.study.projection import project
from tests.pipeline.made_study import made_probe


def test_a_retraining_by_hand():
    found = project(TrainingConfig(epochs=10, workers=0), made_probe(), step_seconds=0.08)
    assert found.starting == 3
    assert found.training == pytest.approx(10 * (100 * 0.08 + 1))
    assert found.total == pytest.approx(3 + 90 + 4)
    assert found.per_day == pytest.approx(86_400 / 97)
    assert found.cost(3.6) == pytest.approx(97 * 3.6 / 3600)


def test_ray_has_to_start_too_and_max_seconds_cuts():
    found = project(TrainingConfig(epochs=10, workers=1, max_seconds=30), made_probe(), step_seconds=0.08)
    assert (found.starting, found.training) == (3 + START_SECONDS, 30)
