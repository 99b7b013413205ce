"""What an ingest has read for the checks and keeps in memory until it is written, up to a number of bytes.

What lives here: deciding what is kept. What does not: the reading itself (`survey.take_survey`).

    cache = Cache(2**29, "threads")
    survey, fields, kept = cache.survey(fields)       # of fields that fit, the values are in memory now
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from ..executor import DaskScheduler
from ..fields import is_whole
from ..survey import Survey, take_survey, take_survey_and_keep


class Cache:
    """Room for the fields of the files of one ingest; the first that fit have it.

    Args:
        size: Bytes.
        scheduler: What Dask reads the files with. What other processes read is not kept: it would travel twice.
    """

    def __init__(self, size: int, scheduler: DaskScheduler) -> None:
        self._left = size if scheduler == "threads" else 0
        self._scheduler = scheduler

    @property
    def room(self) -> int:
        """Bytes that are not taken yet."""
        return max(0, self._left)

    def survey(
        self, fields: xr.Dataset, excesses: Sequence[xr.DataArray] = (), keep: bool = True
    ) -> tuple[Survey, xr.Dataset, bool]:
        """Read every value once; the survey (see `take_survey`), the fields, and whether they are kept in memory now.

        Raises:
            SourceError: ``Q-TRUNCATED``: some block cannot be read; ``Q-CODEC``: nothing here decodes it.
        """
        size = sum(field.nbytes for field in fields.data_vars.values())
        if not keep or (size > self._left and not is_whole(fields)):
            return take_survey(fields, self._scheduler, excesses), fields, False
        self._left -= size
        return *take_survey_and_keep(fields, self._scheduler, excesses), True
