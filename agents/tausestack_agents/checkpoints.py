"""The graph's checkpoints: LangGraph's own savers on the tenant's own file, or on PostgreSQL, each write fenced.

LangGraph's savers say what is read and written; here is said when. Each operation is one trip to a thread, and each
write is made while nobody else can claim the tenant's runs, once its own claim was looked at: a worker that was frozen
while another took its run over writes no checkpoint either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from tausestack.database import Connection, TenantDatabases
from tausestack.names import check_tenant
from tausestack_agents.failpoints import passing
from tausestack_agents.file_checkpoints import FileCheckpoints
from tausestack_agents.store import check_fence

_T = TypeVar("_T")
Saver = BaseCheckpointSaver[Any]


class Place(Protocol):
    """Where a tenant's checkpoints are."""

    async def open(self, tenant: str) -> None:
        """Make the tables where they are missing, and have the tenant's at hand."""
        ...

    def saver(self, tenant: str, db: Connection | None) -> Saver:
        """Return LangGraph's saver for one operation in this thread; `db` is the transaction that it is made in."""
        ...

    async def close(self, tenant: str) -> None:
        """Have the tenant's at hand no more."""
        ...

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints there are of a tenant, without making anything."""
        ...

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads, without making anything."""
        ...

    async def erase(self, tenant: str) -> None:
        """Delete all checkpoints of a tenant."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class Checkpoints:
    """Gives out the saver of a tenant; what is not plain data is refused, on reading as on writing."""

    def __init__(self, databases: TenantDatabases, data: Path, url: str | None = None) -> None:
        self._databases = databases
        # None: only types on LangGraph's own list of safe ones, whatever the environment says.
        serializer = JsonPlusSerializer(allowed_msgpack_modules=None)
        self._place: Place
        if url is None:
            self._place = FileCheckpoints(data, serializer)
        else:
            # Its modules cost memory that a stack on SQLite never uses.
            from tausestack_agents.postgres_checkpoints import PostgresCheckpoints

            self._place = PostgresCheckpoints(databases, url, serializer)

    @asynccontextmanager
    async def saver(self, tenant: str, *, run: str | None = None, fence: int = 0) -> AsyncGenerator[Saver]:
        """Open the tenant's checkpoints; with a run, each write raises `Fenced` unless its claim still holds."""
        await self._place.open(check_tenant(tenant))
        try:
            yield _FencedSaver(self._databases, self._place, tenant, run, fence)
        finally:
            await self._place.close(tenant)

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints there are of a tenant, without making anything."""
        return await self._place.count(check_tenant(tenant))

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads as the savers know them, without making anything."""
        return await self._place.threads(check_tenant(tenant))

    async def forget(self, tenant: str, run: str) -> None:
        """Delete the checkpoints of a run that has ended: its row and its journal say all that there is to know."""
        async with self.saver(tenant) as saver:
            await saver.adelete_thread(thread_of(tenant, run))

    async def erase(self, tenant: str) -> None:
        """Delete all checkpoints of a tenant."""
        await self._place.erase(check_tenant(tenant))

    async def aclose(self) -> None:
        """Close what is open."""
        await self._place.aclose()


class _FencedSaver(Saver):
    """LangGraph's face of a saver, over its own for threads."""

    def __init__(self, databases: TenantDatabases, place: Place, tenant: str, run: str | None, fence: int) -> None:
        super().__init__()
        self._databases = databases
        self._place = place
        self._tenant = tenant
        self._run = run
        self._fence = fence

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with what was written after it."""
        return await self._read(lambda saver: saver.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        for found in await self._read(
            lambda saver: list(saver.list(config, filter=filter, before=before, limit=limit))
        ):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint."""
        return await self._write("checkpoint", lambda saver: saver.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote after a checkpoint."""
        await self._write("writes", lambda saver: saver.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread."""
        await self._write("checkpoint", lambda saver: saver.delete_thread(thread_id))

    def get_next_version(self, current: Any, channel: None) -> str:
        """Return the version after one, as LangGraph's savers number them."""
        return self._place.saver(self._tenant, None).get_next_version(current, channel)

    async def _read(self, ask: Callable[[Saver], _T]) -> _T:
        async def work(db: Connection) -> _T:
            return ask(self._place.saver(self._tenant, db))

        return await self._databases.read(self._tenant, work)

    async def _write(self, what: str, tell: Callable[[Saver], _T]) -> _T:
        async def work(db: Connection) -> _T:
            if self._run is not None:
                await check_fence(db, self._run, self._fence)
            passing(f"{what}.within")
            return tell(self._place.saver(self._tenant, db))

        passing(f"{what}.before")
        told = await self._databases.write(self._tenant, work)
        passing(f"{what}.after")
        return told


def config(tenant: str, run: str) -> dict[str, dict[str, str]]:
    """Return LangGraph's configuration of a run: each has its own, and what came before it is told to it."""
    return {"configurable": {"thread_id": thread_of(tenant, run)}}


def thread_of(tenant: str, run: str) -> str:
    """Return the name of a run's checkpoints, which its tenant leads."""
    return f"{tenant}:{run}"
