"""Readings at scattered places brought to the points of a grid of latitudes and longitudes.

What lives here: the three methods, on numbers alone. What does not: tables and their faults (`tables`).

    field, count = gridded(lat_N, lon_N, values_N, grid_lat, grid_lon, "bin_mean", neighbours=8, power=2.0)

Distances are great circles. `nearest` takes the nearest station; `inverse_distance` weights the nearest few by
1 / distance ** power (Shepard 1968, doi 10.1145/800186.810616); `bin_mean` is the mean of the stations within a cell,
which reaches half a spacing from its point, and where there is none the nearest station.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config_sensors import GriddingMethod

Floats = NDArray[np.floating[Any]]
_CLOSEST = 1e-9  # of the earth's radius, 6 mm: stations there are at the point itself


def gridded(
    lat: Floats,
    lon: Floats,
    values: Floats,
    grid_lat: Floats,
    grid_lon: Floats,
    method: GriddingMethod,
    neighbours: int,
    power: float,
) -> tuple[Floats, NDArray[np.intp]]:
    """Values at the points of a grid, and how many stations lie in the cell of each.

    Args:
        lat: Latitudes of N stations, at least one, in degrees.
        lon: Their longitudes.
        values: Finite, [N] or [N, K] for K quantities at once.
        grid_lat: H evenly spaced latitudes, ascending.
        grid_lon: W evenly spaced longitudes, ascending.
        method: How values at points are made of those of stations.
        neighbours: Stations that `inverse_distance` takes into account.
        power: Of the distance in `inverse_distance`.

    Returns:
        Values [H, W] or [H, W, K], and counts [H, W].
    """
    cells = _cells(lat, lon, grid_lat, grid_lon)
    shape = (len(grid_lat), len(grid_lon))
    inside = cells >= 0
    count = np.bincount(cells[inside], minlength=shape[0] * shape[1])
    distance, station = _nearest(lat, lon, grid_lat, grid_lon, neighbours if method == "inverse_distance" else 1)
    columns = values.reshape(len(values), -1)
    if method == "inverse_distance":
        apart = np.maximum(distance, _CLOSEST)
        weights = (apart[:, :1] / apart) ** power
        field = (columns[station] * weights[..., None]).sum(1) / weights.sum(1)[:, None]
    else:
        field = columns[station[:, 0]]
    if method == "bin_mean":
        total = np.zeros_like(field)
        np.add.at(total, cells[inside], columns[inside])
        field = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], field)
    return field.reshape(*shape, *values.shape[1:]), count.reshape(shape)


def _nearest(
    lat: Floats, lon: Floats, grid_lat: Floats, grid_lon: Floats, number: int
) -> tuple[Floats, NDArray[np.intp]]:
    """Angles (radians) to the nearest stations of each point, and which these are: [H * W, number]."""
    from scipy.spatial import cKDTree

    points = np.stack(np.meshgrid(grid_lat, grid_lon, indexing="ij"), axis=-1).reshape(-1, 2)
    wanted = min(number, len(lat))
    chord, station = cKDTree(_on_sphere(lat, lon)).query(
        _on_sphere(points[:, 0], points[:, 1]), k=[*range(1, wanted + 1)]
    )
    return 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0)), station


def _on_sphere(lat: Floats, lon: Floats) -> Floats:
    north, east = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def _cells(lat: Floats, lon: Floats, grid_lat: Floats, grid_lon: Floats) -> NDArray[np.intp]:
    """Number of the cell that each station lies in, row by row; -1 outside of all."""
    rows, columns = len(grid_lat), len(grid_lon)
    row = np.floor((lat - grid_lat[0]) / (grid_lat[1] - grid_lat[0]) + 0.5).astype(np.intp)
    spacing = grid_lon[1] - grid_lon[0]
    column = np.floor((lon - grid_lon[0] + spacing / 2.0) % 360.0 / spacing).astype(np.intp)
    inside = (row >= 0) & (row < rows) & (column < columns)
    return np.where(inside, row * columns + column, -1)
