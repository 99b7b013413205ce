"""The rules that input must keep, as a table: id, what the rule says, and what may be done about a file that breaks it.

What lives here: the table. What does not: the checks (`quality`, `sources`, `assembly`), and which action is taken
for a pipeline (`config_quality`).

    RULES["Q-RANGE"].default       # "reject"
    RULES["Q-TRUNCATED"].choices   # (): such a file is always rejected, and nobody can accept it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["reject", "warn", "off"]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: As it stands before every message about it.
        what: What a file that breaks it is like, in one phrase.
        default: What is done about it: the file is rejected, waits for others, is fixed, or is taken with a warning.
        choices: What a configuration may do instead (`quality.rules`); empty: nothing. What may be a warning, a person
            may accept for one file.
        keys: Settings that steer it.
    """

    id: str
    what: str
    default: Literal["reject", "wait", "fix", "warn"] = "reject"
    choices: tuple[Action, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def acceptable(self) -> bool:
        """Whether a person may overrule it for one file."""
        return "warn" in self.choices


_ANY: tuple[Action, ...] = ("reject", "warn", "off")

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("Q-NO-FOLDER", "the input folder does not exist", keys=("source.path",)),
        Rule("Q-NO-FILES", "no file has such a name, or none holds a configured variable", keys=("source.files",)),
        Rule("Q-UNREADABLE", "the operating system refuses to read it, or a library cannot understand it"),
        Rule("Q-EMPTY", "it has no bytes, or a variable has no values along a dimension"),
        Rule("Q-NOT-NETCDF", "it starts like no NetCDF file, e.g. an error page that was saved under its name"),
        Rule("Q-NOT-ZARR", "a folder without the metadata of a Zarr group"),
        Rule("Q-TRUNCATED", "it is shorter than its header says, does not open, or some chunk cannot be read"),
        Rule("Q-CHECKSUM", "its sha256 is not the one that a file SHA256SUMS in the input folder states"),
        Rule("Q-MISSING-VARIABLE", "a configured variable is absent", keys=("variables.X.source_name",)),
        Rule("Q-UNITS", "units are absent, unknown or not convertible to the archive's", keys=("variables.X.units",)),
        Rule("Q-DIMENSIONS", "other dimensions than time, two of space and at most 'sample', or no numbers"),
        Rule("Q-TIME", "times are absent, missing, in another calendar or cadence, or repeated with other values"),
        Rule(
            "Q-GRID",
            "another grid, coordinates that are not monotonic or not finite, latitudes beyond 90 degrees",
            keys=("source.region", "source.coarsen", "source.regrid"),
        ),
        Rule("Q-NAN", "values are missing outside the permanent mask, or a variable has none at all"),
        Rule("Q-MASK", "missing for good where the archive has values, or the reverse"),
        Rule("Q-INF", "an infinite value"),
        Rule(
            "Q-RANGE",
            "a value outside the valid range of its variable",
            choices=_ANY,
            keys=("variables.X.valid_range",),
        ),
        Rule(
            "Q-PLAUSIBLE",
            "a value that its CF standard name cannot have, e.g. degrees Celsius tagged K; not where there is a "
            "valid_range",
            choices=_ANY,
            keys=("variables.X.valid_range",),
        ),
        Rule(
            "Q-SENTINEL", "a mark for missing values, e.g. -9999 or 1e20, that the file does not declare", choices=_ANY
        ),
        Rule("Q-ZERO", "a variable is zero throughout the file", "warn", _ANY),
        Rule(
            "Q-FROZEN",
            "a field that varies over the grid stays the same for several frames",
            "warn",
            _ANY,
            ("quality.frozen_frames",),
        ),
        Rule(
            "Q-JUMP",
            "the mean over the grid changes more from frame to frame than it may; looked for where a bound is set",
            "warn",
            _ANY,
            ("quality.max_jump",),
        ),
        Rule(
            "Q-ACCUMULATION",
            "a sum that a rate is made of falls, and does not start anew",
            choices=_ANY,
            keys=("variables.X.accumulated",),
        ),
        Rule("Q-DIRECTION", "a direction would be averaged as if it were a number", keys=("variables.X.derive",)),
        Rule(
            "Q-BUDGET",
            "a variable has more values than it may have",
            keys=("quality.max_values",),
        ),
        Rule("Q-FIX-UNITS", "other units that can be converted, or another spelling of the archive's", "fix"),
        Rule("Q-FIX-ORDER", "an axis of space runs downwards, or the dimensions stand in another order", "fix"),
        Rule("Q-FIX-TIME", "times out of order, off full seconds by rounding, or repeated with the same values", "fix"),
        Rule("Q-FIX-LONGITUDE", "longitudes of 0 to 360 degrees, or a last column that repeats the first", "fix"),
        Rule(
            "Q-FIX-PARTIAL",
            "frames at the beginning of an archive, or at an end of a sample, that make no whole step are left out",
            "fix",
            keys=("source.resample",),
        ),
        Rule("Q-OVERLAP", "other values for times (or samples) that are there already"),
        Rule("Q-GAP", "good, but frames between the archive's end and its own are missing", "wait"),
    )
}
