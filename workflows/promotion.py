"""Promotion and rollback by hand, judged and written down as the nightly's are."""

from __future__ import annotations

import getpass
import socket

from pipeline.errors import PromotionError
from pipeline.promotion import Verdict, judge, promote, refuse, rollback

from .context import Context
from .models import check_registry, resolve
from .stages import evaluate_model


def promote_model(context: Context, model: str, why: str | None, force: bool) -> None:
    """Judge a version, then make it champion or say why not.

    Args:
        context: Configuration and registry.
        model: The version, as for `resolve`.
        why: Added to the audit trail.
        force: Promote it whatever the verdict is.

    Raises:
        PromotionError: The verdict is against it, or `force` has no reason.
    """
    if force and not why:
        raise PromotionError("--force needs a reason for the audit trail; add --why 'TEXT'")
    version = resolve(context, model)
    champion = context.registry.champion()
    if champion is not None and champion.version == version.version:
        context.console.line(f"{version.uri} is champion already")
        return
    scorecard, _ = evaluate_model(context, version)
    current = None if champion is None else evaluate_model(context, champion)[0]
    verdict = judge(scorecard, current, context.config.promotion)
    if not verdict.promote and not force:
        refuse(context.registry, version, verdict, by=user())
        raise PromotionError(f"{version.uri} was not promoted: {verdict.text}")
    reasons = (*verdict.reasons, *(() if verdict.promote else ("Promoted by hand against this verdict.",)))
    said = Verdict(True, (*reasons, why) if why else reasons, verdict.numbers)
    now = promote(context.registry, version, said, champion, lock=context.promotion_lock, by=user())
    was = "" if champion is None else f", before: version {champion.version}"
    context.console.line(f"{now.uri} is champion{was}")
    for reason in said.reasons:
        context.console.line(f"  {reason}")


def rollback_model(context: Context, why: str | None) -> None:
    """Make the champion of before champion again."""
    check_registry(context)
    champion = rollback(context.registry, lock=context.promotion_lock, by=user(), why=why or "No reason was given.")
    context.console.line(f"{champion.uri} is champion again")


def user() -> str:
    """Who does it, for the audit trail: the login name and the machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
