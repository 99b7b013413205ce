import math

import pytest

from pipeline.report import png, search_figure
from pipeline.study import importance_of


@pytest.fixture
def trials():
    settings = [
        {"rate": 10 ** (-4 + number / 8), "cell": "ab"[number % 2], "hidden": [4] * (1 + number % 3), "seed": 0}
        for number in range(16)
    ]
    errors = [math.inf if number == 15 else 0.2 + abs(number - 8) / 10 for number in range(16)]
    states = [
        "failed" if error == math.inf else "finished" if number % 3 else "stopped"
        for number, error in enumerate(errors)
    ]
    return settings, errors, states


def test_bars_have_the_shares_and_the_telling_setting_comes_first(trials):
    settings, errors, states = trials
    importance = importance_of(settings, errors)
    figure = search_figure(settings, errors, states, importance)
    bars, *panels = figure.axes
    assert [round(bar.get_width(), 9) for bar in bars.patches][::-1] == [
        round(x, 9) for x in importance.shares.values()
    ]
    assert [label.get_text() for label in bars.get_yticklabels()][::-1] == list(importance.shares)
    assert bars.get_lines()[0].get_xdata()[0] == importance.chance
    titles = [ax.get_title(loc="left") for ax in panels]
    assert titles[:3] == list(importance.shares)
    assert titles[0] == "rate"
    assert panels[0].get_xscale() == "log"
    assert sum(len(points.get_offsets()) for points in panels[0].collections) == 17  # the best is circled
    assert png(figure)


def test_few_trials_have_no_bars_and_words_stand_side_by_side(trials):
    settings, errors, states = trials
    figure = search_figure(settings[:4], errors[:4], states[:4], None)
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert [label.get_text() for label in panels["cell"].get_xticklabels()] == ["a", "b"]
    assert "seed" not in panels
    assert png(figure)


def test_all_trials_failed():
    assert png(search_figure([{"rate": 1.0}, {"rate": 2.0}], [math.inf] * 2, ["failed"] * 2, None))
