import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import RegistryError
from pipeline.scorecard import Scorecard, Skill, make_scorecard

LEADS = np.arange(1, 25) * np.timedelta64(1, "h")


def card(rmse, variables=("t2m", "q"), lead_times=LEADS, cases=2, mse=None, **changes):
    values = np.asarray(rmse, dtype=np.float64)
    given_values = {
        "rmse": values,
        "mae": 0.8 * values,
        "bias": -0.1 * values,
        "acc": np.full(values.shape, 0.5),
        "mse": np.repeat(values[None] ** 2, cases, axis=0) if mse is None else mse,
        "excluded": np.arange(values[0].size).reshape(values[0].shape),
        "variables": list(variables),
        "units": ["K", "kg kg-1", "1"][: len(variables)],
        "long_names": [name.upper() for name in variables],
        "lead_times": lead_times,
        "cases": [f"case {number}" for number in range(cases)],
        "attrs": {"model_version": "3", "climatology": "mean field"},
    }
    return make_scorecard(**(given_values | changes))


def plain():
    grow = np.linspace(0.5, 3.0, 24)
    return card(np.stack([np.stack([grow, grow / 100]), np.stack([2 * grow, grow / 50]), np.full((2, 24), 2.0)]))


def test_skill():
    skill = plain().skill("persistence")
    np.testing.assert_allclose(skill, 0.5)
    assert skill.dims == ("variable", "lead_time")
    np.testing.assert_allclose(plain().skill("climatology").sel(variable="t2m")[[0, -1]], [0.75, -0.5])
    assert np.all(plain().skill("persistence", source="persistence") == 0)


def test_skill_against_a_reference_without_error_is_not_a_number():
    rmse = np.ones((3, 1, 2))
    rmse[1, 0, 0] = 0
    found = card(rmse, ("t2m",), LEADS[:2])
    assert np.isnan(found.skill("persistence")[0, 0])
    assert found.skill("persistence")[0, 1] == 0
    assert "test/skill_persistence/t2m/01h" not in found.metrics()
    assert "test/skill_persistence/t2m/02h" in found.metrics()


def test_rows_carry_the_interval_of_their_own_variable_and_lead_time(scored):
    found = scored(1.0, noise=0.3)
    rows = found.table(leads=4)
    interval = found.skill_intervals["climatology"]
    for row, lower, upper in zip(rows, interval.lower.ravel(), interval.upper.ravel(), strict=True):
        assert (row.skills["climatology"].lower, row.skills["climatology"].upper) == (lower, upper)
    np.testing.assert_allclose(interval.skill, found.skill("climatology"))
    again = Scorecard.from_json(found.to_json()).skill_intervals["climatology"]
    np.testing.assert_array_equal(again.lower, interval.lower)


def test_a_skill_is_judged_by_its_whole_interval():
    assert Skill(0.2, 0.1, 0.3).better
    assert Skill(-0.2, -0.3, -0.1).worse
    for unsure in (Skill(0.2, -0.1, 0.3), Skill(np.nan, np.nan, np.nan), Skill(0.2, -np.inf, 1.0)):
        assert not unsure.better
        assert not unsure.worse


def test_metrics():
    metrics = plain().metrics()
    assert metrics["test/rmse/t2m/01h"] == 0.5
    assert metrics["test/rmse/t2m/24h"] == 3.0
    assert metrics["test/rmse/t2m/mean"] == pytest.approx(1.75)
    assert metrics["test/rmse_persistence/t2m/24h"] == 6.0
    assert metrics["test/rmse_climatology/q/06h"] == 2.0
    assert metrics["test/mae/t2m/24h"] == pytest.approx(2.4)
    assert metrics["test/bias/t2m/24h"] == pytest.approx(-0.3)
    assert metrics["test/skill_persistence/q/06h"] == pytest.approx(0.5)
    assert metrics["test/skill_climatology/t2m/24h"] == pytest.approx(-0.5)
    assert metrics["test/acc/t2m/06h"] == pytest.approx(0.5)
    assert len(metrics) == 2 * 8 * 25


