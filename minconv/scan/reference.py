"""The scan in its linear form, in plain torch, with a backward pass written by hand.

Only h is saved beside the input; the gates are computed again in the backward pass. Frames are taken in blocks small
enough to stay in the processor's cache: each block's gates are computed at once in buffers that all blocks share, then
the loop over time costs one operation per frame. The state and all arithmetic are float32 (float64 for float64)
whatever the type of the input.

With G_t the whole gradient that reaches h_t (from the last frame back to the first):

    G_t = dh_t + (1 - z_{t+1}) G_{t+1},  ds_t = G_t z_t (1 - z_t) (g(v_t) - h_{t-1}),  dv_t = G_t z_t g'(v_t)

and for the LSTM cell df = -sigmoid(-f) ds, di = sigmoid(-i) ds. A sigmoid is never steeper than 1/4, hence
g(v) = max(v + 0.5, sigmoid(v)) and g'(v) = max([v >= 0], sigmoid(v) (1 - sigmoid(v))), which need no selection by sign.

    h, final_state = scan(pre_BTCHW, None, "gru", bias)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import GradientError
from .frames import block_count, compute_dtype, empty_frames, empty_state

# Values of h in one block of frames: 256 KiB of float32 in each of about eight buffers.
_BLOCK_VALUES = 2**16

NO_SECOND_DERIVATIVE = (
    "the scan has a first derivative only, but its gradient was differentiated again; use backend='logspace' for "
    "second derivatives"
)

aten = torch.ops.aten


def scan(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`."""
    h, final_state = _LinearScan.apply(pre, initial_state, bias, cell)  # type: ignore[no-untyped-call]
    return h, final_state


def forward(pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str) -> tuple[Tensor, Tensor]:
    """The recurrence without derivatives: h and the state after the last frame."""
    h = empty_frames(pre, pre.shape[2] // block_count(cell), pre.shape[1], pre.dtype)
    state = _first_state(initial_state, h)
    gates = _Gates.empty(pre, bias, cell)
    cast = None if h.dtype == state.dtype else torch.empty_like(gates.g)
    for start, stop in _frame_blocks(h):
        block = gates.compute(pre[:, start:stop], bias, cell)
        block.compute_g()
        out = h[:, start:stop] if cast is None else cast[:, : stop - start]
        for z, g, h_t in zip(block.z.unbind(1), block.g.unbind(1), out.unbind(1), strict=True):
            state = torch.lerp(state, g, z, out=h_t)
        if cast is not None:
            h[:, start:stop] = out
            state = state.clone()  # the next block overwrites the buffer
    return h, empty_state(h).copy_(state)


class _LinearScan(torch.autograd.Function):
    """(pre, initial_state, bias, cell) -> (h, final_state)."""

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, initial_state: Tensor | None, bias: Tensor | None, cell: str
    ) -> tuple[Tensor, Tensor]:
        h, final_state = forward(pre, initial_state, bias, cell)
        ctx.save_for_backward(pre, initial_state, bias, h)
        ctx.cell = cell
        ctx.set_materialize_grads(False)
        return h, final_state

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_h, grad_final = gradients
        pre, initial_state, bias, h = ctx.saved_tensors
        with torch.no_grad():
            results = backward(pre, initial_state, bias, h, grad_h, grad_final, ctx.cell)
        if torch.is_grad_enabled():
            inputs = (*gradients, pre, initial_state, bias)
            results = _RefuseSecondDerivative.apply(len(results), *results, *inputs)  # type: ignore[no-untyped-call]
        return (*results, None)


