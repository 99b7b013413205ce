"""Where a forecast starts: the newest frame with a whole history, a time, or a sample, as windows.

What lives here: choosing starts and refusing those that the Archive does not allow. What does not: the rollout
(`prediction`).

    cases = cases_at(reader, history=24, init_times=[np.datetime64("2017-01-30T00")])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ForecastError
from ..fields import time_text
from ..presence import whole
from ..windows import FrameReader, Window


def newest_start(reader: FrameReader, history: int, steps: int) -> tuple[Any, ...]:
    """The newest time whose history has no gap and for which the forcing variables are known for all steps; empty
    where there is none.
    """
    if reader.sampled:
        return ()
    return tuple(reader.times[whole(reader.present, history, steps if reader.forcing_variables else 0)[-1:]])


def parse_time(text: str) -> np.datetime64:
    """A valid time in ISO 8601.

    Raises:
        ForecastError: It is none.
    """
    try:
        return np.datetime64(text.removesuffix("Z"))  # all times are UTC, numpy knows no zones
    except ValueError as error:
        raise ForecastError(f"init_time {text!r} is no ISO 8601 time; write it like 2017-01-30T00") from error


def cases_at(
    reader: FrameReader,
    history: int,
    init_times: Sequence[Any] = (),
    samples: Sequence[int] = (),
) -> list[Window]:
    """The windows whose last frame is at the given init_times (time archive) or of the given samples.

    Args:
        reader: Frames of the Archive.
        history: Frames a forecast is started from.
        init_times: Valid times of last frames; empty in a time archive: the newest frame.
        samples: Sample numbers; a forecast starts after the first `history` frames.

    Raises:
        ForecastError: A time or sample is not in the Archive, or has too few frames or a gap before it.
    """
    if reader.sampled:
        if init_times:
            raise ForecastError("this archive holds independent samples; give --sample instead of --init-time")
        return [_case_of_sample(reader, history, sample) for sample in (samples or (0,))]
    if samples:
        raise ForecastError("this archive is one time series without samples; give --init-time instead of --sample")
    return [_case_at_time(reader, history, time) for time in (init_times or (reader.times[-1],))]


def _case_of_sample(reader: FrameReader, history: int, sample: int) -> Window:
    if not 0 <= sample < reader.samples:
        raise ForecastError(
            f"sample {sample} is not in the archive, which has samples 0 to {reader.samples - 1}; choose one of these"
        )
    if len(reader.times) < history:
        raise ForecastError(
            f"a forecast needs {history} frames, the archive's samples have {len(reader.times)}; train with less"
        )
    return Window(sample, 0)


def _case_at_time(reader: FrameReader, history: int, time: Any) -> Window:
    times = reader.times
    found = np.flatnonzero(times == np.asarray(time).astype(times.dtype))
    first = times[min(history, len(times)) - 1]
    if not found.size or found[0] < history - 1:
        raise ForecastError(
            f"init_time {time_text(time)} cannot be started from: the archive and a history of {history} frames allow "
            f"{time_text(first)} to {time_text(times[-1])} at the archive's own times; choose one of these"
        )
    there = reader.present[found[0] - history + 1 : found[0] + 1]
    if not there.all():
        raise ForecastError(
            f"init_time {time_text(time)} cannot be started from: {int((~there).sum())} of its history of {history} "
            "frames are missing from the archive; ingest them, or choose a time without a gap before it"
        )
    return Window(0, int(found[0]) - history + 1)
