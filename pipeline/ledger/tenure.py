"""A tenure: the right to write one night, which every write has to show.

tenure.record("ingest", {"snapshot_id": "…"})
tenure.finish()
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import LeaseLostError, LedgerError
from .tables import Database, Night, NightKey, find_lease, find_night


class Tenure:
    """One taking of the lease; good until the lease is given back or goes to another.

    Args:
        database: The ledger's file.
        clock: Seconds since 1970.
        key: The night.
        token: Of the lease, as it was taken.
    """

    def __init__(self, database: Database, clock: Callable[[], float], key: NightKey, token: int) -> None:
        self._database, self._clock = database, clock
        self.key, self.token, self.lost = key, token, False

    @property
    def night(self) -> Night:
        """The night as it stands."""
        with self._database.transaction() as connection:
            return self._find(connection)[1]

    def check(self) -> None:
        """Raise LeaseLostError unless the lease is ours: before something that cannot be taken back."""
        with self._writing():
            pass

    def record(self, step: str, result: Any) -> None:
        """Note a finished step and its result, which JSON can hold.

        Raises:
            LeaseLostError: The lease went to another; nothing was written.
        """
        with self._writing() as connection:
            number, _ = self._find(connection)
            row = (number, step, json.dumps(result), self.token, self._clock())
            connection.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?)", row)

    def finish(self) -> None:
        """Note that nothing is left to do."""
        with self._writing() as connection:
            number, _ = self._find(connection)
            connection.execute("UPDATE nights SET finished_at = ? WHERE id = ?", (self._clock(), number))

    def renew(self) -> None:
        """Start the lease's length anew."""
        with self._writing() as connection:
            row = (self._clock(), self.key.pipeline)
            connection.execute("UPDATE leases SET renewed_at = ? WHERE pipeline = ?", row)

    def give_back(self, error: str = "") -> None:
        """Free the lease and note what ended the work, if something did; nothing happens where it is another's."""
        with contextlib.suppress(LeaseLostError), self._writing() as connection:
            number, _ = self._find(connection)
            connection.execute("UPDATE leases SET renewed_at = NULL WHERE pipeline = ?", (self.key.pipeline,))
            connection.execute("UPDATE nights SET error = ? WHERE id = ? AND finished_at IS NULL", (error, number))

    @contextlib.contextmanager
    def renewed(self, every: float) -> Iterator[None]:
        """Renew the lease from a thread while the body runs; a main thread whose lease is lost is interrupted."""
        stop, in_main = threading.Event(), threading.current_thread() is threading.main_thread()

        def beat() -> None:
            while not stop.wait(every):
                try:
                    self.renew()
                except LeaseLostError:
                    self.lost = True
                    if in_main:  # out of whatever it waits for
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                except LedgerError:  # a full disk, perhaps: the next beat may do better, and the fence holds anyway
                    continue

        thread = threading.Thread(target=beat, name="ledger-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def refusal(self) -> LeaseLostError:
        """What a holder is told whose lease went to another."""
        return LeaseLostError(
            f"the night of {self.key.date} was taken over by another run of {self.key.pipeline} while this one did not "
            "answer, and nothing more was written; 'minconv status' shows how far the other is"
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that the fence let through."""
        with self._database.transaction() as connection:
            lease = find_lease(connection, self.key.pipeline)
            if lease is None or lease.token != self.token or lease.renewed_at is None:
                raise self.refusal()
            yield connection

    def _find(self, connection: sqlite3.Connection) -> tuple[int, Night]:
        found = find_night(connection, self.key)
        if found is None:
            raise LedgerError(f"the ledger {self._database.path} lost the night of {self.key.date}; start it again")
        return found
