"""ConvLSTM and ConvGRU, the networks that MinConv is compared with: their state goes through a convolution at every
frame.

The convolution of the input does not depend on the state, so it is done for all frames at once; the one of the state is
all that the loop over time has to do. Same calls as the cells of `minconv.cells`.

    h, state = ConvLSTM(32, 25)(x_BTCHW)

Sources: Shi et al., "Convolutional LSTM Network", 2015, arXiv 1506.04214 (without peepholes); Ballas et al., "Delving
Deeper into Convolutional Networks for Learning Video Representations", 2016, arXiv 1511.06432.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .chrono import start_gates
from .config import Boundary
from .errors import InputError
from .layers import BoundaryConv2d


class ConvGRU(nn.Module):
    """h' = (1 - z) h + z n with r, z = sigmoid(Wx x + Wh h + b) and n = tanh(Wx x + Wn (r h) + b); h starts at 0.

    Args:
        in_channels: Channels of the input frames.
        hidden: Channels of the state and of the output.
        kernel_size: Odd side of the kernels.
        boundary: See `minconv.ForecasterConfig`.
    """

    def __init__(self, in_channels: int, hidden: int, kernel_size: int = 3, boundary: Boundary = "periodic") -> None:
        super().__init__()
        self.hidden = hidden
        self.input = BoundaryConv2d(in_channels, 3 * hidden, kernel_size, boundary)
        self.gates = BoundaryConv2d(hidden, 2 * hidden, kernel_size, boundary, bias=False)
        self.candidate = BoundaryConv2d(hidden, hidden, kernel_size, boundary, bias=False)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """X [B, T, in_channels, H, W], state [B, hidden, H, W] -> (h [B, T, hidden, H, W], state after them)."""
        pre = self.input(x.flatten(0, 1)).view(*x.shape[:2], -1, *x.shape[3:])
        h = _start(state, pre[:, 0, : self.hidden])
        frames = []
        for pre_t in pre.unbind(1):
            r, z = (pre_t[:, : 2 * self.hidden] + self.gates(h)).sigmoid().chunk(2, dim=1)
            n = (pre_t[:, 2 * self.hidden :] + self.candidate(r * h)).tanh()
            h = torch.lerp(h, n, z)
            frames.append(h)
        return torch.stack(frames, dim=1), h

    def remember(self, frames: int) -> None:
        """Start z with time constants of 2 to so many frames (`minconv.chrono`)."""
        start_gates(self.input.get_parameter("bias")[self.hidden :], (-1.0,), self.hidden, frames)


class ConvLSTM(nn.Module):
    """c' = f c + i tanh(g), h' = o tanh(c') with f, i, o = sigmoid of Wx x + Wh h + b; h and c start at 0.

    Args:
        in_channels: Channels of the input frames.
        hidden: Channels of h and of c.
        kernel_size: Odd side of the kernels.
        boundary: See `minconv.ForecasterConfig`.
    """

    def __init__(self, in_channels: int, hidden: int, kernel_size: int = 3, boundary: Boundary = "periodic") -> None:
        super().__init__()
        self.hidden = hidden
        self.input = BoundaryConv2d(in_channels, 4 * hidden, kernel_size, boundary)
        self.recurrent = BoundaryConv2d(hidden, 4 * hidden, kernel_size, boundary, bias=False)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """X [B, T, in_channels, H, W], state (h, c) [B, 2·hidden, H, W] -> (h [B, T, hidden, H, W], state)."""
        pre = self.input(x.flatten(0, 1)).view(*x.shape[:2], -1, *x.shape[3:])
        h, c = _start(state, pre[:, 0, : 2 * self.hidden]).chunk(2, dim=1)
        frames = []
        for pre_t in pre.unbind(1):
            gates = pre_t + self.recurrent(h)
            f, i, o = gates[:, : 3 * self.hidden].sigmoid().chunk(3, dim=1)
            c = f * c + i * gates[:, 3 * self.hidden :].tanh()
            h = o * c.tanh()
            frames.append(h)
        return torch.stack(frames, dim=1), torch.cat([h, c], dim=1)

    def remember(self, frames: int) -> None:
        """Start f and i with time constants of 2 to so many frames (`minconv.chrono`)."""
        start_gates(self.input.get_parameter("bias"), (1.0, -1.0), self.hidden, frames)


def _start(state: Tensor | None, like: Tensor) -> Tensor:
    """The state before the first frame: zeros in the shape of `like`, or the one given."""
    if state is None:
        return torch.zeros_like(like)
    if state.shape != like.shape:
        raise InputError(f"state must have shape {tuple(like.shape)}, got {tuple(state.shape)}")
    return state
