"""The backend "triton": where it runs, what it says where it cannot, and how its launch divides the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minconv import BackendError
from minconv.scan import cuda, scan, triton_launch
from minconv.scan import triton as kernels

ROOT = Path(__file__).parents[2]
PRE = torch.zeros(1, 2, 2, 3, 4)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, with nothing imported yet."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


def test_without_a_gpu_it_says_so():
    with pytest.raises(BackendError, match=r"'triton' is not available: .*; 'auto' and 'reference' run on any device"):
        scan(PRE, cell="gru", backend="triton")
    if not kernels.MISSING:
        assert cuda.unavailable(torch.device("cpu")) == "it needs tensors on a CUDA device, got cpu"


def test_without_triton_everything_else_works():
    code = """
import sys
sys.modules["triton"] = None  # import triton now fails
import torch
from minconv import BackendError
from minconv.scan import scan, triton
pre = torch.zeros(1, 2, 2, 3, 4)
assert scan(pre, cell="gru")[0].shape == (1, 2, 1, 3, 4)
try:
    scan(pre, cell="gru", backend="triton")
except BackendError as error:
    print(error)
"""
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert "'triton' is not available: Triton cannot be imported" in result.stdout
    assert "install the triton package" in result.stdout


def test_the_kernels_are_loaded_on_first_use():
    code = """
import sys, torch
from minconv.scan import scan
scan(torch.zeros(1, 2, 2, 3, 4), cell="gru")
print("minconv.scan.triton" in sys.modules)
"""
    result = python("-c", code)
    assert result.stdout.strip() == "False", result.stderr


@pytest.mark.parametrize(("capability", "message"), [((7, 5), "8.0 or newer, got 7.5"), ((9, 0), "could not build")])
def test_a_gpu_that_cannot_run_it_is_named(capability, message, monkeypatch):
    """As if there were a GPU: too old, and one that starts no kernel (here none can)."""
    if kernels.MISSING or torch.cuda.is_available():
        pytest.skip("needs Triton, and no GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    cuda.unavailable.cache_clear()
    assert message in cuda.unavailable(torch.device("cuda", 0))
    cuda.unavailable.cache_clear()


@pytest.mark.parametrize(
    ("lanes", "per_thread"), [(100, 1), (2**18 - 1, 1), (2**18, 2), (2**19, 4), (2**20, 8), (2**30, 8)]
)
def test_a_thread_takes_more_where_there_is_enough_for_all(lanes, per_thread):
    for itemsize in (2, 4, 8):
        for backward in (False, True):
            options = triton_launch.launch_options(lanes, itemsize, "gru", backward=backward)
            most = min(4 if backward else 8, 16 // itemsize)
            assert options["BLOCK"] == 32 * options["num_warps"] * min(per_thread, most)


@given(lanes=st.integers(1, 2**22), frames=st.integers(1, 5000))
def test_sequences_are_scanned_in_chunks_where_they_are_long_and_few(lanes, frames):
    length = triton_launch.chunk_length(lanes, frames)
    chunks = -(-frames // length)
    if lanes >= 50_000 or frames <= 100:
        assert length == frames
    else:
        assert chunks > 1
        assert 32 <= length < frames
        assert chunks * lanes <= 2**18
        assert frames > (chunks - 1) * length  # none is empty


def test_the_operators_have_a_kernel_for_cuda_tensors():
    for name in ("minconv::scan_forward", "minconv::scan_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")
