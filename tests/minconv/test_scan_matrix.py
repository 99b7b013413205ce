"""Every implementation of the scan against its defining equation in float64: cells, types, layouts, numbers of frames,
sizes, with and without initial state and bias, gradients of h, of the final state and of both.

With TRITON_INTERPRET=1 (`test_scan_triton_build.py` starts it so) the implementation is the Triton kernels; with a GPU
they are here too (`pytest -m gpu`). A part of the matrix is quick, all of it is `slow`.
"""

from __future__ import annotations

import itertools
import os
import random

import pytest
import torch
from torch import Tensor

from minconv.scan import BLOCKS, cpu, native, scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CELLS = tuple(BLOCKS)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = ("nchw", "channels_last")
FRAMES = (1, 2, 3, 7, 24, 65)
SIZES = ((2, 3, 5, 7), (1, 8, 4, 4), (3, 1, 9, 5))  # B, C, H, W; whole vectors and ragged ones
USES = ("h", "final", "both")
# Relative L2 error: of h, of the gradients.
LIMITS = {torch.float32: (5e-7, 5e-7), torch.float16: (5e-4, 8e-4), torch.bfloat16: (4e-3, 5e-3)}
if INTERPRETED:  # it cuts bfloat16 off where a GPU rounds, which is up to 2^-8 for each value
    LIMITS[torch.bfloat16] = (5e-3, 6e-3)
IMPLEMENTATIONS = ("native", "torch", "reference", pytest.param("cuda", marks=pytest.mark.gpu))


@pytest.fixture(params=["interpreter"] if INTERPRETED else IMPLEMENTATIONS)
def implementation(request, monkeypatch) -> tuple[str, torch.device]:
    """Backend and device."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    if request.param == "native" and (reason := native.load(cpu.SOURCE).reason):
        pytest.skip(reason)
    if request.param == "torch":
        monkeypatch.setattr(cpu, "_library", lambda dtype: None)
    backend = {"native": "cpu", "torch": "cpu", "reference": "reference"}.get(request.param, "triton")
    return backend, torch.device("cuda" if request.param == "cuda" else "cpu")


@pytest.fixture(autouse=True)
def _unset_memory_is_nan():
    """What a kernel leaves unwritten in torch.empty shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.zeros(1).new_empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def define(pre: Tensor, initial: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The defining equations, frame by frame, differentiated by autograd."""
    x = pre if bias is None else pre + bias[:, None, None]
    *gates, v = x.chunk(BLOCKS[cell], dim=2)
    if cell == "gru":
        z = torch.sigmoid(gates[0])
    else:
        forget, take = (torch.sigmoid(gate) if cell == "lstm" else torch.exp(gate) for gate in gates)
        z = take / (forget + take)
    g = torch.where(v >= 0, v + 0.5, torch.sigmoid(v))
    h = torch.full_like(v[:, 0], 0.5) if initial is None else initial
    frames = []
    for z_t, g_t in zip(z.unbind(1), g.unbind(1), strict=True):
        h = (1 - z_t) * h + z_t * g_t
        frames.append(h)
    return torch.stack(frames, dim=1), h


def made(cell, size, frames, dtype, layout, device) -> tuple[Tensor, Tensor, Tensor]:
    """Input, initial state and bias; the last two are float32 beside 16-bit input."""
    generator = torch.Generator().manual_seed(frames)
    batch, channels, height, width = size
    pre = 2 * torch.randn(batch, frames, BLOCKS[cell] * channels, height, width, generator=generator)
    state = 2 * torch.rand(size, generator=generator)
    bias = torch.randn(BLOCKS[cell] * channels, generator=generator)
    pre = pre.to(device, dtype)
    if layout == "channels_last":
        pre = pre.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return pre, state.to(device), bias.to(device)


def results(function, inputs, use):
    """Outputs, and gradients of those inputs that are there, with weights that depend on the shapes only."""
    pre, state, bias = inputs = [None if x is None else x.detach().requires_grad_() for x in inputs]
    h, final = function(pre, state, bias)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator).bfloat16().to(x) for x in (h, final)]
    outputs, weights = {"h": ([h], weights[:1]), "final": ([final], weights[1:]), "both": ([h, final], weights)}[use]
    return h, final, torch.autograd.grad(outputs, [x for x in inputs if x is not None], weights)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


def check(implementation, cell, dtype, layout, frames, size, use, given):
    backend, device = implementation
    pre, state, bias = made(cell, size, frames, dtype, layout, device)
    inputs = (pre, state if "state" in given else None, bias if "bias" in given else None)
    h, final, gradients = results(lambda x, s, b: scan(x, s, cell=cell, bias=b, backend=backend), inputs, use)
    doubles = [None if x is None else x.double() for x in inputs]
    h_true, final_true, gradients_true = results(lambda x, s, b: define(x, s, cell, b), doubles, use)
    case = f"{cell} {dtype} {layout} T={frames} {size} gradient of {use}, given {given}"
    assert (h.dtype, final.dtype) == (dtype, torch.float32), case
    assert relative(h, h_true) <= LIMITS[dtype][0], case
    assert relative(final, final_true) <= 5e-7, case
    assert all(gradient.isfinite().all() for gradient in gradients), case
    limit = LIMITS[dtype][1]
    grad_pre, *others = gradients_true
    assert relative(gradients[0], grad_pre) <= limit, case
    if "state" in given:  # after many frames it is next to nothing
        assert (gradients[1].double() - others[0]).norm() <= limit * others[0].norm() + 1e-9, case
    if "bias" in given:
        # A sum of many terms that may cancel: its error is that of the terms.
        assert (gradients[-1].double() - others[-1]).norm() <= 2 * limit * max(others[-1].norm(), grad_pre.norm()), case


GIVEN = (("state", "bias"), ("bias",), ("state",), ())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_definition(cell, dtype, layout, implementation):
    """Every cell, type and layout, with something of all the rest."""
    draw = random.Random(f"{cell} {dtype} {layout}")
    for frames in (1, draw.choice((2, 3)), 7) if INTERPRETED else FRAMES:
        size, use, given = (draw.choice(choices) for choices in (SIZES, USES, GIVEN))
        check(implementation, cell, dtype, layout, frames, size, use, given)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_definition_everywhere(cell, dtype, layout, implementation):
    """The whole matrix; in the interpreter, which is slow, two of each 36, and one of the longest sequences."""
    draw = random.Random(f"{cell} {dtype} {layout}")
    for frames in FRAMES:
        rest = list(itertools.product(SIZES, USES, GIVEN))
        chosen = draw.sample(rest, 2 if frames < 24 else 1) if INTERPRETED else rest
        for size, use, given in chosen:
            check(implementation, cell, dtype, layout, frames, size, use, given)
