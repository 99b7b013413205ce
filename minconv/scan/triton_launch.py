"""How the Triton kernels are started: sizes, strides, what is fixed at compile time, and how the work is divided.

What lives here: whatever follows from the shapes of tensors whose layout is already right. What does not: making it
right (`minconv.scan.cuda`), the kernels (`minconv.scan.triton_forward` and its neighbours).

    forward(pre, None, bias, "gru", h, final)  # fills h and final
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .frames import compute_dtype, is_channels_last
from .triton import interpreted
from .triton_backward import backward_kernel
from .triton_chunks import summarise_backward, summarise_forward
from .triton_forward import forward_kernel

# Registers of a thread for 16-bit types, where it takes as many values as it may: some fewer than it would use, and
# still nothing spilled, so that more blocks fit on a multiprocessor.
_REGISTERS = {"gru": (64, 64), "lstm": (64, 80), "explstm": (64, 72)}  # forward, backward

# Sequences are scanned in chunks below this many lanes and above this many frames.
_FEW_LANES, _MANY_FRAMES = 50_000, 100
# A chunk has at least so many frames, and there are chunks for at most so many lanes at once.
_SHORTEST_CHUNK, _CHUNKED_LANES = 32, 2**18


def launch_options(lanes: int, itemsize: int, cell: str, *, backward: bool) -> dict[str, int]:
    """Lanes of one program, its warps, and a bound on registers: a rule and not a search, so that all processes of a
    distributed run choose alike.

    A thread takes up to 16 bytes of a plane (in the backward pass of 16-bit types 8, for want of registers), as long as
    that leaves 2^17 threads, about a thousand for each multiprocessor.

    Args:
        lanes: B·C·H·W, times the number of chunks.
        itemsize: Bytes of one value of the input.
        cell: As in `minconv.scan.scan`.
        backward: For the backward kernel.
    """
    most = 4 if backward else 8
    per_thread = min(most, 16 // itemsize, 1 << max(0, (lanes >> 17).bit_length() - 1))
    warps = 2 if per_thread == 1 else 4
    options = {"BLOCK": 32 * warps * per_thread, "num_warps": warps}
    if itemsize == 2 and per_thread == most and torch.version.hip is None:
        options["maxnreg"] = _REGISTERS[cell][backward]
    return options


def chunk_length(lanes: int, frames: int) -> int:
    """Frames of one chunk; all of them where there are lanes enough to fill a GPU, or few frames.

    It depends on the shape alone: two processes with the same shapes get the same bits. Chunks read the input twice, so
    there are as many as fill a GPU and not more.
    """
    if lanes >= _FEW_LANES or frames <= _MANY_FRAMES:
        return frames
    chunks = min(frames // _SHORTEST_CHUNK, _CHUNKED_LANES // lanes)
    return -(-frames // chunks)


def forward(pre: Tensor, state: Tensor | None, bias: Tensor | None, cell: str, h: Tensor, final: Tensor) -> None:
    """Fill h and the final state; layouts as `minconv.scan.cuda` makes them."""
    sizes, state_batch = _sizes(pre, h), _batch_stride(state)
    constants = _constants(pre, h, cell, state_batch)
    options = launch_options(_lanes(h), pre.element_size(), cell, backward=False)
    programs = (_programs(h, options["BLOCK"]),)
    summary = _empty_summary(h)
    if summary is not None:
        summarise_forward[programs](pre, bias, summary, **sizes, **constants, **options)
    forward_kernel[programs](
        pre, state, bias, h, final, summary, **sizes, state_batch=state_batch, **constants, **options
    )


def backward(
    saved: tuple[Tensor, Tensor | None, Tensor | None, Tensor],
    gradients: tuple[Tensor | None, Tensor | None],
    cell: str,
    results: tuple[Tensor, Tensor, Tensor | None],
) -> None:
    """Fill the gradients of pre, of the initial state, and the bias gradient's partial sums."""
    pre, state, bias, h = saved
    grad_h, grad_final = gradients
    sizes = _sizes(pre, h)
    grad_strides = {
        "grad_batch": _batch_stride(grad_h),
        "grad_time": 0 if grad_h is None or grad_h.shape[1] == 1 else grad_h.stride(1),
    }
    strides = {"state_batch": _batch_stride(state), **grad_strides, "final_batch": _batch_stride(grad_final)}
    constants = _constants(pre, h, cell, *strides.values())
    options = launch_options(_lanes(h), pre.element_size(), cell, backward=True)
    programs = (_programs(h, options["BLOCK"]),)
    summary = _empty_summary(h)
    if summary is not None:
        summarise_backward[programs](pre, bias, grad_h, summary, **sizes, **grad_strides, **constants, **options)
    pairings = group_size(pre).bit_length() - 1
    backward_kernel[programs](
        *(pre, state, bias, h, grad_h, grad_final),
        *(*results, summary),
        **sizes,
        **strides,
        **constants,
        PAIRINGS=pairings,
        **options,
    )


