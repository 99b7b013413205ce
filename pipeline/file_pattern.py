"""Patterns of file names that say where the time stands in a name.

What lives here: reading such a pattern, the names it fits, and the span of time that each of these files can hold. What
does not: looking at the disk (`sources.files`).

    pattern = FilePattern.parse("{time:%Y/%m}/t2m_{time:%d}_*.nc")
    pattern.glob                                         # "[0-9][0-9][0-9][0-9]/[0-9][0-9]/t2m_[0-9][0-9]_*.nc"
    pattern.start("2020/01/t2m_31_v2.nc")                # 2020-01-31T00:00

Besides ``{time:...}`` a pattern has the wildcards of a shell: ``*``, ``?``, ``[...]`` and ``**/``.
"""

from __future__ import annotations

import datetime
import itertools
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}
# the finest part that a pattern may name, and no less than how long it lasts
_SPANS = (
    ("S", datetime.timedelta(seconds=1)),
    ("M", datetime.timedelta(minutes=1)),
    ("H", datetime.timedelta(hours=1)),
    ("dj", datetime.timedelta(days=1)),
    ("m", datetime.timedelta(days=31)),
    ("Yy", datetime.timedelta(days=366)),
)
_TOKEN = re.compile(r"\{time:(?P<form>[^{}]*)\}|(?P<deep>\*\*/)|(?P<any>\*)|(?P<one>\?)|(?P<set>\[!?[^\]]+\])")
_Key = TypeVar("_Key", str, Path)


@dataclass(frozen=True)
class FilePattern:
    """A pattern of names, relative to the folder of the input.

    Attributes:
        glob: The same for `pathlib.Path.glob`.
        regex: The same as a regular expression whose groups are the numbers of the time.
        form: The directives of the time in the order of those groups, e.g. "Ymd"; empty where there is none.
    """

    glob: str
    regex: str
    form: str

    @classmethod
    def parse(cls, text: str) -> FilePattern:
        """Read a pattern.

        Raises:
            ValueError: The time has a directive other than %Y %y %m %d %j %H %M %S, one of them twice, or no year.
        """
        glob, regex, form, end = "", "", "", 0
        for token in _TOKEN.finditer(text):
            literal = text[end : token.start()]
            glob, regex, end = glob + literal, regex + re.escape(literal), token.end()
            if token["form"] is None:
                glob, regex = glob + token[0], regex + _wildcard(token)
                continue
            for part in re.split(r"(%.)", token["form"]):
                if part.startswith("%"):
                    if part[1:] not in _DIGITS:
                        raise ValueError(f"the time has %Y %y %m %d %j %H %M %S, got {part!r} in {text!r}")
                    width = _DIGITS[part[1:]]
                    glob, regex, form = glob + "[0-9]" * width, f"{regex}([0-9]{{{width}}})", form + part[1:]
                else:
                    glob, regex = glob + part, regex + re.escape(part)
        rest = text[end:]
        if "{time" in rest or ("{time:" in text and not set(form) & {"Y", "y"}) or len(set(form)) < len(form):
            raise ValueError(f"the time must have a year, and each part once, as in {{time:%Y%m%d}}, got {text!r}")
        return cls(glob + rest, regex + re.escape(rest), form)

    def start(self, name: str) -> datetime.datetime | None:
        """The time in a name (relative to the folder, with slashes); None where it has none, or no such date."""
        found = re.fullmatch(self.regex, name) if self.form else None
        if found is None:
            return None
        try:
            return datetime.datetime.strptime(
                " ".join(found.groups()), " ".join(f"%{directive}" for directive in self.form)
            )
        except ValueError:
            return None

    def ends(self, names: Mapping[_Key, str]) -> dict[_Key, datetime.datetime]:
        """Up to when each file can hold frames, by the times in the names.

        A file holds what its time names, a day for ``%Y%m%d``, and goes on up to the time of the next one; the last
        one may hold anything and is left out, as is a name without a time.

        Args:
            names: Names (relative to the folder, with slashes) of all files that the pattern fits.
        """
        starts = {key: start for key, name in names.items() if (start := self.start(name)) is not None}
        span = next((span for parts, span in _SPANS if set(parts) & set(self.form)), datetime.timedelta(0))
        following = sorted(set(starts.values()))
        after = dict(itertools.pairwise(following))
        return {key: max(start + span, after[start]) for key, start in starts.items() if start in after}

    def past(
        self, names: Mapping[_Key, str], last: datetime.datetime, missing: Sequence[datetime.datetime] = ()
    ) -> set[_Key]:
        """The files that by the times in their names hold nothing after `last`, and nothing at a time that is missing.

        Args:
            names: As in `ends`.
            last: The last time that is there, less what is to be looked at again.
            missing: Ascending times before it that are not there.
        """
        found = set()
        for key, until in self.ends(names).items():
            start = self.start(names[key])
            if until <= last and start is not None and bisect_left(missing, start) == bisect_left(missing, until):
                found.add(key)
        return found


def leads_out(name: str) -> bool:
    """Whether a name, counted from a folder, is one of something outside of it."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def _wildcard(token: re.Match[str]) -> str:
    if token["set"] is not None:
        return token["set"].replace("[!", "[^", 1).replace("\\", "\\\\")
    return "(?:.*/)?" if token["deep"] else "[^/]*" if token["any"] else "[^/]"
