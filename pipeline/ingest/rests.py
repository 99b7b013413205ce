"""Frames that are part of no whole step of time: those at the end of a file wait, those before the first are left out.

assembly = with_rests(assembly, batch.withheld)
batch.fixed += left_out(assembly, first=True, batch.good)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..assembly import Assembly, Candidate
from ..fields import time_text
from ..quality import Rejection


def with_rests(assembly: Assembly, withheld: Sequence[Candidate]) -> Assembly:
    """The assembly, which also says of which files some frames wait for the rest of their step."""
    told = {one.path for one in (*assembly.waiting, *assembly.rejected)} | set(assembly.complete)
    rests = tuple(
        Rejection(
            "Q-GAP",
            one.path,
            f"its frames from {time_text(one.rest)} on wait for the others that make a whole step; fetch the next file",
        )
        for one in (*assembly.used, *withheld)
        if one.rest is not None and one.path not in told
    )
    return replace(assembly, waiting=(*assembly.waiting, *rests))


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
