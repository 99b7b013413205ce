"""Damped persistence: the anomaly of the last frame, shrunk towards the climatology as the training period says.

What lives here: its coefficients by variable and lead, and their fit. What does not: the climatology (`climatology`),
the errors (`verification`).

    damping = fit_damping(dataset, climatology, splits.train, steps=24)
    forecast = damping.forecast(last_frame, climatology_now, climatology_then)

The forecast is c(t + L) + a(L) · (x(t) - c(t)) with the climatology c. a(L) is the least-squares coefficient through
the origin of the anomaly at t + L on that at t, pooled over the grid points (weighted by area) and the frames of the
training split, one for each variable and lead: a(L) = sum w x'(t) x'(t + L) / sum w x'(t)²
(von Storch and Zwiers 1999, Statistical Analysis in Climate Research, section 18.3).
1 is persistence, 0 the climatology.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .climatology import Climatology
from .grid import GridSpec
from .splits import Split


@dataclass(frozen=True, eq=False)
class Damping:
    """Coefficients of the anomaly by lead and variable, float64 [L, C]."""

    coefficients: NDArray[np.float64]

    def forecast(
        self, last: NDArray[np.float32], now: NDArray[np.float32], then: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Forecasts at each lead, in physical units.

        Args:
            last: The last frame seen, [B, C, H, W].
            now: The climatology at its time, [B, C, H, W].
            then: The climatology at the valid times, [B, L, C, H, W].

        Returns:
            [B, L, C, H, W].
        """
        shrink = self.coefficients[:, :, None, None].astype(np.float32)
        return np.asarray(then + shrink * (last - now)[:, None], dtype=np.float32)


def fit_damping(
    dataset: xr.Dataset, climatology: Climatology, train: Split, steps: int, *, block_bytes: int = 2**26
) -> Damping:
    """Regress the anomalies of the training split on those `1 … steps` frames before.

    Args:
        dataset: The Archive, opened lazily: dims (time, y, x) or (sample, time, y, x).
        climatology: Of the training split; its variables are fitted.
        train: The training split; nothing else is read. A lead longer than it has the coefficient 0.
        steps: Leads, in frames.
        block_bytes: Bytes of float32 input from which on the split is read in parts.
    """
    chosen = train.select(dataset)
    if "sample" not in chosen.dims:
        chosen = chosen.expand_dims("sample")
    weights = np.sqrt(GridSpec.from_dataset(dataset, "closed").area_weights()).astype(np.float32)
    frames = chosen.sizes["time"]
    frame_bytes = 4 * weights.size * len(climatology.variables)
    length = max(1, block_bytes // frame_bytes)
    products, squares = (np.zeros((steps, len(climatology.variables))) for _ in range(2))
    for sample in range(chosen.sizes["sample"]):
        for start in range(0, frames, length):
            part = chosen.isel(sample=sample, time=slice(start, start + length + steps))
            anomaly = _anomaly(part, climatology) * weights
            for lead in range(1, min(steps, len(anomaly) - 1) + 1):
                before, after = anomaly[:-lead][:length], anomaly[lead:][:length]
                both = np.isfinite(before) & np.isfinite(after)
                before, after = np.where(both, before, 0), np.where(both, after, 0)
                products[lead - 1] += np.einsum("tchw,tchw->c", before, after, dtype=np.float64)
                squares[lead - 1] += np.einsum("tchw,tchw->c", before, before, dtype=np.float64)
    return Damping(products / np.where(squares > 0, squares, 1.0))


def _anomaly(part: xr.Dataset, climatology: Climatology) -> NDArray[np.float32]:
    """Departures from the climatology, [T, C, H, W]."""
    fields = np.stack([part[name].values for name in climatology.variables], axis=1)
    return np.asarray(fields - climatology.at(part["time"].values), dtype=np.float32)
