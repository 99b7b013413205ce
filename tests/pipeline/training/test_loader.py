"""Batches are read ahead, in order; errors arrive at their step; nothing is left running."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.grid import GridSpec
from pipeline.tiles import Halo, Tiling
from pipeline.training import prepare
from pipeline.training.job import open_reader
from pipeline.training.loader import Loader, TileWeights
from pipeline.windows import FrameReader, Window, windows

CPU = torch.device("cpu")


class Slow:
    """Reads a window's number, after a while, and remembers who asked."""

    def __init__(self, seconds: float = 0.0, fails_at: int | None = None) -> None:
        self.seconds, self.fails_at = seconds, fails_at
        self.asked: list[int] = []
        self.threads: set[int] = set()

    def read(self, cases: Sequence[Window], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        number = cases[0].start
        self.asked.append(number)
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds * (1 + number % 3))
        if number == self.fails_at:
            raise OSError(f"window {number} cannot be read")
        return torch.full((1, length), float(number)), torch.zeros(1, length)


def loader(reader: Slow, ahead: int) -> Loader:
    return Loader(cast(FrameReader, reader), 2, CPU, ahead)


def steps(count: int) -> list[list[Window]]:
    return [[Window(0, number)] for number in range(count)]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("ahead", [0, 1, 2, 5, 50])
def test_batches_come_in_order_whoever_is_faster(ahead: int) -> None:
    reader = Slow(0.001)
    found = [int(batch.frames[0, 0]) for batch in loader(reader, ahead).batches(steps(12))]
    assert found == list(range(12))
    assert sorted(reader.asked) == list(range(12))
    assert (threading.get_ident() in reader.threads) is (ahead == 0)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_error_arrives_at_its_step_and_ends_the_reading(ahead: int) -> None:
    reading = loader(Slow(fails_at=4), ahead).batches(steps(20))
    assert [int(next(reading).frames[0, 0]) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="window 4 cannot be read"):
        next(reading)
    assert not list(reading)
    assert not loader_threads()


def test_no_more_is_read_ahead_than_is_asked() -> None:
    reader = Slow()
    with contextlib.closing(loader(reader, 3).batches(steps(50))) as reading:
        next(reading)
        time.sleep(0.1)
        assert len(reader.asked) == 4
    assert not loader_threads()
    assert len(reader.asked) == 4


def test_waiting_is_counted_only_where_the_reading_is_slower() -> None:
    def waited(ahead: int, reading: float, computing: float) -> float:
        one = loader(Slow(reading), ahead)
        for _ in one.batches(steps(9)):
            time.sleep(computing)
        return one.waited

    assert waited(0, 0.01, 0.0) > 0.15  # 3 * (1 + 2 + 3) * 10 ms
    assert waited(2, 0.002, 0.03) < 0.05


def test_the_real_reader_gives_the_same_with_and_without_reading_ahead(
    time_config: Config, snapshot_of: Callable[[Config], str]
) -> None:
    tree = time_config.model_copy(
        update={"training": time_config.training.model_copy(update={"cache": "none", "cache_bytes": 200_000})}
    )
    job = prepare(tree, snapshot_of(tree))
    reader = open_reader(job, job.splits.train)
    assert not reader.cached
    assert reader.blocks is not None
    cases = windows(job.splits.train, 9)
    groups = [cases[first : first + 4] for first in range(0, len(cases) - 4, 4)]
    several, alone = Loader(reader, 9, CPU, 4), Loader(open_reader(job, job.splits.train), 9, CPU, 0)
    compared = 0
    for one, other in zip(several.batches(groups), alone.batches(groups), strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.forcing, other.forcing)
        compared += 1
    assert compared == len(groups)


@given(
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 5),
    st.sampled_from(["periodic", "cylinder", "closed"]),
    st.integers(0, 99),
)
def test_the_mean_loss_over_tiles_is_the_loss_over_the_grid(
    shape: tuple[int, int], size: tuple[int, int], halo: int, boundary: Any, seed: int
) -> None:
    axes = (tuple(float(n) for n in range(side)) for side in shape)
    grid = GridSpec(*axes, "y", "x", geographic=False, boundary=boundary)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(shape, generator=generator) + 0.1
    weights[torch.rand(shape, generator=generator) < 0.3] = 0.0
    if not weights.any():
        return
    error = torch.rand(shape, generator=generator)
    tiling = Tiling.of(grid, size, Halo(halo, halo), (weights > 0).numpy())
    of_tile = TileWeights(weights, tiling)
    on_tiles = torch.stack([(tile.cut(error) * of_tile(tile)).mean() for tile in tiling.tiles])
    torch.testing.assert_close(on_tiles.mean(), (error * weights / weights.mean()).mean())
