"""The graph's checkpoints: LangGraph's own saver on the tenant's own file."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tausestack.names import check_tenant

FILE = "agents-checkpoints.db"


class Checkpoints:
    """Gives out the saver of a tenant; what is not plain data is refused, on reading as on writing."""

    def __init__(self, data: Path) -> None:
        self._data = data

    @asynccontextmanager
    async def saver(self, tenant: str) -> AsyncGenerator[AsyncSqliteSaver]:
        """Open the tenant's file for one run."""
        folder = self._data / "tenants" / check_tenant(tenant)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        async with aiosqlite.connect(path) as connection:
            await connection.execute("PRAGMA busy_timeout = 5000")
            # None: only types on LangGraph's own list of safe ones, whatever the environment says.
            serializer = JsonPlusSerializer(allowed_msgpack_modules=None)
            yield AsyncSqliteSaver(connection, serde=serializer)


def config(tenant: str, thread: str) -> dict[str, dict[str, str]]:
    """Return LangGraph's configuration of a tenant's thread."""
    return {"configurable": {"thread_id": f"{tenant}:{thread}"}}
