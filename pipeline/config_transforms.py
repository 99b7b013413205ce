"""The parts of a configuration about transforms: the grid regridded to, steps in time, quantities made of others.

What lives here: their form and the rules that concern one of them alone. What does not: the transforms
(`transforms`), what they are derived by (`derivations`).

    ResampleConfig(step="6h").seconds          # 21600
    RegridConfig(lat=(50, 60, 0.5), lon=(-8, 2, 0.5)).shape      # (21, 21)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from .config_base import Number, Section
from .derivations import DERIVATIONS

RegridMethod = Literal["conservative", "linear", "nearest"]
How = Literal["mean", "sum", "min", "max", "first", "last"]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*(s|min|h|d)$")]
Since = Annotated[str, Field(pattern=r"^(start|step|[1-9][0-9]*(s|min|h|d))$")]
Axis = tuple[Number, Number, Annotated[Number, Field(gt=0.0)]]

_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


def seconds_of(duration: str) -> int:
    """Seconds of a `Duration`."""
    number = duration.rstrip("sminhd")
    return int(number) * _SECONDS[duration[len(number) :]]


class RegridConfig(Section):
    """The regular grid of latitudes and longitudes that input is brought to."""

    lat: Axis = Field(description="[southernmost, northernmost, spacing] of the points in degrees")
    lon: Axis = Field(description="[westernmost, easternmost, spacing] of the points in degrees, going east")
    method: RegridMethod = Field(
        "conservative", description="conservative: means over the area of each cell; linear; nearest: the nearest point"
    )

    @field_validator("lat", "lon")
    @classmethod
    def _axis_has_points(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        first, last, spacing = axis
        if last - first < spacing:
            raise ValueError(f"must be [first, last, spacing] with two points or more, got {list(axis)}")
        return axis

    @field_validator("lat")
    @classmethod
    def _lat_is_on_earth(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        if axis[0] < -90.0 or axis[1] > 90.0:
            raise ValueError(f"must be within -90 and 90, got {list(axis)}")
        return axis

    @field_validator("lon")
    @classmethod
    def _lon_goes_around_once_at_most(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        first, last, spacing = axis
        points = int((last - first) / spacing + 1e-6) + 1
        if first < -180.0 or points * spacing > 360.0 + 1e-6:
            raise ValueError(f"must start at -180 or east of it and go around once at most, got {list(axis)}")
        return axis

    def points(self, dim: Literal["lat", "lon"]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Coordinates along an axis."""
        first, last, spacing = self.lat if dim == "lat" else self.lon
        # not beyond the last by more than rounding; six decimals as everywhere for degrees
        return np.round(first + spacing * np.arange(int((last - first) / spacing + 1e-6) + 1), 6)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.points("lat")), len(self.points("lon"))

    @property
    def goes_around(self) -> bool:
        """Whether the points lie on the whole circle of longitudes."""
        return abs(self.shape[1] * self.lon[2] - 360.0) < 1e-6


class ResampleConfig(Section):
    """A longer step in time: each frame stands for the frames of the input within it."""

    step: Duration = Field(description="e.g. 30min, 6h, 1d; intervals start at multiples of it since 1970-01-01T00")
    how: How = Field("mean", description="what is made of the frames within an interval; variables.X.resample: of one")
    label: Literal["right", "left"] = Field(
        "right",
        description="right: a frame is named by the end of its interval, and what lies on the border belongs to the "
        "interval that ends there; left: by its start, and to the one that starts there",
    )

    @property
    def seconds(self) -> int:
        """Length of an interval."""
        return seconds_of(self.step)


def _one_function(value: Any) -> Any:
    """``rate`` is short for ``{rate: []}``, made of the variable's own source."""
    return {value: []} if isinstance(value, str) else value


def _known(derive: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if len(derive) != 1 or not set(derive) <= set(DERIVATIONS):
        raise ValueError(f"must name one of {', '.join(DERIVATIONS)}, got {', '.join(derive) or 'nothing'}")
    ((name, inputs),) = derive.items()
    wanted = len(DERIVATIONS[name].inputs)
    if len(inputs) != wanted and not (wanted == 1 and not inputs):
        raise ValueError(f"{name} is made of {wanted} variable(s), got {len(inputs)}; write {name}: [A, B]")
    return derive


Derive = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_one_function), AfterValidator(_known)]


def made_last(derive: Derive | None) -> bool:
    """Whether a variable is made of values that were averaged before."""
    return any(DERIVATIONS[function].last for function in derive or ())


def check_order(derived: Mapping[str, Derive | None]) -> None:
    """What is made first is made of what the files hold, what is made last of that or of what was made first.

    Args:
        derived: By variable, what makes it; None: it is read.

    Raises:
        ValueError: A variable is made of one that is made later, or at the same time.
    """
    for name, derive in derived.items():
        for function, inputs in (derive or {}).items():
            for other in inputs:
                of = derived.get(other) if other != name else None
                if of is not None and (made_last(of) or not DERIVATIONS[function].last):
                    raise ValueError(
                        f"variables.{name}.derive is made of {other}, which is itself made by {next(iter(of))}; "
                        "name what the files hold"
                    )