class _Gates(NamedTuple):
    """Of one block of frames: the biased input x, the sigmoids of all its channels, z and g(v)."""

    x: Tensor
    sigmoids: Tensor
    z: Tensor
    g: Tensor

    @classmethod
    def empty(cls, pre: Tensor, bias: Tensor | None, cell: str) -> _Gates:
        """Buffers for the longest block."""
        channels = pre.shape[2] // block_count(cell)
        dtype = compute_dtype(pre)
        frames = min(pre.shape[1], _block_length(pre[:, 0, :channels]))
        x = pre[:, :frames] if bias is None and dtype == pre.dtype else empty_frames(pre, pre.shape[2], frames, dtype)
        sigmoids = empty_frames(pre, pre.shape[2], frames, dtype)
        g = empty_frames(pre, channels, frames, dtype)
        return cls(x, sigmoids, sigmoids[:, :, :channels] if cell == "gru" else torch.empty_like(g), g)

    def compute(self, pre: Tensor, bias: Tensor | None, cell: str) -> _Gates:
        """Gates of the frames `pre`, in these buffers; g is left for `compute_g`."""
        block = _Gates(*(buffer[:, : pre.shape[1]] for buffer in self))
        if bias is not None:
            torch.add(pre, bias.to(block.x.dtype)[:, None, None], out=block.x)
        elif pre.dtype != block.x.dtype:
            block.x.copy_(pre)
        else:
            block = block._replace(x=pre)
        if cell == "lstm":
            _lstm_gates(block)
            return block
        torch.sigmoid(block.x, out=block.sigmoids)
        if cell == "explstm":
            f, i, _ = block.x.chunk(3, dim=2)
            torch.sub(i, f, out=block.z).sigmoid_()
        return block

    @property
    def v(self) -> Tensor:
        """Input of g."""
        return self.x[:, :, -self.g.shape[2] :]

    @property
    def sigmoid_v(self) -> Tensor:
        """Sigmoid of v."""
        return self.sigmoids[:, :, -self.g.shape[2] :]

    def compute_g(self) -> None:
        """g(v) = max(v + 0.5, sigmoid(v))."""
        torch.maximum(torch.add(self.v, 0.5, out=self.g), self.sigmoid_v, out=self.g)

    def slope_of_g(self, out: Tensor) -> None:
        """g'(v) = max([v >= 0], sigmoid(v) (1 - sigmoid(v)))."""
        one = out.new_ones(()).expand(out.shape)
        tiny = torch.finfo(out.dtype).tiny  # the operation asks for v > threshold
        aten.sigmoid_backward.grad_input(one, self.sigmoid_v, grad_input=self.sigmoid_v)
        aten.threshold_backward.grad_input(one, self.v, -tiny, grad_input=out)
        torch.maximum(out, self.sigmoid_v, out=out)


def _lstm_gates(block: _Gates) -> None:
    """Compute z = sigmoid(i) / (sigmoid(f) + sigmoid(i)).

    Far below zero sigmoid(x) = exp(x) and the quotient depends on i - f only, so both are shifted until the larger one
    is -40; the quotient of the unshifted ones would be 0 / 0 below about -90.
    """
    f, i, v = block.x.chunk(3, dim=2)
    sigmoid_f, sigmoid_i, sigmoid_v = block.sigmoids.chunk(3, dim=2)
    shift = torch.maximum(f, i, out=block.z).add_(40.0).clamp_(max=0.0)
    torch.sub(f, shift, out=sigmoid_f)
    torch.sub(i, shift, out=sigmoid_i)
    sigmoid_v.copy_(v)
    block.sigmoids.sigmoid_()
    torch.div(sigmoid_i, torch.add(sigmoid_f, sigmoid_i, out=block.z), out=block.z)


