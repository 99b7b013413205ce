"""The scan as two torch operators, which every kernel of it shares.

`scan_forward` and `scan_backward` have one implementation in plain torch (`reference`) for all devices; a kernel for
one device registers itself instead of it (`cpu`, `cuda`). What they have in common lives here: shapes and layouts for
tracing, the derivative, the refusal of the second one and of forward-mode derivatives, and vmap. They work under
torch.compile, torch.export and autocast (a 16-bit input stays 16-bit; the state is float32 anyway).

    h, final_state = apply(pre_BTCHW, None, "gru", bias)

A kernel is a pair of functions with the signatures of the two operators, registered by
``scan_forward.register_kernel("cpu")(forward)``. Where `scan_backward` has nothing to return, for lack of an initial
state or a bias, it returns an empty tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import GradientError
from . import reference
from .frames import block_count, empty_frames, empty_state
from .reference import NO_SECOND_DERIVATIVE

_NO_FORWARD_MODE = (
    "the scan has reverse-mode derivatives only, but a forward-mode derivative was asked for; use backend='logspace' "
    "for those"
)


def apply(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`, by the kernel of the tensors' device."""
    if not torch.compiler.is_compiling():
        _refuse_forward_mode(pre, initial_state, bias)
    h, final_state = scan_forward(pre, initial_state, bias, cell)
    return h, final_state


@torch.library.custom_op("minconv::scan_forward", mutates_args=())
def scan_forward(pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str) -> tuple[Tensor, Tensor]:
    """(h, final state)."""
    return reference.forward(pre, initial_state, bias, cell)


@torch.library.custom_op("minconv::scan_backward", mutates_args=())
def scan_backward(
    pre: Tensor,
    initial_state: Tensor | None,
    bias: Tensor | None,
    h: Tensor,
    grad_h: Tensor | None,
    grad_final: Tensor | None,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of pre, of the initial state and of the bias."""
    grad_pre, *others = reference.backward(pre, initial_state, bias, h, grad_h, grad_final, cell)
    grad_initial, grad_bias = (pre.new_empty(0) if gradient is None else gradient for gradient in others)
    return grad_pre, grad_initial, grad_bias


@scan_forward.register_fake
def _(pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str) -> tuple[Tensor, Tensor]:
    h = empty_frames(pre, pre.shape[2] // block_count(cell), pre.shape[1], pre.dtype)
    return h, empty_state(h)


@scan_backward.register_fake
def _(
    pre: Tensor,
    initial_state: Tensor | None,
    bias: Tensor | None,
    h: Tensor,
    grad_h: Tensor | None,
    grad_final: Tensor | None,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_pre = empty_frames(pre, pre.shape[2], pre.shape[1], pre.dtype)
    grad_initial = pre.new_empty(0) if initial_state is None else empty_state(h).to(initial_state.dtype)
    return grad_pre, grad_initial, pre.new_empty(0) if bias is None else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    pre, initial_state, bias, ctx.cell = inputs
    ctx.save_for_backward(pre, initial_state, bias, output[0])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_h: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
    pre, initial_state, bias, h = ctx.saved_tensors
    if grad_h is None and grad_final is None:
        return None, None, None, None
    grad_pre, grad_initial, grad_bias = scan_backward(pre, initial_state, bias, h, grad_h, grad_final, ctx.cell)
    return grad_pre, None if initial_state is None else grad_initial, None if bias is None else grad_bias, None


def _refuse_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    raise GradientError(NO_SECOND_DERIVATIVE)


scan_forward.register_autograd(_differentiate, setup_context=_save)
scan_backward.register_autograd(_refuse_second_derivative)


def _one_by_one(operator: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Any]:
    """Vmap as a loop: a kernel has work enough in each entry of the mapped dimension, which may have its own bias."""

    def batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        entries = [
            operator(*(x if dim is None else x.select(dim, entry) for x, dim in zip(arguments, in_dims, strict=True)))
            for entry in range(info.batch_size)
        ]
        results = tuple(torch.stack(parts) for parts in zip(*entries, strict=True))
        return results, (0,) * len(results)

    return batched


scan_forward.register_vmap(_one_by_one(scan_forward))
scan_backward.register_vmap(_one_by_one(scan_backward))


def _refuse_forward_mode(*tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:  # type: ignore[no-untyped-call]
            raise GradientError(_NO_FORWARD_MODE)
