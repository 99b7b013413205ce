"""Layer norm over the channels of each point, with the periodic padding that follows it, in one pass.

On a CPU and channels_last frames both are done by a native kernel (`channel_norm_kernel.cpp`), forward and backward;
nothing but the input is kept for the backward pass. Elsewhere, and under torch.compile, which fuses them itself, plain
torch does it. A second derivative is made by plain torch everywhere.

    norm = ChannelNorm(40)
    y = norm(frames)                    # [N, C, H, W] -> the same
    y = norm.wrapped(frames, 1, 1)      # [N, C, H, W] -> [N, C, H + 2, W + 2], both axes periodic
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import with_huge_pages
from .scan import native

SOURCE = Path(__file__).with_name("channel_norm_kernel.cpp")
EPSILON = 1e-5


class _Shape(ctypes.Structure):
    """`Shape` of the C++ file."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("frames", "height", "width", "channels", "rows", "columns")),
        ("epsilon", ctypes.c_double),
        ("threads", ctypes.c_int64),
    )


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each point, with a scale and a shift per channel (eps 1e-5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self.wrapped(x, 0, 0)

    def wrapped(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """[N, C, H, W] -> [N, C, H + 2·rows, W + 2·columns], what is beyond an edge continued from the other side."""
        if torch.compiler.is_compiling() or not _is_native(x, self.weight):
            return _in_torch(x, self.weight, self.bias, rows, columns)
        y: Tensor = _Native.apply(x, self.weight, self.bias, rows, columns)  # type: ignore[no-untyped-call]
        return y


class _Native(torch.autograd.Function):
    """(x, weight, bias, rows, columns) -> padded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
        count, _, height, width = x.shape
        padded = _empty_last(x, height + 2 * rows, width + 2 * columns)
        mean, scale = x.new_empty(2, count * height * width)
        tensors = (x, weight.contiguous(), bias.contiguous(), padded, mean, scale)
        _call("minconv_channel_norm_forward", _shape(x, rows, columns), tensors)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.amounts = rows, columns
        return padded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, scale = ctx.saved_tensors
        rows, columns = ctx.amounts
        if torch.is_grad_enabled():  # the gradient may be differentiated again
            inputs = [one for one, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
            padded = _in_torch(x, weight, bias, rows, columns)
            found = iter(torch.autograd.grad(padded, inputs, gradient, create_graph=True))
            return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None)
        grad_x = _empty_last(x, *x.shape[2:])
        grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(bias)
        dense = gradient.contiguous(memory_format=torch.channels_last)
        tensors = (dense, x, weight.contiguous(), mean, scale, grad_x, grad_weight, grad_bias)
        _call("minconv_channel_norm_backward", _shape(x, rows, columns), tensors)
        return grad_x, grad_weight, grad_bias, None, None


def _is_native(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
        and native.load(SOURCE).library is not None
    )


def _in_torch(x: Tensor, weight: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
    y = F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, EPSILON).permute(0, 3, 1, 2)
    return F.pad(y, (columns, columns, rows, rows), mode="circular") if rows or columns else y


def _empty_last(like: Tensor, height: int, width: int) -> Tensor:
    frames = with_huge_pages(like.new_empty(like.shape[0], height, width, like.shape[1]))
    return frames.permute(0, 3, 1, 2)


def _shape(x: Tensor, rows: int, columns: int) -> _Shape:
    count, channels, height, width = x.shape
    return _Shape(count, height, width, channels, rows, columns, EPSILON, torch.get_num_threads())


def _call(name: str, shape: _Shape, tensors: tuple[Tensor, ...]) -> None:
    pointers = (ctypes.c_void_p * len(tensors))(*(one.data_ptr() for one in tensors))
    function = getattr(native.load(SOURCE).library, name)
    if function(ctypes.byref(shape), int(tensors[0].dtype == torch.float64), pointers):
        raise MemoryError("the native kernel of the channel norm found no memory for its sums")
