"""The rules that input must keep, as a table: id, what the rule says, and what may be done about a file that breaks it.

What lives here: the table. What does not: the checks (`quality`, `sources`, `assembly`), and which action is taken
for a pipeline (`config_quality`).

    RULES["Q-RANGE"].default       # "reject"
    RULES["Q-TRUNCATED"].choices   # (): such a file is always rejected, and nobody can accept it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["reject", "warn", "fix", "off"]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: As it stands before every message about it.
        what: What a file that breaks it is like, in one phrase.
        default: What is done about it: the file is rejected, waits for others, is fixed, or is taken with a warning.
        choices: What a configuration may do about it (`quality.rules`); empty: nothing. What may be a warning or a
            repair, a person may accept for one file.
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
        return "warn" in self.choices or "fix" in self.choices


_ANY: tuple[Action, ...] = ("reject", "warn", "off")
_FIX: tuple[Action, ...] = ("fix", "reject")

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("Q-NO-FOLDER", "the input folder does not exist", keys=("source.path",)),
        Rule("Q-NO-FILES", "no file has such a name, or none holds a configured variable", keys=("source.files",)),
        Rule(
            "Q-UNSETTLED",
            "it is still being written: it changes while it is looked at, or was written to a moment ago",
            "wait",
            keys=("source.settle_seconds",),
        ),
        Rule("Q-PATH", "a link or a name leads out of the input folder", choices=_ANY),
        Rule("Q-UNREADABLE", "the operating system refuses to read it, or a library cannot understand it"),
        Rule("Q-EMPTY", "it has no bytes, or a variable has no values along a dimension"),
        Rule("Q-NOT-NETCDF", "it starts like no NetCDF file, e.g. an error page that was saved under its name"),
        Rule("Q-NOT-GRIB", "it is named like GRIB, but no message is in it"),
        Rule("Q-NOT-ZARR", "a folder without the metadata of a Zarr group"),
        Rule("Q-TRUNCATED", "it is shorter than its header says, does not open, or some chunk cannot be read"),
        Rule("Q-CODEC", "its values are compressed by a codec that is not there"),
        Rule("Q-CHECKSUM", "its sha256 is not the one that a file SHA256SUMS in the input folder states"),
        Rule("Q-MISSING-VARIABLE", "a configured variable is absent", keys=("variables.X.source_name",)),
        Rule("Q-UNITS", "units are absent, unknown or not convertible to the archive's", keys=("variables.X.units",)),
        Rule("Q-PACKING", "a scale_factor of zero, or a scale_factor or add_offset that is no finite number"),
        Rule(
            "Q-MEANING",
            "another standard name or cell method than elsewhere, e.g. accumulated where others are instantaneous",
            choices=_ANY,
        ),
        Rule("Q-LEVEL", "it lacks a level that other files of this variable have", keys=("variables.X.levels",)),
        Rule(
            "Q-MEMBER",
            "it lacks the member of the ensemble that is taken, or is that of another",
            keys=("source.member",),
        ),
        Rule("Q-DIMENSIONS", "other dimensions than time, two of space and at most 'sample', or no numbers"),
        Rule(
            "Q-TIME",
            "times are absent, missing, in another calendar or cadence, or repeated with other values",
            keys=("quality.longest_gap", "quality.allowed_gaps"),
        ),
        Rule("Q-FORECAST", "its times are starts of forecasts or lead times, not the times its values are valid at"),
        Rule(
            "Q-LEAD-TIME",
            "a valid time is forecast several times, from different initial times",
            keys=("source.grib_keys",),
        ),
        Rule(
            "Q-GRID",
            "another grid or projection, coordinates that are not monotonic or not finite, latitudes beyond 90 degrees",
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
            "Q-ZERO-BLOCK",
            "a straight-edged block of zeros in a field that does not end at zero, as of a tile that was not filled",
            choices=_ANY,
        ),
        Rule(
            "Q-FROZEN",
            "a field that varies over the grid stays the same for several frames",
            "warn",
            _ANY,
            ("quality.frozen_frames",),
        ),
        Rule(
            "Q-REPEATED",
            "a field that varies over the grid comes again later, in this file or in another one of the batch",
            "warn",
            _ANY,
        ),
        Rule(
            "Q-CROSS",
            "variables of one file contradict each other by their standard names: dew point above temperature, more "
            "humidity than saturation, a wind speed other than that of its components",
            "warn",
            _ANY,
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
        Rule("Q-FIX-UNITS", "other units that can be converted, or another spelling of the archive's", "fix", _FIX),
        Rule("Q-FIX-ORDER", "an axis of space runs downwards, or the dimensions stand in another order", "fix", _FIX),
        Rule(
            "Q-FIX-TIME",
            "times out of order, off full seconds by rounding, or repeated with the same values",
            "fix",
            _FIX,
        ),
        Rule("Q-FIX-LONGITUDE", "longitudes of 0 to 360 degrees, or a last column that repeats the first", "fix", _FIX),
        Rule("Q-FIX-LEVEL", "pressures of its levels in other units than hPa", "fix", _FIX),
        Rule(
            "Q-FIX-NEGATIVE",
            "values a hair below zero of precipitation, as packing leaves them",
            "fix",
            (*_FIX, "off"),
            ("quality.tiny_negative",),
        ),
        Rule(
            "Q-FIX-PARTIAL",
            "frames at the beginning of an archive, or at an end of a sample, that make no whole step are left out",
            "fix",
            keys=("source.resample",),
        ),
        Rule("Q-FIX-PACKING", "packed, or in another byte order, where most files of the batch are not", "fix"),
        Rule("Q-OVERLAP", "other values for times (or samples) that are there already", keys=("source.revise",)),
        Rule("Q-EARLY", "it begins before the archive does, which grows at its end only"),
        Rule(
            "Q-GAP",
            "good, but frames between the archive's end and its own are missing; a warning where such a gap is allowed",
            "wait",
            keys=("quality.longest_gap", "quality.allowed_gaps"),
        ),
        Rule("Q-STATION-UNKNOWN", "readings of a station that is not in the list", "warn", _ANY, ("sensors.stations",)),
        Rule("Q-STATION-TWICE", "readings of one station from two places by turns", "warn", _ANY),
        Rule(
            "Q-STATION-MOVED",
            "readings of a station away from its place: that in the list, else that of most of its readings",
            "warn",
            _ANY,
            ("sensors.max_moved_km",),
        ),
        Rule(
            "Q-STATION-CLOCK",
            "a station with many readings at times when hardly any other station has some",
            "warn",
            _ANY,
        ),
        Rule("Q-STATION-UNITS", "readings that no other station comes near, until read in another unit", "warn", _ANY),
        Rule(
            "Q-STATION-STUCK",
            "a value other than zero that a station repeats without a change",
            "warn",
            _ANY,
            ("sensors.stuck_hours",),
        ),
        Rule(
            "Q-STATION-SPIKE",
            "a reading away from those before and after it; looked for where a bound is set",
            "warn",
            _ANY,
            ("sensors.max_spike",),
        ),
        Rule(
            "Q-FIX-CLOCK",
            "readings a little before the time of a frame, by clocks that are early",
            "fix",
            (*_FIX, "off"),
            ("sensors.clock_seconds",),
        ),
        Rule("Q-FIX-LATE", "rows of a table that stand after later ones", "fix", _FIX),
    )
}
