import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SplitConfig
from pipeline.errors import ConfigError
from pipeline.splits import Span, make_splits


def in_time(frames):
    return xr.Dataset({"t2m": (("time", "lat", "lon"), np.zeros((frames, 1, 1), np.float32))})


def in_samples(samples, frames):
    return xr.Dataset({"w": (("sample", "time", "y", "x"), np.zeros((samples, frames, 1, 1), np.float32))})


def test_a_month_of_hours_is_tested_on_its_last_fifth():
    splits = make_splits(in_time(744), SplitConfig(), gap=48)
    assert splits.train.frames == (0, 446 - 48)
    assert splits.validation.frames == (446, 595 - 48)
    assert splits.test.frames == (595, 744)
    assert {split.samples for split in splits} == {Span(0, 1)}
    assert [split.name for split in splits] == ["train", "validation", "test"]


def test_samples_are_shared_out_whole():
    config = SplitConfig(train=0.75, validation=0.125, test=0.125)
    splits = make_splits(in_samples(96, 50), config, gap=40, length=40)
    assert [split.samples.size for split in splits] == [72, 12, 12]
    assert {split.frames for split in splits} == {Span(0, 50)}


@st.composite
def shares(draw):
    parts = np.array(draw(st.tuples(*[st.integers(1, 20)] * 3)), dtype=float)
    train, validation, test = parts / parts.sum()
    return SplitConfig(train=train, validation=validation, test=test)


@given(st.integers(1, 400), shares(), st.integers(0, 30), st.integers(1, 30))
def test_splits_in_time_are_apart_in_order_and_long_enough_or_refused(count, config, gap, length):
    try:
        splits = make_splits(in_time(count), config, gap, length)
    except ConfigError as error:
        assert str(count) in str(error)  # noqa: PT017 - refusing is one of two right answers
        return
    train, validation, test = (split.frames for split in splits)
    assert train.start == 0
    assert test.stop == count
    assert validation.start - train.stop == gap
    assert test.start - validation.stop == gap
    assert all(span.size >= length for span in (train, validation, test))


@given(st.integers(3, 400), shares())
def test_every_sample_is_in_one_split(count, config):
    try:
        splits = make_splits(in_samples(count, 2), config, gap=7)
    except ConfigError as error:
        assert f"{count} samples" in str(error)  # noqa: PT017
        return
    assert [number for split in splits for number in split.samples.range] == list(range(count))


@pytest.mark.parametrize(
    ("dataset", "gap", "length", "said"),
    [
        (in_time(100), 48, 48, r"train split would hold 12 frames but needs at least 48.*100 frames.*gaps of 48"),
        (in_time(300), 48, 48, r"validation split would hold 12 frames"),
        (in_samples(2, 50), 0, 40, r"split would hold 0 samples but needs at least 1.*2 samples"),
        (in_samples(10, 30), 0, 40, r"a sample has 30 frames but a window needs 40"),
    ],
)
def test_too_short_data_names_the_numbers(dataset, gap, length, said):
    with pytest.raises(ConfigError, match=said):
        make_splits(dataset, SplitConfig(), gap, length)


def test_select_takes_the_split_of_a_dataset():
    dataset = in_samples(10, 5).assign_coords(sample=range(10), time=np.arange(5.0))
    part = make_splits(dataset, SplitConfig(), 0).test.select(dataset)
    assert part["sample"].values.tolist() == [8, 9]
    hours = in_time(10).assign_coords(time=np.arange(10.0))
    assert make_splits(hours, SplitConfig(), 1).validation.select(hours)["time"].values.tolist() == [6.0]
