"""Writing lines: one connection, one transaction for all that waits."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tausestack_runtime.ledger.line import FIELDS, FIRST_HASH, INTEGERS, Line, canonical, link

Synchronous = Literal["NORMAL", "FULL"]
Row = tuple[tuple[Any, ...], bytes]
"""A line's values and their canonical form."""

_TYPES = tuple(int if name in INTEGERS else str for name in FIELDS)

_COLUMNS = ",\n    ".join(f"{name} {'INTEGER' if name in INTEGERS else 'TEXT'} NOT NULL" for name in FIELDS)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS lines (
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    {_COLUMNS},
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS one_result ON lines (tenant, call) WHERE kind = 'result';
CREATE INDEX IF NOT EXISTS results_by_time ON lines (tenant, at) WHERE kind = 'result';
CREATE TABLE IF NOT EXISTS heads (
    tenant TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
_INSERT = (
    f"INSERT INTO lines (seq, hash, {', '.join(FIELDS)}) VALUES ({', '.join('?' * (len(FIELDS) + 2))})"  # noqa: S608 our own names
    " ON CONFLICT (tenant, call) WHERE kind = 'result' DO NOTHING"
)
_HEAD = (
    "INSERT INTO heads (tenant, seq, hash) VALUES (?, ?, ?)"
    " ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, hash = excluded.hash"
)


def row(line: Line) -> Row:
    """Return a line as it is written; raises `TypeError` for values that are not text or integers."""
    if tuple(map(type, line)) != _TYPES:
        for name, value, good in zip(FIELDS, line, _TYPES, strict=True):
            if type(value) is not good:
                raise TypeError(f"{name} of a line is {type(value).__name__}")
    return line, canonical(line)


class Writer:
    """The connection that writes a ledger file; each tenant's lines are chained."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._turn = os.open(path.with_name(path.name + "-turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.executescript(_SCHEMA)
        self._heads: dict[str, tuple[int, str]] = {}
        self._version = 0

    def write(self, rows: Iterable[Row]) -> None:
        """Write lines in one transaction: all of them are durable on return, or none when it raises.

        A second result line of a call is dropped: a call is counted once.
        """
        heads: dict[str, tuple[int, str]] = {}
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._forget_if_others_wrote()
            for values, text in rows:
                tenant = values[0]
                seq, previous = heads.get(tenant) or self._head(tenant)
                linked = link(previous, text)
                if execute(_INSERT, (seq + 1, linked, *values)).rowcount:
                    heads[tenant] = (seq + 1, linked)
            self._connection.executemany(_HEAD, ((tenant, *head) for tenant, head in heads.items()))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._heads.update(heads)

    @contextmanager
    def turn(self) -> Generator[None]:
        """Wait until no other process writes, and keep them waiting: the kernel ends a dead one's turn.

        SQLite would ask again and again, with sleeps between, while more lines gather here unseen.
        """
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        os.close(self._turn)

    def _forget_if_others_wrote(self) -> None:
        """Read the heads again after another process's commit."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._heads.clear()
            self._version = version

    def _head(self, tenant: str) -> tuple[int, str]:
        head = self._heads.get(tenant)
        if head is None:
            head = self._connection.execute("SELECT seq, hash FROM heads WHERE tenant = ?", (tenant,)).fetchone()
            head = self._heads[tenant] = head or (0, FIRST_HASH)
        return head
