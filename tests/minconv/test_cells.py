"""Cells and baselines: their modes are equal, and they are what their sources define."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from minconv.baselines import ConvGRU, ConvLSTM
from minconv.cells import MemorylessConv, MinConvExpLSTM, MinConvGRU, MinConvLSTM

MINCONV = (MinConvGRU, MinConvLSTM, MinConvExpLSTM)
ALL = (*MINCONV, MemorylessConv, ConvGRU, ConvLSTM)

# Largest absolute difference between the modes: a few roundings of float64 numbers of order one.
TOLERANCE = 1e-13


def made(cell_type, boundary="periodic", hidden=4):
    torch.manual_seed(0)
    return cell_type(3, hidden, boundary=boundary).double(), torch.randn(2, 7, 3, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize("cell_type", ALL)
@pytest.mark.parametrize("boundary", ["periodic", "cylinder", "zeros", "reflect"])
def test_parallel_equals_step_by_step(cell_type, boundary):
    cell, x = made(cell_type, boundary)
    whole, final = cell(x)
    state, frames = None, []
    for t in range(x.shape[1]):
        h, state = cell(x[:, t : t + 1], state)
        frames.append(h)
    torch.testing.assert_close(torch.cat(frames, dim=1), whole, rtol=0.0, atol=TOLERANCE)
    torch.testing.assert_close(state, final, rtol=0.0, atol=TOLERANCE)
    assert whole.shape == (2, 7, 4, 5, 6)


@settings(max_examples=20, deadline=None)
@given(cell_type=st.sampled_from(ALL), cuts=st.lists(st.integers(1, 6), max_size=3, unique=True).map(sorted))
def test_parallel_equals_chunks(cell_type, cuts):
    cell, x = made(cell_type)
    whole, final = cell(x)
    state, pieces = None, []
    for piece in x.tensor_split(cuts, dim=1):
        h, state = cell(piece, state)
        pieces.append(h)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0.0, atol=TOLERANCE)
    torch.testing.assert_close(state, final, rtol=0.0, atol=TOLERANCE)


@pytest.mark.parametrize("cell_type", ALL)
def test_chunks_have_the_gradients_of_one_piece(cell_type):
    cell, x = made(cell_type)
    expected = torch.autograd.grad(cell(x)[0].square().sum(), list(cell.parameters()))
    first, state = cell(x[:, :3])
    second, _ = cell(x[:, 3:], state)
    found = torch.autograd.grad(first.square().sum() + second.square().sum(), list(cell.parameters()))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell_type", MINCONV)
def test_minconv_cells_are_what_the_paper_defines(cell_type):
    """Frame by frame, with the gates of each cell written out and a convolution with its bias."""
    cell, x = made(cell_type, "zeros")
    state = 0.5 * torch.ones(2, 4, 5, 6, dtype=torch.float64)
    frames = []
    for t in range(x.shape[1]):
        outputs = F.conv2d(x[:, t], cell.weight, cell.bias, padding=1).split(4, dim=1)
        v = outputs[-1]
        g = torch.where(v >= 0, v + 0.5, torch.sigmoid(v))
        if cell_type is MinConvGRU:
            z = torch.sigmoid(outputs[0])
            forget, take = 1 - z, z
        else:
            gate = torch.sigmoid if cell_type is MinConvLSTM else torch.exp
            f, i = gate(outputs[0]), gate(outputs[1])
            forget, take = f / (f + i), i / (f + i)
        state = forget * state + take * g
        frames.append(state)
    torch.testing.assert_close(cell(x)[0], torch.stack(frames, dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell_type", MINCONV)
def test_gradients_of_the_cells_agree_with_finite_differences(cell_type):
    cell, x = made(cell_type, hidden=2)
    x = x[:1, :3, :, :3, :3].requires_grad_()
    state = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    parameters = dict(cell.named_parameters())

    def run(x, state, *values):
        return torch.func.functional_call(cell, dict(zip(parameters, values, strict=True)), (x, state))

    assert torch.autograd.gradcheck(run, (x, state, *parameters.values()))


def test_explstm_keeps_both_gate_weights_as_parameters():
    cell, x = made(MinConvExpLSTM)
    assert cell.weight.shape[0] == 3 * 4
    cell(x)[0].sum().backward()
    f, i, _ = cell.weight.grad.chunk(3)
    torch.testing.assert_close(f, -i)
    assert i.abs().sum() > 0


def test_logspace_is_a_backend_of_the_cells():
    cell, x = made(MinConvGRU)
    other = MinConvGRU(3, 4, backend="logspace").double()
    other.load_state_dict(cell.state_dict())
    torch.testing.assert_close(other(x)[0], cell(x)[0], rtol=1e-10, atol=1e-10)


def test_the_memoryless_cell_forgets():
    cell, x = made(MemorylessConv)
    h, state = cell(x)
    torch.testing.assert_close(cell(x.flip(1))[0].flip(1), h, rtol=0.0, atol=TOLERANCE)
    assert state.numel() == 0


@pytest.mark.parametrize("cell_type", [*MINCONV, ConvGRU, ConvLSTM])
def test_the_other_cells_remember(cell_type):
    cell, x = made(cell_type)
    changed = x.clone()
    changed[:, 0] += 1.0
    assert (cell(changed)[0][:, -1] - cell(x)[0][:, -1]).abs().max() > 1e-6


def test_convlstm_is_its_equations():
    cell, x = made(ConvLSTM, "zeros")
    h = c = torch.zeros(2, 4, 5, 6, dtype=torch.float64)
    for t in range(x.shape[1]):
        joined = torch.cat([x[:, t], h], dim=1)
        weight = torch.cat([cell.input.weight, cell.recurrent.weight], dim=1)
        f, i, o, new = F.conv2d(joined, weight, cell.input.bias, padding=1).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * new.tanh()
        h = o.sigmoid() * c.tanh()
    found, state = cell(x)
    torch.testing.assert_close(found[:, -1], h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, torch.cat([h, c], dim=1), rtol=1e-12, atol=1e-12)


def test_convgru_is_its_equations():
    cell, x = made(ConvGRU, "zeros")
    h = torch.zeros(2, 4, 5, 6, dtype=torch.float64)
    for t in range(x.shape[1]):
        from_x = F.conv2d(x[:, t], cell.input.weight, cell.input.bias, padding=1)
        r, z = (from_x[:, :8] + F.conv2d(h, cell.gates.weight, padding=1)).sigmoid().chunk(2, dim=1)
        n = (from_x[:, 8:] + F.conv2d(r * h, cell.candidate.weight, padding=1)).tanh()
        h = (1 - z) * h + z * n
    torch.testing.assert_close(cell(x)[1], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell_type", MINCONV)
def test_gates_that_are_to_remember_keep_what_their_time_constants_say(cell_type):
    cell = cell_type(1, 4)
    cell.remember(1002)
    torch.nn.init.zeros_(cell.weight)  # the biases alone
    first, second = (cell(torch.zeros(1, 1, 1, 3, 3), torch.full((1, 4, 3, 3), level))[1] for level in (1.0, 2.0))
    kept = (second - first)[0, :, 0, 0]  # of a difference in the state, after a frame
    torch.testing.assert_close(1 / (1 - kept), torch.tensor([252.0, 502.0, 752.0, 1002.0]), rtol=1e-3, atol=0.0)
