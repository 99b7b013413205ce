"""The first of two passes over long sequences of few lanes: what each chunk of frames does to the state it starts from.

A chunk of frames maps the state before it to that after it by x -> decay·x + rest, where decay is the product of 1 - z
and rest what a zero state becomes; backward, it maps the gradient after it to that before it by the same decay. All
chunks find theirs at once; in the second pass (`forward_kernel`, `backward_kernel`) each puts together those before it
and walks through its own frames as the whole sequence would be walked through.

    summarise_forward[(programs,)](pre, bias, summary, **sizes, **constants)   # summary [B, chunks, 2, C·H·W]

Within a chunk the arithmetic is that of one walk; between chunks the state is rounded otherwise, so results equal those
of one walk within the rounding of float32, not bit for bit. All terms of the state are positive: nothing cancels.
"""

# In a kernel the types are Triton's, and are known when it is compiled.
# ruff: noqa: ANN001, ANN201
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from .triton import gate_inputs, gates, jit, lanes, locate, read, read_bias, tl


@jit
def carried(x, place, stride, size, count, mask):
    """What `count` chunks make of x; decay and rest of the first at `place`, those of the next a stride farther."""
    for _ in range(count):
        x = tl.load(place, mask=mask, other=0.0) * x + tl.load(place + size, mask=mask, other=0.0)
        place += stride
    return x


@jit
def summarise_forward(
    pre,
    bias,
    summary,
    frames: tl.int32,
    length: tl.int32,
    size: tl.int64,
    channels: tl.int32,
    points: tl.int32,
    pre_batch: tl.int64,
    pre_time: tl.int64,
    BLOCKS: tl.constexpr,
    CELL: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    ALIGN: tl.constexpr,
    DOUBLE: tl.constexpr,
    FAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write decay and rest of one chunk of one block of one sequence; arguments as of `forward_kernel`."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    size = size // ALIGN * ALIGN
    pre_batch = pre_batch // ALIGN * ALIGN
    pre_time = pre_time // ALIGN * ALIGN
    if LAST:
        channels = channels // ALIGN * ALIGN
    batch, chunk, begin, end, block, size = locate(frames, length, size, WIDE, BLOCK)
    start, lane, base, offset, channel, mask = lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = channels if LAST else size
    bias_first, bias_second, bias_v = read_bias(bias, channel, channels, mask, CELL, REAL)
    frame = pre + batch * pre_batch + base
    decay, x = tl.full([BLOCK], 1.0, REAL), tl.zeros([BLOCK], REAL)
    raw_first, raw_second, raw_v = read(frame + begin.to(tl.int64) * pre_time, offset, step, mask, CELL)
    for t in range(begin, end):
        first, second, v = gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL, REAL)
        ahead = tl.minimum(t + 1, end - 1)
        raw_first, raw_second, raw_v = read(frame + ahead * pre_time, offset, step, mask, CELL)
        take, keep, _, _, _, e, over, upper, inverse = gates(first, second, v, CELL, FAST)
        x += take * inverse * (over * (upper - x) + e)
        decay *= keep * over * inverse
    place = summary + (batch * tl.cdiv(frames, length) + chunk) * 2 * size + start + lane
    tl.store(place, decay, mask=mask)
    tl.store(place + size, x, mask=mask)


@jit
def summarise_backward(
    pre,
    bias,
    grad_h,
    summary,
    frames: tl.int32,
    length: tl.int32,
    size: tl.int64,
    channels: tl.int32,
    points: tl.int32,
    pre_batch: tl.int64,
    pre_time: tl.int64,
    grad_batch: tl.int64,
    grad_time: tl.int64,
    BLOCKS: tl.constexpr,
    CELL: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    ALIGN: tl.constexpr,
    DOUBLE: tl.constexpr,
    FAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The same for the gradient that reaches the state, from the last frame of the chunk to its first."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    size = size // ALIGN * ALIGN
    pre_batch = pre_batch // ALIGN * ALIGN
    pre_time = pre_time // ALIGN * ALIGN
    grad_batch = grad_batch // ALIGN * ALIGN
    grad_time = grad_time // ALIGN * ALIGN
    if LAST:
        channels = channels // ALIGN * ALIGN
    batch, chunk, begin, end, block, size = locate(frames, length, size, WIDE, BLOCK)
    start, lane, base, offset, channel, mask = lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = channels if LAST else size
    bias_first, bias_second, bias_v = read_bias(bias, channel, channels, mask, CELL, REAL)
    frame = pre + batch * pre_batch + base
    above = frame if grad_h is None else grad_h + batch * grad_batch + start
    decay, x = tl.full([BLOCK], 1.0, REAL), tl.zeros([BLOCK], REAL)
    nothing = tl.zeros([BLOCK], REAL)  # for v, which 1 - z does not need and nobody reads then
    last = (end - 1).to(tl.int64)
    raw_first, raw_second, raw_v = read(frame + last * pre_time, offset, step, mask, CELL)
    if grad_h is not None:
        raw_grad = tl.load(above + last * grad_time + lane, mask=mask, other=0.0)
    for back in range(1, end - begin + 1):
        first, second, _ = gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL, REAL)
        if grad_h is not None:
            x += raw_grad.to(REAL)
        ahead = tl.maximum(end - 1 - back, begin).to(tl.int64)
        raw_first, raw_second, raw_v = read(frame + ahead * pre_time, offset, step, mask, CELL)
        if grad_h is not None:
            raw_grad = tl.load(above + ahead * grad_time + lane, mask=mask, other=0.0)
        _, keep, _, _, _, _, over, _, inverse = gates(first, second, nothing, CELL, FAST)
        x *= keep * over * inverse
        decay *= keep * over * inverse
    place = summary + (batch * tl.cdiv(frames, length) + chunk) * 2 * size + start + lane
    tl.store(place, decay, mask=mask)
    tl.store(place + size, x, mask=mask)
