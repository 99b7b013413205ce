"""The scan on a CUDA device: the operators' kernels in Triton, which read both frame layouts in place.

What lives here: layouts made right, memory for the results, and why the kernels cannot run where they cannot. What does
not: the kernels (`minconv.scan.triton_forward` and its neighbours) and what they are started with
(`minconv.scan.triton_launch`).

    if not unavailable(pre.device):
        h, final_state = scan(pre_BTCHW, None, "gru", bias)

Where Triton's interpreter is on (TRITON_INTERPRET=1), the kernels are those of the CPU.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from . import op, triton
from . import triton_launch as launch
from .frames import block_count, dense, dense_state, empty_frames, empty_state, is_channels_last, whole

# Below this compute capability Triton has no bfloat16.
_CAPABILITY = (8, 0)
# Kernels number the points of one channel, and the channels, in 32 bits.
_MOST_POINTS = 2**31 - 2**16

if triton.interpreted():
    from . import cpu  # noqa: F401 - registers its kernels first, so that those below take their place

_DEVICE = "cpu" if triton.interpreted() else "cuda"


def scan(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`.

    Raises:
        InputError: A frame has 2^31 points or more.
    """
    return op.apply(pre, initial_state, cell, bias)


@functools.cache
def unavailable(device: torch.device) -> str:
    """Why the kernels cannot run on tensors of that device; empty where they can."""
    if triton.MISSING:
        return f"{triton.MISSING}; install the triton package that fits this torch"
    if triton.interpreted():
        return ""
    if device.type != "cuda":
        return f"it needs tensors on a CUDA device, got {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        return f"it needs a GPU of compute capability 8.0 or newer, got {capability[0]}.{capability[1]}"
    try:
        forward(torch.zeros(1, 1, 2, 1, 1, device=device), None, None, "gru")
    # Whatever keeps Triton from building or starting a kernel, a missing C compiler above all.
    except Exception as error:
        return f"Triton could not build and start a kernel ({type(error).__name__}: {error})"
    return ""


@op.scan_forward.register_kernel(_DEVICE)
def forward(pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str) -> tuple[Tensor, Tensor]:
    """`op.scan_forward` on a CUDA device."""
    if max(pre.shape[2], pre.shape[3] * pre.shape[4]) >= _MOST_POINTS:
        raise InputError(f"pre must have fewer than 2^31 points in a channel, got shape {tuple(pre.shape)}")
    last = is_channels_last(pre)
    h = empty_frames(pre, pre.shape[2] // block_count(cell), pre.shape[1], pre.dtype)
    final = empty_state(h)
    with _on_device(pre):
        launch.forward(dense(pre, last), _state(initial_state, last), _vector(bias), cell, h, final)
    return h, final


@op.scan_backward.register_kernel(_DEVICE)
def backward(
    pre: Tensor,
    initial_state: Tensor | None,
    bias: Tensor | None,
    h: Tensor,
    grad_h: Tensor | None,
    grad_final: Tensor | None,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """`op.scan_backward` on a CUDA device."""
    last = is_channels_last(pre)
    x = dense(pre, last)
    grad_pre = empty_frames(x, x.shape[2], x.shape[1], x.dtype)
    grad_state = x.new_empty(0) if initial_state is None else empty_state(h).to(initial_state.dtype)
    partial = None if bias is None else launch.empty_partial(x, h)
    saved = (x, _state(initial_state, last), _vector(bias), whole(h, last))
    gradients = (None if grad_h is None else dense(grad_h, last), _state(grad_final, last))
    with _on_device(x):
        launch.backward(saved, gradients, cell, (grad_pre, grad_state, partial))
    if bias is None or partial is None:
        return grad_pre, grad_state, x.new_empty(0)
    channels = h.shape[2]
    shape, over = ((-1, channels), (0, 1, 3)) if last else ((channels, -1), (0, 1, 4))
    sums = partial.view(*partial.shape[:3], *shape).sum(over)
    return grad_pre, grad_state, sums.flatten().to(bias.dtype)


def _state(state: Tensor | None, last: bool) -> Tensor | None:
    return None if state is None else dense_state(state, last)


def _vector(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.contiguous()


def _on_device(pre: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the current device, which need not be that of their arguments."""
    return torch.cuda.device(pre.device) if pre.is_cuda else contextlib.nullcontext()
