"""The page of a comparison: everything in one file, words and numbers as in the comparison."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
import xarray as xr

from pipeline.comparison import compare
from pipeline.difference import Difference
from pipeline.report import ComparisonContent, write_comparison
from pipeline.report.comparison_page import better_baseline


def made_maps(factor: float) -> xr.Dataset:
    """The model has `factor` times the error of the climatology, persistence twice."""
    field = np.ones((1, 2, 5, 6))
    field[..., :2, :2] = np.nan
    values = np.concatenate([field * factor**2, field * 4, field]).astype(np.float32)
    dims = ("source", "lead_time", "lat", "lon")
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": title})
            for name, title in (("t2m", "temperature <2 m>"), ("q", "humidity"))
        },
        {
            "source": ["model", "persistence", "climatology"],
            "lead_time": np.array([6, 24]) * np.timedelta64(1, "h").astype("timedelta64[ns]"),
            "lat": np.linspace(50, 54, 5),
            "lon": np.linspace(0, 5, 6),
        },
    )


@pytest.fixture(scope="module")
def page(scored, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "new" / "comparison.html"
    found = compare(scored(1.0, noise=0.2), scored(0.9, noise=0.2, seed=3))
    differences = [Difference("configuration", "model.cell", "minconvgru", "<b>convlstm</b>")]
    content = ComparisonContent(
        "Made", "made version 1", "made version 2", found, differences, made_maps(0.8), made_maps(0.7)
    )
    write_comparison(path, content)
    assert [file.name for file in path.parent.iterdir()] == ["comparison.html"]
    return path.read_text()


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert "@import" not in page
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 4


def test_the_page_says_what_was_found(page):
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert re.search(r"B is better than A: on average over variables and lead times its RMSE is [\d.]+ % lower", text)
    assert "Of 2 × 4 combinations" in text
    assert "in blocks of" in text
    assert "B against persistence" in text
    assert "+24 h" in text
    assert len(re.findall(r'<td class="good">−', page)) == 8


def test_names_are_text_and_no_markup(page):
    assert "<b>convlstm</b>" not in page
    assert "&lt;b&gt;convlstm" in page
    assert "Temperature &lt;2 m&gt;" in page


def test_maps_are_against_the_baseline_that_is_harder_to_beat():
    assert better_baseline(made_maps(1.0)["t2m"]) == "climatology"
    assert better_baseline(made_maps(1.0)["t2m"] * xr.DataArray([1, 0.1, 1], dims="source")) == "persistence"


def test_models_that_do_not_differ_and_a_single_lead_time(scored, tmp_path):
    card = scored(1.0, leads=1)
    content = ComparisonContent("Made", "a", "b", compare(card, card), (), made_maps(0.8), made_maps(0.8))
    write_comparison(tmp_path / "page.html", content)
    text = (tmp_path / "page.html").read_text()
    assert "Data, code and configuration are the same." in text
    assert "B is not certainly other than A" in text
