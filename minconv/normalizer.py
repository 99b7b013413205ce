"""The transform between physical units and numbers of order one, kept inside the model so that both travel together.

forecaster.normalizer = Normalizer(mean, std)     # one number per input channel
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .errors import InputError


class Normalizer(nn.Module):
    """Shift and scale per channel: x -> (x - mean) / std.

    Args:
        mean: One number per input channel, in the channel's units.
        std: One positive number per input channel, in the channel's units.

    Raises:
        InputError: Lengths differ, or a value is not finite, or a std is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        super().__init__()
        mean_C = torch.as_tensor(mean, dtype=torch.float32).detach().clone()
        std_C = torch.as_tensor(std, dtype=torch.float32).detach().clone()
        if mean_C.ndim != 1 or mean_C.shape != std_C.shape:
            raise InputError(
                f"mean and std must be two vectors of one length, got shapes {tuple(mean_C.shape)} and "
                f"{tuple(std_C.shape)}"
            )
        if not bool(torch.isfinite(mean_C).all()):
            raise InputError(f"mean must be finite, got {mean_C.tolist()}")
        if not bool((torch.isfinite(std_C) & (std_C > 0)).all()):
            raise InputError(
                f"std must be positive and finite, got {std_C.tolist()}; give constant channels a std of 1"
            )
        self.register_buffer("mean", mean_C)
        self.register_buffer("std", std_C)

    @classmethod
    def identity(cls, channels: int) -> Normalizer:
        """The one that changes nothing."""
        return cls(torch.zeros(channels), torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Physical to normalised; x [..., C, H, W] with all C channels."""
        return (x - self.mean[:, None, None]) / self.std[:, None, None]

    def inverse(self, x: Tensor) -> Tensor:
        """Normalised to physical; x [..., c, H, W] holds the first c channels."""
        channels = x.shape[-3]
        return x * self.std[:channels, None, None] + self.mean[:channels, None, None]

    def extra_repr(self) -> str:
        """Number of channels."""
        return f"channels={self.mean.numel()}"
