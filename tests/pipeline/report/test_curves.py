import numpy as np
import pytest

from pipeline.report import correlation_curves, error_curves, png, skill_chart, skill_curves, training_curves


def test_error_curves_hold_all_three_sources_from_zero(scorecard):
    figure = error_curves(scorecard)
    first, second = figure.axes
    assert [line.get_label() for line in first.get_lines()] == ["model", "persistence", "climatology"]
    np.testing.assert_allclose(first.get_lines()[0].get_ydata(), 0.1 * np.arange(1, 25), rtol=1e-5)
    np.testing.assert_allclose(second.get_lines()[1].get_ydata(), 20.0, rtol=1e-5)
    assert first.get_ylim()[0] == 0
    assert first.get_xlabel() == "lead time (hours)"
    assert second.get_ylabel() == "RMSE (10⁻⁶ kg m⁻² s⁻¹)"
    assert figure.legends
    assert png(figure)


def test_correlation_curves_leave_out_the_climatology(scorecard):
    first, second = correlation_curves(scorecard).axes
    for ax in (first, second):
        assert [line.get_label() for line in ax.get_lines()][:2] == ["model", "persistence"]
        assert ax.get_ylim()[1] == 1.0
        assert ax.get_ylabel() == "anomaly correlation"
    np.testing.assert_allclose(first.get_lines()[0].get_ydata(), scorecard.scores["acc"].values[0, 0])


def test_skill_chart_prints_whole_per_cents(scorecard):
    persistence, climatology = skill_chart(scorecard).axes[:2]
    texts = [text.get_text() for text in persistence.texts]
    assert texts[:3] == ["98", "96", "94"]
    assert len(texts) == 48
    assert climatology.texts[23].get_text() == "−92"
    assert [label.get_text() for label in persistence.get_yticklabels()] == ["2 m Temperature", "Precipitation"]


def test_skill_curves_have_a_band_for_each_baseline_between_the_ends_of_its_interval(scored):
    card = scored(1.0, noise=0.3)
    figure = skill_curves(card)
    assert len(figure.axes) == 2
    for number, ax in enumerate(figure.axes):
        assert [line.get_label() for line in ax.get_lines()[1:]] == ["against persistence", "against climatology"]
        for line, band, found in zip(ax.get_lines()[1:], ax.collections, card.skill_intervals.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), 100 * found.skill[number])
            heights = band.get_paths()[0].vertices[:, 1]
            assert heights.min() == pytest.approx(100 * found.lower[number].min())
            assert heights.max() == pytest.approx(100 * found.upper[number].max())
    assert figure.legends


def test_one_case_has_skill_but_no_band(scorecard):
    figure = skill_curves(scorecard)
    assert all(collection.get_paths() == [] for ax in figure.axes for collection in ax.collections)
    assert png(figure)


def test_training_curves_mark_the_best_epoch():
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": loss, "learning_rate": 0.01 / epoch}
        for epoch, loss in enumerate((0.9, 0.3, 0.5), start=1)
    ]
    losses, rates = training_curves(history).axes
    train, validation, best = losses.get_lines()
    assert train.get_ydata().tolist() == [1.0, 0.5, 1 / 3]
    assert validation.get_ydata().tolist() == [0.9, 0.3, 0.5]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.3)
    assert rates.get_lines()[0].get_ydata()[-1] == pytest.approx(0.01 / 3)


def test_one_epoch_is_enough():
    assert png(training_curves([{"epoch": 1, "train_loss": 0.5, "validation_loss": 0.4, "learning_rate": 0.0}]))
