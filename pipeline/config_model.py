"""The model section of a configuration.

ModelConfig(cell="minconvlstm", tendency_scale="statistics")
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from .config_base import Flag, Positive, Section
from .config_message import shown

Cell = Literal["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"]


def _scale(value: Any) -> float | str:
    """A positive number, or the word; checked here, as pydantic would name its own types in the message."""
    if value == "statistics":
        return "statistics"
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 < number < math.inf:
        raise ValueError(f"must be a positive number, or statistics, got {shown(value)}")
    return number


class ModelConfig(Section):
    """The Forecaster; see `minconv.ForecasterConfig`."""

    cell: Cell = "minconvgru"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (40,) * 6
    kernel_size: Positive = 3
    patch: Positive = Field(2, description="fold patch x patch grid points into channels")
    norm: Literal["channel", "group", "none", "layer_hw"] = "channel"
    post_norm: Flag = Field(False, description="norm after a layer's input is added, as the published models do")
    residual: Flag = True
    tendency: Flag = Field(True, description="predict the change from the last frame, not the frame")
    tendency_scale: Annotated[float | Literal["statistics"], BeforeValidator(_scale)] = Field(
        0.2,
        description="change per unit of the model's output, in standard deviations; statistics: of each variable the "
        "standard deviation of its change from frame to frame in the training split",
    )
    damping: Flag = Field(False, description="learn how fast each variable returns to its mean; needs tendency")
    memory: Annotated[int, Field(ge=2, strict=True)] | None = Field(
        None,
        description="frames that the gates remember at the start of a training, from 2 to this many over the channels; "
        "empty: about 2; set it to the frames that matter where those are hundreds",
    )
    anomaly: Flag = Field(False, description="predict departures from the climatology of the training split")
    closed_padding: Literal["zeros", "reflect"] = Field(
        "zeros", description="padding where the grid's boundary is closed"
    )

    @field_validator("kernel_size")
    @classmethod
    def _kernel_has_a_middle(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError(f"must be odd, got {kernel_size}; use {kernel_size - 1} or {kernel_size + 1}")
        return kernel_size
