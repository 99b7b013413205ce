"""Muon: steps whose every direction counts alike, for weights that are matrices.

The gradient of a layer's weights, seen as a matrix from inputs to outputs, has few strong directions and many weak
ones, and an optimizer that follows it learns the strong ones first. Muon replaces the running mean of the gradients by
the nearest matrix with orthonormal rows (or columns): U V^T of its singular value decomposition U S V^T.

    optimizer = Muon([cell.weight for cell in cells], lr=4e-3)

Why not `torch.optim.Muon`: that takes matrices and no convolutions, and computes in bfloat16, which CPUs without it
only imitate. What does not live here: which weights learn so (`optimizers`).

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (the method, the polynomial and
its coefficients); Liu et al., "Muon is Scalable for LLM Training", 2025, arXiv 2502.16982 (section 2.2: the size of a
step, by which learning rates are those of AdamW).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

# x -> a·x + b·x³ + c·x⁵ takes singular values in (0, 1] to about 1 (0.7 to 1.2) within five turns.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TURNS = 5
# The root mean square of AdamW's steps is 0.2 to 0.4 of the learning rate.
RMS = 0.2
TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; weights of more than two dimensions are [outputs, all the rest].

    Args:
        params: Weights with at least two dimensions, or groups of them.
        lr: Learning rate. A step has a root mean square of 0.2 of it.
        blocks: Matrices that a weight consists of, one below the other, each made orthogonal by itself: the gates of a
            cell whose convolution makes all of them at once.
        momentum: Share of the running mean of gradients that a step leaves in place.
        weight_decay: Share of the weights, times the learning rate, that a step takes off.

    Raises:
        ValueError: A parameter has fewer than two dimensions.
    """

    def __init__(
        self, params: ParamsT, lr: float, blocks: int = 1, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "blocks": blocks, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                shape = tuple(parameter.shape)
                if len(shape) < 2:
                    raise ValueError(f"Muon takes weights of at least two dimensions, got shape {shape}")
                if shape[0] % group["blocks"]:
                    raise ValueError(f"blocks must divide the first dimension, got {group['blocks']} for shape {shape}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the weights; those without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step(group)
        return loss

    def _step(self, group: dict[str, Any]) -> None:
        """All matrices of one shape at once: they are small, and each operation has its price."""
        blocks: int = group["blocks"]
        alike: defaultdict[tuple[int, int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                shape = blocks, len(parameter) // blocks, parameter[0].numel()
                alike[shape].append((parameter, self._mean(parameter, parameter.grad, group["momentum"])))
        for shape, learning in alike.items():
            steps = orthogonal(torch.cat([mean.reshape(shape) for _, mean in learning]))
            steps *= RMS * max(shape[1:]) ** 0.5
            for (parameter, _), step in zip(learning, torch.split(steps, blocks), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(step.reshape(parameter.shape), alpha=group["lr"])

    def _mean(self, parameter: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """The running mean with Nesterov's look ahead."""
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(gradient)
        mean: Tensor = state["mean"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest matrices whose singular values are 1, [N, rows, columns]; zero stays zero.

    Newton-Schulz iteration: a matrix X becomes a·X + b·(X Xᵀ) X + c·(X Xᵀ)² X, which changes its singular values alone.
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    for _ in range(TURNS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
