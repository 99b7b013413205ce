"""What is gathered for a report: the example, the facts, the history."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import archive
from pipeline.evaluation import evaluate
from pipeline.report import gather
from pipeline.report.content import median_case
from pipeline.verification import Scorer


@pytest.fixture(scope="module")
def time_scorecard(time_model, time_config, snapshot_of):
    return evaluate(time_model, time_config, snapshot_of(time_config))


@pytest.fixture(scope="module")
def gathered(time_model, time_config, time_scorecard):
    return gather(time_config, time_model, time_scorecard, {"train": 62.0})


def scored(errors: np.ndarray, spread: float = 1.0):
    """A scorecard of one variable and lead time, whose cases have these errors."""
    lead = np.array([1], "timedelta64[h]").astype("timedelta64[ns]")
    scorer = Scorer(["t"], lead, np.ones((1, 1)), np.ones((1, 1), bool))
    truth = np.zeros((len(errors), 1, 1, 1, 1))
    scorer.add(truth + np.reshape(errors, (-1, 1, 1, 1, 1)), truth, truth[:, 0], truth + spread)
    return scorer.result()


@pytest.mark.parametrize(
    ("errors", "median"),
    [([5.0], 0), ([3.0, 1.0, 2.0], 2), ([-4.0, 1.0, 3.0, 2.0], 3), ([2.0, 2.0, 2.0], 1)],
)
def test_the_example_is_the_case_of_median_error(errors, median):
    assert median_case(scored(np.array(errors))) == median


def test_a_climatology_without_error_gives_no_scale_but_an_example_all_the_same():
    assert median_case(scored(np.array([3.0, 1.0, 2.0]), spread=0.0)) in (0, 1, 2)


def test_variables_of_other_units_count_alike():
    lead = np.array([1], "timedelta64[h]").astype("timedelta64[ns]")
    scorer = Scorer(["big", "small"], lead, np.ones((1, 1)), np.ones((1, 1), bool))
    truth = np.zeros((3, 1, 2, 1, 1))
    # in climatological errors (1000 and 0.001): 1.0 + 5.0, 1.1 + 1.0, 1.2 + 2.0, squared: the last is the median
    errors = np.array([[1000, 0.005], [1100, 0.001], [1200, 0.002]])
    spread = np.array([1000, 0.001]).reshape(2, 1, 1)
    scorer.add(truth + errors[:, None, :, None, None], truth, truth[:, 0], truth + spread)
    assert median_case(scorer.result()) == 2


def test_truth_and_forecast_are_of_the_same_case(gathered, time_scorecard, time_config):
    number = median_case(time_scorecard)
    init = np.datetime64(time_scorecard.scores["case"].values[number])
    assert gathered.case == f"{time_scorecard.scores['case'].values[number]}, the test case of median error"
    assert gathered.forecast["init_time"].values == init
    with archive.open_dataset(time_config.archive_path) as dataset:
        expected = dataset[["t2m", "q2m"]].sel(time=gathered.forecast["valid_time"].values)
        for name in ("t2m", "q2m"):
            np.testing.assert_array_equal(gathered.truth[name].values, expected[name].values)
            assert gathered.truth[name].attrs == gathered.forecast[name].attrs
            assert gathered.truth[name].dims == ("lead_time", "lat", "lon")


def test_the_example_has_the_error_that_was_scored(gathered, time_scorecard):
    error = gathered.forecast["t2m"].astype("f8") - gathered.truth["t2m"]
    weights = np.cos(np.deg2rad(error["lat"]))
    found = (error**2).weighted(weights).mean(("lat", "lon")).values
    expected = time_scorecard.scores["mse"].sel(source="model", variable="t2m")[median_case(time_scorecard)]
    np.testing.assert_allclose(found, expected.values, rtol=1e-5)


def test_a_simulation_shows_its_sample(sample_model, sample_config, snapshot_of):
    scorecard = evaluate(sample_model, sample_config, snapshot_of(sample_config))
    content = gather(sample_config, sample_model, scorecard, {})
    sample = int(content.forecast["sample"])
    assert content.case.startswith(f"sample {sample} at ")
    assert content.truth["tracer"].dims == ("lead_time", "y", "x")
    assert np.isfinite(content.truth["tracer"].values).all()
    assert content.facts["Data"]["train"] == "samples 0 to 5"
    assert content.facts["Data"]["test"] == "samples 8 to 9"


def test_the_facts_say_what_made_it(gathered, time_config, time_model, snapshot_of):
    data, model, code = (gathered.facts[name] for name in ("Data", "Model", "Code"))
    assert data["snapshot_id"] == snapshot_of(time_config)
    assert data["dimensions"] == "time 240, lat 6, lon 8"
    assert (data["train"], data["test"]) == ("frames 0 to 134", "frames 192 to 239")
    assert model["version"] == "weather/3"
    assert model["aliases"] == "champion"
    assert model["parameters"] == f"{sum(p.numel() for p in time_model.forecaster.parameters()):,}"
    assert model["history, horizon"] == "6, 3 frames"
    assert code["config_hash"] == time_config.hash()
    assert code["hash"] == time_model.version.tags["code_hash"]
    assert gathered.config_yaml == time_config.to_yaml()
    assert gathered.timings == {"train": 62.0}
    assert gathered.title == "weather"


def test_the_history_is_that_of_the_training(gathered):
    assert [record["epoch"] for record in gathered.history] == [1, 2]
    assert all(record["validation_loss"] > 0 for record in gathered.history)
