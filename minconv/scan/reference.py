"""The scan in its linear form, in plain torch, with a backward pass written by hand.

Only h is saved beside the input; the gates are computed again in the backward pass. Frames are taken in blocks small
enough to stay in the processor's cache: each block's gates are computed at once, then the loop over time costs one
operation per frame. The state and all arithmetic are float32 (float64 for float64) whatever the type of the input.

With G_t the whole gradient that reaches h_t (from the last frame back to the first):

    G_t = dh_t + (1 - z_{t+1}) G_{t+1},  ds_t = G_t z_t (1 - z_t) (g(v_t) - h_{t-1}),  dv_t = G_t z_t g'(v_t)

and for the LSTM cell df = -sigmoid(-f) ds, di = sigmoid(-i) ds. g(v) = max(v + 0.5, sigmoid(v)), because a sigmoid is
never steeper than 1/4.

    h, final_state = scan(pre_BTCHW, None, "gru", bias)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GradientError

# Values of h in one block of frames: half a megabyte of float32, of which about six are in use at once.
_BLOCK_VALUES = 2**17


def scan(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`."""
    h, final_state = _LinearScan.apply(pre, initial_state, bias, cell)  # type: ignore[no-untyped-call]
    return h, final_state


class _LinearScan(torch.autograd.Function):
    """(pre, initial_state, bias, cell) -> (h, final_state)."""

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str
    ) -> tuple[Tensor, Tensor]:
        h = _empty_frames(pre, pre.shape[2] // _block_count(cell))
        state = _first_state(initial_state, h)
        for start, stop in _frame_blocks(h):
            gates = _gates(pre[:, start:stop], bias, cell, state.dtype)
            g = torch.maximum(gates.v + 0.5, gates.sigmoid_v)
            block = h[:, start:stop] if h.dtype == g.dtype else torch.empty_like(g)
            for t in range(stop - start):
                state = torch.lerp(state, g[:, t], gates.z[:, t], out=block[:, t])
            if block.dtype != h.dtype:
                h[:, start:stop] = block
        ctx.save_for_backward(pre, initial_state, bias, h)
        ctx.cell = cell
        ctx.set_materialize_grads(False)
        return h, state.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_h, grad_final = gradients
        with torch.no_grad():
            results = _backward(ctx.saved_tensors, ctx.cell, grad_h, grad_final)
        if torch.is_grad_enabled():
            inputs = (*gradients, *ctx.saved_tensors[:3])
            results = _RefuseSecondDerivative.apply(len(results), *results, *inputs)  # type: ignore[no-untyped-call]
        return (*results, None)


class _Gates(NamedTuple):
    """Of one block of frames, in the dtype of the computation."""

    z: Tensor
    v: Tensor
    sigmoid_v: Tensor
    forget_and_input: Tensor  # f, i of the LSTM cells; empty for the GRU cell


def _gates(pre: Tensor, bias: Tensor | None, cell: str, dtype: torch.dtype) -> _Gates:
    x = pre.to(dtype)
    if bias is not None:
        x = x + bias.to(dtype)[:, None, None]
    channels = x.shape[2] // _block_count(cell)
    v = x[:, :, -channels:]
    gates = x[:, :, :-channels]
    if cell == "gru":
        both = x.sigmoid()
        return _Gates(both[:, :, :channels], v, both[:, :, channels:], gates[:, :, :0])
    f, i = gates[:, :, :channels], gates[:, :, channels:]
    s = F.logsigmoid(i) - F.logsigmoid(f) if cell == "lstm" else i - f
    return _Gates(s.sigmoid_(), v, v.sigmoid(), gates)


def _backward(
    saved: tuple[Tensor, ...], cell: str, grad_h: Tensor | None, grad_final: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of pre, of the initial state and of the bias; the last two only where these were given."""
    pre, initial_state, bias, h = saved
    first = _first_state(initial_state, h)
    grad_pre = _empty_frames(pre, pre.shape[2])
    grad_bias = None if bias is None else torch.zeros_like(bias, dtype=first.dtype)
    carry = torch.zeros_like(first) if grad_final is None else torch.empty_like(first).copy_(grad_final)
    for start, stop in reversed(_frame_blocks(h)):
        gates = _gates(pre[:, start:stop], bias, cell, first.dtype)
        keep = 1 - gates.z
        total = _accumulate(None if grad_h is None else grad_h[:, start:stop], keep, carry)
        step = torch.maximum(gates.v + 0.5, gates.sigmoid_v)
        step[:, 0] -= h[:, start - 1] if start else first
        step[:, 1:] -= h[:, start : stop - 1]
        total *= gates.z
        grad_s = step.mul_(keep).mul_(total)
        grad_v = torch.where(gates.v >= 0, total, torch.ops.aten.sigmoid_backward(total, gates.sigmoid_v))
        _store(grad_pre[:, start:stop], gates, cell, grad_s, grad_v)
        if grad_bias is not None:
            grad_bias += grad_pre[:, start:stop].sum(dim=(0, 1, 3, 4), dtype=first.dtype)
    grad_initial = None if initial_state is None else carry.to(initial_state.dtype)
    return grad_pre, grad_initial, None if grad_bias is None or bias is None else grad_bias.to(bias.dtype)


def _accumulate(grad_h: Tensor | None, keep: Tensor, carry: Tensor) -> Tensor:
    """G of each frame of a block; `carry` is (1 - z) G of the frame after it and becomes that of the frame before."""
    total = torch.empty_like(keep)
    for t in reversed(range(keep.shape[1])):
        if grad_h is None:
            total[:, t] = carry
        else:
            torch.add(carry, grad_h[:, t], out=total[:, t])
        torch.mul(total[:, t], keep[:, t], out=carry)
    return total


def _store(grad_pre: Tensor, gates: _Gates, cell: str, grad_s: Tensor, grad_v: Tensor) -> None:
    """Write the gradients of one block into the channel blocks of `grad_pre`."""
    channels = grad_v.shape[2]
    grad_pre[:, :, -channels:] = grad_v
    if cell == "gru":
        grad_pre[:, :, :channels] = grad_s
        return
    grad_f, grad_i = grad_pre[:, :, :channels], grad_pre[:, :, channels:-channels]
    if cell == "explstm":
        torch.neg(grad_s, out=grad_f) if grad_f.dtype == grad_s.dtype else grad_f.copy_(-grad_s)
        grad_i.copy_(grad_s)
        return
    slope = gates.forget_and_input.neg().sigmoid_()
    grad_f.copy_(slope[:, :, :channels].mul_(grad_s).neg_())
    grad_i.copy_(slope[:, :, channels:].mul_(grad_s))


class _RefuseSecondDerivative(torch.autograd.Function):
    """Passes the first derivatives on; being differentiated, it says that there is no second."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raise GradientError(
            "the scan has a first derivative only, but its gradient was differentiated again; use backend='logspace' "
            "for second derivatives"
        )


def _block_count(cell: str) -> int:
    return 2 if cell == "gru" else 3


def _first_state(initial_state: Tensor | None, h: Tensor) -> Tensor:
    dtype = torch.float64 if h.dtype == torch.float64 else torch.float32
    if initial_state is None:
        return torch.full_like(h[:, 0], 0.5, dtype=dtype)
    return initial_state.to(dtype)


def _frame_blocks(h: Tensor) -> list[tuple[int, int]]:
    """Ranges of frames (start, stop) in order."""
    frames = h.shape[1]
    length = max(1, _BLOCK_VALUES // h[:, 0].numel())
    return [(start, min(start + length, frames)) for start in range(0, frames, length)]


def _empty_frames(like: Tensor, channels: int) -> Tensor:
    """New [B, T, channels, H, W] in the dtype of `like`, whose frames are channels_last where those of `like` are."""
    batch, time, _, height, width = like.shape
    frame = like[0, :1]
    if frame.is_contiguous() or not frame.is_contiguous(memory_format=torch.channels_last):
        return like.new_empty(batch, time, channels, height, width)
    return like.new_empty(batch, time, height, width, channels).permute(0, 1, 4, 2, 3)
