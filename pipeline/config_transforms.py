"""The parts of a configuration about transforms: the grid regridded to, steps in time, quantities made of others.

What lives here: their form and the rules that concern one of them alone. What does not: the transforms
(`transforms`), what they are derived by (`derivations`).

    ResampleConfig(step="6h").seconds          # 21600
    RegridConfig(lat=(50, 60, 0.5), lon=(-8, 2, 0.5)).shape      # (21, 21)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .config_base import Section
from .config_grid import GridAxes
from .derivations import DERIVATIONS

RegridMethod = Literal["conservative", "linear", "nearest"]
How = Literal["mean", "sum", "min", "max", "first", "last"]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*(s|min|h|d)$")]
Since = Annotated[str, Field(pattern=r"^(start|step|[1-9][0-9]*(s|min|h|d))$")]

_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


def seconds_of(duration: str) -> int:
    """Seconds of a `Duration`."""
    number = duration.rstrip("sminhd")
    return int(number) * _SECONDS[duration[len(number) :]]


class RegridConfig(GridAxes):
    """The regular grid of latitudes and longitudes that input is brought to."""

    method: RegridMethod = Field(
        "conservative", description="conservative: means over the area of each cell; linear; nearest: the nearest point"
    )


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
