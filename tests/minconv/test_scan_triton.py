"""The Triton kernels, by numbers: on a GPU (`pytest -m gpu`), or, started by `test_scan_triton_build.py` with
TRITON_INTERPRET=1, in Triton's interpreter on the CPU.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from minconv.scan import BLOCKS, cuda, frames, scan, triton_launch

pytestmark = pytest.mark.gpu

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CELLS = tuple(BLOCKS)
LAYOUTS = ("nchw", "channels_last")
# Where each run of a kernel takes long, one case is quick.
slow_interpreted = pytest.mark.slow if INTERPRETED else ()
USES = [*(pytest.param(use, marks=slow_interpreted) for use in ("h", "final")), "both"]
LIMITS = {torch.float64: (1e-14, 1e-13), torch.float32: (5e-7, 5e-7), torch.float16: (5e-4, 8e-4)}
LIMITS[torch.bfloat16] = (4e-3, 5e-3)


@pytest.fixture(scope="module")
def device() -> torch.device:
    if not INTERPRETED and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device; test_scan_triton_build.py runs this file in Triton's interpreter")
    found = torch.device("cpu" if INTERPRETED else "cuda")
    assert cuda.unavailable(found) == ""
    return found


@pytest.fixture(autouse=True)
def _unset_memory_is_nan():
    """What a kernel leaves unwritten in torch.empty shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch):
    """The interpreter runs programs one after the other: few large ones, yet more than one."""
    if INTERPRETED:
        set_block(monkeypatch, 512)


def set_block(monkeypatch, block: int, warps: int = 4) -> None:
    monkeypatch.setattr(triton_launch, "launch_options", lambda *_, **__: {"BLOCK": block, "num_warps": warps})


