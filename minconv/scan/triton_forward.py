"""The forward kernel of the scan, for all cells: 3 planes of memory for the GRU, 4 for the LSTM.

    forward_kernel[(programs,)](pre, state, bias, h, final, None, **sizes, **constants)

What does not live here: what it is made of (`minconv.scan.triton`), and what comes before it where the frames are
scanned in chunks (`minconv.scan.triton_chunks`).
"""

# In a kernel the types are Triton's, and are known when it is compiled.
# ruff: noqa: ANN001, ANN201
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from .triton import gate_inputs, gates, jit, lanes, locate, read, read_bias, tl
from .triton_chunks import carried


@jit
def forward_kernel(
    pre,
    state,
    bias,
    h,
    final,
    summary,
    frames: tl.int32,
    length: tl.int32,
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
    """Write h of one chunk of one block of one sequence, and the final state.

    Sizes: frames, those of a chunk, lanes of a frame, channels, points of a channel; strides in values. ALIGN divides
    every length, so that loads may be that wide. `summary`, of the chunks, is None where one chunk holds all frames.
    """
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    # Multiples of ALIGN, said so that the compiler can see it: this is what makes the loads as wide as they can be.
    size = size // ALIGN * ALIGN
    pre_batch = pre_batch // ALIGN * ALIGN
    pre_time = pre_time // ALIGN * ALIGN
    state_batch = state_batch // ALIGN * ALIGN
    if LAST:
        channels = channels // ALIGN * ALIGN
    batch, chunk, begin, end, block, size = locate(frames, length, size, WIDE, BLOCK)
    start, lane, base, offset, channel, mask = lanes(block, size, channels, points, BLOCKS, LAST, ALIGN, BLOCK)
    step = channels if LAST else size
    bias_first, bias_second, bias_v = read_bias(bias, channel, channels, mask, CELL, REAL)
    if state is None:
        x = tl.full([BLOCK], 0.5, REAL)
    else:
        x = tl.load(state + batch * state_batch + start + lane, mask=mask, other=0.0).to(REAL)
    if summary is not None:
        chunks = tl.cdiv(frames, length)
        x = carried(x, summary + batch * chunks * 2 * size + start + lane, 2 * size, size, chunk, mask)
    frame = pre + batch * pre_batch + base
    out = h + (batch * frames + begin) * size + start
    raw_first, raw_second, raw_v = read(frame + begin.to(tl.int64) * pre_time, offset, step, mask, CELL)
    for t in range(begin, end):
        first, second, v = gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL, REAL)
        # The next frame is asked for before this one is worked on; after the last, that one again.
        ahead = tl.minimum(t + 1, end - 1)
        raw_first, raw_second, raw_v = read(frame + ahead * pre_time, offset, step, mask, CELL)
        take, _, _, _, _, e, over, upper, inverse = gates(first, second, v, CELL, FAST)
        x += take * inverse * (over * (upper - x) + e)  # z (g - x), with both quotients multiplied out
        tl.store(out + lane, x.to(h.dtype.element_ty), mask=mask)
        out += size
    if summary is not None:
        mask = mask & (end == frames)
    tl.store(final + batch * size + start + lane, x, mask=mask)
