"""What is minimised: the masked error of a window, teacher-forced and in closed loop; and the learning-rate schedule.

objective = Objective(forecaster, area_weights * mask)
loss, _ = objective(frames_BTCHW, forcing_BTFHW, closed_loop_steps=12)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

import minconv
from minconv.rollout import closed_loop

from ..tiled_rollout import on_tiles, tiled_rollout
from ..tiles import Tiling

Loss = Literal["mse", "log_mse"]
_FLOOR = 1e-6  # squared standard deviations: below a thousandth of one, errors are rounding, and dry weather


class Carry(NamedTuple):
    """What a segment of a window hands to the next; no gradient goes back through it.

    Attributes:
        frame: The last predicted frame, [B, C, H, W].
        state: The model's state after what was seen before it; None: nothing was.
    """

    frame: Tensor
    state: minconv.State | None


class Objective(nn.Module):
    """The error of a window in units of each variable's standard deviation, over valid points.

    It is the mean over frames and variables of their mean squared errors, or of the logarithms of these: then each
    frame and variable counts by how much better it became, in parts of its own error, however large that is, and the
    first hours of a forecast as much as the last.

    A module around the Forecaster, so that data-parallel training wraps one forward pass, whatever it does inside.

    Args:
        forecaster: The model; its Normalizer gives the standard deviations.
        weights: Weight per grid point, 0 where masked, shape [H, W].
        tiling: The grid's, where windows are on tiles; their weights then come with them.
        of_variables: Weight of each predicted variable in the loss; None: 1. The closed-loop error knows none.
        kind: ``"mse"``, or ``"log_mse"``: of the logarithms.
    """

    weights: Tensor
    roots: Tensor

    def __init__(
        self,
        forecaster: minconv.Forecaster,
        weights: Tensor,
        tiling: Tiling | None = None,
        of_variables: Sequence[float] | None = None,
        kind: Loss = "mse",
    ) -> None:
        super().__init__()
        self.forecaster = forecaster
        self.tiling = tiling
        self.kind: Loss = kind
        self.on_tiles = forecaster if tiling is None else on_tiles(forecaster)
        self.channels = forecaster.config.out_channels
        self.fed_back = forecaster.config.prognostic_channels
        self.register_buffer("weights", weights.float() / weights.float().mean(), persistent=False)
        roots = torch.tensor(of_variables or [1.0] * self.channels).sqrt()[:, None, None]
        self.register_buffer("roots", roots, persistent=False)

    def forward(
        self,
        frames: Tensor,
        forcing: Tensor,
        closed_loop_steps: int = 0,
        noise: Tensor | None = None,
        weights: Tensor | None = None,
        carry: Carry | None = None,
    ) -> tuple[Tensor, Carry]:
        """Loss of a batch of windows, or of one segment of each.

        Args:
            frames: Predicted variables in physical units, the prognostic ones first, [B, T, C, H, W]; the first is an
                input only, the last a target only.
            forcing: What is known ahead, valid at the frame after each, [B, T, F, H, W].
            closed_loop_steps: The last frames that are predicted from the model's own output.
            noise: Added to the input frames, in standard deviations, [B, T - 1 - closed_loop_steps, P, H, W] for P
                prognostic variables.
            weights: Of windows on tiles, [B, H, W]: zero in their halos; None: windows on the whole grid.
            carry: Of the segment before; None: windows begin here.

        Returns:
            The mean over windows and predicted frames, a scalar; what the next segment of the windows needs.
        """
        seen = frames.shape[1] - 1 - closed_loop_steps
        frame, state = carry or Carry(frames[:, 0], None)
        every = self.weights if weights is None else weights[:, None, None]
        losses = []
        if seen:
            inputs = frames[:, :seen, : self.fed_back]
            if noise is not None:
                inputs = inputs + noise * self.std[: self.fed_back]
            predictions, state = self.on_tiles(torch.cat((inputs, forcing[:, :seen]), dim=2), state)
            frame = predictions[:, -1]
            losses.append(self._loss(predictions, frames[:, 1 : seen + 1], every).sum())
        if closed_loop_steps:
            each = self.weights if weights is None else every[:, 0]
            if weights is None:
                later = closed_loop(self.forecaster, frame, state, closed_loop_steps, forcing[:, seen:-1], each > 0)
            else:
                later = self._closed_loop_on_tiles(frame, state, frames[:, seen:-1], forcing[:, seen:-1], each > 0)
            for target in range(seen + 1, frames.shape[1]):
                frame, state = next(later)
                losses.append(self._loss(frame, frames[:, target], each).sum())
        loss = torch.stack(losses).sum() / (frames.shape[0] * (seen + closed_loop_steps))
        return loss, Carry(frame.detach(), tuple(one.detach() for one in state or ()))

    def _loss(self, prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Of frames [..., C, H, W]: [...]."""
        if self.kind == "mse":
            return _error(prediction, target, weights, self.std / self.roots)
        squared = (((prediction - target) / self.std).square() * weights).mean(dim=(-2, -1))
        return ((squared + _FLOOR).log() * self.roots[:, 0, 0].square()).mean(dim=-1)

    def as_error(self, loss: float) -> float:
        """A loss as an error in standard deviations: root mean square, or the geometric mean over frames."""
        return math.sqrt(max(loss, 0.0)) if self.kind == "mse" else math.exp(0.5 * min(loss, 1e3))

    def _closed_loop_on_tiles(
        self, frame: Tensor, state: minconv.State | None, truth: Tensor, forcing: Tensor, scored: Tensor
    ) -> Iterator[tuple[Tensor, minconv.State]]:
        """As `minconv.closed_loop`, but what is fed back is the model's output only where it is scored.

        The halo is the truth, as it is a neighbour's prediction in a forecast: a tile alone cannot predict it.
        """
        for step in range(truth.shape[1]):
            fed_back = torch.where(scored, frame[:, : self.fed_back], truth[:, step, : self.fed_back])
            frame, state = self.on_tiles.step(torch.cat((fed_back, forcing[:, step]), dim=1), state)
            yield frame, state

    @property
    def std(self) -> Tensor:
        """Standard deviations of the predicted variables, [C, 1, 1]."""
        std: Tensor = self.forecaster.normalizer.std[: self.channels].reshape(-1, 1, 1)
        return std

    @torch.no_grad()
    def closed_loop_error(self, frames: Tensor, forcing: Tensor, history: int) -> Tensor:
        """Squared error of a forecast started after `history` frames, in squared standard deviations.

        Args:
            frames: [B, T, C, H, W].
            forcing: [B, T, F, H, W].
            history: Frames seen.

        Returns:
            Mean over variables and points for each case and lead time, [B, T - history].
        """
        seen = torch.cat((frames[:, :history, : self.fed_back], forcing[:, :history]), dim=2)
        steps = frames.shape[1] - history
        mask, ahead = self.weights > 0, forcing[:, history:]
        if self.tiling is None:
            predicted = minconv.rollout(self.forecaster, seen, steps, ahead, mask=mask)
        else:
            predicted = tiled_rollout(self.on_tiles, seen, steps, ahead, mask, self.tiling)
        errors = (_error(frame, frames[:, history + n], self.weights, self.std) for n, frame in enumerate(predicted))
        return torch.stack(list(errors), dim=1)


