"""A batch in parts: nothing is left out or seen twice, and gradients end at the borders of segments alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import minconv
from pipeline import archive
from pipeline.config import Config
from pipeline.grid import GridSpec
from pipeline.tiles import Halo, Tiling
from pipeline.training import LocalWorker, prepare
from pipeline.training.loader import Batch, TileWeights
from pipeline.training.loop import Training
from pipeline.training.objective import Objective
from pipeline.training.parts import parts
from pipeline.training.stopwatch import Unmeasured

FRAMES = 8  # of a window: 7 are predicted


@given(
    windows=st.integers(1, 7),
    length=st.integers(2, 12),
    closed=st.integers(0, 10),
    accumulate=st.integers(1, 9),
    truncate=st.none() | st.integers(1, 14),
)
def test_every_frame_of_every_window_is_in_one_part(
    windows: int, length: int, closed: int, accumulate: int, truncate: int | None
) -> None:
    closed_loop_steps = min(closed, length - 2)
    numbers = torch.arange(windows * length).reshape(windows, length, 1, 1, 1)
    seen = length - 1 - closed_loop_steps
    cut = list(
        parts(Batch(numbers, -numbers), numbers[:, :seen], closed_loop_steps, accumulate=accumulate, truncate=truncate)
    )
    targets = torch.cat([part.frames[:, 1:].flatten() for part in cut])
    assert targets.sort().values.equal(numbers[:, 1:].flatten())
    true_inputs = [part.frames[:, : part.frames.shape[1] - 1 - part.closed_loop_steps].flatten() for part in cut]
    assert torch.cat(true_inputs).sort().values.equal(numbers[:, :seen].flatten())
    for part, inputs in zip(cut, true_inputs, strict=True):
        assert part.noise is not None
        assert part.noise.flatten().equal(inputs)
        assert part.forcing.equal(-part.frames)
        assert part.first == (int(part.frames[0, 0]) % length == 0)
        assert truncate is None or part.frames.shape[1] - 1 <= truncate
    assert sum(part.share * len(part.frames) for part in cut) == pytest.approx(windows)
    # A window's segments follow each other, so that the state of one is there when the next begins.
    for before, after in itertools.pairwise(cut):
        assert after.first or after.frames[:, 0].equal(before.frames[:, -1])


def made(cell: minconv.Cell = "minconvgru") -> tuple[Objective, Batch]:
    """A model with a forcing on a grid with a masked corner, in float64."""
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(
        cell=cell, in_channels=3, out_channels=2, hidden=(6, 6), boundary="zeros", tendency=True, damping=True
    )
    forecaster = minconv.Forecaster(config)
    nn.init.normal_(forecaster.decoder.weight)
    forecaster.normalizer = minconv.Normalizer([0.0, 1.0, 0.0], [1.0, 2.0, 1.0])
    mask = torch.ones(4, 5)
    mask[:2, :2] = 0.0
    return Objective(forecaster, mask).double(), Batch(torch.randn(3, FRAMES, 2, 4, 5), torch.randn(3, FRAMES, 1, 4, 5))


def learned(objective: Objective, batch: Batch, closed: int, **cut: Any) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of a batch in parts."""
    objective.zero_grad()
    doubled = Batch(batch.frames.double(), batch.forcing.double(), batch.weights)
    total, carry = torch.zeros(()), None
    for part in parts(doubled, None, closed, **{"accumulate": 1, "truncate": None, **cut}):
        loss, carry = objective(
            part.frames, part.forcing, part.closed_loop_steps, None, part.weights, None if part.first else carry
        )
        scaled = loss * (len(part.frames) / len(batch.frames) * part.share)
        scaled.backward()
        total = total + scaled.detach()
    return total, [parameter.grad.clone() for parameter in objective.parameters() if parameter.grad is not None]


def by_hand(objective: Objective, batch: Batch, closed: int, truncate: int) -> tuple[Tensor, list[Tensor]]:
    """The same frame by frame, with all that is handed over cut off from its past at borders."""
    objective.zero_grad()
    frames, forcing, valid = batch.frames.double(), batch.forcing.double(), objective.weights > 0
    state: minconv.State | None = None
    frame, held, loss = frames[:, 0], frames[:, 0], torch.zeros((), dtype=torch.float64)
    for step in range(FRAMES - 1):
        if state is not None and step % truncate == 0:
            frame, held, state = frame.detach(), held.detach(), tuple(one.detach() for one in state)
        seen = step < FRAMES - 1 - closed
        x = frames[:, step] if seen else frame
        frame, state = objective.forecaster.step(torch.cat((x, forcing[:, step]), dim=1), state)
        held = frame if seen else held
        frame = torch.where(valid, frame, held)
        error = ((frame - frames[:, step + 1]) / objective.std).square() * objective.weights
        loss = loss + error.mean() / (FRAMES - 1)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), [one.grad.clone() for one in objective.parameters() if one.grad is not None]


