"""The description of a `Forecaster`: a frozen dataclass that can be written into JSON.

What lives here: the fields, their rules, conversion to and from plain data. What does not: anything about training or
data.

    config = ForecasterConfig(in_channels=3, out_channels=1, hidden=(40,) * 6, patch=2, tendency=True)
    ForecasterConfig.from_dict(config.to_dict()) == config
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from .errors import ConfigurationError

Cell = Literal["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"]
Boundary = Literal["periodic", "cylinder", "zeros", "reflect"]
Norm = Literal["channel", "group", "none", "layer_hw"]


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig:
    """What a `Forecaster` is made of.

    Attributes:
        cell: Recurrent cell; ``"conv"`` is the memoryless control (the convolutions and gates of minconvgru, no state).
        in_channels: Channels of an input frame: the prognostic ones first, then the forcings.
        out_channels: Channels of a predicted frame: the prognostic ones first, then the diagnostic ones.
        hidden: Width of each recurrent layer; its length is the number of layers.
        kernel_size: Odd side of the cells' convolution kernels.
        patch: The encoder folds patch x patch points into channels, the decoder unfolds them.
        boundary: How fields go on beyond the edge: both axes wrap; only x (the last axis) wraps and y is zero beyond
            the edge; zero on all sides; mirrored without repeating the edge.
        norm: Before each cell and the decoder (but see `post_norm`): layer norm over channels at each point; group
            norm; none; layer norm over H, W.
        post_norm: Normalise after the layer's input was added, as the published models do, in place of before each
            cell and the decoder.
        grid_shape: (H, W) of the input frames; needed by ``norm="layer_hw"`` only.
        residual: Add each layer's input to its output (through a 1x1 convolution where the widths differ).
        tendency: Predict the change from the last frame instead of the frame.
        tendency_scale: Size of that change in normalised units per unit of decoder output: one number, or one for each
            prognostic channel.
        damping: With `tendency`, let each prognostic variable return to its mean at a learned rate per step, so that
            a model with nothing else to say forecasts damped persistence.
        encoder_kernel_size: Odd side of the encoder's kernel.
        diagnostic_channels: How many of the predicted channels are no input: predicted, but not fed back.

    Raises:
        ConfigurationError: A value breaks a rule.
    """

    in_channels: int
    out_channels: int
    hidden: tuple[int, ...]
    cell: Cell = "minconvgru"
    kernel_size: int = 3
    patch: int = 1
    boundary: Boundary = "periodic"
    norm: Norm = "channel"
    post_norm: bool = False
    grid_shape: tuple[int, int] | None = None
    residual: bool = True
    tendency: bool = False
    tendency_scale: float | tuple[float, ...] = 0.2
    damping: bool = False
    encoder_kernel_size: int = 1
    diagnostic_channels: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("cell", Cell), ("boundary", Boundary), ("norm", Norm)):
            _check_choice(name, getattr(self, name), get_args(kind))
        for name in ("in_channels", "out_channels", "kernel_size", "patch", "encoder_kernel_size"):
            _check_positive(name, getattr(self, name))
        for name in ("kernel_size", "encoder_kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ConfigurationError(f"{name} must be odd, got {getattr(self, name)}")
        for name in ("post_norm", "residual", "tendency", "damping"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.damping and not self.tendency:
            raise ConfigurationError("damping needs tendency=True, got tendency=False")
        object.__setattr__(self, "hidden", _integers("hidden", self.hidden))
        self._check_diagnostic_channels()
        if self.prognostic_channels > self.in_channels:
            raise ConfigurationError(
                f"out_channels without the diagnostic ones must be at most in_channels ({self.in_channels}), because "
                f"the first input channels are the prognostic ones, got {self.prognostic_channels}"
            )
        self._check_tendency_scale()
        self._check_grid_shape()

    def _check_tendency_scale(self) -> None:
        scale, count = self.tendency_scale, self.prognostic_channels
        if not isinstance(scale, tuple | list):
            _check_positive_number("tendency_scale", scale)
            return
        if len(scale) != count:
            raise ConfigurationError(
                f"tendency_scale must be one number, or {count}, one for each prognostic channel, got {len(scale)}"
            )
        for number in scale:
            _check_positive_number("each entry of tendency_scale", number)
        object.__setattr__(self, "tendency_scale", tuple(scale))

    def _check_diagnostic_channels(self) -> None:
        count = self.diagnostic_channels
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < self.out_channels:
            raise ConfigurationError(
                f"diagnostic_channels must be an integer from 0 to {self.out_channels - 1}, below out_channels, "
                f"got {count!r}"
            )

    def _check_grid_shape(self) -> None:
        if self.grid_shape is None:
            if self.norm == "layer_hw":
                raise ConfigurationError("norm 'layer_hw' needs grid_shape=(H, W), got None")
            return
        shape = _integers("grid_shape", self.grid_shape)
        if len(shape) != 2:
            raise ConfigurationError(f"grid_shape must be (H, W), got {self.grid_shape!r}")
        if any(side % self.patch for side in shape):
            raise ConfigurationError(f"grid_shape must be a multiple of patch ({self.patch}), got {shape}")
        object.__setattr__(self, "grid_shape", shape)

    @property
    def prognostic_channels(self) -> int:
        """Channels that are predicted and fed back."""
        return self.out_channels - self.diagnostic_channels

    @property
    def forcing_channels(self) -> int:
        """Input channels that are not predicted."""
        return self.in_channels - self.prognostic_channels

    def to_dict(self) -> dict[str, Any]:
        """Plain data (numbers, strings, lists) that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ForecasterConfig:
        """The inverse of `to_dict`.

        Raises:
            ConfigurationError: Unknown or missing key, or a value breaks a rule.
        """
        known = [field.name for field in fields(cls)]
        for name in data:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}"
                raise ConfigurationError(f"unknown key {name!r} in a forecaster configuration; {hint}")
        missing = [name for name in ("in_channels", "out_channels", "hidden") if name not in data]
        if missing:
            raise ConfigurationError(f"key {missing[0]!r} is missing from a forecaster configuration; add it")
        return cls(**data)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a positive integer, got {value!r}")


def _check_positive_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0.0 < value < math.inf):
        raise ConfigurationError(f"{name} must be a positive number, got {value!r}")


def _integers(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value:
        raise ConfigurationError(f"{name} must be a non-empty sequence of positive integers, got {value!r}")
    for number in value:
        _check_positive(f"each entry of {name}", number)
    return tuple(value)
