"""The page of a proof of concept: everything in one file, words and numbers as in what was found."""

from __future__ import annotations

import html
import re

import pytest

from pipeline.report import PocContent, write_poc
from pipeline.report.poc import render
from pipeline.study import CELLS
from tests.pipeline.made_study import made_proof


def written(folder, **made) -> str:
    content = PocContent(made_proof(**made), "name: <script>", "0.1.0", "2026-11-26 12:00 UTC")
    write_poc(folder / "new" / "report.html", content)
    assert [file.name for file in (folder / "new").iterdir()] == ["report.html"]
    return (folder / "new" / "report.html").read_text()


def words_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("page"), price=0.5)


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert "@import" not in page


def test_there_is_a_figure_of_skill_against_each_baseline_and_of_costs_and_of_learning(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == [
        "Skill against persistence",
        "Skill against climatology",
        "Time and memory of a training step",
        "Error against time of training",
    ]
    assert page.count('<img src="data:image/png;base64,') == 4


def test_the_page_says_what_was_found(page):
    text = words_of(page)
    assert "Go minconvlstm beats" in text
    assert "Against convgru with as many parameters" in text
    assert "Nothing was registered in MLflow" in text
    assert "4 processors (a <processor>)" in text
    assert all(f"{cell} " in text for cell in CELLS)
    assert "+24 h" in text
    assert "Cost of one" in text


def test_shares_are_shown_and_add_up(page):
    (shares,) = re.findall(r'<dl class="times">(.*?)</dl>', page, re.DOTALL)
    assert "reserve" in shares
    assert "5 min 00 s" in shares


def test_without_a_price_there_are_no_costs():
    page = render(PocContent(made_proof(), "", "0.1.0", ""), [])
    assert "Cost of one" not in page


def test_cells_that_failed_and_a_single_lead_time(tmp_path):
    text = words_of(written(tmp_path, without=("convgru", "convlstm"), leads=1, cases=3))
    assert "convgru did not come to an end: the loss is not finite." in text
    assert "Undecided" in text


def test_nothing_that_came_to_an_end(tmp_path):
    page = written(tmp_path, without=CELLS)
    assert "Undecided no MinConv cell came to an end" in words_of(page)
    assert "<figure>" not in page
