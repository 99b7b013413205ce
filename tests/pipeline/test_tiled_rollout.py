"""A forecast tile by tile is the forecast of the whole grid, where the halo is as wide as the model reaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minconv
from pipeline.grid import GridSpec
from pipeline.tiled_rollout import on_tiles, tiled_rollout
from pipeline.tiles import Halo, Tiling

PADDING = {"periodic": "periodic", "cylinder": "cylinder", "closed": "zeros", "mirrored": "reflect"}


def model(boundary: str, cell: str = "minconvgru", patch: int = 2, diagnostic: int = 0) -> minconv.Forecaster:
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(
        cell=cell,
        in_channels=3,
        out_channels=2 + diagnostic,
        diagnostic_channels=diagnostic,
        hidden=(5, 6),
        patch=patch,
        boundary=PADDING[boundary],
        tendency=True,
        tendency_scale=(0.5, 2.0),
    )
    forecaster = minconv.Forecaster(config).double().eval()
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    forecaster.normalizer = minconv.Normalizer(torch.full((3 + diagnostic,), 0.5), torch.full((3 + diagnostic,), 2.0))
    return forecaster.double()


def data(shape: tuple[int, int] = (20, 26)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    history = torch.randn((2, 4, 3, *shape), generator=generator, dtype=torch.float64)
    forcing = torch.randn((2, 5, 1, *shape), generator=generator, dtype=torch.float64)
    return history, forcing, torch.rand(shape, generator=generator) > 0.1


def tiling(boundary: str, halo: int, size: tuple[int, int] = (8, 10), shape: tuple[int, int] = (20, 26)) -> Tiling:
    axes = (tuple(float(n) for n in range(side)) for side in shape)
    edges = "closed" if boundary == "mirrored" else boundary
    return Tiling.of(GridSpec(*axes, "y", "x", geographic=False, boundary=edges), size, Halo(halo, halo))


def both(forecaster: minconv.Forecaster, cut: Tiling) -> tuple[torch.Tensor, torch.Tensor]:
    history, forcing, mask = data()
    with torch.no_grad():
        whole = torch.stack(list(minconv.rollout(forecaster, history, 5, forcing, mask=mask)))
        tiles = torch.stack(list(tiled_rollout(on_tiles(forecaster), history, 5, forcing, mask, cut)))
    return whole, tiles


@pytest.mark.parametrize("boundary", sorted(PADDING))
@pytest.mark.parametrize("cell", ["minconvgru", "minconvlstm", "minconvexplstm", "conv"])
def test_tiles_forecast_what_the_whole_grid_does_at_every_lead_time(boundary: str, cell: str) -> None:
    whole, tiles = both(model(boundary, cell), tiling(boundary, halo=4))
    torch.testing.assert_close(tiles, whole, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("boundary", sorted(PADDING))
def test_a_halo_narrower_than_the_model_reaches_shows(boundary: str) -> None:
    whole, tiles = both(model(boundary), tiling(boundary, halo=2))
    assert (tiles - whole).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(4, 4), (6, 26), (20, 8), (40, 40)])
def test_tiles_may_be_of_any_size(size: tuple[int, int]) -> None:
    for boundary in ("periodic", "cylinder", "closed"):
        whole, tiles = both(model(boundary), tiling(boundary, 4, size))
        torch.testing.assert_close(tiles, whole, rtol=1e-9, atol=1e-11)


def test_diagnostic_channels_are_stitched_too() -> None:
    whole, tiles = both(model("cylinder", diagnostic=1), tiling("cylinder", 4))
    assert whole.shape[2] == 3
    torch.testing.assert_close(tiles, whole, rtol=1e-9, atol=1e-11)


def test_masked_points_are_held_also_where_no_tile_is_left() -> None:
    history, forcing, _ = data()
    mask = torch.ones(20, 26, dtype=torch.bool)
    mask[:8, :10] = False
    axes = (tuple(float(n) for n in range(side)) for side in (20, 26))
    grid = GridSpec(*axes, "y", "x", geographic=False, boundary="periodic")
    cut = Tiling.of(grid, (8, 10), Halo(4, 4), np.asarray(mask))
    assert len(cut.tiles) == cut.total - 1
    forecaster = model("periodic")
    with torch.no_grad():
        whole = torch.stack(list(minconv.rollout(forecaster, history, 5, forcing, mask=mask)))
        tiles = torch.stack(list(tiled_rollout(on_tiles(forecaster), history, 5, forcing, mask, cut)))
    torch.testing.assert_close(tiles, whole, rtol=1e-9, atol=1e-11)
    assert torch.equal(tiles[-1, :, :, ~mask], history[:, -1, :2, ~mask])


def test_the_twin_has_the_very_parameters() -> None:
    forecaster = model("periodic")
    twin = on_tiles(forecaster)
    assert twin.config.boundary == "zeros"
    ours, theirs = dict(forecaster.named_parameters()), dict(twin.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    assert torch.equal(twin.normalizer.std, forecaster.normalizer.std)
    closed = model("closed")
    assert on_tiles(closed) is closed
