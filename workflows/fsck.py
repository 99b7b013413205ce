"""The body of `minconv fsck`: all that a pipeline keeps, looked at after a crash.

examine(context, repair=False, as_json=False)      # whether nothing is broken
"""

from __future__ import annotations

from pipeline import fsck

from .context import Context
from .doctor import show
from .nightly import ledger_path


def examine(context: Context, repair: bool, as_json: bool) -> bool:
    """Look, sweep up where that is asked for, and show; whether nothing is broken."""
    registry = context.registry if context.has_registry else None
    with context.console.stage("fsck") as progress:
        found = list(fsck.examine(context.config, registry, ledger_path(context.config), repair, progress))
    return show(context.console, found, as_json)
