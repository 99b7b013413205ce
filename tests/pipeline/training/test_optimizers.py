"""Which weights learn by which optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import minconv
from pipeline.config import TrainingConfig
from pipeline.training.muon import Muon
from pipeline.training.objective import Objective
from pipeline.training.optimizers import optimizers_of


def objective_of(cell: str) -> Objective:
    config = minconv.ForecasterConfig(
        in_channels=1, out_channels=1, hidden=(4, 6), cell=cell, tendency=True, damping=True
    )
    return Objective(minconv.Forecaster(config), torch.ones(4, 4))


def weights(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@pytest.mark.parametrize("cell", ["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"])
def test_muon_takes_the_convolutions_of_the_cells(cell: str) -> None:
    objective = objective_of(cell)
    muon, adamw = optimizers_of(objective, TrainingConfig(optimizer="muon", weight_decay=0.1))
    assert isinstance(muon, Muon)
    assert isinstance(adamw, torch.optim.AdamW)
    assert len(weights(muon)) >= 2
    assert all(parameter.ndim == 4 and parameter.shape[-1] == 3 for parameter in weights(muon))
    learned = [id(parameter) for optimizer in (muon, adamw) for parameter in weights(optimizer)]
    assert sorted(learned) == sorted(map(id, objective.parameters()))


def test_weight_decay_leaves_out_what_has_no_matrix() -> None:
    (adamw,) = optimizers_of(objective_of("minconvgru"), TrainingConfig(weight_decay=0.1))
    decays = {
        group["weight_decay"]: {parameter.ndim > 1 for parameter in group["params"]} for group in adamw.param_groups
    }
    assert decays == {0.1: {True}, 0.0: {False}}
