"""The conclusion of a proof of concept from results of known truth."""

from __future__ import annotations

import json

import pytest

from pipeline.study import CELLS
from pipeline.study.poc import skill_of
from tests.pipeline.made_study import made_proof


def test_the_minconv_cell_with_the_lowest_validation_error_is_judged():
    found = made_proof()
    assert found.chosen == "minconvlstm"
    assert found.decision.state == "go"
    assert "minconvlstm beats" in found.decision.sentence
    # twice as long as the model's: a skill of a half
    skill, low, high = skill_of(found.cells[1].against["persistence"])
    assert 0.4 < low < skill < high < 0.6
    assert made_proof(without=("minconvlstm",)).chosen == "minconvgru"


def test_every_baseline_and_the_better_conv_cell_stand_beside_the_decision():
    found = made_proof()
    hardest = found.cells[1].hardest
    other = {"persistence", "climatology"} - {hardest}
    assert any(text.startswith(f"Against {other.pop()} the RMSE of minconvlstm is") for text in found.evidence)
    assert any(text.startswith("Against convgru with as many parameters") for text in found.evidence)


def test_a_model_that_is_worse_but_trained_in_full_is_no_go():
    found = made_proof(factor=3.0)
    assert found.shares.each == pytest.approx(40, rel=0.3)
    assert found.decision.state in ("no-go", "undecided")
    assert "is worse than" in found.decision.sentence


def test_a_retraining_that_does_not_fit_is_no_go():
    assert made_proof(every=30.0).decision.state == "no-go"


def test_few_cases_are_undecided():
    assert made_proof(cases=5).decision.state == "undecided"


def test_without_any_minconv_cell_nothing_is_decided():
    found = made_proof(without=CELLS[:3])
    assert (found.chosen, found.decision.state, found.limits) == ("", "undecided", ())
    assert "the loss is not finite" in found.decision.sentence


def test_costs_are_left_out_without_a_price():
    free, priced = (made_proof(price=price).to_dict()["cells"][0]["retraining"] for price in (None, 3.6))
    assert "cost" not in free
    assert priced["cost"] == pytest.approx(priced["total"] * 3.6 / 3600)
    assert free["per_day"] == pytest.approx(86_400 / free["total"])


def test_the_json_has_every_field_and_no_number_that_json_lacks():
    tree = json.loads(json.dumps(made_proof(price=1.0, cases=3).to_dict(), allow_nan=False))
    assert set(tree) == {
        *("name", "snapshot_id", "decision", "chosen", "evidence", "limits", "hardware", "budget", "cells", "failures"),
        *("training_seconds_each", "retraining_interval_seconds", "price_per_hour", "registered"),
    }
    assert sum(tree["budget"]["shares"].values()) == pytest.approx(tree["budget"]["seconds"])
    assert [cell["cell"] for cell in tree["cells"]] == list(CELLS)
    one = tree["cells"][0]
    assert set(one["skill"]) == {"persistence", "climatology"}
    assert set(one["scores"]["variables"]) == {"t2m", "q"}
    table = one["scores"]["variables"]["t2m"]
    assert set(table["rmse"]) == {"model", "persistence", "climatology"}
    assert [len(table["skill"]["climatology"][end]) for end in ("skill", "lower", "upper")] == [4, 4, 4]
    assert one["step_seconds"] == 0.05
    assert one["curve"] == [[20.0, 0.6], [40.0, 0.3]]
    assert set(one["step_parts"]) == {"data wait", "forward", "backward", "optimizer", "other"}
