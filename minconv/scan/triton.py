"""The scan on a GPU: one forward and one backward kernel for all cells, in Triton.

One lane holds one point of one channel of one sequence and walks through its frames with the state in a register, so
that every value is read once and written once: 3 planes forward and 6 backward for the GRU, 4 and 8 for the LSTM. The
state and all arithmetic are float32 (float64 for float64) whatever the type of the input. Only h is kept for the
backward pass; the gates are computed again, with h_{t-1}, because h_t stored in 16 bits would have lost what they took
in. A lane does the same operations in the same order however lanes are put into blocks: results do not depend on it.

What lives here: the kernels. What does not: their launch (`minconv.scan.triton_launch`), and the operator that torch
sees (`minconv.scan.triton_operator`). This file imports without Triton, and then `MISSING` says so.

    forward_kernel[(programs,)](pre, state, bias, h, final, **sizes, **constants)

All exponentials are of numbers that are not positive, so nothing overflows, and one reciprocal serves z and sigmoid(v):

    e = exp(min(v, 0)),  sigmoid(min(v, 0)) = e / (1 + e),  g(v) = max(v, 0) + that
    GRU    w = exp(-|k|);                 {z, 1 - z} = {1, w} / (1 + w), the larger one z where k >= 0
    LSTM   m = min(f, i, 0);              z = (exp(m) + exp(m - f)) / d,  1 - z = (exp(m) + exp(m - i)) / d,
           d = the sum of both numerators;  z sigmoid(-f) = exp(m - f) / d,  (1 - z) sigmoid(-i) = exp(m - i) / d
"""

# In a kernel the types are Triton's, and are known when it is compiled.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

from typing import Any

try:
    import triton
    from triton import language as tl
    from triton.language.extra import libdevice

    MISSING = ""
    _jit = triton.jit
except ImportError as error:
    MISSING = f"Triton cannot be imported ({error})"

    def _jit(function: Any) -> Any:
        """Leave the kernel a plain function that nobody calls."""
        return function


