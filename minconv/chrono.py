"""Where the gates of a cell start: with a memory of many frames (chrono initialisation).

A gate that starts near sigmoid(0) halves what it remembers at every frame, and the gradient by what was T frames ago
with it, 2^-T: what is longer ago than some tens of frames is not learned from. What lives here: the biases that start
it elsewhere. What does not: which of a cell's parameters they are (`cells`, `baselines`).

    log_odds(channels=40, frames=2000)                # of a forget gate that keeps 1 - 1/tau, tau up to 2000
    start_gates(cell.bias, (1.0, -1.0), 40, 2000)     # a forget gate and an input gate

Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", 2018, arXiv 1804.11188, who draw tau at random.
Here it is spread evenly: the other weights stay what they are without it, and a few channels are no matter of luck.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import ConfigurationError


def log_odds(channels: int, frames: int) -> Tensor:
    """log(tau - 1) for time constants tau spread evenly from 2 (not included) to `frames`; its sigmoid is 1 - 1/tau."""
    return (1.0 + (frames - 2) * torch.arange(1, channels + 1) / channels).log()


def start_gates(bias: Tensor, shares: tuple[float, ...], channels: int, frames: int) -> None:
    """Set the first blocks of a bias so that the gates they belong to remember up to so many frames.

    Args:
        bias: [blocks * channels]; changed in place.
        shares: Of the first blocks: what each takes of the log odds of keeping the state.
        channels: Of a block.
        frames: See `log_odds`.
    """
    keeping = log_odds(channels, frames)
    for block, share in zip(torch.split(bias.detach(), channels), shares, strict=False):
        block.copy_(share * keeping)


def check_memory(frames: object) -> None:
    """Raise a ConfigurationError for what is no number of frames to remember."""
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 2:
        raise ConfigurationError(f"memory must be an integer of at least 2 frames, or None, got {frames!r}")
