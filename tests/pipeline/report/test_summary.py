import numpy as np
import pytest

from pipeline.lead_time import LeadTimes
from pipeline.report.summary import in_words, lead_range

HOURS = LeadTimes.of(np.arange(1, 7) * np.timedelta64(1, "h"))


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("111111", "at every lead time"),
        ("000000", "at no lead time"),
        ("111000", "up to +3 h"),
        ("001111", "from +3 h on"),
        ("011100", "from +2 h to +4 h"),
        ("001000", "at +3 h"),
        ("101010", "at 3 of 6 lead times"),
    ],
)
def test_lead_range(better, words):
    assert lead_range([letter == "1" for letter in better], HOURS) == words


def test_the_verdict_in_words(scorecard):
    text = in_words(scorecard)
    assert text.startswith(
        "Over 1 test case, too few for intervals, the model's RMSE is below that of every baseline up to +12 h "
        "for 2 m temperature; at no lead time for precipitation."
    )
    assert "It is not clearly better than persistence at any lead time." in text
    assert (
        "RMSE of 2 m temperature (K): 0.1 against 5 of persistence and 1.25 of climatology at +1 h; 2.4 against" in text
    )


def test_better_is_said_only_where_the_interval_excludes_zero(scored):
    clear = in_words(scored({"t2m": 1.0, "q": 1.98}, noise=0.6))
    assert clear.startswith("Over 40 test cases the model is clearly better than every baseline at every lead time for")
    assert "It is not clearly better than persistence for specific humidity at any lead time." in clear
