"""The gate decides made pairs of known truth, ties included, and says why in sentences."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.config_operations import PromotionConfig
from pipeline.promotion import judge

RULES = PromotionConfig(draws=400)


def with_nan(card):
    card.scores["mse"].loc[{"source": "model", "variable": "q"}][5, 2] = np.nan
    return card


def without_truth(card):
    """A tenth of the cases has no truth for one variable, of any source."""
    card.scores["mse"][::10, :, 0] = np.nan
    return card


def factors(value, **places):
    """RMSE by (variable, lead_time), `value` but at places such as q2=1.3."""
    table = np.full((2, 4), value)
    for place, changed in places.items():
        table[("t", "q").index(place[0]), int(place[1])] = changed
    return table


# name: challenger, champion (factors and noise of MadeScorecards), promote, words of the reasons
NOISY = {"noise": 0.3, "seed": 11}
ALIKE = {"noise": 0.3, "correlation": 0.9}
PAIRS = {
    "clear win": ((0.9, NOISY), (1.0, {"noise": 0.3}), True, "better than the champion: its RMSE is"),
    "clear win without noise": ((0.9, {}), (1.0, {}), True, "10 % lower (95 % interval: 10 % to 10 % lower; 40 cases)"),
    "small but certain win": ((0.97, {}), (1.0, {"noise": 0.02}), True, "better than the champion"),
    "win in each variable by another amount": (({"t2m": 0.8, "q": 0.95}, NOISY), (1.0, {"noise": 0.3}), True, "better"),
    "win with a loss within the tolerance": ((factors(0.85, q0=1.03), {}), (1.0, {}), True, "At no variable"),
    "win with a loss that may be chance": ((factors(0.8, q3=1.06), NOISY), (1.0, {"noise": 0.3}), True, "better"),
    "win with autocorrelated errors": ((0.7, {**NOISY, "correlation": 0.8}), (1.0, {"noise": 0.3}), True, "better"),
    "win on eight cases": ((0.6, {**NOISY, "cases": 8}), (1.0, {"noise": 0.3, "cases": 8}), True, "8 cases"),
    "win with gaps in the truth": ((0.9, {**NOISY, "make": without_truth}), (1.0, {"make": without_truth}), True, ""),
    "first model, good": ((1.0, {}), None, True, "no champion yet. Against persistence its RMSE is 50 % lower"),
    "clear loss": ((1.1, NOISY), (1.0, {"noise": 0.3}), False, "It is worse than the champion: its RMSE is"),
    "loss without noise": ((1.01, {}), (1.0, {}), False, "worse than the champion: its RMSE is 1 % higher"),
    "identical": ((1.0, {"noise": 0.3}), (1.0, {"noise": 0.3}), False, "It forecasts exactly as the champion does."),
    "tie with tiny noise": ((1.0, {"noise": 1e-6, "seed": 3}), (1.0, {}), False, "not certain to be better"),
    "tie with noise": ((1.0, NOISY), (1.0, {"noise": 0.3}), False, "not certain to be better"),
    "tie with autocorrelated errors": ((1.0, {**NOISY, "correlation": 0.9}), (1.0, ALIKE), False, "not certain"),
    "win smaller than the gain": ((0.9999, {}), (1.0, {}), False, "by less than the 0.1 % that make a change"),
    "win too small for its noise": ((0.99, {"noise": 0.8, "seed": 5}), (1.0, {"noise": 0.8}), False, "not certain"),
    "one variable worse": (({"t2m": 0.7, "q": 1.1}, {}), (1.0, {}), False, "tolerated: Specific humidity at +6 h 10 %"),
    "one lead time worse": ((factors(0.8, t3=1.2), {}), (1.0, {}), False, "tolerated: 2 m temperature at +24 h 20 %"),
    "one lead time worse, with noise": ((factors(0.8, t3=1.5), NOISY), (1.0, {"noise": 0.3}), False, "+24 h"),
    "better at one variable, much worse at the other": (({"t2m": 0.9, "q": 1.3}, {}), (1.0, {}), False, "worse"),
    "not finite": ((0.5, {"make": with_nan}), (1.0, {}), False, "not finite: Specific humidity at +18 h in 1 of"),
    "fewer cases": ((0.5, {"cases": 38}), (1.0, {}), False, "same cases, got 40 and 38"),
    "other cases": ((0.5, {"first_case": 1}), (1.0, {}), False, "cannot be compared with the champion"),
    "too few cases": ((0.5, {"cases": 5}), (1.0, {"cases": 5}), False, "5 test cases are too few to decide on, 8 are"),
    "one case": ((0.5, {"cases": 1}), (1.0, {"cases": 1}), False, "not certain to be better"),
    "other truth": ((0.5, {"truth": 2}), (1.0, {}), False, "same truth"),
    "loses to persistence": ((2.2, {}), (2.5, {}), False, "does not beat persistence: its RMSE is 10 % higher"),
    "first model, loses to persistence": ((2.2, {}), None, False, "does not beat persistence"),
    "first model, not finite": ((0.5, {"make": with_nan}), None, False, "not finite"),
    "no error at all anywhere": ((0.0, {}), (1.0, {}), False, "no error anywhere"),
}  # fmt: skip


def card(scored, described):
    factor, options = described
    make = options.get("make", lambda made: made)
    return make(scored(factor, **{name: value for name, value in options.items() if name != "make"}))


def decided(scored, name, rules=RULES):
    challenger, champion, *_ = PAIRS[name]
    return judge(card(scored, challenger), champion and card(scored, champion), rules)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_is_decided_and_the_reason_said(scored, name):
    _, _, promote, words = PAIRS[name]
    verdict = decided(scored, name)
    assert verdict.promote is promote, verdict.text
    assert words in verdict.text
    for reason in verdict.reasons:
        assert re.fullmatch(r"[A-Z0-9].*\.", reason), reason
        assert "nan" not in reason
        assert "inf" not in reason


def test_all_pairs_are_decided_right(scored):
    right = sum(decided(scored, name).promote is PAIRS[name][2] for name in PAIRS)
    assert (right, len(PAIRS) - right) == (len(PAIRS), 0)
    assert len(PAIRS) >= 20


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.1), (0.8, 0.15)])
def test_ties_are_rarely_promoted_and_wins_mostly(scored, correlation, most):
    """A tie may pass as often as the interval allows on its side of zero, 2.5 %: both have noise, neither is better.

    Over 800 pairs of 60 cases 2.4 % of the ties pass, and 4.9 % where neighbours correlate by 0.8 (7.8 % if drawn one
    by one); of 200 challengers that are 7 % better 100 % and 68 % are promoted.
    """
    rules = PromotionConfig(draws=100)
    options = {"noise": 0.3, "correlation": correlation, "cases": 60}
    passed = {1.0: 0, 0.93: 0}
    for factor in passed:
        for seed in range(40):
            one = scored(factor, seed=2 * seed, **options)
            passed[factor] += judge(one, scored(1.0, seed=2 * seed + 1, **options), rules).promote
    assert passed[1.0] <= 40 * most
    assert passed[0.93] >= 0.6 * 40


def test_the_rules_decide(scored):
    assert not decided(scored, "win with a loss within the tolerance", PromotionConfig(tolerance=0.01)).promote
    assert decided(scored, "one variable worse", PromotionConfig(tolerance=0.2)).promote
    assert decided(scored, "win smaller than the gain", PromotionConfig(gain=0.0)).promote
    assert decided(scored, "too few cases", PromotionConfig(minimum_cases=5, block=1)).promote
    only = PromotionConfig(variables=("q",), tolerance=1.0)
    assert not decided(scored, "one variable worse", only).promote
    assert "1 variable and 4 lead times" in decided(scored, "clear win", only).text


def test_numbers_say_what_the_sentences_say(scored):
    numbers = decided(scored, "clear win without noise").numbers
    assert numbers["against_champion"] == pytest.approx(-10)
    assert numbers["against_champion_upper"] == pytest.approx(-10)
    assert numbers["against_persistence"] == pytest.approx(-55)
    assert numbers["worst_change"] == pytest.approx(-10)
    assert numbers["cases"] == 40
    assert "against_champion" not in decided(scored, "first model, good").numbers


def test_all_that_speaks_against_it_is_said(scored):
    verdict = judge(scored(2.2, cases=5), scored(2.0, cases=5), RULES)
    assert [reason[:20] for reason in verdict.reasons] == [
        "5 test cases are too",
        "It does not beat per",
        "It is worse than the",
        "Its RMSE is higher t",
    ]
    assert verdict.reasons[-1].endswith("; and at 5 more.")
    assert verdict.text == " ".join(verdict.reasons)
