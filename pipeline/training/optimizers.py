"""Which optimizer learns which weights.

optimizers = optimizers_of(objective, config.training)
for optimizer in optimizers:
    optimizer.step()

What does not live here: a step of the training (`optimization`), the learning rate over the run (`objective`).
"""

from __future__ import annotations

from collections import defaultdict

from torch import nn
from torch.optim import AdamW, Optimizer

from ..config import TrainingConfig
from .muon import Muon
from .objective import Objective


def optimizers_of(objective: Objective, options: TrainingConfig) -> tuple[Optimizer, ...]:
    """AdamW for all weights; or Muon for the cells' convolutions, and AdamW for the others."""
    decay = options.weight_decay
    if options.optimizer == "adamw":
        return (_adamw(list(objective.parameters()), options.learning_rate, decay),)
    convolutions: defaultdict[int, list[nn.Parameter]] = defaultdict(list)  # by how many gates they make
    for layer, hidden in zip(objective.forecaster.layers, objective.forecaster.config.hidden, strict=True):
        for name, parameter in layer.named_parameters():
            if name.startswith("cell.") and parameter.ndim > 1:
                convolutions[len(parameter) // hidden].append(parameter)
    known = {id(parameter) for several in convolutions.values() for parameter in several}
    others = [parameter for parameter in objective.parameters() if id(parameter) not in known]
    groups = [{"params": several, "blocks": gates} for gates, several in convolutions.items()]
    return Muon(groups, options.learning_rate, weight_decay=decay), _adamw(others, options.learning_rate, decay)


def _adamw(parameters: list[nn.Parameter], rate: float, decay: float) -> AdamW:
    """Weight decay for the weights of convolutions; none for biases, norms and damping, whose zero means nothing."""
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, rate, fused=True)