def test_metric_names_are_ones_that_mlflow_takes():
    found = card(np.ones((3, 2, 24)), ("t2m (2 m)", "z+500"))
    assert all(re.fullmatch(r"[/\w.\- :]+", name) for name in found.metrics("a"))
    assert "a/rmse/z_500/06h" in found.metrics("a")


def test_damped_persistence_is_a_baseline_where_it_was_scored():
    found = card(np.arange(1, 5)[:, None, None] * np.ones((4, 2, 24)), ("t2m", "q"))
    assert found.references == ("persistence", "climatology", "damped_persistence")
    metrics = Scorecard.from_json(found.to_json()).metrics()
    assert metrics["test/rmse_damped_persistence/t2m/06h"] == 4.0
    assert metrics["test/skill_damped_persistence/t2m/mean"] == pytest.approx(0.75)
    assert "test/rmse_damped_persistence/t2m/06h" not in plain().metrics()


def test_table():
    rows = plain().table()
    assert [(row.variable, row.lead_time) for row in rows[:5]] == [("t2m", f"+{lead} h") for lead in (1, 6, 12, 18, 24)]
    assert len(rows) == 10
    first, last = rows[0], rows[4]
    assert (first.units, first.rmse, *first.baselines.values()) == ("K", 0.5, 1.0, 2.0)
    assert first.best == "persistence"
    assert tuple(skill.value for skill in first.skills.values()) == pytest.approx((0.5, 0.75))
    assert first.acc == 0.5
    assert first.better
    assert not last.better
    assert len(plain().table(leads=2)) == 4


@settings(deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda leads: st.tuples(
            arrays(np.float64, (3, 2, leads), elements=st.floats(allow_infinity=False)),
            arrays(np.float64, (4, 3, 2, leads), elements=st.floats()),
        )
    )
)
def test_json_loses_nothing(values):
    rmse, mse = values
    before = card(rmse, lead_times=LEADS[: rmse.shape[-1]], cases=4, mse=mse, mae=rmse, bias=rmse)
    text = before.to_json()
    after = Scorecard.from_json(text)
    assert after.scores.identical(before.scores)
    assert after.scores["mse"].values.tobytes() == before.scores["mse"].values.tobytes() or np.isnan(mse).any()
    assert after.to_json() == text


def test_a_scorecard_from_before_the_anomaly_correlation_opens_without_it():
    tree = json.loads(plain().to_json())
    del tree["acc"]
    old = Scorecard.from_json(json.dumps(tree | {"format": 1}))
    assert old.scores["acc"].isnull().all()
    assert old.scores.drop_vars("acc").identical(plain().scores.drop_vars("acc"))
    assert not any("/acc/" in name for name in old.metrics())


def test_json_is_strict_and_readable():
    tree = json.loads(plain().to_json(), parse_constant=pytest.fail)
    assert tree["source"] == ["model", "persistence", "climatology"]
    assert tree["rmse"][0][0][0] == 0.5


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"format": 2', '"format": 99'),
        lambda text: text.replace('"case 1"', '"case 1", "case 2"'),
        lambda text: text.replace('"mse": "', '"mse": "AAAA'),
        lambda text: text.replace('"excluded"', '"included"'),
        lambda text: text.replace('"q"', '"q", "r"'),
    ],
)
def test_damaged_json_is_refused(damage):
    with pytest.raises(RegistryError, match=r"scorecard cannot be read .*; evaluate the model again"):
        Scorecard.from_json(damage(plain().to_json()))


def test_scores_by_lead_time_are_in_order():
    series = plain().by_lead()
    assert len(series) == 6
    np.testing.assert_allclose(series["rmse by lead time/t2m"], np.linspace(0.5, 3.0, 24))
    np.testing.assert_allclose(series["skill vs persistence by lead time/q"], 0.5)
