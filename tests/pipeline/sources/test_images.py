"""Pictures and films of a camera, written by the library that reads them, from the files to the archive."""

import sys

import imageio.v3 as iio
import numpy as np
import pytest

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest
from pipeline.sources import open_input

HEIGHT, WIDTH = 32, 48
LUMA = np.array([0.299, 0.587, 0.114])


def scene(number):
    """A bright blob on a gradient, which moves to the right: smooth, so that a lossy codec keeps it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    blob = np.exp(-((y - 20) ** 2 + (x - 10 - 2 * number) ** 2) / 60)
    return np.stack([40 + 150 * blob, 60 + 3 * x, 200 - 4 * y], axis=-1).round().astype("uint8")


def film(path, frames=12, rate=2, codec="libx264", **how):
    iio.imwrite(path, np.stack([scene(n) for n in range(frames)]), plugin="pyav", codec=codec, fps=rate, **how)


def settings(tmp_path, *files, variables=None, **source):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "files": files, **source},
            "variables": variables or {"brightness": {"units": "1", "source_name": "grey"}},
        }
    )


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    return made


def upward(frames):
    return np.stack(frames)[:, ::-1] / 255


def stored(config):
    return archive.open_dataset(config.archive_path)


COLOURS = {name: {"units": "1"} for name in ("red", "green", "blue", "grey")}


def test_pictures_stand_at_the_times_in_their_names(folder, tmp_path):
    for number in range(6):
        iio.imwrite(folder / f"cam_2020010112{number:02}00.png", scene(number))
    config = settings(tmp_path, "cam_{time:%Y%m%d%H%M%S}.png", variables=COLOURS)
    assert ingest(config).appended == 6
    found = stored(config)
    assert found["time"].values[1] - found["time"].values[0] == np.timedelta64(1, "m")
    assert found["time"].values[0] == np.datetime64("2020-01-01T12:00")
    frames = upward([scene(number) for number in range(6)])
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_allclose(found[name].values, frames[..., channel], atol=1e-6)
    np.testing.assert_allclose(found["grey"].values, frames @ LUMA, atol=1e-6)
    iio.imwrite(folder / "cam_20200101120600.png", scene(6))
    assert ingest(config).appended == 1


@pytest.mark.parametrize(
    ("pixels", "suffix", "expected"),
    [
        (scene(0)[..., 0], "png", scene(0)[..., 0] / 255),
        (scene(0)[..., 0].astype("uint16") * 257, "png", scene(0)[..., 0] / 255),
        (np.dstack([scene(0), np.full((HEIGHT, WIDTH), 9, "uint8")]), "png", scene(0) @ LUMA / 255),
        (scene(0), "tif", scene(0) @ LUMA / 255),
        (scene(0), "bmp", scene(0) @ LUMA / 255),
    ],
)
def test_pictures_of_other_kinds(folder, tmp_path, pixels, suffix, expected):
    iio.imwrite(folder / f"20200101.{suffix}", pixels)
    dataset = open_input(settings(tmp_path, "{time:%Y%m%d}.*"), folder / f"20200101.{suffix}")
    assert ("red" in dataset) == (pixels.ndim == 3)
    np.testing.assert_allclose(dataset["grey"].values[0], expected[::-1], atol=1e-6)


def test_the_size_is_that_of_the_first(folder, tmp_path):
    for number in range(4):
        iio.imwrite(folder / f"202001010{number}.png", scene(number)[: HEIGHT - (number == 3)])
    result = ingest(settings(tmp_path, "{time:%Y%m%d%H}.png"))
    assert result.appended == 3
    assert [(one.rule, one.path.name) for one in result.rejected] == [("Q-GRID", "2020010103.png")]


def test_the_frames_of_a_film_follow_by_its_rate(folder, tmp_path):
    film(folder / "a.mp4", rate=4)
    config = settings(tmp_path, "*.mp4")
    assert ingest(config).appended == 12
    found = stored(config)
    np.testing.assert_allclose(found["time"].values, np.arange(12) / 4)
    # a lossy codec, with colours at half the resolution
    frames = upward([scene(number) for number in range(12)]) @ LUMA
    assert np.abs(found["brightness"].values - frames).mean() < 0.01
    apart = np.abs(found["brightness"].values[:, None] - frames[None]).mean(axis=(2, 3))
    assert list(apart.argmin(axis=1)) == list(range(12))


def test_every_so_many_th_frame_of_films_with_a_date(folder, tmp_path):
    for minute in (0, 1):
        film(folder / f"20200101T12{minute:02}.mkv", frames=60, rate=1)
    config = settings(tmp_path, "{time:%Y%m%dT%H%M}.mkv", every=20)
    assert ingest(config).appended == 6
    assert stored(config)["time"].values[-1] == np.datetime64("2020-01-01T12:01:40")
    chosen = upward([scene(number) for number in (0, 20, 40)]) @ LUMA
    assert np.abs(stored(config)["brightness"].values[3:] - chosen).mean() < 0.01


def test_parts_of_a_film_are_read_alone(folder, tmp_path):
    film(folder / "a.mp4", frames=10)
    dataset = open_input(settings(tmp_path, "*.mp4"), folder / "a.mp4")
    whole = dataset["grey"].values
    for part in (slice(3, 7), slice(9, 10), 4, slice(0, 10, 3)):
        np.testing.assert_array_equal(dataset["grey"][part].values, whole[part])
    np.testing.assert_array_equal(dataset["grey"][2:5, 3:9, 7].values, whole[2:5, 3:9, 7])


def rejected(config, path):
    with pytest.raises(SourceError) as caught:
        open_input(config, path).load()
    return str(caught.value)


def test_times_that_cannot_be_told(folder, tmp_path):
    iio.imwrite(folder / "a.png", scene(0))
    film(folder / "20200101.mp4", rate=25)
    assert "Q-TIME: a picture has no time of its own" in rejected(settings(tmp_path, "*"), folder / "a.png")
    dated = settings(tmp_path, "{time:%Y%m%d}.mp4")
    assert "set source.every to 25" in rejected(dated, folder / "20200101.mp4")


@pytest.mark.parametrize("name", ["20200101.png", "20200101.jpg", "20200101.mp4", "20200101.mkv", "20200101.avi"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_file_that_is_cut_is_rejected(folder, tmp_path, name, share):
    path = folder / name
    if path.suffix in (".png", ".jpg"):
        iio.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype="uint8"))
    else:
        film(path, frames=60, rate=1, codec="mpeg4" if path.suffix == ".avi" else "libx264")
    config = settings(tmp_path, "{time:%Y%m%d}.*")
    open_input(config, path).load()
    whole = path.read_bytes()
    if path.suffix == ".avi":
        share = min(share, 0.6)  # the index at its end can be done without
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError, match="Q-TRUNCATED"):
        ingest(config)


@pytest.mark.parametrize("name", ["20200101.png", "20200101.mp4"])
def test_an_error_page_is_no_picture(folder, tmp_path, name):
    (folder / name).write_text("<html>404</html>")
    assert "Q-TRUNCATED: it cannot be decoded" in rejected(settings(tmp_path, "{time:%Y%m%d}.*"), folder / name)


def test_without_the_library_one_sentence_says_what_to_install(folder, tmp_path, monkeypatch):
    iio.imwrite(folder / "20200101.png", scene(0))
    monkeypatch.delitem(sys.modules, "pipeline.sources.images", raising=False)
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(ConfigError, match=r"20200101\.png needs imageio and av .*'minconv-pipeline\[video\]'"):
        ingest(settings(tmp_path, "{time:%Y%m%d}.png"))
