"""Values a hair below zero of quantities that cannot be negative, as packing leaves them: put to zero.

fields, surveys, told = without_tiny_negatives(fields, surveys, {"tp": 1e-6})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import xarray as xr

from .survey import VariableSurvey


def without_tiny_negatives(
    fields: xr.Dataset, surveys: Mapping[str, VariableSurvey], sizes: Mapping[str, float]
) -> tuple[xr.Dataset, dict[str, VariableSurvey], list[str]]:
    """The fields with tiny negative values as zero, lazily, their surveys, and what was done in words.

    A variable with a value further below zero is left as it is, for the checks to find.

    Args:
        fields: Harmonised.
        surveys: Of these fields.
        sizes: For each variable that cannot be negative, how far below zero is tiny.
    """
    low = [name for name, size in sizes.items() if name in surveys and -size <= surveys[name].lowest < 0.0]
    if not low:
        return fields, dict(surveys), []
    clipped = fields.assign({name: fields[name].clip(min=0.0, keep_attrs=True) for name in low})
    told = [
        f"variable {name!r} had values down to {surveys[name].lowest:.2g}, expected none below 0; taken as 0"
        for name in low
    ]
    return clipped, {**surveys, **{name: replace(surveys[name], lowest=0.0) for name in low}}, told
