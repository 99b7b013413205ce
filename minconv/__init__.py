"""minconv: minimal convolutional recurrent networks that forecast gridded fields.

What lives here: the cells, the scan they share, the `Forecaster`, the `rollout` and the checkpoint format. It needs
torch, numpy and safetensors only. What does not: data, training, tracking.

Tensor letters, used everywhere: B batch, T time, C channels, H height (y), W width (x); a name may carry them as a
suffix, e.g. ``x_BTCHW``.

    config = ForecasterConfig(in_channels=1, out_channels=1, hidden=(40,) * 6, patch=2, tendency=True)
    forecaster = Forecaster(config)
    y, state = forecaster(x_BTCHW)                   # y[:, t] predicts frame t + 1
    frames = list(rollout(forecaster, x_BTCHW, steps=30))

The function ``scan`` is not exported here, because it would hide the subpackage: ``from minconv.scan import scan``.
"""

from __future__ import annotations

from .checkpoint import load, save
from .config import ForecasterConfig
from .errors import (
    BackendError,
    CheckpointDamagedError,
    CheckpointError,
    CheckpointMissingError,
    CheckpointVersionError,
    ConfigurationError,
    GradientError,
    InputError,
    MinconvError,
)
from .memory import keep_freed_memory
from .model import Forecaster, State
from .normalizer import Normalizer
from .rollout import closed_loop, rollout

__all__ = [
    "BackendError",
    "CheckpointDamagedError",
    "CheckpointError",
    "CheckpointMissingError",
    "CheckpointVersionError",
    "ConfigurationError",
    "Forecaster",
    "ForecasterConfig",
    "GradientError",
    "InputError",
    "MinconvError",
    "Normalizer",
    "State",
    "closed_loop",
    "keep_freed_memory",
    "load",
    "rollout",
    "save",
]
