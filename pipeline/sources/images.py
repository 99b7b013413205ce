"""Pictures and short films of a camera as fields of brightness.

What lives here: decoding, colours, and the times of frames. What does not: checks of values and sizes, which are those
of any other input. Imported late, and there only with the extra `video`.

    dataset = open_images(Path("20200101120000.png"), datetime.datetime(2020, 1, 1, 12), every=1)
    dataset["grey"], dataset["red"]       # (time, y, x), from 0 (black) to 1; y counts upward, x to the right

A picture is one frame at the time in its name. The frames of a film follow each other by its frame rate, from the time
in its name, else from 0 s. A film is decoded once to count its frames and once more for each block that is read.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import SourceError
from .files import FILMS

# weights of red, green and blue in the brightness that the eye sees (ITU-R BT.601-7, 2.5.1)
_LUMA = (0.299, 0.587, 0.114)
_COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
_Frame = NDArray[Any]


class _Frames(BackendArray):
    """One colour of the frames of a file."""

    def __init__(self, path: Path, shape: tuple[int, int, int], weights: tuple[float, ...], every: int) -> None:
        self.path, self.shape, self.weights, self.every = path, shape, weights, every
        self.dtype = np.dtype("float32")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        times = np.arange(self.shape[0])[key[0]]
        wanted = set(np.atleast_1d(times).tolist())
        found = [
            _brightness(frame, self.weights)[key[1:]]
            for number, frame in enumerate(_frames(self.path, self.every, max(wanted, default=-1) + 1))
            if number in wanted
        ]
        if len(found) < len(wanted):
            raise SourceError("Q-TRUNCATED", f"{len(found)} of {len(wanted)} frames can be decoded; fetch it again")
        return np.stack(found) if np.ndim(times) else found[0]


def open_images(path: Path, start: datetime.datetime | None, every: int) -> xr.Dataset:
    """The frames of a picture or a film, as fields `grey`, and `red`, `green` and `blue` where it has colours.

    Args:
        path: The file.
        start: The time in its name.
        every: Of a film take every so many-th frame, from the first.

    Raises:
        SourceError: ``Q-TRUNCATED``: it cannot be decoded to its end; ``Q-TIME``: a picture without a time in its name,
            or frames of a day less than a second apart.
    """
    try:
        first, count, seconds = _film(path, every) if path.suffix.lower() in FILMS else _picture(path)
    except SourceError:
        raise
    except Exception as error:  # the decoders have a dozen types, by which bytes are damaged
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SourceError("Q-TRUNCATED", f"it cannot be decoded ({reason}); fetch it again") from error
    shape = (count, *first.shape[:2])
    colours = {"grey": _LUMA, **(_COLOURS if first.ndim == 3 and first.shape[2] >= 3 else {})}
    fields = {
        name: xr.Variable(
            ("time", "y", "x"),
            indexing.LazilyIndexedArray(_Frames(path, shape, weights, every)),
            {"units": "1", "long_name": f"{name} brightness"},
        )
        for name, weights in colours.items()
    }
    return xr.Dataset(fields, {"time": _times(count, seconds, start)})


def _picture(path: Path) -> tuple[_Frame, int, float]:
    return next(_frames(path, 1, 1)), 1, 0.0


def _film(path: Path, every: int) -> tuple[_Frame, int, float]:
    """The first frame, how many there are, and the seconds between two of them."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0.0)
        promised = max(stream.frames, round((film.duration or 0) / av.time_base * rate))
        frames = film.decode(stream)
        first = next(frames).to_ndarray(format="rgb24")
        count = 1 + sum(1 for _ in frames)
    if rate <= 0.0:
        raise SourceError("Q-TIME", "the film states no frame rate; write it anew with one")
    # a frame may be cut off by the way the duration is counted
    if count < promised - 1:
        raise SourceError("Q-TRUNCATED", f"{count} of {promised} frames can be decoded; fetch it again")
    return first, -(-count // every), every / rate


def _frames(path: Path, every: int, stop: int) -> Iterator[_Frame]:
    """The first `stop` frames of those that are taken."""
    if path.suffix.lower() not in FILMS:
        yield iio.imread(path, plugin="pillow", index=0)
        return
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number >= stop * every:
                return
            if number % every == 0:
                yield frame.to_ndarray(format="rgb24")


def _brightness(frame: _Frame, weights: tuple[float, ...]) -> NDArray[np.float32]:
    """From 0 to 1, the bottom row first."""
    largest = 1.0 if frame.dtype.kind in "bf" else float(np.iinfo(frame.dtype).max)
    if frame.ndim == 3 and frame.shape[2] >= 3:
        values = frame[..., :3] @ np.asarray(weights, dtype="float32")
    else:
        values = frame[..., 0] if frame.ndim == 3 else frame
    scaled: NDArray[np.float32] = (values[::-1] / largest).astype("float32")
    return scaled


def _times(count: int, seconds: float, start: datetime.datetime | None) -> xr.Variable:
    after = np.arange(count) * seconds
    if start is None:
        if count == 1 and seconds == 0.0:
            raise SourceError(
                "Q-TIME",
                "a picture has no time of its own; say where it stands in its name, as {time:%Y%m%d%H%M%S}.png",
            )
        return xr.Variable(("time",), after, {"units": "s", "standard_name": "time"})
    if 0.0 < seconds < 1.0:
        raise SourceError(
            "Q-TIME",
            f"its frames are {seconds:g} s apart, dates are kept to the second; set source.every to "
            f"{int(np.ceil(1.0 / seconds))}, or leave the time out of source.files",
        )
    nanoseconds = np.round(after * 1e9).astype("timedelta64[ns]")
    return xr.Variable(("time",), np.datetime64(start, "ns") + nanoseconds, {"standard_name": "time"})
