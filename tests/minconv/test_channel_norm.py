"""The native channel norm: against torch, with every padding, its derivatives, and that it is the one used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from minconv import channel_norm
from minconv.channel_norm import ChannelNorm
from minconv.scan import native


def made(shape=(3, 5, 4, 6), dtype=torch.float64):
    torch.manual_seed(0)
    norm = ChannelNorm(shape[1]).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.normal_()
    x = 3 * torch.randn(shape, dtype=dtype) + 1
    return norm, x.contiguous(memory_format=torch.channels_last).requires_grad_()


def by_torch(norm, x, rows, columns):
    normal = F.layer_norm(x.permute(0, 2, 3, 1), norm.weight.shape, norm.weight, norm.bias).permute(0, 3, 1, 2)
    return F.pad(normal, (columns, columns, rows, rows), mode="circular")


@pytest.fixture
def library():
    found = native.load(channel_norm.SOURCE).library
    if found is None:
        pytest.skip("there is no native kernel here")
    return found


def test_the_native_kernel_is_used_where_there_is_a_compiler(monkeypatch):
    if native._find_compiler() is None:
        pytest.skip("there is no C++ compiler here")
    found = native.load(channel_norm.SOURCE)
    assert found.library is not None, found.reason
    monkeypatch.setattr(channel_norm, "_in_torch", None)  # would be called instead
    norm, x = made()
    norm.wrapped(x, 1, 1).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("amounts", [(0, 0), (1, 1), (0, 2), (4, 6), (3, 2)], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (1, 16, 4, 6), (2, 49, 5, 7), (1, 33, 4, 6)], ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-6)], ids=["f64", "f32"])
def test_values_and_gradients_equal_those_of_torch(amounts, shape, dtype, limit, library):
    norm, x = made(shape, dtype)
    found = norm.wrapped(x, *amounts)
    truth, double = ChannelNorm(shape[1]).double(), x.detach().double().requires_grad_()
    truth.load_state_dict(norm.state_dict())
    expected = by_torch(truth, double, *amounts)
    assert found.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(expected.shape, dtype=dtype)
    one = (found, *torch.autograd.grad(found, (x, norm.weight, norm.bias), gradient))
    other = (expected, *torch.autograd.grad(expected, (double, truth.weight, truth.bias), gradient.double()))
    for mine, true in zip(one, other, strict=True):
        assert (mine - true).norm() <= limit * true.norm()


def test_derivatives_agree_with_finite_differences(library):
    norm, x = made((2, 3, 3, 2))
    arguments = (x, norm.weight, norm.bias)

    def run(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, x)

    def wrapped(x, weight, bias):
        return channel_norm._Native.apply(x, weight, bias, 1, 2)

    for function in (run, wrapped):
        assert torch.autograd.gradcheck(function, arguments)
        assert torch.autograd.gradgradcheck(function, arguments)


def test_numbers_do_not_depend_on_threads(library):
    norm, x = made((4, 7, 6, 5), torch.float32)
    threads = torch.get_num_threads()
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            y = norm.wrapped(x, 1, 1)
            weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
            found.append((y, *torch.autograd.grad(y, (x, norm.weight, norm.bias), weight)))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_no_more_than_the_input_is_kept_for_the_backward_pass(library):
    norm, x = made((2, 16, 8, 8), torch.float32)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        norm.wrapped(x, 1, 1)
    assert sum(kept.values()) < 1.2 * x.untyped_storage().nbytes()


def test_nan_is_not_hidden(library):
    norm, x = made()
    with torch.no_grad():
        x[1, 2, 1, 3] = torch.nan
    assert norm(x).isnan().sum() == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_the_kernel_torch_does_it(dtype, monkeypatch):
    norm, x = made(dtype=dtype)
    expected = by_torch(norm, x, 1, 1)
    monkeypatch.setattr(native, "load", lambda source: native.Native(None, "none"))
    torch.testing.assert_close(norm.wrapped(x, 1, 1), expected)
