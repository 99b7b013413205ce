"""Evaluation: which cases are scored, and that the scores are those of the forecasts and of the two baselines."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import archive
from pipeline.climatology import fit_climatology
from pipeline.errors import ConfigError, ForecastError
from pipeline.evaluation import case_name, evaluate, frames_at, truth_at
from pipeline.forecast import cases_at, make_forecast, open_reader
from pipeline.windows import Window, make_splits

HOUR = np.timedelta64(1, "h")
STEPS, HISTORY = 3, 6


def changed(config, section, **values):
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


@pytest.fixture(scope="module")
def scorecard(time_model, time_config, snapshot_of):
    return evaluate(time_model, time_config, snapshot_of(time_config))


@pytest.fixture(scope="module")
def reader(time_model, time_config):
    return open_reader(time_model, time_config.archive_path, None)


@pytest.fixture(scope="module")
def weather(time_config):
    with archive.open_dataset(time_config.archive_path) as dataset:
        return dataset.load()


def test_every_case_of_the_test_split_is_scored_once(scorecard, time_config):
    # 48 test frames from hour 192 on, windows of 9, one every 5 frames
    starts = range(192, 240 - 9 + 1, time_config.evaluation.stride)
    assert scorecard.cases == len(starts) == 8
    begin = np.datetime64("2020-03-01T00") + (HISTORY - 1) * HOUR
    assert scorecard.scores["case"].values.tolist() == [str(begin + start * HOUR) + ":00" for start in starts]
    assert scorecard.variables == ("t2m", "q2m")
    assert scorecard.leads.labels == ("+1 h", "+2 h", "+3 h")


def test_samples_are_scored_at_every_start(sample_model, sample_config, snapshot_of):
    scorecard = evaluate(sample_model, sample_config, snapshot_of(sample_config))
    assert scorecard.cases == 2 * (14 - 8 + 1)  # two test samples of 14 frames, windows of 8
    assert scorecard.scores["case"].values[0].startswith("sample 8 at ")
    wide = changed(sample_config, "evaluation", stride=3)
    assert evaluate(sample_model, wide, snapshot_of(sample_config)).cases == 2 * 3


def test_one_case_by_hand(scorecard, time_model, reader, weather, time_config):
    number = 3
    init = np.datetime64(scorecard.scores["case"].values[number])
    forecast = make_forecast(time_model, reader, cases_at(reader, HISTORY, [init]), STEPS, {}).isel(init_time=0)
    when = init + np.arange(1, STEPS + 1) * HOUR
    climatology = fit_climatology(weather, ("t2m", "q2m"), make_splits(weather, time_config.split, 9).train).at(when)
    weights = np.cos(np.deg2rad(weather["lat"].values))[:, None] * weather["mask"].values
    for channel, name in enumerate(("t2m", "q2m")):
        truth = weather[name].sel(time=when).values.astype(np.float64)
        sources = {
            "model": forecast[name].values,
            "persistence": np.broadcast_to(weather[name].sel(time=init).values, truth.shape),
            "climatology": climatology[:, channel],
        }
        for source, values in sources.items():
            error = np.where(weights > 0, values.astype(np.float64) - truth, 0.0)
            expected = (error**2 * weights).sum(axis=(1, 2)) / weights.sum()
            found = scorecard.scores["mse"].sel(source=source, variable=name).values[number]
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_persistence_is_the_error_of_the_last_frame(scorecard, weather):
    weights = np.cos(np.deg2rad(weather["lat"]))
    for lead in (1, 2, 3):
        squares = []
        for start in range(192, 232, 5):
            change = weather["t2m"].isel(time=start + 5 + lead) - weather["t2m"].isel(time=start + 5)
            squares.append(float((change.astype("f8") ** 2).weighted(weights).mean()))
        found = float(scorecard.scores["rmse"].sel(source="persistence", variable="t2m")[lead - 1])
        assert found == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)


def test_an_untrained_tendency_model_has_no_skill_against_persistence(time_config, model_of, snapshot_of):
    scorecard = evaluate(model_of(time_config, trained=False), time_config, snapshot_of(time_config))
    assert (scorecard.skill("persistence").values == 0.0).all()
    assert (scorecard.skill("climatology").values != 0.0).all()


def test_full_damping_with_nothing_to_add_has_no_skill_against_climatology(time_config, model_of, snapshot_of):
    config = changed(time_config, "model", anomaly=True, damping=True)
    model = model_of(config, trained=False)
    model.forecaster.damping.data.fill_(1.0)
    scorecard = evaluate(model, config, snapshot_of(config))
    assert (scorecard.skill("climatology").values == 0.0).all()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_size_of_a_batch_changes_nothing(scorecard, time_model, time_config, snapshot_of, batch_size):
    config = changed(time_config, "evaluation", batch_size=batch_size)
    events = []
    other = evaluate(time_model, config, snapshot_of(config), events.append)
    assert other.attrs == scorecard.attrs
    assert other.scores["case"].values.tolist() == scorecard.scores["case"].values.tolist()
    for name in ("rmse", "mae", "bias", "mse"):
        np.testing.assert_allclose(other.scores[name].values, scorecard.scores[name].values, rtol=1e-4, atol=1e-7)
    assert [event.done for event in events] == [*range(batch_size, 8, batch_size), 8]


def test_the_memory_for_frames_changes_nothing(scorecard, time_model, time_config, snapshot_of):
    other = evaluate(time_model, changed(time_config, "training", cache_bytes=0), snapshot_of(time_config))
    np.testing.assert_array_equal(other.scores["mse"].values, scorecard.scores["mse"].values)


def test_longer_forecasts_than_trained_can_be_scored(time_model, time_config, snapshot_of):
    config = changed(time_config, "forecast", steps=12)
    scorecard = evaluate(time_model, config, snapshot_of(config))
    assert scorecard.leads.labels[-1] == "+12 h"
    assert scorecard.cases == len(range(192, 240 - 18 + 1, 5))


def test_a_scorecard_says_what_was_scored(scorecard, time_config, snapshot_of):
    assert scorecard.attrs == {
        "model_name": "weather",
        "model_version": "3",
        "snapshot_id": snapshot_of(time_config),
        "climatology": "mean of each time of day, without harmonics that may be chance, "
        "2020-03-01 00:00 to 2020-03-06 14:00",
        "cases": "8",
    }
    assert scorecard.scores["units"].values.tolist() == ["K", "kg kg-1"]
    assert scorecard.scores["long_name"].values.tolist() == ["Air temperature", "Specific humidity"]
    assert set(scorecard.metrics()) >= {"test/rmse/t2m/01h", "test/skill_damped_persistence/q2m/mean"}
    assert int(scorecard.scores["excluded"].sum()) == 0


def test_a_test_split_without_a_case_is_a_sentence(time_model, time_config, snapshot_of):
    with pytest.raises(ConfigError, match=r"the test split has 1 sample\(s\) of 48 frames but a window needs 49;"):
        evaluate(time_model, changed(time_config, "forecast", steps=43), snapshot_of(time_config))


def test_only_the_test_split_must_hold_the_forecasts(time_model, time_config, snapshot_of):
    longest = changed(time_config, "forecast", steps=42)  # with 6 before, more than the 39 frames of validation
    assert evaluate(time_model, longest, snapshot_of(time_config)).cases == 1


def test_a_model_that_diverges_is_a_sentence(time_config, model_of, snapshot_of):
    model = model_of(time_config, trained=False)
    model.forecaster.decoder.bias.data.fill_(float("inf"))
    with pytest.raises(ForecastError, match=r"forecast of t2m at \+1 h is not finite at 42 of 42 points \(case 2020-"):
        evaluate(model, time_config, snapshot_of(time_config))


# Truth


def test_frames_are_what_the_archive_holds(reader, weather):
    frames = frames_at(reader, [Window(0, 7), Window(0, 100)], 4)
    expected = weather[["t2m", "q2m"]].to_array().values.swapaxes(0, 1)
    np.testing.assert_array_equal(frames, np.stack([expected[7:11], expected[100:104]]))


def test_frames_of_an_anomaly_reader_are_physical_too(time_config, model_of, weather):
    model = model_of(changed(time_config, "model", anomaly=True), trained=False)
    frames = frames_at(open_reader(model, time_config.archive_path, None), [Window(0, 100)], 30)
    expected = weather[["t2m", "q2m"]].to_array().values.swapaxes(0, 1)[None, 100:130]
    np.testing.assert_allclose(frames, expected, rtol=1e-6)


@pytest.mark.parametrize(("start", "held"), [(100, 3), (233, 1), (234, 0)])
def test_truth_ends_with_the_archive(reader, weather, start, held):
    truth = truth_at(reader, Window(0, start), HISTORY, STEPS)
    assert truth.shape == (STEPS, 2, 6, 8)
    np.testing.assert_array_equal(truth[:held, 0], weather["t2m"].values[start + HISTORY :][:held])
    assert np.isnan(truth[held:]).all()


def test_a_case_is_named_by_its_init_time_or_its_sample(reader, sample_model, sample_config):
    assert case_name(reader, Window(0, 18), HISTORY) == "2020-03-01T23:00"
    samples = open_reader(sample_model, sample_config.archive_path, None)
    assert case_name(samples, Window(4, 2), 4) == f"sample 4 at {samples.times[5]:g} s"
