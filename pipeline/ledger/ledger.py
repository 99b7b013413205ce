"""The ledger: look nights up, and take the lease to work on one.

Ledger(path).nights("demo")[0].steps["verdict"]
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

from ..errors import LedgerError
from .tables import Database, Lease, Night, NightKey, find_lease, find_night, this_place
from .tenure import Tenure

_POLL_SECONDS = 0.5
_BEATS = 4  # renewals within the length of a lease


class Ledger:
    """The ledger in one SQLite file, made where it is not there.

    Every method raises LedgerError where the file cannot be read or written, or is no ledger.

    Args:
        path: The file, on a disk of this machine: SQLite's locks are not reliable on network file systems.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = Database(path), clock

    def night(self, key: NightKey) -> Night | None:
        """One night, if it was ever started."""
        with self._database.transaction() as connection:
            found = find_night(connection, key)
        return None if found is None else found[1]

    def nights(self, pipeline: str, limit: int = -1) -> list[Night]:
        """The nights of a pipeline, the latest dates first; -1: all of them."""
        with self._database.transaction() as connection:
            keys = connection.execute(
                "SELECT pipeline, date, config_hash, code_hash FROM nights WHERE pipeline = ? "
                "ORDER BY date DESC, id DESC LIMIT ?",
                (pipeline, limit),
            ).fetchall()
            found = [find_night(connection, NightKey(*key)) for key in keys]
        return [one[1] for one in found if one is not None]

    def lease(self, pipeline: str) -> Lease | None:
        """The lease in force, if there is one."""
        with self._database.transaction() as connection:
            lease = find_lease(connection, pipeline)
        return lease if lease is not None and lease.in_force(self._clock()) else None

    def abandoned(self, pipeline: str) -> Lease | None:
        """The lease that its holder did not give back and that is no longer in force, if there is one."""
        with self._database.transaction() as connection:
            lease = find_lease(connection, pipeline)
        held = lease is not None and lease.renewed_at is not None
        return lease if lease is not None and held and not lease.in_force(self._clock()) else None

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file; empty: nothing."""
        with self._database.transaction() as connection:
            found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
            lost = connection.execute("PRAGMA foreign_key_check").fetchall()
        return [text for text in found if text != "ok"] + [f"steps of no night: {row}" for row in lost]

    def take(self, key: NightKey, seconds: float) -> Tenure | Lease:
        """Take the lease of the key's pipeline for so long, or say who has it; a taking is a start of the night."""
        now = self._clock()
        with self._database.transaction() as connection:
            lease = find_lease(connection, key.pipeline)
            if lease is not None and lease.in_force(now):
                return lease
            token = 1 if lease is None else lease.token + 1
            mine = Lease(key.pipeline, token, key.date, this_place(), os.getpid(), now, now, seconds)
            connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(mine))
            connection.execute(
                "INSERT INTO nights (pipeline, date, config_hash, code_hash, started_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET starts = starts + 1, error = '' WHERE finished_at IS NULL",
                (*astuple(key), now),
            )
        return Tenure(self._database, self._clock, key, token)

    @contextlib.contextmanager
    def hold(
        self, key: NightKey, *, seconds: float, patience: float, waiting: Callable[[Lease], None] = lambda lease: None
    ) -> Iterator[Tenure]:
        """Hold the lease for the body, renewing it, and give it back.

        Where the lease is lost while the main thread is in the body, the body is interrupted.

        Args:
            key: The night; it may be finished by the time the lease is ours.
            seconds: Length of the lease: so long after its holder's death it is free at the latest.
            patience: Seconds to wait for another holder.
            waiting: Told once who holds it, where that is another.

        Raises:
            LedgerError: The other holder did not end in time.
            LeaseLostError: The lease went to another while the body ran.
        """
        tenure = self._wait(key, seconds, patience, waiting)
        try:
            with tenure.renewed(seconds / _BEATS):
                yield tenure
        except BaseException as error:
            if tenure.lost and isinstance(error, KeyboardInterrupt):
                raise tenure.refusal() from None
            tenure.give_back(str(error) or type(error).__name__)
            raise
        tenure.give_back()

    def _wait(self, key: NightKey, seconds: float, patience: float, waiting: Callable[[Lease], None]) -> Tenure:
        deadline, told = time.monotonic() + patience, False
        while True:
            taken = self.take(key, seconds)
            if isinstance(taken, Tenure):
                return taken
            if time.monotonic() >= deadline:
                raise LedgerError(
                    f"another run of {key.pipeline} is at work ({taken.holder}, night of {taken.date}) and did not end "
                    f"within {patience:g} s; wait for it, or stop it, then start again"
                )
            if not told:
                waiting(taken)
                told = True
            time.sleep(_POLL_SECONDS)
