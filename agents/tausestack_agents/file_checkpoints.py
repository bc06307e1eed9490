"""The graph's checkpoints on SQLite: LangGraph's own saver on a file of the tenant's."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from tausestack.database import Connection
from tausestack.database.files import remove_file

FILE = "agents-checkpoints.db"
KEPT = 32
"""So many files stay open while nobody uses them: opening one costs as much as several steps."""
_MADE = "SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'"


@dataclass(slots=True)
class _Opened:
    saver: SqliteSaver
    inode: int
    users: int = 0


class FileCheckpoints:
    """The tenants' files, each opened once a process."""

    def __init__(self, data: Path, serializer: SerializerProtocol) -> None:
        self._data = data
        self._serializer = serializer
        self._opened: dict[str, _Opened] = {}
        self._counting = SqliteSaver(cast("Any", None), serde=serializer)
        self._opening = anyio.Lock()

    async def open(self, tenant: str) -> None:
        """Open the tenant's file, making it where it is missing; one that was put in its place is opened anew."""
        path = self._path(tenant)
        async with self._opening:
            known = self._opened.get(tenant)
            if known is not None and not known.users and known.inode != _inode(path):
                await anyio.to_thread.run_sync(known.saver.conn.close)
                known = None
            if known is None:
                known = _Opened(await anyio.to_thread.run_sync(self._open, path), _inode(path))
            self._opened.pop(tenant, None)
            self._opened[tenant] = known  # the one that was used last stands last
            known.users += 1

    def saver(self, tenant: str, db: Connection | None) -> SqliteSaver:
        """Return the saver of the tenant's file, which is open; without a transaction, one that only counts."""
        return self._counting if db is None else self._opened[tenant].saver

    async def close(self, tenant: str) -> None:
        """Use the tenant's file no more, and close those that were unused for longest."""
        with anyio.CancelScope(shield=True):
            async with self._opening:
                known = self._opened.get(tenant)
                if known is not None:
                    known.users -= 1
                idle = [name for name, opened in self._opened.items() if not opened.users]
                for name in idle[: max(0, len(self._opened) - KEPT)]:
                    await anyio.to_thread.run_sync(self._opened.pop(name).saver.conn.close)

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints there are of a tenant, without making anything."""
        [(count,)] = await self._asked(tenant, "SELECT count(*) FROM checkpoints") or [(0,)]
        return int(count)

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads, without making anything."""
        found = await self._asked(tenant, "SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1")
        return [str(thread) for (thread,) in found]

    async def erase(self, tenant: str) -> None:
        """Delete the tenant's file."""
        async with self._opening:
            known = self._opened.pop(tenant, None)
            if known is not None:
                await anyio.to_thread.run_sync(known.saver.conn.close)
            await anyio.to_thread.run_sync(remove_file, self._path(tenant))

    async def aclose(self) -> None:
        """Close every file."""
        while self._opened:
            _, opened = self._opened.popitem()
            await anyio.to_thread.run_sync(opened.saver.conn.close)

    async def _asked(self, tenant: str, question: str) -> list[tuple[Any, ...]]:
        path = self._path(tenant)
        return await anyio.to_thread.run_sync(_answer, path, question) if path.exists() else []

    def _path(self, tenant: str) -> Path:
        return self._data / "tenants" / tenant / FILE

    def _open(self, path: Path) -> SqliteSaver:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, check_same_thread=False)
        # As everywhere in the house: after a loss of power the last checkpoints may be gone, and the journal, which
        # was written before them in the same way, takes their place.
        connection.execute("PRAGMA synchronous = NORMAL")
        saver = SqliteSaver(connection, serde=self._serializer)
        saver.setup()
        return saver


def _answer(path: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute(_MADE).fetchone() is None:
            return []  # opened, and never written
        return connection.execute(question).fetchall()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
