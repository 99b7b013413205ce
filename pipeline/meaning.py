"""What quantity a variable is, beyond its units: its CF standard name, and whether it is a sum, a mean or a moment.

What lives here: reading that off a file, and holding a file against the others. What does not: units (`sources.units`).

    known = meanings([field_of_file, ...], archived)      # {"tp": Meaning("precipitation_amount", "sum")}
    check_meanings(fields, known)                         # SourceError Q-MEANING where it says something else
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import xarray as xr

from .errors import SourceError

_OVER_TIME = re.compile(r"\btime:\s*(?:\w+:\s*)*(\w+)")


@dataclass(frozen=True)
class Meaning:
    """What a file says of a variable; empty where it says nothing.

    Attributes:
        standard_name: By CF.
        method: How a value represents its step of time, by CF `cell_methods`: sum, mean, point, maximum...
    """

    standard_name: str
    method: str


def meaning(field: xr.Variable) -> Meaning:
    """What a field says of itself."""
    found = _OVER_TIME.search(str(field.attrs.get("cell_methods", "")))
    return Meaning(str(field.attrs.get("standard_name", "")), found[1] if found else "")


def meanings(files: Iterable[xr.Dataset], archived: xr.Dataset | None) -> dict[str, Meaning]:
    """What each variable is: as the Archive says, else as most frames of the files do."""
    names: dict[str, Counter[str]] = {}
    methods: dict[str, Counter[str]] = {}
    for fields in files if archived is None else (archived,):
        for name in fields.data_vars:
            said = meaning(fields.variables[name])
            for table, word in ((names, said.standard_name), (methods, said.method)):
                counts = table.setdefault(str(name), Counter())
                if word:
                    counts[word] += fields.sizes["time"]
    return {name: Meaning(_first(names[name]), _first(methods[name])) for name in names}


def _first(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0] if counts else ""


def check_meanings(fields: xr.Dataset, known: dict[str, Meaning]) -> None:
    """A file does not say that a variable is another quantity; what it leaves unsaid is no matter.

    Raises:
        SourceError: ``Q-MEANING``.
    """
    for name in fields.data_vars:
        said, usual = meaning(fields.variables[name]), known.get(str(name), Meaning("", ""))
        for word, found, expected in (
            ("standard name", said.standard_name, usual.standard_name),
            ("cell method over time", said.method, usual.method),
        ):
            if found and expected and found != expected:
                raise SourceError(
                    "Q-MEANING",
                    f"variable {name!r} has the {word} {found!r}, expected {expected!r} as elsewhere; is it another "
                    "quantity, or accumulated where others are not?",
                )
        if (said.standard_name.endswith("_flux") and said.method == "sum") or (
            said.standard_name.endswith("_amount") and said.method in ("point", "mean")
        ):
            raise SourceError(
                "Q-MEANING",
                f"variable {name!r} is called {said.standard_name!r} but is a {said.method} over time, expected a "
                "flux to be a mean or point and an amount to be a sum; correct its attributes",
            )
