"""What `minconv tune` prints: the best trials, which settings mattered, what was registered, what to do next."""

from __future__ import annotations

import math
from typing import Any

from pipeline.registry import CHALLENGER, CHAMPION, ModelVersion

from . import stages
from .context import Context
from .tune import FIGURE, Found, Request, Study, tune

_SHOWN = 10


def tune_and_show(context: Context, request: Request, config: str) -> None:
    """Search, then show; `config` as it was typed, for the next command."""
    study, found, version = tune(context, request)
    _best_trials(context, study, found)
    _importances(context, found)
    _outcome(context, study, found, version, request.trials, config)


def _best_trials(context: Context, study: Study, found: Found) -> None:
    ranked = sorted(found.endings, key=lambda number: (number != found.best, found.endings[number].error, number))
    keys = [one.key for one in study.space.dimensions]
    header = ("trial", "validation error", "epochs", "ended", *(key.rpartition(".")[2] for key in keys))
    rows = []
    for number in ranked[:_SHOWN]:
        ending, settings = found.endings[number], study.plan.trials[number].settings
        error = f"{ending.error:.4g}" if math.isfinite(ending.error) else "-"
        values = [_text(settings[key]) for key in keys]
        rows.append((f"{number:03d}", error, str(len(ending.history)), ending.status, *values))
    states = [ending.status for ending in found.endings.values()]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("finished", "stopped", "failed") if state in states
    )
    title = f"{study.name}: {len(states)} trials ({counts}), ranked by the error on the validation split"
    context.console.table(title, header, rows, right=(1, 2))


def _importances(context: Context, found: Found) -> None:
    importance = found.importance
    if importance is None:
        context.console.line(f"{len(found.endings)} trials are too few, or too alike, to tell which settings mattered")
        return
    rows = [
        (name, f"{share:.2f}", "" if importance.told(name) else "may be chance")
        for name, share in importance.shares.items()
    ]
    context.console.table("What explained the error", ("setting", "share", ""), rows, right=(1,))
    context.console.line(f"a share below {importance.chance:.2f} may be chance\n")


def _outcome(context: Context, study: Study, found: Found, version: ModelVersion, wanted: int, config: str) -> None:
    line = context.console.line
    if len(found.endings) < wanted:
        line(f"the space has no more than {len(found.endings)} settings that differ")
    line(f"registered {stages.title(version)}: trial {found.best:03d}")
    line(f"figure     {study.plan.folder / FIGURE}")
    if CHALLENGER in version.aliases:
        if CHAMPION in context.registry.aliases():
            line(f"next       minconv compare champion challenger -c {config}")
        line(f"next       minconv promote challenger -c {config}")


def _text(value: Any) -> str:
    """A setting, with equal widths of layers as ``6 x 40``."""
    if isinstance(value, list) and len(value) > 1 and len({str(one) for one in value}) == 1:
        return f"{len(value)} x {value[0]}"
    return str(value)