@_jit
def _lanes(block, size, channels, points, blocks, LAST: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr):
    """Of one block of a frame: where its lanes are in h, in pre (base and offset each), their channel, which exist.

    Bases are scalars, so that a thread adds one small number to an address that all of them share.
    """
    lane = tl.arange(0, BLOCK)
    start = block * BLOCK
    mask = lane < size - start
    if LAST:
        rest = (start % channels).to(tl.int32) + lane
        channel = rest % channels
        base = (start // channels).to(tl.int64) * (blocks * channels)
        offset = rest // channels * (blocks * channels) + channel
        # Neighbours of one pixel; the compiler does not see it through the division.
        offset = tl.max_contiguous(tl.multiple_of(offset, ALIGN), ALIGN)
    else:
        base = start.to(tl.int64)
        offset = lane
        channel = (start // points).to(tl.int32) + ((start % points).to(tl.int32) + lane) // points
    return start.to(tl.int64), lane, base, offset, channel, mask


@_jit
def _read(frame, offset, step, mask, CELL: tl.constexpr):
    """The channel blocks of one frame as they are stored: k, k (not used), v for the GRU, else f, i, v."""
    first = tl.load(frame + offset, mask=mask, other=0.0)
    second = first
    if CELL == "gru":
        last = tl.load(frame + step + offset, mask=mask, other=0.0)
    else:
        second = tl.load(frame + step + offset, mask=mask, other=0.0)
        last = tl.load(frame + 2 * step + offset, mask=mask, other=0.0)
    return first, second, last


@_jit
def _read_bias(bias, channel, channels, mask, CELL: tl.constexpr, REAL: tl.constexpr):
    """Bias of each lane's channel in each block."""
    first = tl.load(bias + channel, mask=mask, other=0.0).to(REAL)
    second = first
    if CELL == "gru":
        last = tl.load(bias + channels + channel, mask=mask, other=0.0).to(REAL)
    else:
        second = tl.load(bias + channels + channel, mask=mask, other=0.0).to(REAL)
        last = tl.load(bias + 2 * channels + channel, mask=mask, other=0.0).to(REAL)
    return first, second, last


@_jit
def _reciprocal(x, FAST: tl.constexpr):
    """1 / x for x from 1 to 8: on a GPU in float32 the instruction alone, without its care for tiny and huge x."""
    if FAST:
        return libdevice.fast_dividef(1.0, x)
    return 1.0 / x


@_jit
def _gates(first, second, v, CELL: tl.constexpr, FAST: tl.constexpr):
    """z, 1 - z, g(v), g'(v), and for the LSTM z sigmoid(-f), (1 - z) sigmoid(-i).

    exp(x) is exp2(x log2(e)): the same, without the handling of results below 1e-38. Selections compare so that NaN in
    v reaches g; minimum and maximum would drop it.
    """
    e = tl.exp2(tl.where(v >= 0, 0.0, v) * 1.4426950408889634)
    one_e = 1.0 + e
    if CELL == "lstm":
        m = tl.minimum(tl.minimum(first, second), 0.0)
        both = tl.exp2(m * 1.4426950408889634)
        forget = tl.exp2((m - first) * 1.4426950408889634)
        take = tl.exp2((m - second) * 1.4426950408889634)
        take_in = both + forget
        keep_up = both + take
        total = take_in + keep_up
        inverse = _reciprocal(total * one_e, FAST)
        share = one_e * inverse
        z = take_in * share
        keep = keep_up * share
        slope_f = forget * share
        slope_i = take * share
    else:
        k = first
        if CELL == "explstm":
            k = second - first
        w = tl.exp2(tl.abs(k) * -1.4426950408889634)
        total = 1.0 + w
        inverse = _reciprocal(total * one_e, FAST)
        larger = one_e * inverse
        smaller = w * larger
        z = tl.where(k >= 0, larger, smaller)
        keep = tl.where(k >= 0, smaller, larger)
        slope_f = z
        slope_i = keep
    upper = total * inverse
    lower = e * upper
    g = tl.where(v >= 0, v, 0.0) + lower
    slope = tl.where(v >= 0, 1.0, lower * upper)
    return z, keep, g, slope, slope_f, slope_i


@_jit
def forward_kernel(
    pre,
    state,
    bias,
    h,
    final,
    frames: tl.int32,
    size: tl.int64,
    channels: tl.int32,
    points: tl.int32,
    pre_batch: tl.int64,
    pre_time: tl.int64,
    state_batch: tl.int64,
    BLOCKS: tl.constexpr,
    CELL: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    ALIGN: tl.constexpr,
    DOUBLE: tl.constexpr,
    FAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write h and the final state of one block of one sequence.

    Sizes: lanes of a frame, channels, points of a channel; strides in values. ALIGN divides every length, so that
    loads may be that wide; WIDE: a frame of pre has 2^31 values or more.
    """
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    # Multiples of ALIGN, said so that the compiler can see it: this is what makes the loads as wide as they can be.
    size = size // ALIGN * ALIGN
    pre_batch = pre_batch // ALIGN * ALIGN
    pre_time = pre_time // ALIGN * ALIGN
    state_batch = state_batch // ALIGN * ALIGN
    if LAST:
        channels = channels // ALIGN * ALIGN
    per_frame = tl.cdiv(size, BLOCK).to(tl.int32)
    program = tl.program_id(0)
    batch = (program // per_frame).to(tl.int64)
    block = program % per_frame
    if WIDE:
        block = block.to(tl.int64)
    else:
        size = size.to(tl.int32)
    start, lane, base, offset, channel, mask = _lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = size
    if LAST:
        step = channels
    if bias is not None:
        bias_first, bias_second, bias_v = _read_bias(bias, channel, channels, mask, CELL, REAL)
    if state is None:
        x = tl.full([BLOCK], 0.5, REAL)
    else:
        x = tl.load(state + batch * state_batch + start + lane, mask=mask, other=0.0).to(REAL)
    frame = pre + batch * pre_batch + base
    out = h + batch * frames * size + start
    raw_first, raw_second, raw_v = _read(frame, offset, step, mask, CELL)
    for t in range(frames):
        first, second, v = raw_first.to(REAL), raw_second.to(REAL), raw_v.to(REAL)
        # The next frame is asked for before this one is worked on; after the last, that one again.
        ahead = tl.minimum(t + 1, frames - 1)
        raw_first, raw_second, raw_v = _read(frame + ahead * pre_time, offset, step, mask, CELL)
        if bias is not None:
            first, second, v = first + bias_first, second + bias_second, v + bias_v
        z, _, g, _, _, _ = _gates(first, second, v, CELL, FAST)
        x += z * (g - x)
        tl.store(out + lane, x.to(h.dtype.element_ty), mask=mask)
        out += size
    tl.store(final + batch * size + start + lane, x, mask=mask)


@_jit
def _slopes(first, second, v, before, total, CELL: tl.constexpr, FAST: tl.constexpr):
    """Gradients of the channel blocks of one frame and of h_{t-1}, given h_{t-1} and the gradient `total` of h_t."""
    z, keep, g, slope, slope_f, slope_i = _gates(first, second, v, CELL, FAST)
    change = total * (g - before)
    if CELL == "lstm":
        grad_first = -(change * keep) * slope_f
        grad_second = change * z * slope_i
    else:
        grad_second = change * z * keep
        grad_first = grad_second
        if CELL == "explstm":
            grad_first = -grad_second
    return grad_first, grad_second, total * z * slope, total * keep


@_jit
def _write(frame, offset, step, mask, first, second, last, CELL: tl.constexpr):
    """The opposite of `_read`."""
    store = frame.dtype.element_ty
    tl.store(frame + offset, first.to(store), mask=mask)
    if CELL == "gru":
        tl.store(frame + step + offset, last.to(store), mask=mask)
    else:
        tl.store(frame + step + offset, second.to(store), mask=mask)
        tl.store(frame + 2 * step + offset, last.to(store), mask=mask)


@_jit
def _add_pairs(x, PAIRINGS: tl.constexpr):
    """Sums of 2**PAIRINGS neighbours, in an order that does not depend on how lanes are given to threads."""
    for _ in tl.static_range(PAIRINGS):
        even, odd = tl.split(tl.reshape(x, [x.shape[0] // 2, 2]))
        x = even + odd
    return x


@_jit
def backward_kernel(
    pre,
    state,
    bias,
    h,
    grad_h,
    grad_final,
    grad_pre,
    grad_state,
    partial,
    frames: tl.int32,
    size: tl.int64,
    channels: tl.int32,
    points: tl.int32,
    pre_batch: tl.int64,
    pre_time: tl.int64,
    state_batch: tl.int64,
    grad_batch: tl.int64,
    grad_time: tl.int64,
    final_batch: tl.int64,
    BLOCKS: tl.constexpr,
    CELL: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    ALIGN: tl.constexpr,
    DOUBLE: tl.constexpr,
    FAST: tl.constexpr,
    PAIRINGS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradients of one block of one sequence, from the last frame to the first; arguments as above.

    `partial` takes the bias gradient summed over time and over 2**PAIRINGS neighbours: [B, G, C·H·W / 2**PAIRINGS].
    """
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    size = size // ALIGN * ALIGN
    pre_batch = pre_batch // ALIGN * ALIGN
    pre_time = pre_time // ALIGN * ALIGN
    state_batch = state_batch // ALIGN * ALIGN
    grad_batch = grad_batch // ALIGN * ALIGN
    grad_time = grad_time // ALIGN * ALIGN
    final_batch = final_batch // ALIGN * ALIGN
    if LAST:
        channels = channels // ALIGN * ALIGN
    per_frame = tl.cdiv(size, BLOCK).to(tl.int32)
    program = tl.program_id(0)
    batch = (program // per_frame).to(tl.int64)
    block = program % per_frame
    if WIDE:
        block = block.to(tl.int64)
    else:
        size = size.to(tl.int32)
    start, lane, base, offset, channel, mask = _lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = size
    if LAST:
        step = channels
    if bias is not None:
        bias_first, bias_second, bias_v = _read_bias(bias, channel, channels, mask, CELL, REAL)
        sum_first = tl.zeros([BLOCK], REAL)
        sum_second = tl.zeros([BLOCK], REAL)
        sum_v = tl.zeros([BLOCK], REAL)
    carry = tl.zeros([BLOCK], REAL)
    if grad_final is not None:
        carry = tl.load(grad_final + batch * final_batch + start + lane, mask=mask, other=0.0).to(REAL)
    frame = pre + batch * pre_batch + base
    before = h + batch * frames * size + start
    if grad_h is not None:
        above = grad_h + batch * grad_batch + start
    end = frames - 1
    out = grad_pre + (batch * frames + end) * (BLOCKS * size) + base
    raw_first, raw_second, raw_v = _read(frame + end.to(tl.int64) * pre_time, offset, step, mask, CELL)
    raw_before = tl.load(before + tl.maximum(end - 1, 0).to(tl.int64) * size + lane, mask=mask, other=0.0)
    if grad_h is not None:
        raw_grad = tl.load(above + end.to(tl.int64) * grad_time + lane, mask=mask, other=0.0)
    for reverse in range(end):
        first, second, v, past = raw_first.to(REAL), raw_second.to(REAL), raw_v.to(REAL), raw_before.to(REAL)
        total = carry
        if grad_h is not None:
            total += raw_grad.to(REAL)
        # The frame before is asked for now; h of the frame before that, which the last round does not need.
        ahead = (end - 1 - reverse).to(tl.int64)
        raw_first, raw_second, raw_v = _read(frame + ahead * pre_time, offset, step, mask, CELL)
        raw_before = tl.load(before + tl.maximum(ahead - 1, 0) * size + lane, mask=mask, other=0.0)
        if grad_h is not None:
            raw_grad = tl.load(above + ahead * grad_time + lane, mask=mask, other=0.0)
        if bias is not None:
            first, second, v = first + bias_first, second + bias_second, v + bias_v
        grad_first, grad_second, grad_v, carry = _slopes(first, second, v, past, total, CELL, FAST)
        _write(out, offset, step, mask, grad_first, grad_second, grad_v, CELL)
        out -= BLOCKS * size
        if bias is not None:
            sum_first += grad_first
            sum_second += grad_second
            sum_v += grad_v
    # Frame 0, which comes after the initial state.
    first, second, v = raw_first.to(REAL), raw_second.to(REAL), raw_v.to(REAL)
    if state is None:
        past = tl.full([BLOCK], 0.5, REAL)
    else:
        past = tl.load(state + batch * state_batch + start + lane, mask=mask, other=0.0).to(REAL)
    total = carry
    if grad_h is not None:
        total += raw_grad.to(REAL)
    if bias is not None:
        first, second, v = first + bias_first, second + bias_second, v + bias_v
    grad_first, grad_second, grad_v, carry = _slopes(first, second, v, past, total, CELL, FAST)
    _write(out, offset, step, mask, grad_first, grad_second, grad_v, CELL)
    if state is not None:
        tl.store(grad_state + batch * size + start + lane, carry.to(grad_state.dtype.element_ty), mask=mask)
    if bias is not None:
        small = tl.arange(0, BLOCK >> PAIRINGS)
        groups = size >> PAIRINGS
        place = partial + batch * (BLOCKS * groups) + (start >> PAIRINGS)
        inside = small < groups - (start >> PAIRINGS)
        tl.store(place + small, _add_pairs(sum_first + grad_first, PAIRINGS), mask=inside)
        if CELL != "gru":
            tl.store(place + groups + small, _add_pairs(sum_second + grad_second, PAIRINGS), mask=inside)
        tl.store(place + (BLOCKS - 1) * groups + small, _add_pairs(sum_v + grad_v, PAIRINGS), mask=inside)


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, on the CPU: TRITON_INTERPRET=1 when this file was imported."""
    return not MISSING and not isinstance(forward_kernel, triton.JITFunction)
