"""The ledger of nights: which night of which pipeline got how far, and who is at work on it. The only room of SQLite.

What lives here: nights with their steps (`tables`), the lease that lets one process at a time work on a pipeline
(`ledger`), and the fence that refuses the writes of one that lost it (`tenure`). What does not: what the steps are
(`workflows.nightly`).

    ledger = Ledger(Path("runs/demo/nights.db"))
    with ledger.hold(NightKey("demo", "2020-03-11", config.hash(), code_hash()), seconds=60, patience=3600) as tenure:
        if "ingest" not in tenure.night.steps:
            tenure.record("ingest", {"snapshot_id": "…"})     # on disk when this returns
        tenure.finish()

The lease: whoever holds it renews it while it lives. It is free when it is given back, when it was not renewed for its
length, or when its holder, a process of this machine, is gone. Each taking has a higher token; every write names its
token within its own transaction, so that a holder that slept through the end of its lease cannot write any more.

SQLite keeps its rollback journal (not WAL) and synchronous=EXTRA: a night makes a dozen writes, so their speed does not
matter; a step that was acknowledged is on the disk, even where the power fails; and the ledger is one file to copy.
"""

from .ledger import Ledger
from .tables import Lease, Night, NightKey
from .tenure import Tenure

__all__ = ["Lease", "Ledger", "Night", "NightKey", "Tenure"]
