"""Whether a service that nobody calls has something to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

BUSY_SECONDS = 0.1
"""How long the supervisor waits for whoever has the file to itself: it has more to do."""


def has_work(path: Path, tables: Sequence[str]) -> bool:
    """Whether any of some tables of a SQLite file has a row; so it is, too, where that can't be told.

    An earlier release's file may lack tables, and one that is broken is for its service to complain of.
    """
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as file:
            file.execute("PRAGMA query_only = ON")
            found = " OR ".join(f"EXISTS (SELECT 1 FROM {table})" for table in tables)  # noqa: S608 they are our own names
            return bool(file.execute(f"SELECT {found}").fetchone()[0])
    except sqlite3.Error:
        return True
