"""The native kernel: that it is used, that it is exact, and how it is built."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minconv.scan import BLOCKS, cpu, native, scan

CELLS = tuple(BLOCKS)
ROOT = Path(__file__).parents[2]

# Builds and runs the kernel in a process of its own, and says what it found.
PROBE = """
import torch
from minconv.scan import cpu, native, scan
found = native.load(cpu.SOURCE)
h, _ = scan(torch.zeros(1, 2, 2, 3, 3), cell="gru")
print(found.library is not None, found.reason, h.sum().item(), sep="|")
"""


def made(cell, shape=(2, 5, 3, 4, 6), dtype=torch.float32, last=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch, time, channels, height, width = shape
    pre = 2 * torch.randn(batch, time, BLOCKS[cell] * channels, height, width, generator=generator)
    bias = torch.randn(BLOCKS[cell] * channels, generator=generator)
    state = 2 * torch.rand(batch, channels, height, width, generator=generator)
    if last:
        pre = pre.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return [tensor.to(dtype).requires_grad_() for tensor in (pre, bias, state)]


def run(cell, inputs) -> list[Tensor]:
    """h, final state, gradients of pre, bias and state."""
    pre, bias, state = inputs
    h, final = scan(pre, state, cell=cell, bias=bias)
    weight = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view(h.shape)
    return [h, final, *torch.autograd.grad([h, final], inputs, [weight, torch.ones_like(final)])]


@pytest.fixture
def library():
    found = native.load(cpu.SOURCE).library
    if found is None:
        pytest.skip("there is no native kernel here")
    return found


def test_the_native_kernel_is_used_where_there_is_a_compiler(monkeypatch):
    if native._find_compiler() is None:
        pytest.skip("there is no C++ compiler here")
    found = native.load(cpu.SOURCE)
    assert found.library is not None, found.reason
    monkeypatch.setattr(cpu.reference, "forward", None)  # would be called instead
    monkeypatch.setattr(cpu.reference, "backward", None)
    for cell in CELLS:
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            run(cell, made(cell, dtype=dtype))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 4, 5, 7, 9), (1, 3, 37, 3, 2), (3, 1, 1, 8, 8)], ids=str)
def test_numbers_depend_neither_on_tiles_nor_on_threads(cell, dtype, last, shape, library, monkeypatch):
    inputs = made(cell, shape, dtype, last)
    threads = torch.get_num_threads()
    found = {}
    for tile, count in ((1, 1), (32, 2), (70, 3), (10**6, 1)):
        monkeypatch.setattr(cpu, "_TILE", tile)
        torch.set_num_threads(count)
        try:
            found[tile] = run(cell, inputs)
        finally:
            torch.set_num_threads(threads)
    for other in found.values():
        for index in (0, 1, 2, 4):
            assert torch.equal(other[index], found[1][index])
        torch.testing.assert_close(other[3], found[1][3])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_the_gradient_of_the_bias_does_not_depend_on_threads(cell, last, library):
    inputs = made(cell, (2, 3, 9, 16, 16), last=last)
    threads = torch.get_num_threads()
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            found.append(run(cell, inputs)[3])
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
def test_pieces_equal_the_whole_bit_for_bit(cell, last, library):
    pre, bias, state = made(cell, (2, 9, 3, 5, 4), last=last)
    whole, final = scan(pre, state, cell=cell, bias=bias)
    pieces = []
    for piece in pre.tensor_split([2, 3, 7], dim=1):
        h, state = scan(piece, state, cell=cell, bias=bias)
        pieces.append(h)
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    assert torch.equal(state, final)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_and_torch_agree(cell, dtype, library, monkeypatch):
    inputs = made(cell, (2, 24, 3, 5, 7), dtype)
    expected = run(cell, inputs)
    monkeypatch.setattr(cpu, "_library", lambda _: None)
    limit = 1e-6 if dtype == torch.float32 else 1e-14
    for one, other in zip(run(cell, inputs), expected, strict=True):
        assert (one - other).norm() <= limit * other.norm()


@pytest.mark.parametrize("cell", CELLS)
def test_nan_is_not_hidden(cell, library):
    """One bad value spoils its own pixel from its frame on, and no other pixel."""
    for channel in range(BLOCKS[cell]):
        pre = made(cell, (1, 4, 1, 3, 3))[0].detach()
        pre[0, 2, channel, 1, 1] = torch.nan
        h, final = scan(pre, cell=cell)
        assert h[0, 2:, 0, 1, 1].isnan().all()
        assert final[0, 0, 1, 1].isnan()
        assert h.isnan().sum() == 2


def exponential(library, values):
    library.minconv_exp_negative(ctypes.c_void_p(values.data_ptr()), ctypes.c_int64(values.numel()))


def test_exponential_is_accurate(library):
    x = torch.linspace(-86.9, 0, 400_001)
    found = x.clone()
    exponential(library, found)
    relative = (found.double() / x.double().exp() - 1).abs().max().item()
    assert relative < 1.5e-7
    edge = torch.tensor([0.0, -87.0, -1e4, -torch.inf])
    exponential(library, edge)
    assert edge[0] == 1
    assert (edge[1:] < 2e-38).all()
    assert (edge >= 0).all()


def probe(tmp_path, **environment) -> tuple[bool, str, float]:
    known = {name: value for name, value in os.environ.items() if name not in {"CXX", "MINCONV_NATIVE"}}
    known |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    used, reason, total = done.stdout.strip().split("|")
    return used == "True", reason, float(total)


def compiler_that(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.slow
def test_a_compiler_that_fails_leaves_the_torch_implementation(tmp_path):
    used, reason, total = probe(tmp_path, CXX=compiler_that(tmp_path / "c++", "echo 'x.cpp: error: no' >&2; exit 1"))
    assert not used
    assert reason.endswith("failed: x.cpp: error: no")
    assert total == 9.0
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_no_compiler_leaves_the_torch_implementation(tmp_path):
    used, reason, total = probe(tmp_path, PATH=str(tmp_path))
    assert (used, total) == (False, 9.0)
    assert "no C++ compiler" in reason


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_leaves_the_torch_implementation(tmp_path, library):
    (tmp_path / "cache").write_text("a file, not a folder")
    used, reason, total = probe(tmp_path)
    assert (used, total) == (False, 9.0)
    assert reason


@pytest.mark.slow
def test_it_can_be_turned_off(tmp_path):
    assert probe(tmp_path, MINCONV_NATIVE="0") == (False, "MINCONV_NATIVE=0 turns it off", 9.0)


@pytest.mark.slow
def test_several_processes_build_at_once_and_a_damaged_library_is_built_again(tmp_path, library):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROBE]
    jobs = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {job.communicate(timeout=300)[0] for job in jobs} == {"True||9.0\n"}
    (built,) = (tmp_path / "minconv").iterdir()  # one library, and nothing left beside it
    built.write_bytes(b"damaged")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "True||9.0\n"
    assert built.stat().st_size > 1000
