"""The graph's checkpoints: LangGraph's own saver on the tenant's own file, or on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import anyio.to_thread
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tausestack.database.files import remove_file
from tausestack.names import check_tenant

FILE = "agents-checkpoints.db"
_MADE = "SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'"


class Checkpoints:
    """Gives out the saver of a tenant; what is not plain data is refused, on reading as on writing."""

    def __init__(self, data: Path, url: str | None = None) -> None:
        self._data = data
        # None: only types on LangGraph's own list of safe ones, whatever the environment says.
        self._serializer = JsonPlusSerializer(allowed_msgpack_modules=None)
        self._postgres = None
        if url is not None:
            # Its modules cost memory that a stack on SQLite never uses.
            from tausestack_agents.postgres_checkpoints import PostgresCheckpoints

            self._postgres = PostgresCheckpoints(url, self._serializer)

    @asynccontextmanager
    async def saver(self, tenant: str) -> AsyncGenerator[BaseCheckpointSaver[Any]]:
        """Open the tenant's checkpoints for one run."""
        check_tenant(tenant)
        opened = self._file(tenant) if self._postgres is None else self._postgres.saver(tenant)
        async with opened as saver:
            yield saver

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints there are of a tenant, without making anything."""
        if self._postgres is not None:
            return await self._postgres.count(check_tenant(tenant))
        if not self._path(tenant).exists():
            return 0
        async with aiosqlite.connect(self._path(tenant)) as connection:
            found = list(await connection.execute_fetchall(_MADE))
            if not found:
                return 0  # opened, and never written
            return int(next(iter(await connection.execute_fetchall("SELECT count(*) FROM checkpoints")))[0])

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads as the savers know them, without making anything."""
        if self._postgres is not None:
            return await self._postgres.threads(check_tenant(tenant))
        if not await self.count(tenant):
            return []
        async with aiosqlite.connect(self._path(tenant)) as connection:
            rows = await connection.execute_fetchall("SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1")
        return [str(row[0]) for row in rows]

    async def erase(self, tenant: str) -> None:
        """Delete all checkpoints of a tenant."""
        if self._postgres is not None:
            await self._postgres.erase(check_tenant(tenant))
            return
        await anyio.to_thread.run_sync(remove_file, self._path(tenant))

    def _path(self, tenant: str) -> Path:
        return self._data / "tenants" / check_tenant(tenant) / FILE

    @asynccontextmanager
    async def _file(self, tenant: str) -> AsyncGenerator[AsyncSqliteSaver]:
        path = self._path(tenant)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        async with aiosqlite.connect(path) as connection:
            await connection.execute("PRAGMA busy_timeout = 5000")
            yield AsyncSqliteSaver(connection, serde=self._serializer)


def config(tenant: str, thread: str) -> dict[str, dict[str, str]]:
    """Return LangGraph's configuration of a tenant's thread."""
    return {"configurable": {"thread_id": f"{tenant}:{thread}"}}