@pytest.mark.parametrize("cell", ["minconvgru", "convlstm", "conv"])
@pytest.mark.parametrize(("truncate", "closed"), [(1, 0), (3, 0), (3, 2), (3, 3), (2, 4), (5, 1), (6, 6)])
def test_the_loss_is_that_of_the_window_and_gradients_end_at_the_borders(
    cell: minconv.Cell, truncate: int, closed: int
) -> None:
    objective, batch = made(cell)
    loss, gradients = learned(objective, batch, closed, truncate=truncate)
    whole, whole_gradients = learned(objective, batch, closed)
    torch.testing.assert_close(loss, whole, rtol=1e-10, atol=0.0)
    expected_loss, expected = by_hand(objective, batch, closed, truncate)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0.0)
    torch.testing.assert_close(gradients, expected, rtol=1e-8, atol=1e-12)
    if cell != "conv" or closed > 1:
        assert any((a - b).abs().max() > 1e-6 for a, b in zip(gradients, whole_gradients, strict=True))


@pytest.mark.parametrize("closed", [0, 3])
@pytest.mark.parametrize("truncate", [FRAMES - 1, 99])
def test_a_segment_as_long_as_the_window_changes_no_bit(truncate: int, closed: int) -> None:
    objective, batch = made()
    (loss, gradients), (whole, expected) = (
        learned(objective, batch, closed, truncate=length) for length in (truncate, None)
    )
    assert loss.equal(whole)
    assert all(a.equal(b) for a, b in zip(gradients, expected, strict=True))


@dataclass
class Recorded(Unmeasured):
    """The parts of steps in their order."""

    names: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.names.append(name)
        yield


@dataclass
class Parallel(LocalWorker):
    """A worker whose gradients are exchanged, with itself; it counts how often."""

    exchanges: int = 0

    def wrap(self, module: nn.Module) -> nn.Module:
        wrapped = nn.parallel.DistributedDataParallel(module)
        wrapped.register_comm_hook(None, lambda state, bucket: self._exchange(bucket))  # type: ignore[no-untyped-call]
        return wrapped

    def _exchange(self, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
        self.exchanges += 1
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_each_segment_is_learned_from_before_the_next_and_gradients_are_exchanged_once(
    sample_config: Config, tmp_path: Path, group: None
) -> None:
    options = {"batch_size": 3, "accumulate": 2, "truncate": 3, "closed_loop_steps": 3, "input_noise": 0.1}
    config = sample_config.model_copy(update={"training": sample_config.training.model_copy(update=options)})
    job = prepare(config, archive.head(config.archive_path))
    alone, worker, watch = LocalWorker(tmp_path), Parallel(tmp_path), Recorded()
    ends = []
    for training in (Training(job, alone), Training(job, worker, watch)):  # type: ignore[arg-type]
        batch = training.loader.read([training.cases[number] for number in range(3)])
        for step in range(2):
            training.optimization.step(batch, 0, step, 0.5)
        ends.append(training.objective.forecaster.state_dict())
    assert worker.exchanges == 2  # one bucket, two steps
    assert watch.names == (["forward", "backward"] * 6 + ["optimizer"]) * 2
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("truncate", "closed"), [(3, 0), (2, 3), (6, 6)])
def test_on_tiles_too_the_loss_of_segments_is_that_of_the_window(truncate: int, closed: int) -> None:
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(in_channels=1, out_channels=1, hidden=(4,), boundary="zeros")
    axes = (tuple(float(n) for n in range(12)),) * 2
    tiling = Tiling.of(GridSpec(*axes, "y", "x", geographic=False, boundary="closed"), (4, 4), Halo(2, 2))
    weights, tile = torch.rand(12, 12) + 0.5, tiling.tiles[4]
    objective = Objective(minconv.Forecaster(config), weights, tiling).double()
    frames = torch.randn(2, FRAMES, 1, *tile.shape)
    of_tile = TileWeights(weights, tiling)(tile).expand(2, *tile.shape)
    batch = Batch(frames, frames[:, :, :0], of_tile)
    (loss, gradients), (whole, expected) = (
        learned(objective, batch, closed, truncate=length) for length in (truncate, None)
    )
    torch.testing.assert_close(loss, whole, rtol=1e-10, atol=0.0)
    assert any((a - b).abs().max() > 1e-6 for a, b in zip(gradients, expected, strict=True))
