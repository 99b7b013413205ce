"""Making a registered version again from what its lineage names, and comparing the weights.

What lives here: what to train (`recipe`), whether the code is that of then (`check_code`), how far two sets of weights
lie apart (`compare_weights`). What does not: the training (`training`), the tags (`lineage`).

    config = recipe(model, root)
    reproduced = train_here(prepare(config, model.metadata["snapshot_id"]), name)
    compare_weights(model, reproduced.checkpoint).equal
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import minconv

from . import lineage
from .config import Config, check_config
from .errors import RegistryError
from .registry import ModelVersion, RegisteredModel
from .training import TrainingJob


@dataclass(frozen=True)
class Deviation:
    """How far weights lie apart.

    Attributes:
        equal: Bit for bit, all of them.
        largest: Largest absolute difference; infinite where names or shapes differ.
        relative: The same in units of the largest absolute value of its tensor.
        name: Tensor in which it is.
    """

    equal: bool
    largest: float
    relative: float
    name: str


def recipe(model: RegisteredModel, root: Path) -> Config:
    """The configuration the version was trained with, over the Archive below today's `root`."""
    config = check_config(dict(model.metadata["config"]), where=f"the configuration of {model.version.uri}")
    return config.model_copy(update={"root": root})


def check_code(version: ModelVersion) -> None:
    """Whether the code that decides the weights is the code of then.

    Raises:
        RegistryError: It is not; says which commit has it.
    """
    then, now = version.tags.get("code_hash", "unknown"), lineage.code_hash()
    if then == now:
        return
    commit = version.tags.get("git_commit")
    step = f"check out commit {commit}" if commit else f"install {version.tags.get('code_version', 'the code of then')}"
    raise RegistryError(
        f"{version.uri} was trained by other code (hash {then}) than is here (hash {now}), which may train other "
        f"weights; {step}, or add --anyway to see how far they differ"
    )


def changes(version: ModelVersion, job: TrainingJob) -> list[str]:
    """What is not as it was when the version was trained, and what cannot be the same twice; in words."""
    found = []
    tags = lineage.version_tags(job)
    for tag, name in (("code_hash", "code"), ("statistics_hash", "statistics"), ("snapshot_id", "data")):
        if version.tags.get(tag) != tags[tag]:
            found.append(f"the {name} differ: {version.tags.get(tag)} then, {tags[tag]} now")
    options = job.config.training
    if options.max_seconds is not None:
        found.append("training.max_seconds ended the training by the clock, which no two trainings share")
    if options.gpu:
        found.append("it was trained on a GPU, whose sums have no fixed order")
    elif options.threads is None:
        found.append("training.threads was left to the machine, and sums depend on the number of threads")
    return found


def compare_weights(model: RegisteredModel, checkpoint: Path) -> Deviation:
    """Every parameter and buffer of a version against those in a folder that `minconv.save` wrote."""
    found, _ = minconv.load(checkpoint)
    return deviation(model.forecaster.state_dict(), found.state_dict())


def deviation(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Deviation:
    """The largest difference between two sets of named tensors."""
    if _shapes(one) != _shapes(other):
        name = next(name for name in (*one, *other) if _shapes(one).get(name) != _shapes(other).get(name))
        return Deviation(False, float("inf"), float("inf"), name)
    equal = all(torch.equal(one[name], other[name]) for name in one)
    worst = max((_of_tensor(name, one[name], other[name]) for name in one), key=lambda each: each.relative)
    return Deviation(equal, worst.largest, worst.relative, worst.name)


def _of_tensor(name: str, one: Tensor, other: Tensor) -> Deviation:
    if not one.numel():
        return Deviation(True, 0.0, 0.0, name)
    largest = float((one.double() - other.double()).abs().max())
    scale = float(one.double().abs().max())
    return Deviation(largest == 0.0, largest, largest / scale if scale else largest, name)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
