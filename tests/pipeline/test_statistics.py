import json
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline import archive
from pipeline.config import ArchiveConfig
from pipeline.errors import ArchiveError
from pipeline.exact_sums import Sums
from pipeline.splits import Span, Split
from pipeline.statistics import Moments, Statistics, compute_statistics


def made(samples=None, frames=23, seed=0, offset=280.0):
    """Two variables on 5 x 4 points, a few of them masked; a sample axis where `samples` is given."""
    rng = np.random.default_rng(seed)
    shape = (frames, 5, 4) if samples is None else (samples, frames, 5, 4)
    dims = ("time", "y", "x") if samples is None else ("sample", "time", "y", "x")
    mask = np.ones((5, 4), np.int8)
    mask[0, 1] = mask[3, 2] = 0
    fields = {
        name: (offset + scale * rng.normal(size=shape)).astype(np.float32) for name, scale in (("a", 3), ("b", 20))
    }
    for field in fields.values():
        field[..., mask == 0] = np.nan
    return xr.Dataset({name: (dims, field) for name, field in fields.items()}, coords={"mask": (("y", "x"), mask)})


def split_of(dataset, samples=None, frames=None):
    return Split(
        "train", Span(*(samples or (0, dataset.sizes.get("sample", 1)))), Span(*(frames or (0, dataset.sizes["time"])))
    )


def check(moments, row, reference):
    """The moments of variable number `row` are those numpy finds in the valid ones of `reference`."""
    valid = reference[np.isfinite(reference)].astype(np.float64)
    assert moments.count[row] == valid.size
    np.testing.assert_allclose(moments.mean[row], valid.mean(), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(moments.std[row], valid.std(), rtol=1e-9)


def moments_of(*arrays):
    return Moments.of([Sums.of(np.asarray(array)) for array in arrays])


def test_a_large_mean_does_not_swallow_the_spread():
    assert moments_of(1e8 + np.array([0.0, 1.0, 2.0, 3.0])).m2[0] == 5.0


@pytest.mark.parametrize("level", [0.0, 273.15, -1e30])
def test_a_constant_field_has_a_spread_of_one_so_that_it_normalises_to_zero(level):
    field = np.full(1000, level, np.float32)
    moments = moments_of(field)
    assert (moments.std[0], moments.m2[0]) == (1.0, 0.0)
    assert moments.mean[0] == field[0]


def test_no_values_at_all_divide_by_one():
    assert moments_of([], [], []).std.tolist() == [1.0, 1.0, 1.0]


def test_a_small_spread_is_kept():
    assert moments_of([0.0, 2e-7]).std[0] == pytest.approx(1e-7)


def test_the_change_is_in_standard_deviations_of_the_values():
    dataset = made()
    train = split_of(dataset, None, (3, 18))
    fields = [train.select(dataset)[name].values.astype(np.float64) for name in ("a", "b")]
    expected = [np.nanstd(np.diff(field, axis=0)) / np.nanstd(field) for field in fields]
    np.testing.assert_allclose(compute_statistics(dataset, ["a", "b"], train).change(0.2), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        np.full(9, 273.15),
        np.zeros(9),
        np.arange(9.0),  # the same change everywhere
        1e6 + np.array([0, 0.05] * 4 + [0]),  # a change that float32 does not resolve
    ],
    ids=["constant", "zero", "steady", "rounding"],
)
def test_without_a_spread_of_changes_they_count_as_said(values):
    moments = Statistics(("a",), moments_of(values), moments_of(np.diff(values)))
    assert moments.change(0.2).tolist() == [0.2]
    single = Statistics(("a",), moments_of(values), moments_of([]))
    assert single.change(0.3).tolist() == [0.3]


@pytest.mark.parametrize("block_bytes", [1, 3 * 80, 10**6])
@pytest.mark.parametrize("samples", [None, 6])
@pytest.mark.parametrize("chunk", [None, 4, 100])
def test_state_and_tendency_of_the_training_split(samples, block_bytes, chunk):
    dataset = made(samples)
    for field in dataset.data_vars.values():
        field.encoding["chunks"] = None if chunk is None else (*((1,) if samples else ()), chunk, 5, 4)
    train = split_of(dataset, samples and (1, 5), (3, 18))
    found = compute_statistics(dataset, ["b", "a"], train, block_bytes=block_bytes, snapshot_id="S1")
    assert (found.variables, found.snapshot_id) == (("b", "a"), "S1")
    for row, name in enumerate(found.variables):
        part = train.select(dataset)[name].values.astype(np.float64)
        check(found.state, row, part)
        check(found.tendency, row, np.diff(part, axis=part.ndim - 3))


