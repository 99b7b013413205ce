"""The MinConv cells: one convolution makes the gates of all frames at once, the scan does the rest.

A cell takes frames [B, T, C, H, W] and the state before them (None: the documented initial one) and returns its output
and the state after them, so that a sequence in one piece, in chunks, or frame by frame gives the same numbers. What
does not live here: the recurrence (`minconv.scan`) and cells that need a loop of convolutions (`minconv.baselines`).

    cell = MinConvGRU(32, 40, kernel_size=3, boundary="periodic")
    h, state = cell(x_BTCHW)
    h_next, state = cell(next_BTCHW, state)

Source: Horuz et al., "Minimal Convolutional RNNs Accelerate Spatiotemporal Learning", 2025, arXiv 2508.03614.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .chrono import start_gates
from .config import Boundary
from .layers import convolve
from .scan import Backend, ScanCell, scan


class MinConvCell(nn.Module):
    """What the MinConv cells share; use one of the subclasses.

    Args:
        in_channels: Channels of the input frames.
        hidden: Channels of the state and of the output.
        kernel_size: Odd side of the kernel.
        boundary: See `minconv.ForecasterConfig`.
        backend: See `minconv.scan.scan`.
    """

    blocks: int  # convolution outputs per hidden channel
    gates: tuple[float, ...]  # of the first of them: how the log odds of keeping the state are shared out
    scan_cell: ScanCell

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        kernel_size: int = 3,
        boundary: Boundary = "periodic",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.boundary = boundary
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(self.blocks * hidden, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(self.blocks * hidden))
        bound = 1.0 / math.sqrt(in_channels * kernel_size**2)  # as torch starts its own convolutions
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, state: Tensor | None = None, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """X [B, T, in_channels, H, W], state [B, hidden, H, W] -> (h [B, T, hidden, H, W], state after them).

        A `norm` is applied to the frames first, in one pass with the padding where that pays.
        """
        weight, bias = self.scan_parameters()
        frames = convolve(x.flatten(0, 1), weight, None, self.boundary, norm)
        pre = frames.view(*x.shape[:2], *frames.shape[1:])
        return scan(pre, state, cell=self.scan_cell, bias=bias, backend=self.backend)

    def remember(self, frames: int) -> None:
        """Start the gates with time constants of 2 to so many frames (`minconv.chrono`)."""
        start_gates(self.bias, self.gates, self.hidden, frames)

    def scan_parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that makes the scan's input."""
        return self.weight, self.bias

    def extra_repr(self) -> str:
        """Sizes and boundary."""
        return f"{self.weight.shape[1]}, {self.hidden}, kernel_size={self.weight.shape[-1]}, boundary={self.boundary}"


class MinConvGRU(MinConvCell):
    """Gate z = sigmoid(k); convolution outputs k, v."""

    blocks = 2
    gates = (-1.0,)
    scan_cell: ScanCell = "gru"


class MinConvLSTM(MinConvCell):
    """Gates sigmoid(f) and sigmoid(i), normalised by their sum; convolution outputs f, i, v."""

    blocks = 3
    gates = (1.0, -1.0)
    scan_cell: ScanCell = "lstm"


class MinConvExpLSTM(MinConvCell):
    """Gates exp(f) and exp(i), normalised by their sum; parameters f, i, v.

    e^i / (e^f + e^i) = sigmoid(i - f), and a difference of convolutions is the convolution with the difference of the
    weights: so this is MinConvGRU with k = i - f, and costs what that costs.
    """

    blocks = 3
    gates = (0.5, -0.5)
    scan_cell: ScanCell = "gru"

    def scan_parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with k = i - f, v."""
        return _merge(self.weight), _merge(self.bias)


class MemorylessConv(MinConvGRU):
    """The control without memory: MinConvGRU that starts every frame from the initial state."""

    def forward(self, x: Tensor, state: Tensor | None = None, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """As the others; the state is empty, [B, 0, H, W], and not read."""
        h, _ = super().forward(x.flatten(0, 1).unsqueeze(1), None, norm)
        return h.view(*x.shape[:2], *h.shape[2:]), x[:, -1, :0].detach()

    def remember(self, frames: int) -> None:
        """Nothing: there is no memory to make longer."""


def _merge(parameter: Tensor) -> Tensor:
    f, i, v = parameter.chunk(3)
    return torch.cat([i - f, v])
