"""A budget is divided whole, what is promised fits into it, and the least that is named works."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import TrainingConfig
from pipeline.errors import ConfigError
from pipeline.study.budget import (
    LEAST_STEPS,
    RESERVE,
    budget_for,
    divide,
    duration,
    duration_text,
    least_budget,
    longest,
)
from pipeline.study.probe import Probe
from tests.pipeline.made_study import made_probe

some = st.floats(0.01, 100.0)
probes = st.lists(
    st.builds(
        Probe,
        cell=st.just("minconvgru"),
        step_seconds=st.floats(1e-3, 5.0),
        parts=st.just({}),
        steps=st.integers(1, 10_000),
        validation_seconds=some,
        scoring_seconds=some,
        start_seconds=some,
        seconds=some,
    ),
    min_size=1,
    max_size=5,
)
ENDLESS = TrainingConfig(epochs=10**9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("10min", 600), ("1h30m", 5400), ("2d", 172_800), (" 1.5 H ", 5400), ("1h 5 s", 3605)],
)
def test_durations(text, seconds):
    assert duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["10 parsecs", "", "10", "0s", "-5m", "m", "1e3s", "10mm", "5m and a bit"])
def test_what_is_no_duration_is_said_in_one_sentence(text):
    with pytest.raises(ConfigError, match=r"^--budget must be a duration above zero like 90s, .*, got ") as found:
        duration(text, "--budget")
    assert repr(text) in str(found.value)


@given(st.floats(0.5, 1e6))
def test_a_duration_as_text_is_not_below_and_can_be_typed(seconds):
    read = duration(duration_text(seconds), "--budget")
    assert seconds <= read <= max(seconds + 60, 1)


@given(probes, st.floats(1.0, 50.0))
def test_the_shares_are_the_budget_and_every_training_fits(measured, times):
    budget = times * least_budget(measured) * (1 + 1e-9)
    shares = divide(budget, measured, ENDLESS)
    assert sum(shares.parts().values()) == pytest.approx(budget)
    assert all(seconds >= 0 for seconds in shares.parts().values())
    assert shares.training == pytest.approx(shares.each * len(measured))
    needed = sum(
        one.seconds
        + one.start_seconds
        + one.scoring_seconds
        + shares.each
        + math.ceil(shares.each / one.epoch_seconds) * one.validation_seconds
        for one in measured
    )
    assert needed <= (1 - RESERVE) * budget * (1 + 1e-6)


@given(probes)
def test_less_than_the_least_is_refused_and_the_least_that_is_named_works(measured):
    least = least_budget(measured)
    with pytest.raises(ConfigError, match="is too small for") as found:
        divide(0.98 * least, measured, ENDLESS)
    (named,) = re.findall(r"the least that works is (\w+)", str(found.value))
    shares = divide(duration(named, "--budget"), measured, ENDLESS)
    assert all(shares.each >= LEAST_STEPS * one.step_seconds * (1 - 1e-9) for one in measured)


@given(probes, st.integers(1, 20), st.floats(1.0, 1e6))
def test_nothing_is_trained_longer_than_the_configuration_would(measured, epochs, more):
    options = TrainingConfig(epochs=epochs)
    shares = divide(least_budget(measured) + more, measured, options)
    assert shares.each <= max(longest(one, options) for one in measured) * (1 + 1e-9)
    assert sum(shares.parts().values()) == pytest.approx(shares.budget)


@given(probes, st.floats(1.0, 1e4))
def test_the_budget_for_a_time_gives_that_time(measured, seconds):
    each = seconds + LEAST_STEPS * max(one.step_seconds for one in measured)
    assert divide(budget_for(each, measured) * (1 + 1e-9), measured, ENDLESS).each == pytest.approx(each, rel=1e-4)


def test_max_steps_and_max_seconds_are_as_long_as_it_gets():
    assert longest(made_probe(), TrainingConfig(epochs=8, max_steps=1)) == made_probe().step_seconds
    assert longest(made_probe(), TrainingConfig(epochs=8)) == pytest.approx(40)
    assert longest(made_probe(), TrainingConfig(epochs=8, max_seconds=12)) == 12


def test_the_shares_of_two_cells_by_hand():
    one = made_probe()
    shares = divide(200.0, [one, dataclasses.replace(one, step_seconds=0.1)], ENDLESS)
    # of 170 s: 12 measuring, 6 starting, 2 validation, 8 scoring; 142 for steps and further validations
    assert shares.each == pytest.approx(142 / (1 + 1 / 5 + 1 + 1 / 10))
    assert (shares.measuring, shares.starting, shares.scoring, shares.reserve) == (12, 6, 8, 30)
