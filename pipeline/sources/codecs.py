"""Telling a chunk that nobody here can decode from one that is damaged, by what the libraries raise.

rule_of_unreadable(error)      # "Q-CODEC" or "Q-TRUNCATED"
"""

from __future__ import annotations

# HDF5 without the filter's plugin; Zarr without the codec
_UNKNOWN = ("undefined filter", "unknown codec", "codec not available", "unsupported codec")


def rule_of_unreadable(error: BaseException) -> str:
    """The rule that a file breaks whose values cannot be read."""
    return "Q-CODEC" if any(words in str(error).lower() for words in _UNKNOWN) else "Q-TRUNCATED"


def remedy(rule: str) -> str:
    """What to do about it."""
    return "write it with zlib, or install the codec" if rule == "Q-CODEC" else "fetch it again"
