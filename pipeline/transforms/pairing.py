"""Files that each hold a part of what a variable is made of, the eastward wind and the northward, put together.

What lives here: which files belong together: those of one batch with the same times and grid. What does not: the
making.

    whole, waiting = paired(plan, candidates)
    whole[0].companions         # the files whose variables it has beside its own
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..assembly import Candidate
from .plan import Plan


def paired(plan: Plan, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates that hold all of what is made of them, and those that wait for the rest, named in `lacks`.

    Where two files hold the same part of the same times, as before and after a correction, each is put together with
    the others, and what they come to is held against each other like any files (`assembly`).

    Args:
        plan: What is made of what.
        candidates: Those of samples come back as they are: each of their files holds all variables.
    """
    whole: list[Candidate] = []
    waiting: dict[Path, Candidate] = {}
    parts: dict[Any, dict[frozenset[str], list[Candidate]]] = {}
    for one in candidates:
        if "sample" in one.fields.dims or not plan.lacking(one.surveys):
            whole.append(one)
        else:
            kinds = parts.setdefault(_frame(one), {})
            kinds.setdefault(frozenset(one.surveys), []).append(one)
    for kinds in parts.values():
        every = [sorted(kind, key=lambda one: one.path.name) for kind in kinds.values()]
        firsts = [kind[0] for kind in every]
        again = [(one, [other for other in firsts if other is not kind[0]]) for kind in every for one in kind[1:]]
        for own, others in [(firsts[0], firsts[1:]), *again]:
            joined = _joined(own, others)
            if lacking := plan.lacking(joined.surveys):
                waiting |= {one.path: replace(one, lacks=lacking) for one in (own, *others)}
            else:
                whole.append(joined)
    return whole, list(waiting.values())


def _joined(own: Candidate, others: Iterable[Candidate]) -> Candidate:
    """A file with the variables of others, which are companions of it."""
    fields, surveys, companions = own.fields, dict(own.surveys), list(own.companions)
    for other in others:
        more = [name for name in other.surveys if name not in surveys]
        taken = other.fields[more].assign_coords({dim: own.fields[dim].variable for dim in own.fields.dims})
        fields = fields.assign(dict(taken.data_vars))
        surveys |= {name: other.surveys[name] for name in more}
        companions.append(other)
    return replace(own, fields=fields, surveys=surveys, companions=tuple(companions))


def _frame(one: Candidate) -> tuple[Any, ...]:
    """What files must share to be put together: times, and the grid but for rounding."""
    dims = sorted(str(dim) for dim in one.fields.dims if dim != "time")
    grid = tuple(one.fields[dim].values.astype("float32").tobytes() for dim in dims)
    return one.times.tobytes(), one.times.dtype.kind, tuple(dims), grid
