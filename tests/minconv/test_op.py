"""The scan's operators inside torch: what `opcheck` asks, tracing, vmap, autocast, data parallelism, what is kept for
the backward pass and which derivatives are refused; for each kernel that stands behind them.

With TRITON_INTERPRET=1 (`test_scan_triton_build.py` starts it so) that is the Triton kernels, on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from minconv import GradientError
from minconv.cells import MinConvGRU
from minconv.scan import BLOCKS, cpu, op, scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ROOT = Path(__file__).parents[2]
CELLS = tuple(BLOCKS)
# Where each run of a kernel takes long, one case is quick.
slow_interpreted = pytest.mark.slow if INTERPRETED else ()


KERNELS = ["native", "torch", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=["interpreter"] if INTERPRETED else KERNELS, autouse=True)
def backend(request, monkeypatch):
    """Name of the backend; tensors are made on its device."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    if request.param == "torch":
        monkeypatch.setattr(cpu, "_library", lambda dtype: None)
    torch.set_default_device("cuda" if request.param == "cuda" else "cpu")
    yield "triton" if request.param in ("cuda", "interpreter") else "cpu"
    torch.set_default_device(None)


def made(cell, shape=(2, 3, 2, 2, 4), dtype=torch.float32, last=False, seed=0) -> list[Tensor]:
    """Input, bias, initial state, all to be differentiated."""
    generator = torch.Generator().manual_seed(seed)
    batch, time, channels, height, width = shape
    count = BLOCKS[cell] * channels
    sizes = ((batch, time, count, height, width), (count,), (batch, channels, height, width))
    pre, bias, state = (torch.randn(size, generator=generator, device="cpu") for size in sizes)
    if last:
        pre = pre.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    device = torch.get_default_device()
    return [tensor.to(device, dtype).requires_grad_() for tensor in (2 * pre, bias, state.abs())]


