"""The scan as the paper computes it: a prefix sum of logarithms, in plain differentiable torch.

It is here to compare with, not to train with: it moves about seventeen times the memory of the linear form, and its
gradients lose accuracy as T grows (in 16-bit types it is wrong), so it computes in float32 at least.

    h_t = exp(a*_t + logcumsumexp(log b - a*)_t),  a*_t = sum_{s<=t} log(1 - z_s),  b_0 = h_{-1},  b_t = z_t g(v_t)

(Heinsen 2023, arXiv 2311.06281; appendix B of Feng et al. 2024, arXiv 2410.01201.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def scan(pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Same contract as `minconv.scan.scan`; the initial state must be positive, as every state of the recurrence is."""
    dtype = torch.float64 if pre.dtype == torch.float64 else torch.float32
    return scan_in(dtype, pre, initial_state, cell, bias)


def scan_in(
    dtype: torch.dtype, pre: Tensor, initial_state: Tensor | None, cell: str, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same with all arithmetic in that type, which is the input's in published code."""
    x = pre.to(dtype)
    if bias is not None:
        x = x + bias.to(dtype)[:, None, None]
    if cell == "gru":
        k, v = x.chunk(2, dim=2)
        log_z, log_keep = -F.softplus(-k), -F.softplus(k)
    else:
        f, i, v = x.chunk(3, dim=2)
        s = F.softplus(-f) - F.softplus(-i) if cell == "lstm" else i - f
        log_z, log_keep = -F.softplus(-s), -F.softplus(s)
    log_input = log_z + _log_g(v)
    if initial_state is None:
        log_state = torch.full_like(log_input[:, :1], 0.5).log()
    else:
        log_state = initial_state.to(dtype).log()[:, None]
    decay = F.pad(log_keep.cumsum(dim=1), (0, 0, 0, 0, 0, 0, 1, 0))
    log_h = decay + torch.logcumsumexp(torch.cat([log_state, log_input], dim=1) - decay, dim=1)
    h = log_h[:, 1:].exp()
    return h.to(pre.dtype), h[:, -1]


def _log_g(v: Tensor) -> Tensor:
    """Log of g: log(v + 0.5) for v >= 0, log sigmoid(v) below; the branch not taken has a finite gradient."""
    return torch.where(v >= 0, (F.relu(v) + 0.5).log(), -F.softplus(-v))
