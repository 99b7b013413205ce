"""Where input is: a folder, or a URL.

What lives here: telling one from the other, and refusing URLs that say too much. What does not: reaching it
(`sources.remote`).

    location("s3://bucket/prefix"), location("data/era5"), location("file:///data/era5")      # text, Path, Path
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def location(value: Any) -> Any:
    """A path, or the URL as text; what is neither is left to the check of its type.

    Raises:
        ValueError: A URL with credentials, a query or a fragment.
    """
    if not isinstance(value, str) or "://" not in value:
        return Path(value) if isinstance(value, str) else value
    parts = urlsplit(value)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a URL has no user and no password in it, as configurations are kept with what they made; put credentials "
            f"into the environment of {parts.scheme} (docs/data-sources.md)"
        )
    if parts.query or parts.fragment:
        raise ValueError(
            f"must be the URL of a folder, got one that goes on after {parts.path!r} by '?' or '#'; remove that, and "
            "put names of files into source.files"
        )
    return value.rstrip("/")
