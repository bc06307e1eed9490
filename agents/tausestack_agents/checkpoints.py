"""The graph's checkpoints: LangGraph's own saver on the tenant's own file, or on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tausestack.names import check_tenant

FILE = "agents-checkpoints.db"


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

    @asynccontextmanager
    async def _file(self, tenant: str) -> AsyncGenerator[AsyncSqliteSaver]:
        folder = self._data / "tenants" / tenant
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        async with aiosqlite.connect(path) as connection:
            await connection.execute("PRAGMA busy_timeout = 5000")
            yield AsyncSqliteSaver(connection, serde=self._serializer)


def config(tenant: str, thread: str) -> dict[str, dict[str, str]]:
    """Return LangGraph's configuration of a tenant's thread."""
    return {"configurable": {"thread_id": f"{tenant}:{thread}"}}
