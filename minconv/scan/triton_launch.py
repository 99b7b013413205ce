"""How the Triton kernels are started: sizes, strides, what is fixed at compile time, and how many lanes a thread takes.

What lives here: whatever follows from the shapes of tensors whose layout is already right. What does not: making it
right (`minconv.scan.triton_operator`), the kernels (`minconv.scan.triton`).

    forward(pre, None, bias, "gru", h, final)  # fills h and final
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .triton import backward_kernel, forward_kernel, interpreted

# Registers of a thread of the backward pass for 16-bit types: some fewer than it takes when it may, and still nothing
# spilled, so that one more block fits on a multiprocessor.
_REGISTERS = {"gru": 64, "lstm": 96}


def lies(frames: Tensor, last: bool) -> bool:
    """Whether the last three dimensions C, H, W lie without gaps as channels_last, or as NCHW."""
    (c, h, w), (by_c, by_h, by_w) = frames.shape[-3:], frames.stride()[-3:]
    steps = (1, w * c, c) if last else (h * w, w, 1)
    return all(size == 1 or by == step for size, by, step in zip((c, h, w), (by_c, by_h, by_w), steps, strict=True))


def channels_last(frames: Tensor) -> bool:
    """The layout of results for that input: that of its frames; NCHW for one that is neither."""
    return lies(frames, True) and not lies(frames, False)


def launch_options(lanes: int, itemsize: int, cell: str, *, backward: bool) -> dict[str, int]:
    """Lanes of one program, its warps, and a bound on registers: a rule and not a search, so that all processes of a
    distributed run choose alike.

    A thread takes up to 16 bytes of a plane (in the backward pass of 16-bit types 8, for want of registers), as long as
    that leaves 2^17 threads, about a thousand for each multiprocessor.

    Args:
        lanes: B·C·H·W.
        itemsize: Bytes of one value of the input.
        cell: As in `minconv.scan.scan`.
        backward: For the backward kernel.
    """
    most = 4 if backward else 8
    per_thread = min(most, 16 // itemsize, 1 << max(0, (lanes >> 17).bit_length() - 1))
    warps = 2 if per_thread == 1 else 4
    options = {"BLOCK": 32 * warps * per_thread, "num_warps": warps}
    if backward and itemsize == 2 and per_thread == 4 and cell in _REGISTERS and torch.version.hip is None:
        options["maxnreg"] = _REGISTERS[cell]
    return options


def forward(pre: Tensor, state: Tensor | None, bias: Tensor | None, cell: str, h: Tensor, final: Tensor) -> None:
    """Fill h and the final state; layouts as the operator makes them."""
    sizes = _sizes(pre, h)
    options = launch_options(final.numel(), pre.element_size(), cell, backward=False)
    forward_kernel[(_programs(h, options["BLOCK"]),)](
        pre,
        state,
        bias,
        h,
        final,
        **sizes,
        state_batch=_batch_stride(state),
        **_constants(pre, h, cell, _batch_stride(state)),
        **options,
    )


def backward(
    saved: tuple[Tensor, Tensor | None, Tensor | None, Tensor],
    gradients: tuple[Tensor | None, Tensor | None],
    cell: str,
    results: tuple[Tensor, Tensor, Tensor | None],
) -> None:
    """Fill the gradients of pre, of the initial state, and the bias gradient's partial sums, one in `group_size`."""
    pre, state, bias, h = saved
    grad_h, grad_final = gradients
    sizes = _sizes(pre, h)
    options = launch_options(h[:, 0].numel(), pre.element_size(), cell, backward=True)
    strides = {
        "state_batch": _batch_stride(state),
        "grad_batch": _batch_stride(grad_h),
        "grad_time": 0 if grad_h is None or grad_h.shape[1] == 1 else grad_h.stride(1),
        "final_batch": _batch_stride(grad_final),
    }
    backward_kernel[(_programs(h, options["BLOCK"]),)](
        pre,
        state,
        bias,
        h,
        grad_h,
        grad_final,
        *results,
        **sizes,
        **strides,
        **_constants(pre, h, cell, *strides.values()),
        PAIRINGS=group_size(pre).bit_length() - 1,
        **options,
    )


def group_size(pre: Tensor) -> int:
    """How many neighbouring lanes, all of one channel, make one partial sum of the bias gradient."""
    points = pre.shape[-2] * pre.shape[-1]
    return 1 if channels_last(pre) else min(8, points & -points)


def _programs(h: Tensor, block: int) -> int:
    """Blocks of all sequences; none holds lanes of two."""
    return h.shape[0] * -(-h[0, 0].numel() // block)


def _sizes(pre: Tensor, h: Tensor) -> dict[str, int]:
    _, frames, channels, height, width = h.shape
    return {
        "frames": frames,
        "size": channels * height * width,
        "channels": channels,
        "points": height * width,
        "pre_batch": _batch_stride(pre),
        "pre_time": 0 if frames == 1 else pre.stride(1),
    }


def _constants(pre: Tensor, h: Tensor, cell: str, *strides: int) -> dict[str, Any]:
    sizes, last = _sizes(pre, h), channels_last(pre)
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
