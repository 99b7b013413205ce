"""The recurrence that all MinConv cells share, and the choice of code that computes it.

    z = sigmoid(s),  h_t = h_{t-1} + z_t (g(v_t) - h_{t-1}),  g(v) = v + 0.5 if v >= 0 else sigmoid(v)

    cell        s                              channel blocks of ``pre``
    "gru"       k                              k, v
    "lstm"      softplus(-f) - softplus(-i)    f, i, v
    "explstm"   i - f                          f, i, v

(Horuz et al., "Minimal Convolutional RNNs Accelerate Spatiotemporal Learning", 2025, arXiv 2508.03614; Feng et al.,
"Were RNNs All We Needed?", arXiv 2410.01201.)

What lives here: the one public function, the checks of its input, and the table of backends, one file each. What does
not: the convolutions that make ``pre`` (`minconv.cells`).

    h, final_state = scan(pre_BTCHW, cell="gru", bias=bias)
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BackendError, InputError

ScanCell = Literal["gru", "lstm", "explstm"]
Backend = Literal["auto", "triton", "cpu", "reference", "logspace"]
ScanFunction = Callable[[Tensor, Tensor | None, str, Tensor | None], tuple[Tensor, Tensor]]

BLOCKS: dict[str, int] = {"gru": 2, "lstm": 3, "explstm": 3}
INITIAL_STATE = 0.5

# A backend is a module of this package with a function `scan(pre, initial_state, cell, bias)`; one that cannot run
# everywhere also has `unavailable(device)`, which says why not, or nothing.
_MODULES = {"triton": "cuda", "cpu": "cpu", "reference": "reference", "logspace": "logspace"}
# What "auto" means, by the type of the device; "reference" for any other.
_AUTO = {"cuda": "triton", "cpu": "cpu"}
_FUNCTIONS: dict[str, ScanFunction] = {}  # of the backends used so far


def scan(
    pre: Tensor,
    initial_state: Tensor | None = None,
    *,
    cell: ScanCell,
    bias: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all frames.

    Args:
        pre: [B, T, G·C, H, W], float; channel blocks k, v (``cell="gru"``, G = 2) or f, i, v (G = 3). Each frame is
            NCHW or channels_last; the batch and time strides are free.
        initial_state: [B, C, H, W], the true state before frame 0 (no g applied); None is 0.5 everywhere. May be
            float32 beside 16-bit ``pre``.
        cell: Which s; see the module.
        bias: [G·C], added to ``pre``.
        backend: ``"triton"`` (CUDA device of compute capability 8.0 or newer), ``"cpu"`` (native kernel, or plain torch
            where it cannot be compiled), ``"reference"`` (linear loop, any device, float64-capable),
            ``"logspace"`` (the paper's prefix sum) or ``"auto"`` (the fastest accurate one there is for the device).

    Returns:
        h [B, T, C, H, W] in the dtype and frame layout of ``pre``; the state after the last frame [B, C, H, W], float32
        (float64 for float64).

    Raises:
        InputError: An argument has the wrong type, rank, shape, dtype or device.
        BackendError: The backend does not exist or cannot run here.
        GradientError: The gradient is differentiated again, or forward (not with ``"logspace"``).
    """
    _check_pre(pre, cell)
    _check_bias(bias, pre)
    _check_initial_state(initial_state, pre, cell)
    return _FUNCTIONS[_load(backend, pre.device)](pre, initial_state, cell, bias)


def _load(backend: str, device: torch.device) -> str:
    """Name of the backend that computes, with its function in `_FUNCTIONS`; its module is imported on first use.

    A name and not the function, because torch.compile takes it for a constant.
    """
    name = _fastest(device) if backend == "auto" else backend
    if name not in _MODULES:
        raise BackendError(f"backend must be one of {', '.join(get_args(Backend))}, got {name!r}")
    if reason := _unavailable(name, device):
        raise BackendError(f"backend {name!r} is not available: {reason}; 'auto' and 'reference' run on any device")
    _FUNCTIONS[name] = _module(name).scan
    return name


# All that `torch.compiler.assume_constant_result` does, but for importing torch.compile's machinery, which takes every
# process that imports this package a second or two, for the few that compile.
_load._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _fastest(device: torch.device) -> str:
    """The backend made for the device, or plain torch and a warning where that cannot run."""
    name = _AUTO.get(device.type, "reference")
    if reason := _unavailable(name, device):
        warnings.warn(f"the scan runs in plain torch, which is slow on this device: {reason}", stacklevel=4)
        return "reference"
    return name


def _unavailable(name: str, device: torch.device) -> str:
    """Why the backend cannot run on that device; empty where it can."""
    module = _module(name)
    return str(module.unavailable(device)) if hasattr(module, "unavailable") else ""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{_MODULES[name]}", __package__)


def _check_pre(pre: Tensor, cell: str) -> None:
    if not isinstance(pre, Tensor):
        raise InputError(f"pre must be a tensor [B, T, G·C, H, W], got {type(pre).__name__}")
    if cell not in BLOCKS:
        raise InputError(f"cell must be one of {', '.join(BLOCKS)}, got {cell!r}")
    if pre.ndim != 5:
        raise InputError(f"pre must have 5 dimensions [B, T, G·C, H, W], got {pre.ndim} with shape {tuple(pre.shape)}")
    if not pre.is_floating_point():
        raise InputError(f"pre must have a floating-point dtype, got {pre.dtype}")
    if 0 in pre.shape:
        raise InputError(f"pre must have at least one frame and no empty dimension, got shape {tuple(pre.shape)}")
    if pre.shape[2] % BLOCKS[cell]:
        raise InputError(
            f"pre must have a multiple of {BLOCKS[cell]} channels for cell {cell!r}, got {pre.shape[2]} in shape "
            f"{tuple(pre.shape)}"
        )


def _check_bias(bias: Tensor | None, pre: Tensor) -> None:
    if bias is None:
        return
    _check_tensor("bias", bias)
    if tuple(bias.shape) != (pre.shape[2],):
        raise InputError(
            f"bias must have shape {(pre.shape[2],)}, one value per channel of pre, got {tuple(bias.shape)}"
        )
    _check_kind("bias", bias, pre)


def _check_initial_state(state: Tensor | None, pre: Tensor, cell: str) -> None:
    if state is None:
        return
    _check_tensor("initial_state", state)
    expected = (pre.shape[0], pre.shape[2] // BLOCKS[cell], *pre.shape[3:])
    if tuple(state.shape) != expected:
        raise InputError(f"initial_state must have shape {expected} [B, C, H, W], got {tuple(state.shape)}")
    _check_kind("initial_state", state, pre)


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} must be a tensor or None, got {type(value).__name__}")


def _check_kind(name: str, tensor: Tensor, pre: Tensor) -> None:
    if not tensor.is_floating_point():
        raise InputError(f"{name} must have a floating-point dtype, got {tensor.dtype}")
    if tensor.device != pre.device:
        raise InputError(f"{name} must be on the device of pre ({pre.device}), got {tensor.device}")
    if torch.float64 in (tensor.dtype, pre.dtype) and tensor.dtype != pre.dtype:
        raise InputError(f"{name} must be {pre.dtype} like pre, got {tensor.dtype}")
