"""Insolation: the sun's radiation at the top of the atmosphere, known ahead for any place and time.

What lives here: the formula. What does not: which forcings a model gets (`forcings`).

    insolation(times, lat, lon)            # float64 [*times.shape, H, W], 0 at night, up to about 1.03
    daily_insolation(times, lat)           # the mean over 24 hours at that day's declination

In units of the solar constant (1361 W m-2). With the declination d, the squared inverse distance e (its mean is 1) and
the hour angle h of the sun, each from Spencer's Fourier series in the share of the year gone by: e · max(0, sin(lat)
sin(d) + cos(lat) cos(d) cos(h)). The mean over a day is e/π · (H sin(lat) sin(d) + cos(lat) cos(d) sin(H)) with the
hour angle H of sunset, cos(H) = -tan(lat) tan(d), 0 in the polar night and π in the polar day.

Sources: J. W. Spencer (1971), Fourier series representation of the position of the sun, Search 2 (5), 172; M. Iqbal
(1983), An Introduction to Solar Radiation, sections 1.2 to 1.5 and 4.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cycle import year_share

Floats = NDArray[np.float64]

_DAY = np.timedelta64(1, "D").astype("timedelta64[ns]").astype(np.int64)

# Factors of 1, cos(g), sin(g), cos(2g), sin(2g), ..., g the angle of the year.
_DECLINATION = (0.006918, -0.399912, 0.070257, -0.006758, 0.000907, -0.002697, 0.00148)  # radians
_DISTANCE = (1.000110, 0.034221, 0.001280, 0.000719, 0.000077)  # (mean distance / distance) squared
_TIME = (0.000075, 0.001868, -0.032077, -0.014615, -0.040849)  # equation of time, radians


def insolation(times: NDArray[Any], lat: Floats, lon: Floats) -> Floats:
    """At these moments.

    Args:
        times: datetime64 (UTC) of any shape.
        lat: Degrees north, [H].
        lon: Degrees east, [W].

    Returns:
        [*times.shape, H, W] in units of the solar constant.
    """
    declination, distance, offset = (term[..., None, None] for term in _sun(times))
    hours = (times - times.astype("datetime64[D]")).astype("timedelta64[ns]").astype(np.int64) / _DAY
    angle = 2 * np.pi * (hours[..., None, None] - 0.5) + offset + np.deg2rad(lon)
    north = np.deg2rad(lat)[:, None]
    height = np.sin(north) * np.sin(declination) + np.cos(north) * np.cos(declination) * np.cos(angle)
    received: Floats = distance * np.maximum(height, 0.0)
    return received


def daily_insolation(times: NDArray[Any], lat: Floats) -> Floats:
    """Mean over the 24 hours around these moments, the same at every longitude: [*times.shape, H]."""
    declination, distance, _ = (term[..., None] for term in _sun(times))
    north = np.deg2rad(lat)
    sunset = np.arccos(np.clip(-np.tan(north) * np.tan(declination), -1.0, 1.0))
    vertical, horizontal = np.sin(north) * np.sin(declination), np.cos(north) * np.cos(declination)
    received: Floats = distance / np.pi * (sunset * vertical + horizontal * np.sin(sunset))
    return np.maximum(received, 0.0)


def _sun(times: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Declination, squared inverse distance and equation of time."""
    exact = times.astype("datetime64[ns]")
    angle = 2 * np.pi * year_share(exact.reshape(-1)).reshape(exact.shape)
    waves = [np.ones_like(angle)]
    for order in (1, 2, 3):
        waves += [np.cos(order * angle), np.sin(order * angle)]
    declination, distance, offset = (
        np.asarray(sum(factor * wave for factor, wave in zip(factors, waves, strict=False)), dtype=np.float64)
        for factors in (_DECLINATION, _DISTANCE, _TIME)
    )
    return declination, distance, offset
