"""Deleting a tenant's chain: nothing of it stays in the file, nor in the log beside it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from tausestack_runtime.ledger.reading import reading


def count(path: Path, tenant: str) -> int:
    """Return how many lines a tenant has."""
    with reading(path) as connection:
        (lines,) = connection.execute("SELECT count(*) FROM lines WHERE tenant = ?", (tenant,)).fetchone()
    return int(lines)


def erase(path: Path, tenant: str) -> int:
    """Delete a tenant's lines, in the writers' turn, and return how many there were."""
    turn = os.open(path.with_name(path.name + "-turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        lines = connection.execute("DELETE FROM lines WHERE tenant = ?", (tenant,)).rowcount
        connection.execute("DELETE FROM heads WHERE tenant = ?", (tenant,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
        os.close(turn)
    return lines