def made(
    cell: str, shape=(2, 5, 3, 4, 8), dtype=torch.float32, layout="nchw", seed=0, device=None, scale=2.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, initial state and bias for C = shape[2] channels; state and bias are float32 beside 16-bit input."""
    generator = torch.Generator().manual_seed(seed)
    batch, time, channels, height, width = shape
    count = BLOCKS[cell] * channels
    pre = scale * torch.randn(batch, time, count, height, width, generator=generator, dtype=torch.float64)
    state = 2 * torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(count, generator=generator, dtype=torch.float64)
    pre = pre.to(device, dtype)
    if layout == "channels_last":
        pre = pre.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    real = torch.float64 if dtype == torch.float64 else torch.float32
    return pre, state.to(device, real), bias.to(device, real)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def run(pre, state, bias, cell, use="both", backend="triton"):
    """h, final state and gradients of those inputs that are there; the weights depend on the shapes only."""
    inputs = [x.detach().requires_grad_() for x in (pre, state, bias) if x is not None]
    given = iter(inputs)
    pre, state, bias = (None if x is None else next(given) for x in (pre, state, bias))
    h, final = scan(pre, state, cell=cell, bias=bias, backend=backend)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator).bfloat16().to(x) for x in (h, final)]
    outputs = {"h": (h,), "final": (final,), "both": (h, final)}[use]
    weights = {"h": weights[:1], "final": weights[1:], "both": weights}[use]
    return h, final, torch.autograd.grad(outputs, inputs, weights)


def expect(pre, state, bias, cell, use="both"):
    """The same in float64 by the reference, which has been tested against the definition."""
    doubles = [None if x is None else x.detach().double() for x in (pre, state, bias)]
    return run(*doubles, cell, use, backend="reference")


def check(pre, state, bias, cell, use="both", slack=1.0):
    h, final, gradients = run(pre, state, bias, cell, use)
    h_true, final_true, gradients_true = expect(pre, state, bias, cell, use)
    limit_h, limit_gradient = (slack * limit for limit in LIMITS[pre.dtype])
    assert h.dtype == pre.dtype
    assert final.dtype == (torch.float64 if pre.dtype == torch.float64 else torch.float32)
    assert relative(h, h_true) <= limit_h
    assert relative(final, final_true) <= min(limit_h, 5e-7)
    names = ("pre", *(["state"] if state is not None else []), *(["bias"] if bias is not None else []))
    for name, one, other in zip(names, gradients, gradients_true, strict=True):
        assert one.isfinite().all(), name
        assert relative(one, other) <= (2 * limit_gradient if name == "bias" else limit_gradient), name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape",
    [
        (1, 2, 1, 1, 1),
        (3, 2, 1, 5, 7),
        (2, 2, 5, 1, 1),
        (1, 3, 7, 1, 9),
        (2, 2, 40, 4, 4),
        (1, 2, 8, 9, 11),
        (5, 2, 2, 2, 2),
    ],
)
def test_any_sizes(layout, shape, device):
    for cell in ("lstm",) if INTERPRETED else CELLS:
        # Of a few values, one that is rounded far is more than the mean error of many.
        check(*made(cell, shape, layout=layout, device=device), cell, slack=2.0)
        check(*made(cell, shape, torch.bfloat16, layout, device=device), cell, slack=2.0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_float64_is_exact(cell, layout, device):
    check(*made(cell, (2, 7, 3, 3, 5), torch.float64, layout, device=device), cell)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("use", USES)
def test_gradients_agree_with_finite_differences(cell, use, device):
    inputs = [x.requires_grad_() for x in made(cell, (2, 3, 2, 1, 2), torch.float64, device=device)]

    def function(pre, state, bias):
        h, final = scan(pre, state, cell=cell, bias=bias, backend="triton")
        return {"h": h, "final": final, "both": (h, final)}[use]

    assert torch.autograd.gradcheck(function, inputs, fast_mode=INTERPRETED)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "nchw"), (torch.bfloat16, "channels_last")], ids=str)
def test_pieces_equal_the_whole_bit_for_bit(cell, layout, dtype, device):
    pre, state, bias = made(cell, (1, 7, 3, 5, 7), dtype, layout, device=device)
    whole, final = scan(pre, state, cell=cell, bias=bias, backend="triton")
    for cut in (1, 5):
        first, carried = scan(pre[:, :cut], state, cell=cell, bias=bias, backend="triton")
        second, last = scan(pre[:, cut:], carried, cell=cell, bias=bias, backend="triton")
        assert torch.equal(torch.cat([first, second], dim=1), whole)
        assert torch.equal(last, final)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("dtype", "layout"), [(torch.bfloat16, "nchw"), (torch.float32, "channels_last")], ids=str)
def test_results_do_not_depend_on_the_block_bit_for_bit(cell, layout, dtype, device, monkeypatch):
    inputs = made(cell, (1, 3, 3, 4, 8), dtype, layout, device=device)
    results = []
    for block, warps in (
        [(32, 1), (1024, 8)] if INTERPRETED else [(32, 1), (64, 2), (128, 4), (256, 4), (512, 4), (1024, 8)]
    ):
        set_block(monkeypatch, block, warps)
        h, final, gradients = run(*inputs, cell)
        results.append((h, final, *gradients))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_slices_of_a_larger_tensor_are_read_in_place(layout, device):
    pre, state, bias = made("lstm", (4, 9, 3, 4, 5), layout=layout, device=device)
    piece = pre[1:4:2, 1:9:2]
    assert frames.dense(piece, layout == "channels_last") is piece
    found, expected = run(piece, state[:2], bias, "lstm"), run(piece.clone(), state[:2], bias, "lstm")
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(x, y) for x, y in zip(found[2], expected[2], strict=True))


def test_frames_keep_their_layout_and_others_are_copied(device):
    pre, state, bias = made("gru", layout="channels_last", device=device)
    h, final, gradients = run(pre, state, bias, "gru")
    assert h[0].is_contiguous(memory_format=torch.channels_last)
    assert gradients[0][0].is_contiguous(memory_format=torch.channels_last)
    assert final.is_contiguous(memory_format=torch.channels_last)
    odd = pre.contiguous().transpose(3, 4)  # neither layout
    check(odd, state.transpose(2, 3), bias, "gru")
    assert run(odd, state.transpose(2, 3), bias, "gru")[0].is_contiguous()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_expanded_gradients_work(layout, device):
    pre, state, bias = (x.requires_grad_() for x in made("gru", layout=layout, device=device))
    h, final = scan(pre, state, cell="gru", bias=bias, backend="triton")
    one = torch.ones((), device=device)
    inputs = (pre, state, bias)
    found = torch.autograd.grad([h, final], inputs, [one.expand_as(h), one.expand_as(final)], retain_graph=True)
    expected = torch.autograd.grad([h, final], inputs, [torch.ones_like(h), torch.ones_like(final)])
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_extreme_inputs_stay_finite(cell, dtype, device):
    """Every combination of ±1e4, ±100, ±1 and 0 in the channel blocks."""
    values = torch.tensor([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4])
    grid = torch.cartesian_prod(*[values] * BLOCKS[cell]).T.reshape(1, 1, BLOCKS[cell], 1, -1).expand(2, 3, -1, -1, -1)
    h, final, (gradient,) = run(grid.to(device, dtype).contiguous(), None, None, cell)
    assert h.isfinite().all()
    assert final.isfinite().all()
    assert gradient.isfinite().all()
    assert relative(h, expect(grid.to(device, dtype), None, None, cell)[0]) < LIMITS[dtype][0]


@pytest.mark.parametrize("cell", CELLS)
def test_not_a_number_is_not_hidden(cell, device):
    for block in range(BLOCKS[cell]):
        pre = torch.zeros(1, 3, BLOCKS[cell], 1, 2, device=device)
        pre[:, 1, block, :, 0] = torch.nan
        h, final = scan(pre, cell=cell, backend="triton")
        assert h.isnan().flatten().tolist() == [False, False, True, False, True, False]
        assert final.isnan().flatten().tolist() == [True, False]


def test_slope_of_g_at_zero_is_that_of_the_upper_branch(device):
    pre = torch.zeros(1, 1, 2, 1, 1, device=device, requires_grad=True)
    scan(pre, cell="gru", backend="triton")[0].sum().backward()
    assert pre.grad[0, 0, 1, 0, 0] == 0.5  # z = 0.5, g'(0) = 1


def test_mixed_precision_state_and_bias(device):
    """A 16-bit state and a 16-bit bias get gradients of their own type."""
    pre, state, bias = (x.bfloat16() for x in made("gru", (2, 3, 3, 4, 8), device=device))
    _, _, gradients = run(pre, state, bias, "gru")
    assert [x.dtype for x in gradients] == [torch.bfloat16] * 3
    for one, other in zip(gradients, expect(pre, state, bias, "gru")[2], strict=True):
        assert relative(one, other) < 6e-3


def test_the_operators_come_to_these_kernels(device, monkeypatch):
    started = []
    for name in ("forward", "backward"):
        launch = getattr(triton_launch, name)
        monkeypatch.setattr(
            triton_launch, name, lambda *arguments, name=name, launch=launch: (started.append(name), launch(*arguments))
        )
    run(*made("gru", (1, 2, 1, 2, 2), device=device), "gru")
    assert started == ["forward", "backward"]


# Three frames each; seven make two whole chunks and a shorter one.
@pytest.fixture
def _chunks(monkeypatch):
    monkeypatch.setattr(triton_launch, "chunk_length", lambda lanes, frames: min(3, frames))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "nchw"), (torch.bfloat16, "channels_last")], ids=str)
@pytest.mark.parametrize("use", USES)
def test_chunks_equal_float64(cell, dtype, layout, use, device):
    pre, state, bias = made(cell, (2, 7, 3, 3, 5), dtype, layout, device=device)
    check(pre, state, bias, cell, use)
    check(pre, None, None, cell, use)


@pytest.mark.parametrize("cell", ["gru", *(pytest.param(cell, marks=slow_interpreted) for cell in CELLS[1:])])
def test_chunks_equal_one_walk(cell, device, monkeypatch):
    """Where the rule asks for them, with float32 rounding as the only difference, and the same bits every time."""
    inputs = made(cell, (1, 130, 2, 2, 3), layout="channels_last", device=device)
    assert triton_launch.chunk_length(12, 130) == 33
    chunked, again = run(*inputs, cell), run(*inputs, cell)
    monkeypatch.setattr(triton_launch, "chunk_length", lambda lanes, frames: frames)
    walk = run(*inputs, cell)
    for one, same, other in zip(*((h, final, *rest) for h, final, rest in (chunked, again, walk)), strict=True):
        assert torch.equal(one, same)
        assert relative(one, other) < 2e-7
    assert torch.equal(chunked[0][:, :33], walk[0][:, :33])  # the first chunk starts from the same state
    assert not torch.equal(chunked[0], walk[0])  # a different order of operations: it was not one walk


@pytest.mark.usefixtures("_chunks")
def test_chunks_do_not_depend_on_the_block_bit_for_bit(device, monkeypatch):
    inputs = made("lstm", (2, 7, 3, 4, 8), device=device)
    results = []
    for block, warps in ((32, 1), (256, 4)):
        set_block(monkeypatch, block, warps)
        h, final, gradients = run(*inputs, "lstm")
        results.append((h, final, *gradients))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is too slow")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "shape",
    [(8, 24, 64, 128, 128), (16, 50, 16, 64, 64), (4, 10, 20, 4, 4), (1, 2000, 16, 16, 16), (3, 17, 12, 37, 53)],
)
def test_benchmark_shapes_equal_float64(layout, dtype, shape, device):
    """Every width of load and every launch rule that the benchmarks use."""
    batch = 1 if shape[0] * shape[1] * shape[2] * shape[3] * shape[4] > 10**8 else shape[0]
    check(*made("gru", (batch, *shape[1:]), dtype, layout, device=device), "gru")


@pytest.mark.skipif(INTERPRETED, reason="needs more than 2^31 values")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_offsets_beyond_two_to_the_31(layout, device):
    if torch.cuda.get_device_properties(device).total_memory < 40 * 2**30:
        pytest.skip("needs a GPU with 40 GiB")
    shape = (2, 5, 2, 10240, 12288)
    if layout == "nchw":
        pre = torch.empty(shape[0], shape[1], 4, *shape[3:], device=device, dtype=torch.bfloat16)
    else:
        pre = torch.empty(shape[0], shape[1], *shape[3:], 4, device=device, dtype=torch.bfloat16).movedim(-1, 2)
    pre.fill_(0.25)
    corner = torch.randn(2, 5, 4, 3, 5, device=device).to(pre)
    pre[..., -3:, -5:] = corner
    h, final = scan(pre, cell="gru", backend="triton")
    h_corner, final_corner = scan(corner, cell="gru", backend="triton")
    assert torch.equal(h[..., -3:, -5:], h_corner)
    assert torch.equal(final[..., -3:, -5:], final_corner)
    assert (h[:, :, :, :-3] == h[:1, :, :1, :1, :1]).all()
