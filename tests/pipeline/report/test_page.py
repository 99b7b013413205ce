import base64
import dataclasses
from html.parser import HTMLParser

import pytest

from pipeline.report import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and text, and that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(content, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("written") / "new" / "report.html", content)


@pytest.fixture(scope="module")
def page(written):
    return Page(written.page.read_text(encoding="utf-8"))


def test_figures_are_inside_the_page_and_beside_it(written, page):
    assert list(written.figures) == ["maps_t2m", "maps_pr", "error", "acc", "skill_curves", "skill", "training"]
    inside = {base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in page.all("img")}
    assert inside == {path.read_bytes() for path in written.figures.values()}
    assert {path.parent for path in written.figures.values()} == {written.page.parent / "figures"}


def test_every_image_has_a_text_and_a_size(page):
    for image in page.all("img"):
        assert len(image["alt"]) > 20
        assert 200 < int(image["width"]) < 1300
        assert int(image["height"]) > 50


def test_nothing_is_fetched(written, page):
    assert not page.all("link")
    assert not page.all("script")
    for _, attrs in page.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:"))
    style = written.page.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_text_of_the_user_is_shown_as_text(page):
    assert "Britain & <Ireland>" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "6 <NetCDF>" in page.text


def test_it_says_what_made_it(page):
    for text in (
        "snapshot_id",
        "ABC123",
        "174,312",
        "name: demo",
        "version 7",
        "1 min 15 s",
        "2.2 s",
        "mean of each time",
    ):
        assert text in page.text
    assert "up to +12 h for 2 m temperature" in page.text
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= targets


def test_scores_as_a_table(page):
    text = " ".join(page.text.split())
    assert "+12 h 1.20 5.00 1.25 +76 % +4 % 1.00 1.20 +1.20" in text
    assert "+24 h" in text
    assert "−92 %" in text
    assert "10⁻⁶ kg m⁻² s⁻¹" in text


def test_without_history_there_is_no_training_section(content, tmp_path):
    bare = dataclasses.replace(content, history=(), facts={}, timings={}, config_yaml="", created="")
    written = write_report(tmp_path / "report.html", bare)
    page = Page(written.page.read_text(encoding="utf-8"))
    assert "training" not in written.figures
    assert not [attrs for attrs in page.all("section") if attrs["id"] == "training"]


@pytest.mark.slow
def test_more_variables_than_maps_are_named(content, tmp_path):
    more = {f"v{number}": content.truth["t2m"].assign_attrs(long_name=f"variable {number}") for number in range(8)}
    many = dataclasses.replace(
        content, truth=content.truth[[]].assign(more), forecast=content.forecast[[]].assign(more)
    )
    written = write_report(tmp_path / "report.html", many)
    assert sum(name.startswith("maps_") for name in written.figures) == 6
    assert "Not shown: Variable 6, Variable 7." in Page(written.page.read_text(encoding="utf-8")).text


def test_a_full_disk_leaves_the_old_report(written, content, monkeypatch):
    before = {path: path.read_bytes() for path in written.page.parent.rglob("*") if path.is_file()}

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(written.page, dataclasses.replace(content, title="another"))
    assert {path: path.read_bytes() for path in written.page.parent.rglob("*") if path.is_file()} == before
