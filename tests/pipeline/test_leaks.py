import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SplitConfig
from pipeline.leaks import forcing_leaks, repeat_leaks, split_leaks, statistics_leaks, trained_leaks
from pipeline.splits import Span, Split, Splits, make_splits
from pipeline.statistics import compute_statistics
from pipeline.windows import windows


def along_time(*bounds: tuple[int, int]) -> Splits:
    names = ("train", "validation", "test")
    return Splits(*(Split(name, Span(0, 1), Span(*one)) for name, one in zip(names, bounds, strict=True)))


def archive(frames: int, samples: int | None = None) -> xr.Dataset:
    rng = np.random.default_rng(0)
    if samples is None:
        return xr.Dataset({"v": (("time", "y", "x"), rng.normal(size=(frames, 2, 2)).astype("f4"))})
    return xr.Dataset({"v": (("sample", "time", "y", "x"), rng.normal(size=(samples, frames, 2, 2)).astype("f4"))})


@given(st.integers(100, 400), st.integers(0, 12), st.integers(1, 6))
def test_a_gap_is_reported_exactly_where_windows_of_two_splits_are_nearer_than_their_length(
    frames: int, gap: int, length: int
) -> None:
    splits = make_splits(archive(frames), SplitConfig(), gap, length)
    last = windows(splits.train, length)[-1].start + length
    first = windows(splits.validation, length)[0].start
    assert bool(list(split_leaks(splits, length))) == (first - last < length)


@given(st.lists(st.integers(0, 30), min_size=6, max_size=6))
def test_shared_frames_are_those_that_two_splits_hold(bounds: list[int]) -> None:
    pairs = [tuple(sorted(bounds[n : n + 2])) for n in (0, 2, 4)]
    splits = along_time(*pairs)
    held = [set(split.frames.range) for split in splits]
    shared = sum(bool(held[a] & held[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert sum(leak.rule == "L-SHARED" for leak in split_leaks(splits, 1)) == shared


def test_samples_of_their_own_need_no_gap() -> None:
    splits = make_splits(archive(10, 10), SplitConfig(), 0, 10)
    assert list(split_leaks(splits, 10)) == []


def test_a_simulation_in_two_splits_is_found() -> None:
    dataset = archive(6, 10)
    splits = make_splits(dataset, SplitConfig(), 0, 3)
    assert list(repeat_leaks(dataset, splits)) == []
    dataset["v"][9] = dataset["v"][1]
    (leak,) = repeat_leaks(dataset, splits)
    assert leak.rule == "L-REPEAT"
    assert "sample 9 of the test split starts as sample 1 of the train split" in leak.found


def test_a_copy_within_one_split_is_no_leak() -> None:
    dataset = archive(6, 10)
    dataset["v"][2] = dataset["v"][1]
    assert list(repeat_leaks(dataset, make_splits(dataset, SplitConfig(), 0, 3))) == []
    assert list(repeat_leaks(archive(60), make_splits(archive(60), SplitConfig(), 0, 3))) == []


def test_statistics_over_everything_are_a_leak() -> None:
    dataset = archive(50)
    splits = make_splits(dataset, SplitConfig(), 4, 4)
    honest = compute_statistics(dataset, ["v"], splits.train)
    assert list(statistics_leaks(honest, splits.train, 4)) == []
    everything = dataclasses.replace(splits.train, frames=Span(0, 50))
    (leak,) = statistics_leaks(compute_statistics(dataset, ["v"], everything), splits.train, 4)
    assert leak.rule == "L-STATISTICS"
    assert "count 200 values, the training split has 104" in leak.found


@pytest.mark.parametrize(
    ("test", "rules"), [((70, 100), []), ((55, 100), ["L-TRAINED"]), ((0, 100), ["L-TRAINED", "L-TRAINED"])]
)
def test_a_model_is_not_scored_on_what_it_was_made_with(test: tuple[int, int], rules: list[str]) -> None:
    made_with, scored = along_time((0, 40), (50, 60), (65, 70)), along_time((0, 1), (1, 2), test)
    found: list[Any] = list(trained_leaks(made_with, scored))
    assert [leak.rule for leak in found] == rules
    assert all(leak.advice for leak in found)


def test_a_forcing_read_from_the_data_is_a_question() -> None:
    roles = {"t2m": "prognostic", "sst": "forcing", "z": "static", "pr": "diagnostic"}
    (leak,) = forcing_leaks(roles)
    assert leak.rule == "L-FORCING"
    assert "'sst'" in leak.found
