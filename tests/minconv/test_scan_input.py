"""What the scan says to bad input and to backends that are not there."""

from __future__ import annotations

import pytest
import torch

from minconv import BackendError, InputError, MinconvError
from minconv.scan import scan

PRE = torch.zeros(2, 3, 4, 5, 6)
STATE = torch.zeros(2, 2, 5, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pre": [1.0]}, r"pre must be a tensor \[B, T, G·C, H, W\], got list"),
        ({"pre": PRE[0]}, r"pre must have 5 dimensions .* got 4 with shape \(3, 4, 5, 6\)"),
        ({"pre": PRE.int()}, "pre must have a floating-point dtype, got torch.int32"),
        ({"pre": PRE[:, :0]}, r"pre must have at least one frame .* got shape \(2, 0, 4, 5, 6\)"),
        ({"cell": "rnn"}, "cell must be one of gru, lstm, explstm, got 'rnn'"),
        ({"cell": "lstm"}, "pre must have a multiple of 3 channels for cell 'lstm', got 4"),
        ({"bias": torch.zeros(3)}, r"bias must have shape \(4,\), .* got \(3,\)"),
        ({"bias": torch.zeros(4, dtype=torch.int64)}, "bias must have a floating-point dtype, got torch.int64"),
        ({"bias": torch.zeros(4, device="meta")}, r"bias must be on the device of pre \(cpu\), got meta"),
        ({"initial_state": STATE[0]}, r"initial_state must have shape \(2, 2, 5, 6\) .* got \(2, 5, 6\)"),
        ({"initial_state": STATE.double()}, "initial_state must be torch.float32 like pre, got torch.float64"),
        ({"initial_state": STATE.to("meta")}, r"initial_state must be on the device of pre \(cpu\), got meta"),
        ({"initial_state": 0.5}, "initial_state must be a tensor or None, got float"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        scan(**{"pre": PRE, "cell": "gru", **arguments})


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("triton", "'triton' is not available: (it needs tensors on a CUDA device, got cpu|Triton cannot be imported)"),
        ("cuda", "backend must be one of auto, triton, cpu, reference, logspace, got 'cuda'"),
    ],
)
def test_a_backend_that_is_not_there_says_why(backend, message):
    with pytest.raises(BackendError, match=message):
        scan(PRE, cell="gru", backend=backend)


def test_auto_is_the_kernel_of_the_device():
    pre = torch.randn(1, 3, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    found, expected = (scan(pre, cell="gru", backend=name) for name in ("auto", "cpu"))
    assert torch.equal(found[0], expected[0])
    with pytest.raises(BackendError, match="'cpu' needs tensors on the CPU, got pre on meta"):
        scan(PRE.to("meta"), cell="gru", backend="cpu")


def test_one_except_clause_catches_every_error():
    assert issubclass(InputError, MinconvError)
    assert issubclass(MinconvError, ValueError)
