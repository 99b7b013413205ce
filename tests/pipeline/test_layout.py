import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ArchiveConfig
from pipeline.layout import blocks, plan, slabs

lengths = st.integers(1, 2000)


@st.composite
def configs(draw):
    chunk_time, chunk_space = draw(st.integers(1, 50)), draw(st.integers(1, 200))
    return ArchiveConfig(
        chunk_time=chunk_time,
        chunk_space=chunk_space,
        shard_time=chunk_time * draw(st.integers(1, 12)),
        shard_space=chunk_space * draw(st.integers(1, 6)),
    )


@given(configs(), lengths, lengths, lengths, st.booleans())
def test_shards_are_whole_chunks_and_no_longer_than_needed(config, time, height, width, sampled):
    dims = ("sample", "time", "y", "x") if sampled else ("time", "lat", "lon")
    sizes = dict(zip(dims, (7, time, height, width) if sampled else (time, height, width), strict=True))
    layout = plan(dims, sizes, config)
    for dim, chunk, shard in zip(dims, layout.chunks, layout.shards, strict=True):
        assert shard % chunk == 0
        assert shard >= chunk >= 1
        if dim == "time" and not sampled:
            assert (chunk, shard) == (config.chunk_time, config.shard_time)
        else:
            assert chunk <= sizes[dim]
            assert shard < sizes[dim] + chunk


def test_a_sample_has_shards_of_its_own():
    layout = plan(("sample", "time", "y", "x"), {"sample": 96, "time": 50, "y": 16, "x": 16}, ArchiveConfig())
    assert layout.chunks == (1, 24, 16, 16)
    assert layout.shards == (1, 72, 16, 16)


@given(st.integers(0, 500), lengths, st.integers(1, 60), st.integers(1, 500))
def test_slabs_cover_everything_once_and_are_cut_at_shards_only(start, length, shard, rows):
    cuts = slabs(start, start + length, shard, rows)
    assert cuts[0][0] == start
    assert cuts[-1][1] == start + length
    assert all(first[1] == second[0] for first, second in itertools.pairwise(cuts))
    assert all(first < last for first, last in cuts)
    assert all(last % shard == 0 for _, last in cuts[:-1])


@given(st.integers(0, 500), lengths, st.integers(1, 60))
def test_blocks_have_one_writer_per_shard(start, length, shard):
    lengths_of = blocks(start, start + length, shard)
    assert sum(lengths_of) == length
    touched = []
    place = start
    for size in lengths_of:
        touched.append(place // shard)
        assert (place + size - 1) // shard == place // shard
        place += size
    assert len(set(touched)) == len(touched) == math.ceil((start + length) / shard) - start // shard


@pytest.mark.parametrize(("start", "expected"), [(0, (20, 20, 5)), (30, (10, 20, 15))])
def test_the_first_partial_shard_is_completed_first(start, expected):
    assert blocks(start, start + 45, 20) == expected
