"""Every bad input of the catalogue through the real `ingest`."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline import archive
from pipeline.config import check_config
from pipeline.rules import RULES
from tests.pipeline.bad_inputs import CASES, HOURS, is_caught, settings, tried

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"


# what needs a grid, an archive or a kind of file of its own is made where that is tested: in transforms,
# sources/test_grib and test_late_files
ELSEWHERE = {"Q-ACCUMULATION", "Q-DIRECTION", "Q-FIX-PARTIAL", "Q-NOT-GRIB", "Q-LEAD-TIME", "Q-EARLY"}


def test_every_rule_has_a_bad_input():
    assert {case.rule for case in CASES} - {"source.files"} == RULES.keys() - ELSEWHERE
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_page_has_the_figure():
    assert f"| All | {len(CASES)} | {len(CASES)} | 0 |" in PAGE.read_text()


@pytest.mark.slow  # a minute in all; each rule has a quick test where it lives
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_input_is_found_and_the_good_one_lands(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the writer, about byte order
        outcome = tried(case, tmp_path)
    assert is_caught(case, outcome), (sorted(outcome.found), outcome.said)
    assert {rule for action, rule, _ in outcome.found if action == "reject"} <= {case.rule}
    for text in outcome.said:
        if case.action == "refuse" or (text.startswith(f"{case.rule}: b.") and case.action != "fix"):
            says_all(case, text)
    if case.action == "refuse":
        return
    config = check_config(settings(case, tmp_path / "input"))
    with archive.open_dataset(config.archive_path) as held:
        landed = HOURS if case.action in ("reject", "wait") else 2 * HOURS
        assert held.sizes["time"] == landed
        if case.base is None or case.action == "warn":
            return
        good = case.base(0, landed)["t" if "t" in held else next(iter(config.variables))[:1]]
        taken = {"level": 0, "number": 2}
        first = good.isel({dim: taken[dim] for dim in good.dims if dim in taken})
        name = next(iter(config.variables))
        np.testing.assert_allclose(held[name].values, first.values, rtol=0, atol=0 if case.exact else 0.02)


def says_all(case, text):
    """A message names the file, what was expected, and the next step."""
    if case.action != "refuse":
        assert "expected" in text, text
    assert re.search(r"; \S", text) or text.endswith("?") or "? " in text, text
    if case.action == "reject" and "gone" not in case.name:
        assert re.search(r"quarantined as ([0-9a-f]{8}), then 'minconv quarantine retry \1'$", text), text