def closed_loop_length(progress: float, steps: int, ramp: tuple[float, float] | None) -> int:
    """Frames at the end of a window that are predicted from the model's own output.

    Args:
        progress: Share of the run that is done, 0…1.
        steps: Of them when all are.
        ramp: Shares of the run between which they grow, each number from 1 to `steps` for as long as the others; before
            it there is none; None: all of them always.
    """
    if ramp is None:
        return steps
    first, last = ramp
    if progress >= last:
        return steps
    if progress < first:
        return 0
    return min(steps, 1 + int(steps * (progress - first) / (last - first)))


def learning_rate_factor(progress: float, warmup: float, schedule: str = "cosine") -> float:
    """Linear rise over the first `warmup` share of the run, then as scheduled.

    Args:
        progress: Share of the run that is done, 0…1.
        warmup: Share of the run with a rising rate.
        schedule: "cosine" or "linear", half a cosine or a line down to 0; "constant".
    """
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    if schedule == "constant":
        return 1.0
    share = min(1.0, (progress - warmup) / (1.0 - warmup))
    return 1.0 - share if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))


def _error(prediction: Tensor, target: Tensor, weights: Tensor, unit: Tensor) -> Tensor:
    """Weighted mean over C, H, W of the squared error in `unit`: [...]."""
    return (((prediction - target) / unit).square() * weights).mean(dim=(-3, -2, -1))
