"""Padding against torch's own, folding against its inverse, norms against their definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from minconv import InputError
from minconv.layers import convolve, fold_patches, make_norm, pad, unfold_patches


def frames(height=5, width=6, channels=4, last=False, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(3, channels, height, width, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def padded_by_torch(x, width, boundary):
    if boundary == "cylinder":
        return F.pad(F.pad(x, (width, width, 0, 0), mode="circular"), (0, 0, width, width))
    modes = {"periodic": "circular", "zeros": "constant", "reflect": "reflect"}
    return F.pad(x, (width,) * 4, mode=modes[boundary])


@pytest.mark.parametrize("boundary", ["periodic", "cylinder", "zeros", "reflect"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_convolution_equals_that_of_fields_padded_by_torch(boundary, kernel, last):
    x = frames(last=last).requires_grad_()
    weight = torch.randn(2, 4, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64)
    found = convolve(x, weight, bias, boundary)
    expected = F.conv2d(padded_by_torch(x, kernel // 2, boundary), weight, bias)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (x, weight), gradient),
        torch.autograd.grad(expected, (x, weight), gradient),
        rtol=1e-11,
        atol=1e-11,
    )


@settings(max_examples=30, deadline=None)
@given(sides=st.tuples(st.integers(1, 5), st.integers(1, 5)), width=st.integers(1, 5), data=st.data())
def test_wrapping_equals_torch_for_every_size_it_allows(sides, width, data):
    boundary = data.draw(st.sampled_from(["periodic", "cylinder"]))
    x = frames(*sides)
    if width > (min(sides) if boundary == "periodic" else sides[1]):
        with pytest.raises(InputError, match="needs a grid of at least"):
            pad(x, width, boundary)
        return
    rows = width if boundary == "periodic" else 0
    assert torch.equal(pad(x, width, boundary), F.pad(x, (width, width, rows, rows), mode="circular"))


@pytest.mark.parametrize("boundary", ["periodic", "cylinder"])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_wrapping_has_right_derivatives_and_keeps_the_layout(boundary, last):
    x = frames(3, 2, 2, last).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: pad(y, 2, boundary), [x])
    assert torch.autograd.gradgradcheck(lambda y: pad(y, 2, boundary), [x])
    layout = torch.channels_last if last else torch.contiguous_format
    assert pad(x, 1, boundary).is_contiguous(memory_format=layout)


def test_reflection_needs_a_grid_larger_than_its_reach():
    with pytest.raises(InputError, match=r"'reflect' needs a grid of at least 3 points .* got 2 x 6"):
        pad(frames(2, 6), 2, "reflect")


@settings(max_examples=25, deadline=None)
@given(patch=st.integers(1, 4), rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 3))
def test_unfolding_undoes_folding(patch, rows, columns, channels):
    x = frames(patch * rows, patch * columns, channels)
    folded = fold_patches(x, patch)
    assert folded.shape == (3, channels * patch**2, rows, columns)
    assert torch.equal(unfold_patches(folded, patch), x)


def test_each_patch_becomes_the_channels_of_one_point():
    x = frames(4, 6, 2)
    torch.testing.assert_close(fold_patches(x, 2)[0, :, 1, 2], x[0, :, 2:4, 4:6].flatten())


def test_a_grid_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(InputError, match=r"multiples of patch \(2\), got 5 x 6"):
        fold_patches(frames(5, 6), 2)


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_channel_norm_normalises_each_point(last):
    norm = make_norm("channel", 4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 5.0))
        norm.bias.copy_(torch.arange(4.0))
    x = frames(last=last)
    centred = x - x.mean(dim=1, keepdim=True)
    unit = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    expected = unit * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-10, atol=1e-12)


def test_the_other_norms():
    x = frames()
    assert torch.equal(make_norm("none", 4)(x), x)
    assert make_norm("group", 12).num_groups == 6
    assert make_norm("group", 40).num_groups == 8
    normal = make_norm("layer_hw", 4, (5, 6)).double()(x)
    torch.testing.assert_close(normal.mean(dim=(2, 3)), torch.zeros(3, 4, dtype=torch.float64), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="needs grid_shape"):
        make_norm("layer_hw", 4)
