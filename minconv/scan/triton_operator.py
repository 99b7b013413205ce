"""The Triton kernels as an operator of torch: ``torch.ops.minconv.triton_scan`` and its backward pass.

What lives here: allocation in the right layout, what autograd, torch.compile, torch.export and vmap need to know, and
why the kernels cannot run where they cannot. What does not: the kernels (`minconv.scan.triton`) and what they are
started with (`minconv.scan.triton_launch`).

    if not unavailable(pre.device):
        h, final_state = scan(pre_BTCHW, None, "gru", bias)

Inputs are read in place where each frame is NCHW or channels_last; otherwise they are copied first. The operator has
reverse-mode first derivatives only: others are refused with a sentence.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import GradientError, InputError
from . import triton as kernels
from . import triton_launch as launch

# Below this compute capability Triton has no bfloat16.
_CAPABILITY = (8, 0)
# Kernels number the points of one channel, and the channels, in 32 bits.
_MOST_POINTS = 2**31 - 2**16

Optional = Tensor | None


def scan(pre: Tensor, initial_state: Optional, cell: str, bias: Optional) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`.

    Raises:
        InputError: A frame has 2^31 points or more.
        GradientError: Forward-mode differentiation; the backward pass is differentiated.
    """
    if not torch.compiler.is_compiling():
        _refuse_tangents(pre, initial_state, bias)
    h, final_state = torch.ops.minconv.triton_scan(pre, initial_state, bias, cell)
    return h, final_state


@functools.cache
def unavailable(device: torch.device) -> str:
    """Why the kernels cannot run on tensors of that device; empty where they can."""
    if kernels.MISSING:
        return f"{kernels.MISSING}; install the triton package that fits this torch"
    if kernels.interpreted():
        return ""
    if device.type != "cuda":
        return f"it needs tensors on a CUDA device, got {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        return f"it needs a GPU of compute capability 8.0 or newer, got {capability[0]}.{capability[1]}"
    try:
        _forward(torch.zeros(1, 1, 2, 1, 1, device=device), None, None, "gru")
    except (
        Exception
    ) as error:  # whatever keeps Triton from building or starting a kernel, a missing C compiler above all
        return f"Triton could not build and start a kernel ({type(error).__name__}: {error})"
    return ""


def _refuse_tangents(*tensors: Optional) -> None:
    """Forward-mode differentiation would silently give a zero tangent."""
    unpack: Callable[[Tensor], Any] = forward_ad.unpack_dual
    if any(tensor is not None and unpack(tensor).tangent is not None for tensor in tensors):
        raise GradientError(
            "the scan has no forward-mode derivative in backend 'triton', but an argument has a tangent; use "
            "backend='logspace', or reverse mode"
        )


