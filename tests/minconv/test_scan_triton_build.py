"""The Triton kernels without a GPU: in the interpreter, and compiled ahead of time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from minconv.scan import triton as kernels
from minconv.scan import triton_backward, triton_chunks, triton_forward, triton_launch

ROOT = Path(__file__).parents[2]
LAYOUTS = ("nchw", "channels_last")
needs_triton = pytest.mark.skipif(bool(kernels.MISSING), reason=kernels.MISSING)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own: Triton reads its environment once, when it is imported."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


def run_in_interpreter(marked: str, *names: str) -> int:
    """Number of tests in those files that passed; none may fail."""
    options = ("--noconftest", "-p", "no:cacheprovider", "-m", marked, "--show-capture=no")
    files = [f"tests/minconv/test_{name}.py" for name in names]
    result = python("-m", "pytest", *options, *files, TRITON_INTERPRET="1")
    assert result.returncode == 0, result.stdout[-10000:] + result.stderr[-2000:]
    return int(re.search(r"(\d+) passed", result.stdout)[1])


@needs_triton
def test_the_kernels_are_right_in_the_interpreter():
    assert run_in_interpreter("not slow", "scan_triton", "scan_matrix", "op") > 100


@needs_triton
@pytest.mark.slow
def test_the_kernels_are_right_in_the_interpreter_everywhere():
    assert run_in_interpreter("slow", "scan_triton", "scan_matrix", "op") > 18


class Machine(NamedTuple):
    """What the compiler made of a kernel: registers and stack bytes of a thread, instructions of the loop over time."""

    registers: int
    stack: int
    loop: list[str]

    def count(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name in self.loop)


KERNELS = {
    "forward": triton_forward.forward_kernel,
    "backward": triton_backward.backward_kernel,
    "summarise_forward": triton_chunks.summarise_forward,
    "summarise_backward": triton_chunks.summarise_backward,
}


def build(
    name: str,
    cell: str,
    io: str,
    layout: str,
    architecture: int,
    *,
    chunked: bool = False,
    wide: bool = False,
    without: tuple[str, ...] = (),
) -> Machine:
    """A kernel as the launch for many lanes would have it, or for few in chunks, with all arguments but some."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = KERNELS[name]
    itemsize = {"fp64": 8, "fp32": 4}.get(io, 2)
    lanes = 2**18 - 1 if chunked else 2**23
    options = triton_launch.launch_options(lanes, itemsize, cell, backward=name.endswith("backward"))
    constants = {
        "BLOCKS": 2 if cell == "gru" else 3,
        "CELL": cell,
        "LAST": layout == "channels_last",
        "WIDE": wide,
        "ALIGN": 8,
        "DOUBLE": io == "fp64",
        "FAST": io != "fp64",
        "PAIRINGS": 0 if layout == "channels_last" else 3,
        "BLOCK": options.pop("BLOCK"),
    }
    pointers = dict.fromkeys(("pre", "h", "grad_h", "grad_pre"), f"*{io}")
    pointers |= dict.fromkeys(("state", "bias", "final", "grad_final", "grad_state", "partial"), "*fp32")
    constants |= dict.fromkeys(without)
    if chunked:
        pointers["summary"] = "*fp32"
    else:
        constants["summary"] = None
    numbers = dict.fromkeys(("frames", "length", "channels", "points"), "i32")
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


# Registers of a thread, instructions for one value and frame. Issuing instructions is the second limit after memory: in
# 16-bit types 35 forward and 75 backward take as long as the memory does.
BUDGET = {
    ("forward", "gru", "bf16"): (64, 28),
    ("forward", "lstm", "bf16"): (64, 35),
    ("forward", "explstm", "bf16"): (64, 32),
    ("backward", "gru", "bf16"): (64, 60),
    ("backward", "lstm", "bf16"): (84, 75),
    ("backward", "explstm", "bf16"): (72, 66),
    ("forward", "gru", "fp32"): (56, 28),
    ("forward", "lstm", "fp32"): (56, 35),
    ("backward", "gru", "fp32"): (100, 54),
    ("backward", "lstm", "fp32"): (128, 64),
}
EXPONENTIALS = {"gru": 2, "explstm": 2, "lstm": 4}
PLANES = {"gru": 2, "lstm": 3, "explstm": 3}
ALL = [(*kind, architecture, layout) for kind in BUDGET for architecture in (80, 90) for layout in LAYOUTS]
# Those that the others resemble least; the rest takes a minute.
QUICK = [
    case for case in ALL if case[1] == "lstm" and case[2:] in (("bf16", 80, "nchw"), ("bf16", 90, "channels_last"))
]


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in ALL], ids=str
)
def test_compiled_kernels_keep_their_budget(case):
    direction, cell, io, architecture, layout = case
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
    planes = PLANES[cell]
    assert machine.count("LDG") == machine.count(f"LDG.E.{width}") == planes + (2 if direction == "backward" else 0)
    assert machine.count("STG") == machine.count(f"STG.E.{width}") == (planes if direction == "backward" else 1)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("architecture", [80, pytest.param(90, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", [pytest.param("gru", marks=pytest.mark.slow), "lstm"])
@pytest.mark.parametrize("name", KERNELS)
def test_compiled_kernels_of_chunks_spill_nothing(name, cell, architecture):
    """One value for each thread there; what counts is that many threads fit."""
    machine = build(name, cell, "bf16", "channels_last", architecture, chunked=True)
    frames = machine.count("MUFU.RCP")  # of one round of the loop
    print(f"{machine.registers} registers, {len(machine.loop) / frames:.1f} instructions for each value")
    assert machine.stack == 0
    assert machine.count("LDL") == machine.count("STL") == 0
    assert machine.registers <= 64
    # Backward, the first pass does not need v: neither its plane nor its exponential.
    without_v = name == "summarise_backward"
    assert machine.count("MUFU.EX2") == (EXPONENTIALS[cell] - without_v) * frames
    assert machine.count("LDG") == (PLANES[cell] + {"backward": 2}.get(name, 0)) * frames
    assert machine.count("MUFU.LG2") == 0


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(
    ("io", "options"),
    [
        ("bf16", {"without": ("state", "bias", "grad_final"), "chunked": True}),
        pytest.param("bf16", {"without": ("state", "bias", "grad_h")}, marks=pytest.mark.slow),
        pytest.param("bf16", {"wide": True}, marks=pytest.mark.slow),
        pytest.param("fp16", {}, marks=pytest.mark.slow),
        pytest.param("fp32", {"without": ("grad_h",), "chunked": True}, marks=pytest.mark.slow),
        pytest.param("fp64", {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", ["gru", "explstm"])
def test_whatever_is_given_there_is_a_kernel(cell, io, options):
    """The interpreter takes what the compiler may refuse."""
    for name in KERNELS if options.get("chunked") else ("forward", "backward"):
        machine = build(name, cell, io, "channels_last", 80, **options)
        assert machine.stack == 0, name
