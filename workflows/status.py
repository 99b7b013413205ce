"""How a pipeline stands: champion, last nights, who is at work, what comes next. Looks only, and makes nothing.

show_status(context, nights=7)
"""

from __future__ import annotations

import time

from pipeline.errors import RegistryError
from pipeline.ledger import Lease, Ledger, Night
from pipeline.registry import ModelVersion

from .console import seconds_text
from .context import Context
from .night_report import headline
from .night_steps import STEPS
from .nightly import ledger_path


def show_status(context: Context, nights: int) -> None:
    """Print it."""
    console, config = context.console, context.config
    for line in _champion(context):
        console.line(line)
    path = ledger_path(config)
    known, lease = list[Night](), None
    if path.is_file():
        ledger = Ledger(path)
        known, lease = ledger.nights(config.name, nights), ledger.lease(config.name)
    console.line(f"{'at work':<10} {_at_work(lease)}")
    console.line(f"{'next':<10} {_next(known, lease)}")
    if known:
        rows = [(night.key.date, _state(night, lease), _verdict(night)) for night in known]
        console.table("\nnights", ("date", "state", "verdict"), rows)


def _champion(context: Context) -> list[str]:
    """Champion, age and scores; a registry that cannot be reached is said and does not hide the rest."""
    if not context.has_registry:
        return [f"{'champion':<10} none yet"]
    try:
        champion = context.registry.champion()
    except RegistryError as error:
        return [f"{'champion':<10} unknown: {error}"]
    if champion is None:
        return [f"{'champion':<10} none yet"]
    age = seconds_text(time.time() - champion.created_at)
    return [
        f"{'champion':<10} version {champion.version}, {age} old, trained on {champion.tags.get('snapshot_id', '?')}",
        *(f"{'':<10} {_scores(champion, variable)}" for variable in context.config.variables),
    ]


def _scores(version: ModelVersion, variable: str) -> str:
    rmse, *skills = (
        version.metrics.get(f"test/{score}/{variable}/mean")
        for score in ("rmse", "skill_persistence", "skill_climatology")
    )
    if rmse is None:
        return f"{variable}: not scored yet"
    shown = [
        f"{name} {value:+.2f}"
        for name, value in zip(("persistence", "climatology"), skills, strict=True)
        if value is not None
    ]
    return f"{variable}: RMSE {rmse:.4g}, skill against {', '.join(shown)}"


def _at_work(lease: Lease | None) -> str:
    if lease is None:
        return "nobody"
    since = seconds_text(time.time() - lease.taken_at)
    return f"{lease.holder}, on the night of {lease.date}, for {since}"


def _next(nights: list[Night], lease: Lease | None) -> str:
    """What the next start does."""
    if not nights:
        return "the first night: minconv nightly"
    if nights[0].finished:
        return "the next night: minconv nightly"
    step = _step(nights[0])
    if lease is not None and lease.date == nights[0].key.date:
        return f"it finishes '{step}' of {lease.date}"
    error = f"; it had stopped: {nights[0].error}" if nights[0].error else ""
    return f"'{step}' of {nights[0].key.date}: minconv nightly --date {nights[0].key.date}{error}"


def _step(night: Night) -> str:
    """The first step of a night that is not done."""
    return next((name for name in STEPS if name not in night.steps), "the end")


def _state(night: Night, lease: Lease | None) -> str:
    if night.finished:
        return "done"
    if lease is not None and lease.date == night.key.date:
        return f"at '{_step(night)}'"
    return f"stopped at '{_step(night)}'"


def _verdict(night: Night) -> str:
    if "verdict" not in night.steps:
        return night.error
    reasons = " ".join(night.steps["verdict"]["reasons"])
    return f"{headline(night.steps)}. {reasons}" if "aliases" in night.steps else reasons
