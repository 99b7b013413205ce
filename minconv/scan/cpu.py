"""The scan on a CPU: a native kernel (`cpu_kernel.cpp`, compiled on first use), or plain torch where that cannot be.

It reads both frame layouts in place, keeps each tile of pixels in the nearest cache through all frames, and uses the
threads that torch uses. The numbers of a pixel depend neither on the number of threads nor on the tile. Types: float32,
float64, bfloat16 (float32 inside); float16 goes to the torch implementation.

    h, final_state = scan(pre_BTCHW, None, "gru", bias)
    native.load(SOURCE).reason          # why the native kernel is not used; empty if it is
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BackendError
from ..memory import with_huge_pages
from . import native, op, reference
from .frames import (
    block_count,
    compute_dtype,
    dense,
    dense_state,
    empty_frames,
    empty_state,
    is_channels_last,
    whole,
)

SOURCE = Path(__file__).with_name("cpu_kernel.cpp")

# Values of h in one tile, unless set: as many as keep its dozen arrays in the nearest caches, fewer for small inputs so
# that there is work for every thread. It follows from the shape alone, so the bias gradient's rounding does too.
_TILE = 0
_TILE_MOST, _TILE_LEAST, _TILES = 4096, 256, 16

_KINDS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
_CELLS = {"gru": 0, "lstm": 1, "explstm": 2}


class _Shape(ctypes.Structure):
    """`Shape` of the C++ file."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "time", "channels", "points", "pre_batch", "pre_time")),
        *((name, ctypes.c_int64) for name in ("grad_batch", "grad_time", "tile")),
        *((name, ctypes.c_int32) for name in ("last", "cell", "threads")),
    )


def scan(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`."""
    if pre.device.type != "cpu":
        raise BackendError(f"backend 'cpu' needs tensors on the CPU, got pre on {pre.device}; use 'auto'")
    return op.apply(pre, initial_state, cell, bias)


@op.scan_forward.register_kernel("cpu")
def forward(pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str) -> tuple[Tensor, Tensor]:
    """`op.scan_forward` on a CPU."""
    library = _library(pre.dtype)
    if library is None:
        return reference.forward(pre, initial_state, bias, cell)
    x = dense(pre, is_channels_last(pre))
    h = with_huge_pages(empty_frames(x, x.shape[2] // block_count(cell), x.shape[1], x.dtype))
    final_state = empty_state(h)
    arguments = (x, _compute(bias, x), _state(initial_state, h), h, final_state)
    _call(library.minconv_scan_forward, _shape(x, h, None, cell), x.dtype, arguments)
    return h, final_state


@op.scan_backward.register_kernel("cpu")
def backward(
    pre: Tensor,
    initial_state: Tensor | None,
    bias: Tensor | None,
    h: Tensor,
    grad_h: Tensor | None,
    grad_final: Tensor | None,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """`op.scan_backward` on a CPU."""
    library = _library(pre.dtype)
    if library is None:
        grad_pre, *others = reference.backward(pre, initial_state, bias, h, grad_h, grad_final, cell)
        grad_initial, grad_bias = (pre.new_empty(0) if gradient is None else gradient for gradient in others)
        return grad_pre, grad_initial, grad_bias
    last = is_channels_last(pre)
    x, dh = dense(pre, last), None if grad_h is None else dense(grad_h.to(pre.dtype), last)
    grad_pre = with_huge_pages(empty_frames(x, x.shape[2], x.shape[1], x.dtype))
    out_state = None if initial_state is None else empty_state(h)
    out_bias = None if bias is None else bias.new_empty(bias.shape, dtype=compute_dtype(x))
    given = (x, _compute(bias, x), _state(initial_state, h), whole(h, last), dh, _state(grad_final, h))
    _call(library.minconv_scan_backward, _shape(x, h, dh, cell), x.dtype, (*given, grad_pre, out_state, out_bias))
    grad_initial = pre.new_empty(0) if out_state is None or initial_state is None else out_state.to(initial_state.dtype)
    grad_bias = pre.new_empty(0) if out_bias is None or bias is None else out_bias.to(bias.dtype)
    return grad_pre, grad_initial, grad_bias


def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    return native.load(SOURCE).library if dtype in _KINDS else None


def _call(function: object, shape: _Shape, dtype: torch.dtype, tensors: tuple[Tensor | None, ...]) -> None:
    pointers = (ctypes.c_void_p * len(tensors))(*(None if one is None else one.data_ptr() for one in tensors))
    if function(ctypes.byref(shape), _KINDS[dtype], pointers):  # type: ignore[operator]
        raise MemoryError("the scan's native kernel found no memory for its tiles")


def _shape(x: Tensor, h: Tensor, grad_h: Tensor | None, cell: str) -> _Shape:
    batch, time, channels, height, width = h.shape
    tile = _TILE or min(_TILE_MOST, max(_TILE_LEAST, batch * channels * height * width // _TILES))
    grad_strides = (0, 0) if grad_h is None else grad_h.stride()[:2]
    return _Shape(
        *(batch, time, channels, height * width, *x.stride()[:2], *grad_strides, tile),
        *(is_channels_last(x), _CELLS[cell], torch.get_num_threads()),
    )


def _state(state: Tensor | None, h: Tensor) -> Tensor | None:
    """[B, C, H, W] in the compute type, laid out as a frame of h."""
    return None if state is None else dense_state(state.to(compute_dtype(h)), is_channels_last(h))


def _compute(bias: Tensor | None, pre: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(compute_dtype(pre)).contiguous()
