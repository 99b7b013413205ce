"""What the libraries of protocols raise, as errors of the place: it is not there, closed, or cannot be reached.

with in_our_words("s3://bucket/era5"):
    system.ls(base)                          # SourceError Q-NO-FOLDER or Q-UNREADABLE
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ...errors import ConfigError, SourceError


@contextmanager
def in_our_words(url: str) -> Iterator[None]:
    """Whatever the library of a protocol raises says that the place is not there, closed, or cannot be reached."""
    try:
        yield
    except (SourceError, ConfigError):
        raise
    except Exception as error:  # each protocol has a library with types of its own
        kind = kind_of(error)
        if kind == "absent":
            raise SourceError(
                "Q-NO-FOLDER", f"{url} does not exist; set source.path to the place of the files"
            ) from error
        refused = kind == "refused"
        what = "does not let us read it" if refused else "cannot be reached"
        step = "check the credentials in the environment" if refused else "check the address and the network"
        raise SourceError(
            "Q-UNREADABLE", f"{url} {what} ({cause_of(error)}); {step}; what was fetched is kept for the next run"
        ) from error


def kind_of(error: BaseException) -> Literal["absent", "refused", "unreachable"]:
    """What stands behind an error; fsspec takes whatever goes wrong with a file of the web for its absence."""
    behind = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
    status = _status(behind)
    if isinstance(behind, PermissionError) or status in (401, 403):
        return "refused"
    return "absent" if isinstance(behind, FileNotFoundError) or status in (404, 410) else "unreachable"


def _status(error: BaseException) -> int | None:
    """Of the answer, as the libraries of the web and of S3 keep it."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    status = getattr(error, "status", told)
    return status if isinstance(status, int) else None


def cause_of(error: BaseException) -> str:
    """The first line of what an error says."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return cause_of(error.__cause__)
    status = getattr(error, "status", None)
    text = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
    return f"{status} {getattr(error, 'message', '')}".strip() if status else text or type(error).__name__
