"""Two scorecards compared: exact relations, intervals, and what cannot be compared."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.comparison import Interval, compare
from pipeline.errors import ComparisonError


def test_a_model_against_itself_differs_by_nothing(scored):
    card = scored(1.0)
    found = compare(card, card)
    assert found.primary == Interval(0.0, 0.0, 0.0)
    assert not found.primary.better
    assert not found.primary.worse
    for name in ("change", "lower", "upper"):
        np.testing.assert_array_equal(found.table[name], 0.0)


@given(factor=st.floats(0.2, 5.0), seed=st.integers(0, 3))
def test_a_common_factor_is_found_exactly_with_no_uncertainty(scored, factor, seed):
    found = compare(scored(1.0), scored(factor), seed=seed, draws=50)
    for value in (*found.primary.percent, *100 * np.expm1(found.table["change"].values.ravel())):
        assert value == pytest.approx(100 * (factor - 1), abs=1e-6)


@given(seed=st.integers(0, 100))
def test_changing_places_changes_the_sign(scored, seed):
    a, b = scored(1.0, noise=0.3, seed=seed), scored(0.9, noise=0.3, seed=seed + 1000)
    one, two = compare(a, b, draws=100, block=3), compare(b, a, draws=100, block=3)
    assert one.primary.estimate == pytest.approx(-two.primary.estimate, abs=1e-12)
    assert one.primary.lower == pytest.approx(-two.primary.upper, abs=1e-12)
    np.testing.assert_allclose(one.table["lower"], -two.table["upper"], atol=1e-12)


@given(scale=st.sampled_from([1e-8, 1.0, 1e9]))
def test_units_do_not_matter(scored, scale):
    a, b = scored(1.0, noise=0.2), scored(0.95, noise=0.2, seed=5)
    plain = compare(a, b, draws=100)
    scaled = compare(*(scored.scaled(card, {"q": scale}) for card in (a, b)), draws=100)
    assert scaled.primary.percent == pytest.approx(plain.primary.percent, rel=1e-6)
    assert scaled.block == plain.block


def test_the_table_has_the_rmse_of_all_four_and_the_change_is_theirs(scored):
    a, b = scored(1.0, noise=0.2), scored(0.8, noise=0.2, seed=9)
    table = compare(a, b).table
    np.testing.assert_allclose(table["rmse_a"], a.scores["rmse"].sel(source="model"))
    np.testing.assert_allclose(table["rmse_b"], b.scores["rmse"].sel(source="model"))
    for name in ("persistence", "climatology"):
        np.testing.assert_allclose(table[f"rmse_{name}"], a.scores["rmse"].sel(source=name))
    np.testing.assert_allclose(table["change"], np.log(table["rmse_b"] / table["rmse_a"]))
    assert np.all((table["lower"] <= table["change"]) & (table["change"] <= table["upper"]))
    assert list(table["units"].values) == ["K", "kg kg-1"]


def test_the_primary_metric_is_the_mean_change_of_the_variables_that_count(scored):
    a, b = scored(1.0, noise=0.2), scored({"t2m": 0.8, "q": 1.1}, noise=0.2, seed=4)
    table = compare(a, b).table
    assert compare(a, b).primary.estimate == pytest.approx(float(table["change"].mean()))
    only = compare(a, b, variables=["q"]).primary
    assert only.estimate == pytest.approx(float(table["change"].sel(variable="q").mean()))
    assert only.worse
    with pytest.raises(ComparisonError, match=r"variables that were scored \(t2m, q\), got 'z'; correct promotion"):
        compare(a, b, variables=["z"])


def test_both_models_are_stated_against_both_baselines(scored):
    found = compare(scored(1.0), scored(0.5))
    assert found.against["a", "persistence"].percent[0] == pytest.approx(-50)
    assert found.against["b", "persistence"].percent[0] == pytest.approx(-75)
    assert set(found.against) == {(m, r) for m in ("a", "b") for r in ("persistence", "climatology")}
    assert all(interval.better for interval in found.against.values())


def test_values_without_truth_are_left_out_and_a_variable_without_any_does_not_count(scored):
    a, b = scored(1.0, noise=0.2), scored(0.8, noise=0.2, seed=7)
    for card in (a, b):
        card.scores["mse"][::3, :, 0, 1] = np.nan
        card.scores["mse"][:, :, 1, 2] = np.nan
    found = compare(a, b)
    assert np.isnan(found.table["change"].values[1, 2])
    assert np.isfinite(found.table["upper"].values[0, 1])
    assert found.primary.better
    assert found.primary.estimate == pytest.approx(float(np.nanmean(found.table["change"].values)))


def test_an_error_of_zero_is_not_compared_unless_both_have_none(scored):
    a, b = scored(1.0, noise=0.1), scored(0.9, noise=0.1, seed=2)
    a.scores["mse"].loc[{"source": "model", "variable": "t2m"}] = 0.0
    b.scores["mse"].loc[{"source": "model", "variable": "t2m"}] = 0.0
    assert compare(a, b).table["change"].sel(variable="t2m").values.tolist() == [0.0] * 4
    b.scores["mse"].loc[{"source": "model", "variable": "t2m"}] = 1.0
    found = compare(a, b)
    assert np.isposinf(found.table["change"].sel(variable="t2m").values).all()
    assert math.isfinite(found.primary.estimate)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cases": 39}, "same cases, got 40 and 39 of which 39 are the same"),
        ({"leads": 3}, "same lead times, got 4 and 3 of which 3"),
        ({"names": ("t2m", "wind")}, "same variables, got 2 and 2 of which 1"),
        ({"first_case": 1}, "same cases, got 40 and 40 of which 39"),
        ({"truth": 1}, "same truth, but the errors of persistence differ"),
    ],
)
def test_what_was_scored_otherwise_is_refused(scored, change, sentence):
    with pytest.raises(
        ComparisonError, match=f"made version 1 and made version 1 must be scored .*{sentence}.*; score"
    ):
        compare(scored(1.0), scored(1.0, **change))


def test_everything_is_plain_json(scored):
    a, b = scored(1.0, noise=0.2), scored(0.8, noise=0.2, seed=7)
    b.scores["mse"][:, :, 1, 2] = a.scores["mse"][:, :, 1, 2] = np.nan
    tree = json.loads(json.dumps(compare(a, b).to_dict(), allow_nan=False))
    assert tree["cases"] == 40
    assert tree["table"]["change"][1][2] is None
    assert tree["primary"]["upper"] < 0
    assert tree["against"]["b_persistence"]["estimate"] < 0
    assert (tree["variable"], tree["lead_time"]) == (["t2m", "q"], ["+6 h", "+12 h", "+18 h", "+24 h"])
