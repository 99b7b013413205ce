"""What damaged or oversized files make of the libraries that read them, as errors of these files.

with in_our_words():
    dataset.load()                                  # SourceError Q-UNREADABLE, whatever the library raises
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import xarray as xr

from ..errors import PipelineError, SourceError


@contextmanager
def in_our_words() -> Iterator[None]:
    """Whatever a damaged file makes of the libraries that read it is an error of that file, not of the ingest.

    Raises:
        SourceError: ``Q-UNREADABLE``, or ``Q-BUDGET`` where memory does not suffice.
    """
    try:
        yield
    except PipelineError:
        raise
    except MemoryError as error:
        raise SourceError(
            "Q-BUDGET", "memory does not suffice to read it, expected a smaller file; is its header damaged?"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(
            "Q-UNREADABLE", f"expected a file, it cannot be read ({reason}); check the file and its permissions"
        ) from error
    except Exception as error:  # the libraries raise a dozen types, by which bytes are damaged
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise SourceError(
            "Q-UNREADABLE", f"expected a whole file, it cannot be understood ({reason}); fetch it again"
        ) from error


def check_budget(dataset: xr.Dataset, held: Mapping[str, str], limit: int) -> None:
    """No variable has more values than it may have; before any of them is read.

    Raises:
        SourceError: ``Q-BUDGET``.
    """
    for source in held.values():
        if (size := dataset.variables[source].size) > limit:
            raise SourceError(
                "Q-BUDGET",
                f"variable {source!r} has {size} values, expected at most {limit} "
                "(quality.max_values); is its header damaged? fetch it again, or raise the limit",
            )
