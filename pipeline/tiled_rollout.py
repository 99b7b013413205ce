"""A Forecaster rolled out tile by tile: every step is stitched from the cores and cut again, so halos stay fresh.

What lives here: the rollout over tiles, and a Forecaster's twin for them. What does not: the tiles (`tiles`), the
rollout of a whole grid (`minconv.rollout`).

    with torch.no_grad():
        for frame in tiled_rollout(on_tiles(forecaster), history, steps=24, forcing=forcing, mask=mask, tiling=tiling):
            ...

Each tile keeps its own recurrent state, halo included. The memory of a minconv cell works at each point alone; with a
halo as wide as the model reaches in one step, what lies in a core is therefore what the whole grid would have there, at
every lead time (`tests/pipeline/test_tiled_rollout.py`). Only the activations of one tile are in memory at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

import minconv

from .tiles import Tiling


def on_tiles(forecaster: minconv.Forecaster) -> minconv.Forecaster:
    """A Forecaster with the same parameters that pads with zeros where the whole grid would wrap.

    The edge of a tile is no place to wrap: what lies beyond is in the halo, or beyond the edge of the grid.
    """
    if forecaster.config.boundary in ("zeros", "reflect"):
        return forecaster
    config = dataclasses.replace(forecaster.config, boundary="zeros")
    twin = minconv.Forecaster(config, activation_checkpointing=forecaster.activation_checkpointing)
    twin.to(forecaster.normalizer.std)  # device and dtype, also of what is not in the state dict
    twin.load_state_dict(forecaster.state_dict(keep_vars=True), assign=True)  # the very tensors, not copies
    return twin.train(forecaster.training)


def tiled_rollout(
    forecaster: minconv.Forecaster,
    history: Tensor,
    steps: int,
    forcing: Tensor,
    mask: Tensor,
    tiling: Tiling,
) -> Iterator[Tensor]:
    """Forecast `steps` frames after a history.

    Args:
        forecaster: From `on_tiles`; tiles are moved to its device.
        history: [B, T, in_channels, H, W], physical units, finite.
        steps: Number of frames to predict.
        forcing: [B, steps, forcing channels, H, W] (channels may be 0), valid at the predicted times.
        mask: bool [H, W]; where it is False the history's last value is held.
        tiling: Of that grid; where no tile is kept nothing is valid.

    Returns:
        Iterator over the predicted frames [B, out_channels, H, W], where the history lies.
    """
    channels = forecaster.config.prognostic_channels
    device = forecaster.normalizer.mean.device
    held = history[:, -1, :channels]
    blank = history.new_zeros((len(history), forecaster.config.out_channels, *history.shape[-2:]))
    blank[:, :channels] = held
    states: list[minconv.State | None] = [None] * len(tiling.tiles)
    seen = history
    for step in range(steps):
        frame = blank.clone()
        for number, tile in enumerate(tiling.tiles):
            y, states[number] = forecaster(tile.cut(seen).to(device), states[number])
            tile.put(frame, y[:, -1].to(frame.device))
        frame[:, :channels] = torch.where(mask, frame[:, :channels], held)
        yield frame
        seen = torch.cat((frame[:, :channels], forcing[:, step]), dim=1).unsqueeze(1)
