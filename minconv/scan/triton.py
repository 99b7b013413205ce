"""What the Triton kernels of the scan are made of: where a program's lanes are, what they read, and the gates.

One lane holds one point of one channel of one sequence and walks through its frames with the state in a register, so
that every value is read once and written once. The state and all arithmetic are float32 (float64 for float64) whatever
the type of the input. A lane does the same operations in the same order however lanes are put into blocks: results do
not depend on it.

What lives here: the functions that the kernels share (`minconv.scan.triton_forward`, `minconv.scan.triton_backward`,
`minconv.scan.triton_chunks`). What does not: their launch (`minconv.scan.triton_launch`), and the operator that torch
sees (`minconv.scan.cuda`). This file, the only one that knows Triton, imports without it, and then `MISSING` says so.

    take, keep, total, *_ = gates(first, second, v, CELL, FAST)

All exponentials are of numbers that are not positive, so they do not overflow, and one reciprocal serves z and
sigmoid(v):

    e = exp(min(v, 0)),  sigmoid(min(v, 0)) = e / (1 + e),  g(v) = max(v, 0) + that
    GRU    w = exp(-|k|);                 {z, 1 - z} = {1, w} / (1 + w), the larger one z where k >= 0
    LSTM   m = min(f, i, 0);              z = (exp(m) + exp(m - f)) / d,  1 - z = (exp(m) + exp(m - i)) / d,
           d = the sum of both numerators;  z sigmoid(-f) = exp(m - f) / d,  (1 - z) sigmoid(-i) = exp(m - i) / d

The inputs of the gates are multiplied by log2(e) as their bias is added, which costs nothing, and exp2 serves for exp.
"""

# In a kernel the types are Triton's, and are known when it is compiled.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

from typing import Any

__all__ = ["MISSING", "gate_inputs", "gates", "interpreted", "jit", "lanes", "locate", "read", "read_bias", "tl"]

try:
    import triton
    from triton import language as tl
    from triton.language.extra import libdevice

    MISSING = ""
    jit = triton.jit
except ImportError as error:
    MISSING = f"Triton cannot be imported ({error})"
    tl = None

    def jit(function: Any) -> Any:
        """Leave the kernel a plain function that nobody calls."""
        return function


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, on the CPU: TRITON_INTERPRET=1 when this file was imported."""
    return not MISSING and not isinstance(gates, triton.JITFunction)


@jit
def locate(frames, length, size, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Of one program: its sequence, its chunk of frames [begin, end), the block of a frame, the size in its type.

    Programs are numbered by sequence, then by chunk of `length` frames, then by block. WIDE: a frame of the input has
    2^31 values or more.
    """
    per_frame = tl.cdiv(size, BLOCK).to(tl.int32)
    program = tl.program_id(0)
    chunks = tl.cdiv(frames, length)
    part = program // per_frame
    chunk = part % chunks
    begin = chunk * length
    block = program % per_frame
    if WIDE:
        block = block.to(tl.int64)
    else:
        size = size.to(tl.int32)
    return (part // chunks).to(tl.int64), chunk, begin, tl.minimum(begin + length, frames), block, size


@jit
def lanes(block, size, channels, points, blocks, LAST: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr):
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


@jit
def read(frame, offset, step, mask, CELL: tl.constexpr):
    """The channel blocks of one frame as they are stored: k, k (not used), v for the GRU, else f, i, v."""
    first = tl.load(frame + offset, mask=mask, other=0.0)
    second = first
    if CELL == "gru":
        last = tl.load(frame + step + offset, mask=mask, other=0.0)
    else:
        second = tl.load(frame + step + offset, mask=mask, other=0.0)
        last = tl.load(frame + 2 * step + offset, mask=mask, other=0.0)
    return first, second, last


@jit
def read_bias(bias, channel, channels, mask, CELL: tl.constexpr, REAL: tl.constexpr):
    """Bias of each lane's channel, for `gate_inputs`; nothing without one."""
    first, second, last = None, None, None
    if bias is not None:
        first, second, last = read(bias, channel, channels, mask, CELL)
        first, second = first.to(REAL), second.to(REAL)
        if CELL == "explstm":
            first = second - first
        first, second, last = first * 1.4426950408889634, second * 1.4426950408889634, last.to(REAL)
    return first, second, last


@jit
def gate_inputs(raw_first, raw_second, raw_v, bias_first, bias_second, bias_v, CELL: tl.constexpr, REAL: tl.constexpr):
    """k, k (not used), v of GRU and ExpLSTM, where k = i - f, or f, i, v; all but v times log2(e)."""
    first, second, v = raw_first.to(REAL), raw_second.to(REAL), raw_v.to(REAL)
    if CELL == "explstm":
        first = second - first
    first, second = first * 1.4426950408889634, second * 1.4426950408889634
    if bias_first is not None:
        first, second, v = first + bias_first, second + bias_second, v + bias_v
    return first, second, v


@jit
def reciprocal(x, FAST: tl.constexpr):
    """1 / x for x from 1 to 8: on a GPU in float32 the instruction alone, without its care for tiny and huge x."""
    if FAST:
        return libdevice.fast_dividef(1.0, x)
    return 1.0 / x


@jit
def gates(first, second, v, CELL: tl.constexpr, FAST: tl.constexpr):
    """The parts that z, g(v) and their slopes are made of.

    Returns:
        take, keep, total: z = take / total, 1 - z = keep / total.
        forget, enter: For the LSTM z sigmoid(-f) = forget / total and (1 - z) sigmoid(-i) = enter / total; for the
            others forget = take·keep.
        e, over: sigmoid(min(v, 0)) = e / over.
        upper: max(v, 0).
        inverse: 1 / (total·over).
    """
    # NaN in v reaches g; so it does in the gates, because the differences keep what the minimum drops.
    upper = tl.maximum(v, 0.0, propagate_nan=tl.PropagateNan.ALL)
    e = tl.exp2(tl.minimum(v, 0.0, propagate_nan=tl.PropagateNan.ALL) * 1.4426950408889634)
    over = 1.0 + e
    if CELL == "lstm":
        m = tl.minimum(tl.minimum(first, second), 0.0)
        both, forget, enter = tl.exp2(m), tl.exp2(m - first), tl.exp2(m - second)
        take, keep = both + forget, both + enter
        total = take + keep
    else:
        forget = tl.exp2(-tl.abs(first))
        enter = forget
        take, keep = tl.where(first >= 0, 1.0, forget), tl.where(first >= 0, forget, 1.0)
        total = 1.0 + forget
    return take, keep, total, forget, enter, e, over, upper, reciprocal(total * over, FAST)
