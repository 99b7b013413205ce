"""Frames that are not taken, and frames that are missing.

Those that are part of no whole step of time: at the end of a file they wait, before the first they are left out. Those
in a gap that is allowed are told of.

assembly = with_rests(assembly, batch.withheld)
batch.fixed += left_out(assembly, first=True, batch.good)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..assembly import Assembly, Candidate
from ..fields import time_text
from ..presence import gaps_of, present
from ..rejection import Rejection


def with_rests(assembly: Assembly, withheld: Sequence[Candidate]) -> Assembly:
    """The assembly, which also says of which files some frames wait for the rest of their step."""
    told = {one.path for one in (*assembly.waiting, *assembly.rejected)} | set(assembly.complete)
    rests = tuple(
        Rejection(
            "Q-GAP",
            one.path,
            f"its frames from {time_text(one.rest)} on wait for {_awaited(one)}",
        )
        for one in (*assembly.used, *withheld)
        if one.rest is not None and one.path not in told
    )
    return replace(assembly, waiting=(*assembly.waiting, *rests))


def _awaited(one: Candidate) -> str:
    if one.lacks:
        return (
            f"{one.lacks!r}, of which and of its own a variable is made; fetch the file that has it at these very times"
        )
    return "the others that make a whole step; fetch the next file"


def left_out(assembly: Assembly, first: bool, good: Sequence[Candidate]) -> list[Rejection]:
    """What goes into no step at all, as nothing comes before it.

    Args:
        assembly: What is committed.
        first: Whether it makes the Archive.
        good: The files that were looked at.
    """
    if not first or not assembly.used:
        return []
    sampled = [one for one in assembly.used if "sample" in one.fields.dims]
    earliest = sampled or [min(assembly.used, key=lambda one: (one.times[0], one.path.name))]
    return [
        Rejection("Q-FIX-PARTIAL", one.path, f"{one.lead} frame(s) before the first whole step are left out")
        for one in earliest
        if one.lead
    ]


def gaps_left(assembly: Assembly) -> list[Rejection]:
    """What is told of the gaps that are allowed, of the file that goes on after each."""
    if assembly.fields is None or "sample" in assembly.fields.dims:
        return []
    times, told = assembly.fields["time"].values, []
    for first, stop in gaps_of(present(assembly.fields)):
        path = next(one.path for one in assembly.used if times[stop] in one.times)
        count = stop - first
        frames = f"{count} frame{'s' if count > 1 else ''} from {time_text(times[first])} on are missing before its"
        advice = "a gap that is allowed; fetch them, and they fill it"
        told.append(Rejection("Q-GAP", path, f"{frames} {time_text(times[stop])}, {advice}"))
    return told
