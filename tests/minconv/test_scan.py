"""The scan: against its defining equation, its derivatives, its layouts and its edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minconv import GradientError
from minconv.scan import BLOCKS, cpu, reference, scan

CELLS = tuple(BLOCKS)


def define(pre: Tensor, initial: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The defining equations in float64, frame by frame, differentiated by autograd."""
    x = pre.double() if bias is None else pre.double() + bias.double()[:, None, None]
    blocks = x.chunk(BLOCKS[cell], dim=2)
    h = torch.full_like(blocks[0][:, 0], 0.5) if initial is None else initial.double()
    frames = []
    for t in range(x.shape[1]):
        v = blocks[-1][:, t]
        if cell == "gru":
            z = torch.sigmoid(blocks[0][:, t])
        else:
            f, i = blocks[0][:, t], blocks[1][:, t]
            forget, take = (torch.sigmoid(f), torch.sigmoid(i)) if cell == "lstm" else (torch.exp(f), torch.exp(i))
            z = take / (forget + take)
        h = (1 - z) * h + z * torch.where(v >= 0, v + 0.5, torch.sigmoid(v))
        frames.append(h)
    return torch.stack(frames, dim=1), h


def made(cell: str, shape=(2, 5, 3, 4, 6), dtype=torch.float32, seed=0, scale=2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Input, bias and initial state for C = shape[2] channels."""
    generator = torch.Generator().manual_seed(seed)
    batch, time, channels, height, width = shape
    count = BLOCKS[cell] * channels
    pre = scale * torch.randn(batch, time, count, height, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(count, generator=generator, dtype=torch.float64)
    state = 2 * torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)
    return pre.to(dtype), bias.to(dtype), state.to(dtype)


def channels_last(pre: Tensor) -> Tensor:
    return pre.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.fixture(params=["native", "torch"], autouse=True)
def implementation(request, monkeypatch):
    """Every test runs with the native kernel and with what takes its place where there is no compiler."""
    if request.param == "torch":
        monkeypatch.setattr(cpu, "_library", lambda dtype: None)
    return request.param


@pytest.fixture(params=[2**16, 50], ids=["one block", "blocks of a frame or two"])
def block_values(request, monkeypatch):
    monkeypatch.setattr(reference, "_BLOCK_VALUES", request.param)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("time", [1, 2, 3, 7, 24])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_float32_equals_the_definition(cell, time, last, block_values):
    pre, bias, state = made(cell, (2, time, 3, 5, 7))
    inputs = [tensor.requires_grad_() for tensor in (channels_last(pre) if last else pre, bias, state)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    h, final = scan(inputs[0], inputs[2], cell=cell, bias=inputs[1])
    h_true, final_true = define(doubles[0], doubles[2], cell, doubles[1])
    assert relative(h, h_true) < 5e-7
    assert relative(final, final_true) < 5e-7
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(h.shape, generator=generator), torch.randn(final.shape, generator=generator)
    found = torch.autograd.grad([h, final], inputs, weights)
    expected = torch.autograd.grad([h_true, final_true], doubles, [weight.double() for weight in weights])
    for name, one, other, limit in zip(("pre", "bias", "state"), found, expected, (5e-7, 1e-6, 5e-7), strict=True):
        assert relative(one, other) < limit, name


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("use", ["h", "final", "both"])
def test_gradients_agree_with_finite_differences(cell, use, block_values):
    inputs = [tensor.requires_grad_() for tensor in made(cell, (2, 4, 2, 2, 3), torch.float64)]

    def run(pre, bias, state):
        h, final = scan(pre, state, cell=cell, bias=bias)
        return {"h": h, "final": final, "both": (h, final)}[use]

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_agree_with_finite_differences_without_bias_and_state(cell):
    pre, _, _ = made(cell, (1, 3, 2, 2, 2), torch.float64)
    assert torch.autograd.gradcheck(lambda x: scan(x, cell=cell), [pre.requires_grad_()])


@pytest.mark.parametrize("cell", CELLS)
def test_logspace_agrees_in_float64(cell):
    pre, bias, state = (tensor.requires_grad_() for tensor in made(cell, (2, 24, 3, 3, 4), torch.float64))
    results, gradients = [], []
    for backend in ("reference", "logspace"):
        h, final = scan(pre, state, cell=cell, bias=bias, backend=backend)
        results.append((h, final))
        gradients.append(torch.autograd.grad(h.square().sum() + final.sum(), (pre, bias, state)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_logspace_agrees_without_bias_and_state(cell):
    pre, _, _ = made(cell, dtype=torch.float64)
    torch.testing.assert_close(scan(pre, cell=cell, backend="logspace"), scan(pre, cell=cell), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_extreme_inputs_stay_finite(cell, dtype):
    """Every combination of ±1e4, ±100, ±1 and 0 in the channel blocks."""
    values = torch.tensor([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4])
    count = BLOCKS[cell]
    grid = torch.cartesian_prod(*[values] * count).T.reshape(1, 1, count, 1, -1).expand(2, 3, -1, -1, -1)
    pre = grid.to(dtype).requires_grad_()
    h, final = scan(pre, cell=cell)
    (gradient,) = torch.autograd.grad(h.double().sum() + final.double().sum(), pre)
    assert h.isfinite().all()
    assert final.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("shift", [-50.0, -80.0, -95.0, -1000.0])
def test_lstm_gate_far_below_zero_depends_on_the_difference(shift):
    """sigmoid(i) / (sigmoid(f) + sigmoid(i)) tends to sigmoid(i - f), although numerator and denominator vanish."""
    i, f = torch.tensor([0.5, -1.0, 3.0]) + shift, torch.tensor([0.0, 0.75, -2.0]) + shift
    pre = torch.stack([f, i, torch.full((3,), 2.0)]).reshape(1, 1, 3, 1, 3)
    h, _ = scan(pre, torch.zeros(1, 1, 1, 3), cell="lstm")
    torch.testing.assert_close(h.flatten(), 2.5 * torch.sigmoid(i - f), rtol=1e-6, atol=0.0)


def test_slope_of_g_at_zero_is_that_of_the_upper_branch():
    pre = torch.zeros(1, 1, 2, 1, 1, requires_grad=True)
    scan(pre, cell="gru")[0].sum().backward()
    assert pre.grad[0, 0, 1, 0, 0] == 0.5  # z = 0.5, g'(0) = 1


@settings(max_examples=40, deadline=None)
@given(
    cell=st.sampled_from(CELLS),
    sizes=st.tuples(*[st.integers(1, 3), st.integers(1, 9), *[st.integers(1, 5)] * 3]),
    cut=st.integers(0, 9),
    last=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_chunks_equal_one_piece(cell, sizes, cut, last, seed):
    pre, bias, state = made(cell, sizes, seed=seed)
    pre = channels_last(pre) if last else pre
    whole, final = scan(pre, state, cell=cell, bias=bias)
    pieces = []
    for piece in pre.tensor_split([min(cut, sizes[1] - 1)], dim=1):
        if piece.shape[1]:
            h, state = scan(piece, state, cell=cell, bias=bias)
            pieces.append(h)
    # Not bit for bit: torch computes the ends of arrays with other instructions than their middle.
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(state, final, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_slices_of_a_larger_tensor_are_read_in_place(cell, last):
    pre, bias, state = made(cell, (4, 9, 3, 4, 5))
    pre = channels_last(pre) if last else pre
    piece = pre[1:4:2, 1:9:2].requires_grad_()
    copy = piece.detach().contiguous().requires_grad_()
    h, final = scan(piece, state[:2], cell=cell, bias=bias)
    h_copy, final_copy = scan(copy, state[:2], cell=cell, bias=bias)
    torch.testing.assert_close(h, h_copy, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(final, final_copy, rtol=1e-6, atol=1e-6)
    found, expected = (torch.autograd.grad(out.square().sum(), x)[0] for out, x in ((h, piece), (h_copy, copy)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_frames_keep_their_layout(cell):
    pre, _, _ = made(cell)
    last = channels_last(pre).requires_grad_()
    h, _ = scan(last, cell=cell)
    assert h[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.grad(h.sum(), last)[0][0].is_contiguous(memory_format=torch.channels_last)
    assert scan(pre, cell=cell)[0].is_contiguous()
    odd = pre.transpose(3, 4)  # neither layout: still right
    torch.testing.assert_close(scan(odd, cell=cell)[0], h.detach().transpose(3, 4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_holds_its_state_in_float32(cell, block_values):
    pre, bias, state = made(cell, (2, 24, 3, 6, 6), torch.bfloat16)
    inputs = [pre.requires_grad_(), bias.requires_grad_(), state.float().requires_grad_()]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    h, final = scan(inputs[0], inputs[2], cell=cell, bias=inputs[1])
    h_true, final_true = define(doubles[0], doubles[2], cell, doubles[1])
    assert h.dtype == torch.bfloat16
    assert final.dtype == torch.float32
    assert relative(h, h_true) < 4e-3
    assert relative(final, final_true) < 5e-7
    weight = torch.randn(h.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = torch.autograd.grad(h, inputs, weight)
    expected = torch.autograd.grad(h_true, doubles, weight.double())
    assert [gradient.dtype for gradient in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 6e-3


def test_float64_final_state_is_float64():
    assert scan(made("gru", dtype=torch.float64)[0], cell="gru")[1].dtype == torch.float64


@pytest.mark.parametrize("cell", CELLS)
def test_expanded_gradients_work(cell, block_values):
    pre, bias, state = (tensor.requires_grad_() for tensor in made(cell))
    h, final = scan(pre, state, cell=cell, bias=bias)
    one = torch.ones(())
    found = torch.autograd.grad(
        [h, final], (pre, bias, state), [one.expand_as(h), one.expand_as(final)], retain_graph=True
    )
    expected = torch.autograd.grad([h, final], (pre, bias, state), [torch.ones_like(h), torch.ones_like(final)])
    torch.testing.assert_close(found, expected)


def test_the_initial_state_given_to_the_scan_is_not_changed():
    pre, bias, state = made("gru")
    before = pre.clone(), bias.clone(), state.clone()
    h, final = scan(pre, state, cell="gru", bias=bias)
    final.zero_()
    assert all(torch.equal(now, then) for now, then in zip((pre, bias, state), before, strict=True))
    assert h[:, -1].abs().sum() > 0


def test_a_second_derivative_is_refused_by_the_reference_too():
    pre = made("gru", dtype=torch.float64)[0].requires_grad_()
    h, _ = scan(pre, cell="gru", backend="reference")
    (gradient,) = torch.autograd.grad(h.square().sum(), pre, create_graph=True)
    with pytest.raises(GradientError, match="first derivative only"):
        gradient.sum().backward()


def test_logspace_has_a_second_derivative():
    pre = made("gru", dtype=torch.float64)[0].requires_grad_()
    h, _ = scan(pre, cell="gru", backend="logspace")
    (gradient,) = torch.autograd.grad(h.square().sum(), pre, create_graph=True)
    gradient.sum().backward()
    assert pre.grad.isfinite().all()


def test_the_default_state_is_a_half():
    """With k so low that nothing is taken in, the state stays where it starts."""
    pre = torch.full((1, 2, 2, 1, 1), -100.0)
    h, final = scan(pre, cell="gru")
    assert h.flatten().tolist() == [0.5, 0.5]
    assert math.isclose(final.item(), 0.5)
