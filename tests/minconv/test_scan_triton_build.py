"""The Triton backend without a GPU: its kernels in the interpreter, compiled ahead of time, and what it says when it
cannot run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from minconv import BackendError
from minconv.scan import scan, triton_launch, triton_operator
from minconv.scan import triton as kernels

ROOT = Path(__file__).parents[2]
PRE = torch.zeros(1, 2, 2, 3, 4)
needs_triton = pytest.mark.skipif(bool(kernels.MISSING), reason=kernels.MISSING)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own: Triton reads its environment once, when it is imported."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


@needs_triton
def test_the_kernels_are_right_in_the_interpreter():
    options = ("--noconftest", "-p", "no:cacheprovider", "-m", "gpu", "--show-capture=no")
    result = python("-m", "pytest", *options, "tests/minconv/test_scan_triton.py", TRITON_INTERPRET="1")
    assert result.returncode == 0, result.stdout[-10000:] + result.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 140


def test_without_a_gpu_it_says_so():
    with pytest.raises(BackendError, match=r"'triton' is not available: .*; 'auto' and 'reference' run on any device"):
        scan(PRE, cell="gru", backend="triton")
    if not kernels.MISSING:
        assert triton_operator.unavailable(torch.device("cpu")) == "it needs tensors on a CUDA device, got cpu"


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
    triton_operator.unavailable.cache_clear()
    assert message in triton_operator.unavailable(torch.device("cuda", 0))
    triton_operator.unavailable.cache_clear()


@pytest.mark.parametrize(
    ("lanes", "per_thread"), [(100, 1), (2**18 - 1, 1), (2**18, 2), (2**19, 4), (2**20, 8), (2**30, 8)]
)
def test_a_thread_takes_more_where_there_is_enough_for_all(lanes, per_thread):
    for itemsize in (2, 4, 8):
        for backward in (False, True):
            options = triton_launch.launch_options(lanes, itemsize, "gru", backward=backward)
            most = min(4 if backward else 8, 16 // itemsize)
            assert options["BLOCK"] == 32 * options["num_warps"] * min(per_thread, most)


class Machine(NamedTuple):
    """What the compiler made of a kernel: registers and stack bytes of a thread, instructions of the loop over time."""

    registers: int
    stack: int
    loop: list[str]

    def count(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name in self.loop)


def build(direction: str, cell: str, io: str, layout: str, architecture: int) -> Machine:
    """A kernel as the launch for many lanes would have it, with bias and initial state."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(kernels, f"{direction}_kernel")
    itemsize = 4 if io == "fp32" else 2
    options = triton_launch.launch_options(2**23, itemsize, cell, backward=direction == "backward")
    constants = {
        "BLOCKS": 2 if cell == "gru" else 3,
        "CELL": cell,
        "LAST": layout == "channels_last",
        "WIDE": False,
        "ALIGN": 8,
        "DOUBLE": False,
        "FAST": True,
        "PAIRINGS": 0 if layout == "channels_last" else 3,
        "BLOCK": options.pop("BLOCK"),
    }
    pointers = dict.fromkeys(("pre", "h", "grad_h", "grad_pre"), f"*{io}")
    pointers |= dict.fromkeys(("state", "bias", "final", "grad_final", "grad_state", "partial"), "*fp32")
    numbers = dict.fromkeys(("frames", "channels", "points"), "i32")
    signature = {
        name: "constexpr" if name in constants else pointers.get(name) or numbers.get(name, "i64")
        for name in kernel.arg_names
    }
    aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(kernel.arg_names) if name in pointers}
    used = {name: value for name, value in constants.items() if name in signature}
    source = ASTSource(kernel, signature, used, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    return _read_machine_code(compiled.asm["cubin"])


def _read_machine_code(code: bytes) -> Machine:
    usage = _cuobjdump("-res-usage", code)
    sass = _cuobjdump("-sass", code)
    lines = [(int(place, 16), text) for place, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", sass)]
    jumps = [(int(to[1], 16), at) for at, text in lines if (to := re.search(r"\bBRA.*?(0x[0-9a-f]+)", text))]
    start, stop = max((jump for jump in jumps if jump[0] < jump[1]), key=lambda jump: jump[1] - jump[0])
    loop = [re.sub(r"^@\S+ ", "", text) for at, text in lines if start <= at <= stop]
    return Machine(int(re.search(r"REG:(\d+)", usage)[1]), int(re.search(r"STACK:(\d+)", usage)[1]), loop)


def _cuobjdump(option: str, code: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        return subprocess.run([_tool(), option, file.name], capture_output=True, text=True, check=True).stdout


def _tool() -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


@pytest.fixture
def _compiler(tmp_path, monkeypatch):
    if kernels.MISSING:
        pytest.skip(kernels.MISSING)
    if not Path(_tool()).is_file():
        pytest.skip("this Triton brings no cuobjdump")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


# Registers of a thread, instructions for one value. Issuing instructions is the second limit after memory: in 16-bit
# types 35 forward and 75 backward take as long as the memory does.
BUDGET = {
    ("forward", "gru", "bf16"): (64, 30),
    ("forward", "lstm", "bf16"): (72, 42),
    ("forward", "explstm", "bf16"): (84, 34),
    ("backward", "gru", "bf16"): (64, 60),
    ("backward", "lstm", "bf16"): (96, 78),
    ("backward", "explstm", "bf16"): (84, 70),
    ("forward", "gru", "fp32"): (40, 30),
    ("forward", "lstm", "fp32"): (48, 42),
    ("backward", "gru", "fp32"): (84, 56),
    ("backward", "lstm", "fp32"): (128, 68),
}
EXPONENTIALS = {"gru": 2, "explstm": 2, "lstm": 4}


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(
    ("direction", "cell", "io", "architecture", "layout"),
    [
        *((*kind, 90, "channels_last") for kind in BUDGET),
        *((direction, cell, "bf16", 90, "nchw") for direction in ("forward", "backward") for cell in ("gru", "lstm")),
        *(
            (direction, "gru", io, 80, "channels_last")
            for direction in ("forward", "backward")
            for io in ("bf16", "fp32")
        ),
        *((direction, "lstm", "bf16", 80, "channels_last") for direction in ("forward", "backward")),
    ],
)
def test_compiled_kernels_keep_their_budget(direction, cell, io, architecture, layout):
    registers, instructions = BUDGET[direction, cell, io]
    machine = build(direction, cell, io, layout, architecture)
    per_thread = machine.count("MUFU.RCP")  # one reciprocal for each value
    assert per_thread == (8 if io == "bf16" and direction == "forward" else 4)
    # Shown by `pytest -rP`, for docs/hardware.md.
    print(f"{machine.registers} registers, {len(machine.loop) / per_thread:.1f} instructions for each value")
    assert machine.stack == 0
    assert machine.count("LDL") == machine.count("STL") == 0
    assert machine.registers <= registers
    assert len(machine.loop) <= instructions * per_thread
    assert machine.count("MUFU.EX2") == EXPONENTIALS[cell] * per_thread
    assert machine.count("MUFU.LG2") == 0
    width = per_thread * (4 if io == "fp32" else 2) * 8
    planes = {"gru": 2, "lstm": 3, "explstm": 3}[cell]
    assert machine.count("LDG") == machine.count(f"LDG.E.{width}") == planes + (2 if direction == "backward" else 0)
    assert machine.count("STG") == machine.count(f"STG.E.{width}") == (planes if direction == "backward" else 1)