class Scan(torch.nn.Module):
    """One scan as a module, for what takes modules."""

    def __init__(self, cell: str, backend: str) -> None:
        super().__init__()
        self.cell, self.backend = cell, backend

    def forward(self, pre: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return scan(2 * pre, state, cell=self.cell, bias=bias, backend=self.backend)


def loss(results: tuple[Tensor, Tensor]) -> Tensor:
    return results[0].square().sum() + results[1].sum()


@pytest.mark.parametrize(
    ("cell", "last"),
    [
        pytest.param("gru", False, marks=slow_interpreted),
        ("lstm", True),
        pytest.param("explstm", True, marks=slow_interpreted),
    ],
)
def test_operators_keep_the_rules_of_torch(cell, last, backend):
    pre, bias, state = made(cell, last=last)
    scan(pre, cell=cell, backend=backend)  # its kernels are registered on first use
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(op.scan_forward, (pre, state, bias, cell), test_utils=tests)
    torch.library.opcheck(op.scan_forward, (pre, None, None, cell), test_utils=tests[:3])
    h, final = (tensor.detach() for tensor in op.scan_forward(pre, state, bias, cell))
    plain = [tensor.detach() for tensor in (pre, state, bias)]
    for arguments in ((*plain, h, h, final, cell), (plain[0], None, None, h, None, final, cell)):
        torch.library.opcheck(op.scan_backward, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("dims", [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (0, 1, None)], ids=str)
def test_vmap_equals_a_loop(dims, backend):
    cell = "lstm"
    pairs = zip(made(cell), made(cell, seed=1), dims, strict=True)
    inputs = [
        one.detach().requires_grad_() if dim is None else torch.stack([one, other], dim).detach().requires_grad_()
        for one, other, dim in pairs
    ]

    def run(pre, bias, state):
        return loss(scan(pre, state, cell=cell, bias=bias, backend=backend))

    found = torch.func.vmap(run, in_dims=dims)(*inputs)
    each = [
        [x if dim is None else x.select(dim, index) for x, dim in zip(inputs, dims, strict=True)] for index in range(2)
    ]
    expected = torch.stack([run(*arguments) for arguments in each])
    assert torch.equal(found, expected)
    one, other = (torch.autograd.grad(total.sum(), inputs) for total in (found, expected))
    torch.testing.assert_close(one, other)


def test_gradients_for_many_output_directions_at_once(backend):
    inputs = made("lstm")
    h, _ = scan(inputs[0], inputs[2], cell="lstm", bias=inputs[1], backend=backend)
    torch.manual_seed(3)
    weights = torch.randn(3, *h.shape)
    found = torch.autograd.grad(h, inputs, weights, is_grads_batched=True, retain_graph=True)
    for index, weight in enumerate(weights):
        expected = torch.autograd.grad(h, inputs, weight, retain_graph=True)
        assert all(torch.equal(one[index], other) for one, other in zip(found, expected, strict=True))


def test_forward_mode_is_refused(backend):
    pre = made("gru")[0].detach()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(pre, torch.ones_like(pre))
        with pytest.raises(GradientError, match="reverse-mode derivatives only"):
            scan(dual, cell="gru", backend=backend)
    with pytest.raises(GradientError, match="reverse-mode derivatives only"):
        torch.func.jvp(lambda x: scan(x, cell="gru", backend=backend)[0], (pre,), (torch.ones_like(pre),))


def test_a_second_derivative_is_refused(backend):
    pre = made("gru")[0]
    h, _ = scan(pre, cell="gru", backend=backend)
    (gradient,) = torch.autograd.grad(h.square().sum(), pre, create_graph=True)
    with pytest.raises(GradientError, match="first derivative only"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    "compiler", ["aot_eager", *([] if INTERPRETED else [pytest.param("inductor", marks=pytest.mark.slow)])]
)
@pytest.mark.parametrize(
    ("cell", "last", "dynamic"), [pytest.param("gru", False, False, marks=slow_interpreted), ("lstm", True, True)]
)
def test_compiled_without_a_graph_break(cell, last, dynamic, compiler, backend):
    module = Scan(cell, backend)
    compiled = torch.compile(module, fullgraph=True, backend=compiler, dynamic=dynamic)
    for shape in ((2, 3, 3, 2, 4), (1, 5, 3, 4, 6)):
        inputs = made(cell, shape, last=last)
        found, expected = compiled(*inputs), module(*inputs)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        one, other = (torch.autograd.grad(loss(results), inputs) for results in (found, expected))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cell", "last"), [("gru", False), ("lstm", True)])
def test_exports_for_any_number_of_frames(cell, last, backend):
    module = Scan(cell, backend)
    frames = {"pre": {1: torch.export.Dim("frames", min=2, max=99)}, "bias": None, "state": None}
    inputs = tuple(tensor.detach() for tensor in made(cell, last=last))
    exported = torch.export.export(module, inputs, dynamic_shapes=frames, strict=True).module()
    for other in (inputs, tuple(tensor.detach() for tensor in made(cell, (2, 7, 2, 2, 4), last=last))):
        for found, expected in zip(exported(*other), module(*other), strict=True):
            assert torch.equal(found, expected)


def test_autocast_leaves_the_types_alone(backend):
    """No rule of its own: 16-bit frames of an autocast convolution stay 16-bit, float32 stays float32."""
    inputs = made("gru")
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        h, final = Scan("gru", backend)(*inputs)
    assert (h.dtype, final.dtype) == (torch.float32, torch.float32)
    torch.manual_seed(0)
    cell = MinConvGRU(3, 4, backend=backend)
    x = torch.randn(2, 5, 3, 6, 6)
    expected, _ = cell(x)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        h, final = cell(x)
    assert (h.dtype, final.dtype) == (torch.bfloat16, torch.float32)
    assert (h.float() - expected).norm() < 1e-2 * expected.norm()
    h.float().square().mean().backward()
    found = [parameter.grad.clone() for parameter in cell.parameters()]
    cell.zero_grad()
    expected.square().mean().backward()
    for one, parameter in zip(found, cell.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert (one - parameter.grad).norm() < 2e-2 * parameter.grad.norm()


# One process of a data-parallel step: prints the gradients that all have agreed on.
WORKER = """
import json
import sys
import torch
sys.path.insert(0, "{root}")
from minconv.cells import MinConvGRU
rank, world, backend = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[4], rank=rank, world_size=world)
torch.manual_seed(0)
cell = MinConvGRU(2, 3, backend=backend)
x = torch.randn(2, 4, 2, 5, 5)
parallel = torch.nn.parallel.DistributedDataParallel(cell)
parallel(x[rank::world])[0].square().mean().backward()
print(json.dumps([value for parameter in cell.parameters() for value in parameter.grad.flatten().tolist()]))
torch.distributed.destroy_process_group()
"""


def test_data_parallel_in_one_process(tmp_path, backend):
    torch.manual_seed(0)
    cell = MinConvGRU(2, 3, backend=backend)
    x = torch.randn(2, 4, 2, 5, 5)
    expected = torch.autograd.grad(cell(x)[0].square().mean(), list(cell.parameters()))
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        DistributedDataParallel(cell)(x)[0].square().mean().backward()
    finally:
        distributed.destroy_process_group()
    for one, parameter in zip(expected, cell.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, one)


@pytest.mark.slow
def test_two_processes_agree_on_the_gradient_of_one(tmp_path, backend):
    if INTERPRETED or torch.get_default_device().type != "cpu":
        pytest.skip("for the kernels of the CPU: one GPU is not two, and the interpreter is slow")
    found = {}
    for world in (1, 2):
        arguments = [sys.executable, "-c", WORKER.format(root=ROOT)]
        jobs = [
            subprocess.Popen(
                [*arguments, str(rank), str(world), backend, f"{tmp_path}/store{world}"],
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                text=True,
            )
            for rank in range(world)
        ]
        found[world] = [json.loads(job.communicate(timeout=300)[0]) for job in jobs]
    assert found[2][0] == found[2][1]
    assert found[2][0] == pytest.approx(found[1][0], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["operator", "reference"])
def test_only_the_input_and_h_are_kept_for_the_backward_pass(cell, dtype, name, backend):
    """In the type of the input: 3 planes for the GRU, 4 for the others; the bias beside them."""
    pre, bias, _ = made(cell, (1, 6, 4, 8, 8), dtype)
    backend = backend if name == "operator" else name
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scan(pre, cell=cell, bias=bias, backend=backend)
    plane = pre.element_size() * 6 * 4 * 64
    assert sum(kept.values()) == (BLOCKS[cell] + 1) * plane + bias.nbytes