@pytest.mark.parametrize("samples", [None, 6])
def test_nothing_outside_the_training_split_matters(samples):
    dataset = made(samples)
    train = split_of(dataset, samples and (1, 5), (3, 18))
    before = compute_statistics(dataset, ["a", "b"], train, block_bytes=300)
    changed = dataset.copy(deep=True)
    for name in ("a", "b"):
        outside = np.ones(changed[name].shape, dtype=bool)
        outside[(slice(1, 5), slice(3, 18)) if samples else slice(3, 18)] = False
        changed[name].values[outside] = 1e9
    assert compute_statistics(changed, ["a", "b"], train, block_bytes=300).hash() == before.hash()
    changed["a"].values[(1, 3) if samples else 3] += 1.0
    assert compute_statistics(changed, ["a", "b"], train, block_bytes=300).hash() != before.hash()


def test_tendencies_never_cross_samples():
    jumps = np.repeat(np.array([0.0, 1e6, -1e6]), 4).reshape(3, 4)[..., None, None] * np.ones((5, 4))
    dataset = xr.Dataset({"w": (("sample", "time", "y", "x"), jumps.astype(np.float32))})
    for block_bytes in (1, 10**6):
        tendency = compute_statistics(dataset, ["w"], split_of(dataset), block_bytes=block_bytes).tendency
        assert (tendency.count[0], tendency.mean[0], tendency.m2[0]) == (3 * 3 * 20, 0.0, 0.0)


def test_a_gap_in_one_frame_leaves_out_the_two_tendencies_beside_it():
    dataset = made()
    dataset["a"][7, 2, 2] = np.nan
    found = compute_statistics(dataset, ["a"], split_of(dataset), block_bytes=7 * 80)
    assert found.state.count[0] == 23 * 18 - 1
    assert found.tendency.count[0] == 22 * 18 - 2


@given(st.integers(0, 2**32 - 1))
def test_masked_values_do_not_count(seed):
    dataset = made(seed=seed)
    broken = dataset.copy(deep=True)
    broken["a"].values[:, dataset["mask"].values == 0] = 1e9
    one, other = (compute_statistics(each, ["a"], split_of(each)) for each in (dataset, broken))
    assert one.hash() == other.hash()


@pytest.mark.parametrize("samples", [None, 6])
def test_the_size_of_blocks_changes_no_bit(samples):
    dataset = made(samples)
    found = [
        compute_statistics(dataset, ["a", "b"], split_of(dataset), block_bytes=size).to_dict()
        for size in (1, 700, 3000, 10**6)
    ]
    assert found.count(found[0]) == len(found)


def test_survives_json_and_the_hash_is_that_of_the_numbers():
    found = compute_statistics(made(), ["a", "b"], split_of(made()), snapshot_id="S1")
    again = Statistics.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    renamed = Statistics(found.variables, found.state, found.tendency, "S2")
    assert renamed.hash() == again.hash() == found.hash()
    assert len(found.hash()) == 12
    assert compute_statistics(made(seed=1), ["a", "b"], split_of(made())).hash() != found.hash()


def test_progress_counts_the_frames_of_every_variable():
    events = []
    compute_statistics(made(samples=6), ["a", "b"], split_of(made(6), (0, 4)), events.append, block_bytes=10 * 80)
    counts = [event.done for event in events]
    assert counts == sorted(set(counts))
    assert counts[-1] == events[0].total == 2 * 4 * 23


def test_refuses_variables_it_cannot_describe():
    dataset = made()
    with pytest.raises(ArchiveError, match="no variable 'c'"):
        compute_statistics(dataset, ["a", "c"], split_of(dataset))
    dataset["b"][:] = np.nan
    with pytest.raises(ArchiveError, match="'b' has no valid value"):
        compute_statistics(dataset, ["a", "b"], split_of(dataset))


def test_reads_an_archive_in_memory_well_below_its_size(tmp_path):
    frames, side = 1200, 64
    fields = np.random.default_rng(0).normal(size=(frames, side, side)).astype(np.float32)
    dataset = xr.Dataset(
        {"a": (("time", "y", "x"), fields, {"units": "K"})},
        coords={
            "time": np.datetime64("2017-01-01", "ns") + np.arange(frames) * np.timedelta64(1, "h"),
            "y": np.arange(side) / side,
            "x": np.arange(side) / side,
            "mask": (("y", "x"), np.ones((side, side), np.int8)),
        },
        attrs={"boundary": "periodic"},
    )
    layout = ArchiveConfig(chunk_time=24, chunk_space=32, shard_time=240, shard_space=64)
    archive.write(tmp_path / "archive", dataset, layout, message="made", metadata={})
    with archive.open_dataset(tmp_path / "archive") as lazy:
        tracemalloc.start()
        found = compute_statistics(lazy, ["a"], split_of(lazy), block_bytes=2**20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    check(found.state, 0, fields)
    check(found.tendency, 0, np.diff(fields.astype(np.float64), axis=0))
    assert peak < fields.nbytes / 2
