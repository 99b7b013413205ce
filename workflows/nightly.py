"""One night: ingest what is new, decide, train, score, judge, promote or not, forecast, report; once, by the ledger.

What lives here: which night this is, whose turn it is, what was done before. What does not: the steps (`night_steps`),
the ledger (`pipeline.ledger`).

    night = run_nightly(context, "2020-03-11")
    night.steps["verdict"]["reasons"]
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from pipeline import lineage
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.ledger import Lease, Ledger, Night, NightKey, Tenure

from .context import Context
from .night_report import headline, notices
from .night_steps import STEPS, Work


def run_nightly(context: Context, date: str, backfill: bool = False) -> Night:
    """Do a night to its end; where it was done before, that is the result, and where it was interrupted, it goes on.

    Args:
        context: The configuration and what belongs to it.
        date: Logical date, ``2020-03-11``.
        backfill: It was missed and is done late: no champion is changed.

    Raises:
        ConfigError: The date is none, or lies before a night that is finished and this is no backfill.
        LeaseLostError: Another run took over.
        PipelineError: A step failed; what was done before it is noted, and the same call goes on there.
    """
    ledger, key = Ledger(ledger_path(context.config)), night_key(context, date)
    known = ledger.night(key)
    if known is not None and known.finished:
        return known
    _check_order(ledger, key, backfill)
    rules = context.config.nightly

    def waiting(lease: Lease) -> None:
        context.console.warn(f"waiting for {lease.holder}, which is at work on the night of {lease.date}")

    with ledger.hold(key, seconds=rules.lease_seconds, patience=rules.wait_seconds, waiting=waiting) as tenure:
        if not tenure.night.finished:
            _check_order(ledger, key, backfill)  # again: others may have finished nights meanwhile
            _work(context, tenure, backfill, _seen(ledger, key))
        return tenure.night


def show_night(context: Context, date: str, backfill: bool = False) -> None:
    """Do a night and say what came of it."""
    started = time.monotonic()
    night = run_nightly(context, date, backfill)
    console, done = context.console, night.steps
    for notice in notices(done):
        console.warn(notice)
    before = night.finished_at is not None and night.finished_at < time.time() - (time.monotonic() - started)
    console.line(f"night of {night.key.date}{', done before' if before else ''}: {headline(done)}")
    for reason in done["verdict"]["reasons"]:
        console.line(f"  {reason}")
    for name, place in (("forecast", done["forecast"]["file"]), ("report", done["report"]["page"])):
        console.line(f"{name:<9} {place}")


def today() -> str:
    """The date of the night that is due now."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def night_key(context: Context, date: str) -> NightKey:
    """What the night of a date is known by in the ledger.

    Raises:
        ConfigError: It is no date.
    """
    try:
        day = datetime.date.fromisoformat(date)
    except ValueError as error:
        raise ConfigError(f"the date of a night has the form 2020-03-11, got {date!r}; correct --date") from error
    config = context.config
    return NightKey(config.name, day.isoformat(), config.hash(), lineage.code_hash())


def ledger_path(config: Config) -> Path:
    """The ledger of a pipeline."""
    return config.work_dir / "nights.db"


def _work(context: Context, tenure: Tenure, backfill: bool, seen: frozenset[str]) -> None:
    done = dict(tenure.night.steps)
    for name, step in STEPS.items():
        if name in done:
            continue
        try:
            result = step(Work(context, tenure.key.date, backfill, tenure, done, seen))
        except Exception:
            kept = f"{', '.join(done)} done" if done else "nothing was done yet"
            context.console.warn(
                f"the night of {tenure.key.date} stopped at '{name}' ({kept}); the same command goes on there"
            )
            raise
        tenure.record(name, result)
        done[name] = result
    tenure.finish()


def _check_order(ledger: Ledger, key: NightKey, backfill: bool) -> None:
    """A night that was missed is not done late by accident."""
    latest = next((night.key.date for night in ledger.nights(key.pipeline) if night.finished), None)
    if latest is not None and key.date < latest and not backfill:
        raise ConfigError(
            f"the night of {key.date} lies before that of {latest}, which is finished; missed nights are left out, "
            "or done with --backfill, which changes no champion"
        )


def _seen(ledger: Ledger, key: NightKey) -> frozenset[str]:
    """What other nights said about rejected files, which stay in the folder and are rejected again every night."""
    others = [night for night in ledger.nights(key.pipeline) if night.key != key and "ingest" in night.steps]
    return frozenset(text for night in others for text in night.steps["ingest"]["rejected"])