def backward(
    pre: Tensor,
    initial_state: Tensor | None,
    bias: Tensor | None,
    h: Tensor,
    grad_h: Tensor | None,
    grad_final: Tensor | None,
    cell: str,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of pre, of the initial state and of the bias; the last two only where these were given."""
    first = _first_state(initial_state, h)
    grad_pre = empty_frames(pre, pre.shape[2], pre.shape[1], pre.dtype)
    grad_bias = None if bias is None else torch.zeros_like(bias, dtype=first.dtype)
    carry = empty_state(h).zero_() if grad_final is None else empty_state(h).copy_(grad_final)
    gates = _Gates.empty(pre, bias, cell)
    keep_buffer, total_buffer, slope_buffer = (torch.empty_like(gates.g) for _ in range(3))
    for start, stop in reversed(_frame_blocks(h)):
        block = gates.compute(pre[:, start:stop], bias, cell)
        keep, total, slope = (buffer[:, : stop - start] for buffer in (keep_buffer, total_buffer, slope_buffer))
        torch.sub(1.0, block.z, out=keep)
        _accumulate(None if grad_h is None else grad_h[:, start:stop], keep, carry, total)
        total *= block.z
        block.compute_g()
        step = block.g
        step[:, 0] -= h[:, start - 1] if start else first
        step[:, 1:] -= h[:, start : stop - 1]
        step *= keep
        step *= total
        block.slope_of_g(out=slope)
        out = grad_pre[:, start:stop]
        torch.mul(total, slope, out=out[:, :, -h.shape[2] :])
        _store_gates(out, block, cell, grad_s=step)
        if grad_bias is not None:
            grad_bias += out.sum(dim=(0, 1, 3, 4), dtype=first.dtype)
    grad_initial = None if initial_state is None else carry.to(initial_state.dtype)
    return grad_pre, grad_initial, None if grad_bias is None or bias is None else grad_bias.to(bias.dtype)


def _accumulate(grad_h: Tensor | None, keep: Tensor, carry: Tensor, total: Tensor) -> None:
    """G of each frame into `total`; `carry` is (1 - z) G of the frame after, and becomes that for the frame before."""
    totals, keeps = total.unbind(1), keep.unbind(1)
    if grad_h is None:
        totals[-1].copy_(carry)
        for t in reversed(range(len(totals) - 1)):
            torch.mul(keeps[t + 1], totals[t + 1], out=totals[t])
    else:
        gradients = grad_h.unbind(1)
        torch.add(carry, gradients[-1], out=totals[-1])
        for t in reversed(range(len(totals) - 1)):
            torch.addcmul(gradients[t], keeps[t + 1], totals[t + 1], out=totals[t])
    torch.mul(totals[0], keeps[0], out=carry)


def _store_gates(out: Tensor, block: _Gates, cell: str, grad_s: Tensor) -> None:
    """Write the gradients of the gates' channels of one block."""
    channels = grad_s.shape[2]
    if cell == "gru":
        out[:, :, :channels] = grad_s
        return
    grad_f, grad_i = out[:, :, :channels], out[:, :, channels:-channels]
    if cell == "explstm":
        grad_i.copy_(grad_s)
        grad_f.copy_(grad_s.neg_())
        return
    sigmoid_f, sigmoid_i, _ = block.sigmoids.chunk(3, dim=2)  # of the shifted gates, where 1 - sigmoid is 1 either way
    torch.mul(sigmoid_i.neg_().add_(1.0), grad_s, out=grad_i)
    torch.mul(sigmoid_f.sub_(1.0), grad_s, out=grad_f)


class _RefuseSecondDerivative(torch.autograd.Function):
    """Passes the first derivatives on; being differentiated, it says that there is no second."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raise GradientError(NO_SECOND_DERIVATIVE)


def _first_state(initial_state: Tensor | None, h: Tensor) -> Tensor:
    if initial_state is None:
        return torch.full_like(h[:, 0], 0.5, dtype=compute_dtype(h))
    return initial_state.to(compute_dtype(h))


def _block_length(frame: Tensor) -> int:
    return max(1, _BLOCK_VALUES // frame.numel())


def _frame_blocks(h: Tensor) -> list[tuple[int, int]]:
    """Ranges of frames (start, stop) in order."""
    frames, length = h.shape[1], _block_length(h[:, 0])
    return [(start, min(start + length, frames)) for start in range(0, frames, length)]
