"""What stands around the cells: boundary padding, norms, folding of patches into channels.

All of it works on frames [N, C, H, W], where N counts batch and time together, and keeps channels_last frames as they
are.

    frames = pad(frames, 1, "cylinder")
    frames = make_norm("channel", 40)(frames)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .channel_norm import ChannelNorm
from .config import Boundary, Norm
from .errors import InputError


class BoundaryConv2d(nn.Conv2d):
    """A convolution that keeps H and W and goes on beyond the edge as `boundary` says.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        boundary: See `minconv.ForecasterConfig`.
        bias: Add a bias.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, boundary: Boundary, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.boundary = boundary

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, out_channels, H, W]."""
        return convolve(x, self.weight, self.bias, self.boundary)

    def extra_repr(self) -> str:
        """Arguments of the convolution, and the boundary."""
        return f"{nn.Conv2d.extra_repr(self)}, boundary={self.boundary}"  # type: ignore[no-untyped-call]


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, boundary: Boundary, norm: nn.Module | None = None
) -> Tensor:
    """Convolution of `norm(x)` with an odd square kernel that keeps H and W."""
    width = weight.shape[-1] // 2
    if not width:  # a matrix product, which keeps channels_last frames as they are whatever their number of channels
        normal = x if norm is None else norm(x)
        return F.linear(normal.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    # What is zero beyond the edge is left to the convolution, which has it for nothing.
    zeros = {"zeros": (width, width), "cylinder": (width, 0)}.get(boundary, (0, 0))
    return F.conv2d(_normalise_and_pad(x, norm, width, boundary), weight, bias, padding=zeros)


def _normalise_and_pad(x: Tensor, norm: nn.Module | None, width: int, boundary: Boundary) -> Tensor:
    if isinstance(norm, ChannelNorm) and boundary in ("periodic", "cylinder"):
        _check_grid(x, width, boundary)
        return norm.wrapped(x, width if boundary == "periodic" else 0, width)
    return pad(x if norm is None else norm(x), width, boundary)


def pad(x: Tensor, width: int, boundary: Boundary) -> Tensor:
    """Add `width` points beyond the edges that `boundary` fills with values; edges that it fills with zeros stay as
    they are.

    Raises:
        InputError: The grid is smaller than the kernel reaches.
    """
    if boundary == "zeros":
        return x
    _check_grid(x, width, boundary)
    if boundary == "reflect":
        return F.pad(x, (width, width, width, width), mode="reflect")
    rows = width if boundary == "periodic" else 0
    padded: Tensor = _Wrap.apply(x, rows, width)  # type: ignore[no-untyped-call]
    return padded


def _check_grid(x: Tensor, width: int, boundary: Boundary) -> None:
    height, columns = x.shape[-2:]
    needed = width + 1 if boundary == "reflect" else width
    if (columns if boundary == "cylinder" else min(height, columns)) < needed:
        raise InputError(
            f"boundary {boundary!r} needs a grid of at least {needed} points along each padded axis (after folding "
            f"patches), got {height} x {columns}"
        )


class _Wrap(torch.autograd.Function):
    """Periodic padding by `rows` and `columns`: one allocation and a few slice copies, in either memory format."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, columns: int) -> Tensor:
        ctx.amounts = rows, columns
        count, channels, height, width = x.shape
        padded = _empty(x, (count, channels, height + 2 * rows, width + 2 * columns))
        core = padded[:, :, rows : rows + height]
        core[..., columns : columns + width] = x
        core[..., :columns] = x[..., width - columns :]
        core[..., columns + width :] = x[..., :columns]
        if rows:
            padded[:, :, :rows] = core[:, :, height - rows :]
            padded[:, :, rows + height :] = core[:, :, :rows]
        return padded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.amounts
        return _Unwrap.apply(gradient, rows, columns), None, None  # type: ignore[no-untyped-call]


class _Unwrap(torch.autograd.Function):
    """The transpose of `_Wrap`: what was written beyond the edge is added where it came from."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, rows: int, columns: int) -> Tensor:
        ctx.amounts = rows, columns
        height, width = gradient.shape[-2] - 2 * rows, gradient.shape[-1] - 2 * columns
        core = gradient[:, :, rows : rows + height]
        out = _empty(gradient, (*gradient.shape[:2], height, width))
        out.copy_(core[..., columns : columns + width])
        _add_columns(out, core, columns)
        if rows:
            _add_columns_and_middle(out[:, :, height - rows :], gradient[:, :, :rows], columns)
            _add_columns_and_middle(out[:, :, :rows], gradient[:, :, rows + height :], columns)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.amounts
        return _Wrap.apply(gradient, rows, columns), None, None  # type: ignore[no-untyped-call]


def _add_columns(out: Tensor, padded: Tensor, columns: int) -> None:
    width = out.shape[-1]
    out[..., width - columns :] += padded[..., :columns]
    out[..., :columns] += padded[..., columns + width :]


def _add_columns_and_middle(out: Tensor, padded: Tensor, columns: int) -> None:
    out += padded[..., columns : columns + out.shape[-1]]
    _add_columns(out, padded, columns)


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """New tensor in the memory format of `like`."""
    last = not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    return torch.empty(
        shape,
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def make_norm(norm: Norm, channels: int, grid_shape: tuple[int, int] | None = None) -> nn.Module:
    """The norm of that name for `channels` channels.

    ``"group"`` has the largest number of groups up to 8 that divides the channels; ``"layer_hw"`` normalises each
    channel over the grid, as the published models do, with `grid_shape` the (H, W) it sees.
    """
    if norm == "channel":
        return ChannelNorm(channels)
    if norm == "group":
        return nn.GroupNorm(max(groups for groups in range(1, 9) if channels % groups == 0), channels)
    if norm == "layer_hw":
        if grid_shape is None:
            raise InputError("norm 'layer_hw' needs grid_shape=(H, W), got None")
        return nn.LayerNorm(grid_shape)
    return nn.Identity()


def fold_patches(x: Tensor, patch: int) -> Tensor:
    """[N, C, H, W] -> [N, C·p·p, H/p, W/p]: each p x p patch becomes channels (space to depth).

    Raises:
        InputError: H or W is not a multiple of the patch.
    """
    if any(side % patch for side in x.shape[-2:]):
        raise InputError(
            f"H and W of the input must be multiples of patch ({patch}), got {x.shape[-2]} x {x.shape[-1]}; crop or "
            f"extend the grid, or choose another patch"
        )
    return F.pixel_unshuffle(x, patch) if patch > 1 else x


def unfold_patches(x: Tensor, patch: int) -> Tensor:
    """[N, C·p·p, H, W] -> [N, C, H·p, W·p], the inverse of `fold_patches`."""
    return F.pixel_shuffle(x, patch) if patch > 1 else x
