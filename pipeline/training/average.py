"""A moving average of a model's weights, which forecasts better than the weights of the last step.

average = Average(forecaster, decay=0.999)
average.update()                 # after every step
with average.in_place():
    validate(forecaster)         # with the averaged weights
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of the parameters of a module.

    Args:
        module: The one that learns.
        decay: Share of the average that a step leaves in place. The first steps leave less, (1 + n) / (10 + n) after
            n of them, so that the weights that the training began with are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live: list[Tensor] = list(module.parameters())
        self._mean = [parameter.detach().clone() for parameter in self._live]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after so many steps of the run."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module has the averaged weights in the body."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def load(self, weights: list[Tensor]) -> None:
        """Go on from these averages, in the order of the module's parameters."""
        for mean, value in zip(self._mean, weights, strict=True):
            mean.copy_(value)

    @torch.no_grad()
    def _exchange(self) -> None:
        for live, mean in zip(self._live, self._mean, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)
