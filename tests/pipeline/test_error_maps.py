"""Errors by point add up to the errors by case that the scorecard has."""

from __future__ import annotations

import numpy as np

from pipeline.error_maps import error_maps, skill_map
from pipeline.evaluation import evaluate
from pipeline.grid import GridSpec


def test_the_mean_over_points_is_the_rmse_of_the_scorecard(time_model, time_config, snapshot_of):
    snapshot_id = snapshot_of(time_config)
    events = []
    maps = error_maps(time_model, time_config, snapshot_id, events.append)
    scores = evaluate(time_model, time_config, snapshot_id).scores
    weights = GridSpec.from_dataset(maps, "closed").area_weights()
    for name in ("t2m", "q2m"):
        assert maps[name].dims == ("source", "lead_time", "lat", "lon")
        field = maps[name].values
        area = np.where(np.isfinite(field), weights, 0.0)
        mean = (np.nan_to_num(field) * area).sum(axis=(2, 3)) / area.sum(axis=(2, 3))
        np.testing.assert_allclose(np.sqrt(mean), scores["rmse"].sel(variable=name), rtol=1e-4)
    assert np.isnan(maps["t2m"].values[:, :, 4:, :3]).all()
    assert events[-1].done == events[-1].total == scores.sizes["case"]


def test_only_a_few_lead_times_are_kept(sample_model, sample_config, snapshot_of):
    maps = error_maps(sample_model, sample_config, snapshot_of(sample_config), leads=2)
    assert maps["tracer"].dims == ("source", "lead_time", "y", "x")
    assert maps.sizes["lead_time"] == 2


def test_skill_is_zero_where_the_model_is_the_baseline_and_unknown_where_that_has_no_error(
    time_model, time_config, snapshot_of
):
    maps = error_maps(time_model, time_config, snapshot_of(time_config))
    same = maps.copy(deep=True)
    same["t2m"].loc[{"source": "model"}] = maps["t2m"].sel(source="persistence")
    skill = skill_map(same, "persistence")["t2m"].values
    np.testing.assert_allclose(skill[np.isfinite(skill)], 0.0, atol=1e-6)
    same["t2m"].loc[{"source": "persistence"}] = 0.0
    assert np.isnan(skill_map(same, "persistence")["t2m"].values).all()