def _empty_frames(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """New tensor [..., C, H, W], channels_last where the frames of `like` are."""
    if launch.channels_last(like):
        *outer, channels, height, width = shape
        return like.new_empty(*outer, height, width, channels, dtype=dtype).movedim(-1, -3)
    return like.new_empty(shape, dtype=dtype)


def _in_layout(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor itself where its frames lie as results for `like` do, else a copy that does."""
    if launch.lies(tensor, launch.channels_last(like)):
        return tensor
    return _empty_frames(tuple(tensor.shape), like, tensor.dtype).copy_(tensor)


def _optional(function: Callable[..., Tensor], tensor: Optional, *arguments: Tensor) -> Optional:
    return None if tensor is None else function(tensor, *arguments)


def _empty_results(pre: Tensor, state: Optional, bias: Optional, cell: str) -> tuple[Tensor, Tensor]:
    """H and final state, not filled: all that a tracer needs."""
    batch, frames, channels, height, width = pre.shape
    channels = channels // (2 if cell == "gru" else 3)
    h = _empty_frames((batch, frames, channels, height, width), pre, pre.dtype)
    return h, _empty_frames((batch, channels, height, width), pre, _real(pre))


def _forward(pre: Tensor, state: Optional, bias: Optional, cell: str) -> tuple[Tensor, Tensor]:
    if max(pre.shape[2], pre.shape[3] * pre.shape[4]) >= _MOST_POINTS:
        raise InputError(f"pre must have fewer than 2^31 points in a channel, got shape {tuple(pre.shape)}")
    h, final = _empty_results(pre, state, bias, cell)
    with _on_device(pre):
        launch.forward(
            _in_layout(pre, pre), _optional(_in_layout, state, pre), _optional(Tensor.contiguous, bias), cell, h, final
        )
    return h, final


def _empty_gradients(
    pre: Tensor,
    state: Optional,
    bias: Optional,
    h: Tensor,
    grad_h: Optional,
    grad_final: Optional,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of pre, initial state and bias, not filled; of what was not given, of no elements."""
    grad_pre = _empty_frames(tuple(pre.shape), pre, pre.dtype)
    grad_state = pre.new_empty(0) if state is None else _empty_frames(tuple(state.shape), pre, state.dtype)
    return grad_pre, grad_state, pre.new_empty(0) if bias is None else torch.empty_like(bias)


def _backward(
    pre: Tensor,
    state: Optional,
    bias: Optional,
    h: Tensor,
    grad_h: Optional,
    grad_final: Optional,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_pre, grad_state, grad_bias = _empty_gradients(pre, state, bias, h, grad_h, grad_final, cell)
    group = launch.group_size(pre)
    blocks, (batch, _, channels, height, width) = pre.shape[2] // h.shape[2], h.shape
    partial = None
    if bias is not None:
        partial = pre.new_empty(batch, blocks, channels * height * width // group, dtype=_real(pre))
    with _on_device(pre):
        launch.backward(
            (
                _in_layout(pre, pre),
                _optional(_in_layout, state, pre),
                _optional(Tensor.contiguous, bias),
                _in_layout(h, pre),
            ),
            (_optional(_in_layout, grad_h, pre), _optional(_in_layout, grad_final, pre)),
            cell,
            (grad_pre, grad_state, partial),
        )
    if partial is not None:
        shape, over = (-1, channels), (0, 2)
        if not launch.channels_last(pre):
            shape, over = (channels, -1), (0, 3)
        grad_bias.copy_(partial.view(batch, blocks, *shape).sum(over).flatten())
    return grad_pre, grad_state, grad_bias


def _on_device(pre: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the current device, which need not be that of their arguments."""
    return torch.cuda.device(pre.device) if pre.is_cuda else contextlib.nullcontext()


def _real(pre: Tensor) -> torch.dtype:
    """Type of the state and of all arithmetic."""
    return torch.float64 if pre.dtype == torch.float64 else torch.float32


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    pre, state, bias, ctx.cell = inputs
    ctx.save_for_backward(pre, state, bias, output[0])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_h: Optional, grad_final: Optional) -> tuple[Optional, Optional, Optional, None]:
    pre, state, bias, h = ctx.saved_tensors
    grad_pre, grad_state, grad_bias = torch.ops.minconv.triton_scan_backward(
        pre, state, bias, h, grad_h, grad_final, ctx.cell
    )
    return grad_pre, None if state is None else grad_state, None if bias is None else grad_bias, None


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """The derivative that is refused needs nothing."""


def _refuse_second_derivative(ctx: Any, *gradients: Optional) -> None:
    raise GradientError(
        "the scan has a first derivative only, but its gradient was differentiated again; use backend='logspace' for "
        "second derivatives"
    )


def _one_by_one(operator: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Any]:
    """Vmap as a loop: one launch for each entry of the mapped dimension fills a GPU as well as one for all."""

    def batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        entries = [
            operator(*(x if dim is None else x.select(dim, entry) for x, dim in zip(arguments, in_dims, strict=True)))
            for entry in range(info.batch_size)
        ]
        results = tuple(torch.stack(parts) for parts in zip(*entries, strict=True))
        return results, (0,) * len(results)

    return batched


def _register() -> torch.library.Library:
    make: Callable[..., torch.library.Library] = torch.library.Library
    library: Any = make("minconv", "FRAGMENT")
    library.define("triton_scan(Tensor pre, Tensor? state, Tensor? bias, str cell) -> (Tensor, Tensor)")
    library.define(
        "triton_scan_backward(Tensor pre, Tensor? state, Tensor? bias, Tensor h, Tensor? grad_h, Tensor? grad_final, "
        "str cell) -> (Tensor, Tensor, Tensor)"
    )
    functions: dict[str, tuple[Callable[..., Any], ...]] = {
        "triton_scan": (_forward, _empty_results, _differentiate, _save),
        "triton_scan_backward": (_backward, _empty_gradients, _refuse_second_derivative, _save_nothing),
    }
    for name, (kernel, empty, derivative, save) in functions.items():
        qualified = f"minconv::{name}"
        library.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(qualified, empty, lib=library)
        torch.library.register_autograd(qualified, derivative, setup_context=save, lib=library)
        torch.library.register_vmap(qualified, _one_by_one(getattr(torch.ops.minconv, name)), lib=library)
    return library  # type: ignore[no-any-return]


# Kept, because the operators last as long as it does.
_LIBRARY = _register()
