"""The section `tiles`: a large grid is trained on and forecast part by part.

What lives here: the size of the parts, and what a model must be like for them. What does not: their arithmetic
(`tiles`).

    TilesConfig(size=128).halo_of(model)      # as far as the model reaches
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from .config_base import Count, Positive, Section
from .config_model import ModelConfig

_UNBOUNDED_CELLS = ("convgru", "convlstm")
_UNBOUNDED_NORMS = ("group", "layer_hw")


class TilesConfig(Section):
    """Cut the grid into tiles with a halo, [rows, columns] or one number for both, in grid points."""

    size: tuple[Positive, Positive] = Field((128, 128), description="points of a tile that are scored")
    halo: tuple[Count, Count] | None = Field(
        None,
        description="points read beyond each side and not scored; empty: as far as the model reaches in a step, so "
        "that tiles forecast what the whole grid would",
    )

    @field_validator("size", "halo", mode="before")
    @classmethod
    def _one_number_is_both(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list) else value

    def halo_of(self, model: ModelConfig) -> tuple[int, int]:
        """The halo with this model."""
        return (reach(model), reach(model)) if self.halo is None else self.halo

    def check(self, model: ModelConfig) -> None:
        """Raise a ValueError where the model cannot work on tiles."""
        if model.cell in _UNBOUNDED_CELLS:
            raise ValueError(
                f"model.cell must be a minconv cell or conv with tiles, got {model.cell}, whose memory reaches further "
                "with every frame, beyond any halo"
            )
        if model.norm in _UNBOUNDED_NORMS:
            raise ValueError(
                f"model.norm must be channel or none with tiles, got {model.norm}: it takes a mean over the whole grid"
            )
        for name, sides in (("size", self.size), ("halo", self.halo or (0, 0))):
            if any(side % model.patch for side in sides):
                raise ValueError(
                    f"tiles.{name} must be a multiple of model.patch ({model.patch}), got {sides[0]} x {sides[1]}"
                )


def reach(model: ModelConfig) -> int:
    """Points by which an input can lie beside what it has an influence on, after any number of frames.

    The memory of the minconv cells works at each point alone, so that only the convolutions of the layers count.
    """
    return model.patch * len(model.hidden) * (model.kernel_size // 2)
