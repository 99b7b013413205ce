"""A batch cut into what is computed at once: some of its windows, and some frames of them.

for part in parts(batch, noise, closed_loop_steps=4, accumulate=2, truncate=10):
    loss, carry = objective(part.frames, part.forcing, part.closed_loop_steps, part.noise, part.weights, carry)
    (loss * part.share).backward()

The gradients of the parts add up to that of the batch, but for what would flow back from one segment of a window into
the one before it (truncated backpropagation through time, Williams and Peng, Neural Computation 1990).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from .loader import Batch


@dataclass(frozen=True)
class Part:
    """A segment of some windows of a batch.

    Attributes:
        frames: [B, K + 1, C, H, W]; the first is an input only, the last a target only.
        forcing: [B, K + 1, Cf, H, W].
        closed_loop_steps: The last of its K predictions that are made from the model's own output.
        noise: Of its true input frames, [B, K - closed_loop_steps, P, H, W]; None: there is none.
        weights: As in `Batch`.
        first: The windows begin here.
        share: Of the windows' predicted frames.
    """

    frames: Tensor
    forcing: Tensor
    closed_loop_steps: int
    noise: Tensor | None
    weights: Tensor | None
    first: bool
    share: float


def parts(
    batch: Batch, noise: Tensor | None, closed_loop_steps: int, *, accumulate: int, truncate: int | None
) -> Iterator[Part]:
    """The parts of a batch, the segments of a window in order.

    Args:
        batch: Some windows.
        noise: Of their true input frames, [B, T - 1 - closed_loop_steps, P, H, W].
        closed_loop_steps: The last frames of a window that are predicted from the model's own output.
        accumulate: Windows are computed in so many parts, one after the other.
        truncate: Predicted frames of a segment; None: the whole window.
    """
    windows, predicted = len(batch.frames), batch.frames.shape[1] - 1
    size, length = -(-windows // accumulate), truncate or predicted
    seen = predicted - closed_loop_steps
    for window in range(0, windows, size):
        rows = slice(window, window + size)
        for start in range(0, predicted, length):
            stop = min(start + length, predicted)
            yield Part(
                batch.frames[rows, start : stop + 1],
                batch.forcing[rows, start : stop + 1],
                max(0, stop - max(start, seen)),
                None if noise is None else noise[rows, start:stop],
                None if batch.weights is None else batch.weights[rows],
                first=not start,
                share=(stop - start) / predicted,
            )