def empty_partial(pre: Tensor, h: Tensor) -> Tensor:
    """For the bias gradient's partial sums, one for `group_size` lanes of a chunk: [B, chunks, G, C·H·W / group]."""
    blocks = pre.shape[2] // h.shape[2]
    groups = h[0, 0].numel() // group_size(pre)
    return pre.new_empty(h.shape[0], _chunks(h), blocks, groups, dtype=compute_dtype(pre))


def group_size(pre: Tensor) -> int:
    """How many neighbouring lanes, all of one channel, make one partial sum of the bias gradient."""
    points = pre.shape[-2] * pre.shape[-1]
    return 1 if is_channels_last(pre) else min(8, points & -points)


def _empty_summary(h: Tensor) -> Tensor | None:
    """For decay and rest of each chunk; None where there is only one."""
    chunks = _chunks(h)
    if chunks == 1:
        return None
    return h.new_empty(h.shape[0], chunks, 2, h[0, 0].numel(), dtype=compute_dtype(h))


def _length(h: Tensor) -> int:
    return chunk_length(h[:, 0].numel(), h.shape[1])


def _chunks(h: Tensor) -> int:
    return -(-h.shape[1] // _length(h))


def _lanes(h: Tensor) -> int:
    return h[:, 0].numel() * _chunks(h)


def _programs(h: Tensor, block: int) -> int:
    """Blocks of all chunks of all sequences; none holds lanes of two."""
    return h.shape[0] * _chunks(h) * -(-h[0, 0].numel() // block)


def _sizes(pre: Tensor, h: Tensor) -> dict[str, int]:
    _, frames, channels, height, width = h.shape
    return {
        "frames": frames,
        "length": _length(h),
        "size": channels * height * width,
        "channels": channels,
        "points": height * width,
        "pre_batch": _batch_stride(pre),
        "pre_time": 0 if frames == 1 else pre.stride(1),
    }


def _constants(pre: Tensor, h: Tensor, cell: str, *strides: int) -> dict[str, Any]:
    sizes, last = _sizes(pre, h), is_channels_last(pre)
    blocks = pre.shape[2] // h.shape[2]
    lengths = (8, sizes["size"], sizes["pre_batch"], sizes["pre_time"], sizes["channels"] if last else 0, *strides)
    return {
        "BLOCKS": blocks,
        "CELL": cell,
        "LAST": last,
        "WIDE": blocks * sizes["size"] >= 2**31 - 2**16,
        "ALIGN": math.gcd(*lengths),
        "DOUBLE": pre.dtype == torch.float64,
        "FAST": pre.dtype != torch.float64 and not interpreted(),
    }


def _batch_stride(tensor: Tensor | None) -> int:
    """Zero where there is one sequence only: then the stride means nothing."""
    return 0 if tensor is None or tensor.shape[0] == 1 else tensor.stride(0)
