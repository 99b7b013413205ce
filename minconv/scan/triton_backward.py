"""The backward kernel of the scan, for all cells: 6 planes of memory for the GRU, 8 for the LSTM.

Only h was kept for it; the gates are computed again, with h_{t-1}, because h_t stored in 16 bits would have lost what
they took in.

    backward_kernel[(programs,)](pre, state, bias, h, grad_h, grad_final, *results, None, **sizes, **constants)

What does not live here: what it is made of (`minconv.scan.triton`), and what comes before it where the frames are
scanned in chunks (`minconv.scan.triton_chunks`).
"""

# In a kernel the types are Triton's, and are known when it is compiled.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from .triton import gate_inputs, gates, jit, lanes, locate, read, read_bias, tl
from .triton_chunks import carried


@jit
def _slopes(first, second, v, before, reached, CELL: tl.constexpr, FAST: tl.constexpr):
    """Gradients of the channel blocks of one frame and of h_{t-1}, given h_{t-1} and the gradient that reached h_t."""
    take, keep, total, forget, enter, e, over, upper, inverse = gates(first, second, v, CELL, FAST)
    gain = reached * (over * inverse)  # of h_t, divided by total
    change = gain * ((over * (upper - before) + e) * inverse)  # times (g - h_{t-1}) / total
    if CELL == "lstm":
        grad_first, grad_second = -(change * forget) * keep, (change * enter) * take
    else:
        grad_second = change * forget
        grad_first = -grad_second if CELL == "explstm" else grad_second
    lower = total * inverse
    grad_v = gain * take * tl.where(v >= 0, 1.0, e * lower * lower)
    return grad_first, grad_second, grad_v, gain * keep


@jit
def _write(frame, offset, step, mask, first, second, last, CELL: tl.constexpr):
    """The opposite of `read`."""
    store = frame.dtype.element_ty
    tl.store(frame + offset, first.to(store), mask=mask)
    if CELL == "gru":
        tl.store(frame + step + offset, last.to(store), mask=mask)
    else:
        tl.store(frame + step + offset, second.to(store), mask=mask)
        tl.store(frame + 2 * step + offset, last.to(store), mask=mask)


@jit
def _add_pairs(x, PAIRINGS: tl.constexpr):
    """Sums of 2**PAIRINGS neighbours, in an order that does not depend on how lanes are given to threads."""
    for _ in tl.static_range(PAIRINGS):
        even, odd = tl.split(tl.reshape(x, [x.shape[0] // 2, 2]))
        x = even + odd
    return x


@jit
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
    summary,
    frames: tl.int32,
    length: tl.int32,
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
    """Write the gradients of one chunk of one block of one sequence, from its last frame to its first.

    `partial` takes the bias gradient summed over the chunk and over 2**PAIRINGS neighbours, [B, chunks, G, C·H·W /
    2**PAIRINGS]; other arguments as of `forward_kernel`.
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
    batch, chunk, begin, end, block, size = locate(frames, length, size, WIDE, BLOCK)
    start, lane, base, offset, channel, mask = lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = channels if LAST else size
    chunks = tl.cdiv(frames, length)
    bias_first, bias_second, bias_v = read_bias(bias, channel, channels, mask, CELL, REAL)
    if bias is not None:
        sum_first = tl.zeros([BLOCK], REAL)
        sum_second = tl.zeros([BLOCK], REAL)
        sum_v = tl.zeros([BLOCK], REAL)
    carry = tl.zeros([BLOCK], REAL)
    if grad_final is not None:
        carry = tl.load(grad_final + batch * final_batch + start + lane, mask=mask, other=0.0).to(REAL)
    if summary is not None:
        last_chunk = summary + (batch * chunks + chunks - 1) * 2 * size + start + lane
        carry = carried(carry, last_chunk, -2 * size, size, chunks - 1 - chunk, mask)
    frame = pre + batch * pre_batch + base
    before = h + batch * frames * size + start
    if grad_h is not None:
        above = grad_h + batch * grad_batch + start
    last = (end - 1).to(tl.int64)
    out = grad_pre + (batch * frames + last) * (BLOCKS * size) + base
    raw_first, raw_second, raw_v = read(frame + last * pre_time, offset, step, mask, CELL)
    raw_before = tl.load(before + tl.maximum(last - 1, 0) * size + lane, mask=mask, other=0.0)
    if grad_h is not None:
        raw_grad = tl.load(above + last * grad_time + lane, mask=mask, other=0.0)
    for back in range(1, end - begin):
        first, second, v = gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL, REAL)
        past = raw_before.to(REAL)
        reached = carry
        if grad_h is not None:
            reached += raw_grad.to(REAL)
        # The frame before is asked for now; h of the frame before that, which frame 0 does not need.
        ahead = (end - 1 - back).to(tl.int64)
        raw_first, raw_second, raw_v = read(frame + ahead * pre_time, offset, step, mask, CELL)
        raw_before = tl.load(before + tl.maximum(ahead - 1, 0) * size + lane, mask=mask, other=0.0)
        if grad_h is not None:
            raw_grad = tl.load(above + ahead * grad_time + lane, mask=mask, other=0.0)
        grad_first, grad_second, grad_v, carry = _slopes(first, second, v, past, reached, CELL, FAST)
        _write(out, offset, step, mask, grad_first, grad_second, grad_v, CELL)
        out -= BLOCKS * size
        if bias is not None:
            sum_first += grad_first
            sum_v += grad_v
            if CELL == "lstm":
                sum_second += grad_second
    # The first frame of the chunk: frame 0 comes after the initial state.
    first, second, v = gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL, REAL)
    if state is None:
        past = tl.full([BLOCK], 0.5, REAL)
    else:
        past = tl.load(state + batch * state_batch + start + lane, mask=mask, other=0.0).to(REAL)
    if summary is not None:
        past = tl.where(chunk == 0, past, raw_before.to(REAL))
    reached = carry
    if grad_h is not None:
        reached += raw_grad.to(REAL)
    grad_first, grad_second, grad_v, carry = _slopes(first, second, v, past, reached, CELL, FAST)
    _write(out, offset, step, mask, grad_first, grad_second, grad_v, CELL)
    if bias is not None:
        small = tl.arange(0, BLOCK >> PAIRINGS)
        groups = size >> PAIRINGS
        place = partial + (batch * chunks + chunk) * (BLOCKS * groups) + (start >> PAIRINGS)
        inside = small < groups - (start >> PAIRINGS)
        sum_first = _add_pairs(sum_first + grad_first, PAIRINGS)
        tl.store(place + small, sum_first, mask=inside)
        if CELL == "lstm":
            tl.store(place + groups + small, _add_pairs(sum_second + grad_second, PAIRINGS), mask=inside)
        if CELL == "explstm":
            tl.store(place + groups + small, -sum_first, mask=inside)
        tl.store(place + (BLOCKS - 1) * groups + small, _add_pairs(sum_v + grad_v, PAIRINGS), mask=inside)
    if state is not None:
        if summary is not None:
            mask = mask & (chunk == 0)
        tl.store(grad_state + batch * size + start + lane, carry.to(grad_state.dtype.element_ty), mask=mask)
