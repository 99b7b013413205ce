"""The Forecaster applied to its own output.

The history goes through the model in one parallel pass; then each predicted frame, joined by the forcing valid at its
time, is the next input. Gradients flow under the caller's grad mode, so that training can go through the closed loop.

    with torch.no_grad():
        for lead, frame in enumerate(rollout(forecaster, history_BTCHW, steps=24), start=1):
            ...
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .errors import InputError
from .model import Forecaster, State


def rollout(
    forecaster: Forecaster,
    history: Tensor,
    steps: int,
    forcing: Tensor | None = None,
    mask: Tensor | None = None,
) -> Iterator[Tensor]:
    """Forecast `steps` frames after a history.

    Args:
        forecaster: The model.
        history: [B, T, in_channels, H, W], physical units, finite.
        steps: Number of frames to predict.
        forcing: [B, steps, forcing channels, H, W], valid at the predicted times; only for a model that has forcings.
        mask: bool [H, W] or broadcastable to [B, prognostic channels, H, W]; where it is False the history's last
            value is held (of the prognostic channels: the history has no others).

    Returns:
        Iterator over the predicted frames [B, out_channels, H, W], lead 1 to `steps`.

    Raises:
        InputError: Wrong shape or dtype; raised at the call, before the first frame is asked for.
    """
    channels = forecaster.config.prognostic_channels
    if history.ndim != 5:
        raise InputError(f"history must have 5 dimensions [B, T, C, H, W], got shape {tuple(history.shape)}")
    if history.shape[1] == 0:
        raise InputError(f"history must have at least one frame, got shape {tuple(history.shape)}")
    frame = history[:, -1, :channels]
    _check(forecaster, frame, channels, steps, forcing, mask)
    return _rollout(forecaster, history, frame, steps, forcing, mask)


def closed_loop(
    forecaster: Forecaster,
    frame: Tensor,
    state: State | None,
    steps: int,
    forcing: Tensor | None = None,
    mask: Tensor | None = None,
) -> Iterator[tuple[Tensor, State]]:
    """Go on from a predicted frame, for callers that ran the history themselves (training needs its outputs too).

        y, state = forecaster(window[:, :history])
        for frame, state in closed_loop(forecaster, y[:, -1], state, steps):    # y[:, -1] is lead 1, the first lead 2
            ...

    Args:
        forecaster: The model.
        frame: [B, out_channels, H, W], the last predicted frame; where `mask` is False its values are held.
        state: The model's state after all that was seen before `frame`; None: nothing was.
        steps: Number of further frames to predict.
        forcing: [B, steps, forcing channels, H, W]; forcing[:, 0] is valid at the time of `frame`.
        mask: As in `rollout`.

    Returns:
        Iterator over the predicted frames and the states after what was seen before them, with which to go on later.

    Raises:
        InputError: Wrong shape or dtype; raised at the call.
    """
    _check(forecaster, frame, forecaster.config.out_channels, steps, forcing, mask)
    return _continue(forecaster, frame, state, steps, forcing, mask)


def _rollout(
    forecaster: Forecaster, history: Tensor, last: Tensor, steps: int, forcing: Tensor | None, mask: Tensor | None
) -> Iterator[Tensor]:
    y, state = forecaster(history)
    frame = _hold(y[:, -1], last, mask)
    yield frame
    for later, _ in _continue(forecaster, frame, state, steps - 1, forcing, mask):
        yield later


def _continue(
    forecaster: Forecaster, frame: Tensor, state: State | None, steps: int, forcing: Tensor | None, mask: Tensor | None
) -> Iterator[tuple[Tensor, State]]:
    channels = forecaster.config.prognostic_channels
    held = frame[:, :channels]
    for step in range(steps):
        fed_back = frame[:, :channels]
        x = fed_back if forcing is None else torch.cat([fed_back, forcing[:, step]], dim=1)
        frame, state = forecaster.step(x, state)
        frame = _hold(frame, held, mask)
        yield frame, state


def _hold(frame: Tensor, held: Tensor, mask: Tensor | None) -> Tensor:
    """The frame with its first channels, as many as `held` has, held where the mask is False."""
    if mask is None:
        return frame
    channels = held.shape[1]
    if channels == frame.shape[1]:
        return torch.where(mask, frame, held)
    return torch.cat((torch.where(mask, frame[:, :channels], held), frame[:, channels:]), dim=1)


def _check(
    forecaster: Forecaster, frame: Tensor, channels: int, steps: int, forcing: Tensor | None, mask: Tensor | None
) -> None:
    forcing_channels = forecaster.config.forcing_channels
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps must be a positive integer, got {steps!r}")
    if frame.ndim != 4 or frame.shape[1] != channels:
        raise InputError(f"frame must have shape [B, {channels}, H, W], got {tuple(frame.shape)}")
    batch, _, *grid = frame.shape
    expected = (batch, steps, forcing_channels, *grid)
    if forcing is None and forcing_channels:
        raise InputError(
            f"forcing must be given with shape {expected}, because the model has forcing channels, got None"
        )
    if forcing is not None and not forcing_channels and forcing.shape[2:3] != (0,):
        raise InputError(f"forcing must be None for a model without forcing channels, got shape {tuple(forcing.shape)}")
    if forcing is not None and tuple(forcing.shape) != expected:
        raise InputError(f"forcing must have shape {expected} [B, steps, C, H, W], got {tuple(forcing.shape)}")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise InputError(f"mask must be bool, got {mask.dtype}")
    # Broadcastable into the frame's shape: no more axes, and each is 1 or equal.
    held = (batch, forecaster.config.prognostic_channels, *grid)
    sides = zip(reversed(mask.shape), reversed(held), strict=False)
    if mask.ndim > len(held) or any(side not in (1, full) for side, full in sides):
        raise InputError(f"mask must be [H, W] or fit {held} [B, C, H, W], got {tuple(mask.shape)}")
