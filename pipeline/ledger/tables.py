"""The values that a ledger keeps, and its file: three tables, transactions, errors as one sentence.

with Database(path).transaction() as connection:
    find_night(connection, key)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import LedgerError

_VERSION = 1
_BUSY_SECONDS = 30.0  # another process's transaction takes milliseconds
_TABLES = """
CREATE TABLE nights (
    id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, date TEXT NOT NULL, config_hash TEXT NOT NULL,
    code_hash TEXT NOT NULL, started_at REAL NOT NULL, finished_at REAL, starts INTEGER NOT NULL DEFAULT 1,
    error TEXT NOT NULL DEFAULT '', UNIQUE (pipeline, date, config_hash, code_hash));
CREATE TABLE steps (
    night INTEGER NOT NULL REFERENCES nights (id), name TEXT NOT NULL, result TEXT NOT NULL, token INTEGER NOT NULL,
    finished_at REAL NOT NULL, PRIMARY KEY (night, name));
CREATE TABLE leases (
    pipeline TEXT PRIMARY KEY, token INTEGER NOT NULL, date TEXT NOT NULL, place TEXT NOT NULL, pid INTEGER NOT NULL,
    taken_at REAL NOT NULL, renewed_at REAL, seconds REAL NOT NULL)
"""


@dataclass(frozen=True)
class NightKey:
    """What a night is the night of: the same four make the same night."""

    pipeline: str
    date: str
    config_hash: str
    code_hash: str


@dataclass(frozen=True)
class Night:
    """What is known about a night.

    Attributes:
        key: Which one.
        started_at: Seconds since 1970 of its first start, and `finished_at` of its end; None: it did not end yet.
        starts: How often it was started before it was finished.
        error: What ended its last start, if that failed.
        steps: Results of the finished steps, in the order in which they finished.
    """

    key: NightKey
    started_at: float
    finished_at: float | None
    starts: int
    error: str
    steps: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.finished_at is not None


@dataclass(frozen=True)
class Lease:
    """Who may work on a pipeline; times in seconds since 1970, `renewed_at` None where it was given back."""

    pipeline: str
    token: int
    date: str
    place: str
    pid: int
    taken_at: float
    renewed_at: float | None
    seconds: float

    def in_force(self, now: float) -> bool:
        """Whether its holder may still be at work.

        A lease that was renewed in a far future belongs to a clock that was set back since: it has ended too.
        """
        if self.renewed_at is None or abs(now - self.renewed_at) >= self.seconds:
            return False
        return self.place != this_place() or _lives(self.pid)

    @property
    def holder(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.place.partition('/')[0]}"


class Database:
    """The file of a ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the body's statements or none; nobody else writes from the first on until the last is on the disk."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, _BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("BEGIN IMMEDIATE")
                self._make_tables(connection)
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be read or written ({error}); check its folder's rights and free "
                "space, then start again"
            ) from error

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise LedgerError(
                f"the ledger {self.path} has version {version}, this program knows {_VERSION}; use the program that "
                "wrote it"
            )
        if version == 0:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def find_night(connection: sqlite3.Connection, key: NightKey) -> tuple[int, Night] | None:
    """A night and its number, if it was ever started."""
    row = connection.execute(
        "SELECT id, started_at, finished_at, starts, error FROM nights "
        "WHERE pipeline = ? AND date = ? AND config_hash = ? AND code_hash = ?",
        astuple(key),
    ).fetchone()
    if row is None:
        return None
    steps = connection.execute("SELECT name, result FROM steps WHERE night = ? ORDER BY rowid", row[:1]).fetchall()
    number, started_at, finished_at, starts, error = row
    results = {name: json.loads(result) for name, result in steps}
    return number, Night(key, started_at, finished_at, starts, error, results)


def find_lease(connection: sqlite3.Connection, pipeline: str) -> Lease | None:
    """The newest lease of a pipeline, in force or not."""
    row = connection.execute("SELECT * FROM leases WHERE pipeline = ?", (pipeline,)).fetchone()
    return None if row is None else Lease(*row)


def this_place() -> str:
    """Where process ids mean the same: the machine and, in containers, their own numbering of processes."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return f"{socket.gethostname()}/{numbering}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True
