"""Who is champion: the verdict on a challenger, and the transaction that carries it out.

What lives here: the `gate` (is the challenger better?), the `transaction` (aliases move, or not, whatever is killed)
and the `audit` trail (who, when, why). What does not: comparing errors (`comparison`), MLflow (`registry`).

    verdict = judge(challenger_scores, champion_scores, config.promotion)
    if verdict.promote:
        promote(registry, challenger, verdict, champion, lock=path, by="ann")
    else:
        refuse(registry, challenger, verdict, by="ann")
    rollback(registry, lock=path, by="ann", why="too warm over the lakes")
"""

from .audit import Entry, audit_trail
from .gate import Verdict, judge
from .transaction import promote, refuse, rollback

__all__ = ["Entry", "Verdict", "audit_trail", "judge", "promote", "refuse", "rollback"]
