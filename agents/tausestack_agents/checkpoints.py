"""The graph's checkpoints: LangGraph's own savers on the tenant's own file, or on PostgreSQL, each write fenced.

One is kept where a run stops, for what a stop waits for; in between its journal alone carries it.

LangGraph's savers say what is read and written; here is said when. Each operation is one trip to a thread, and each
write is made while nobody else can claim the tenant's runs, once its own claim was looked at: a worker that was frozen
while another took its run over writes no checkpoint either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
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
FIRST = 1
"""The fence of a run's first claim."""
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
    async def saver(self, tenant: str) -> AsyncGenerator[Saver]:
        """Open the tenant's checkpoints."""
        opened = _Opened(self._place, check_tenant(tenant))
        await opened.place()
        try:
            yield _TenantSaver(self._databases, opened)
        finally:
            await opened.aclose()

    @asynccontextmanager
    async def of_run(
        self, tenant: str, run: str, fence: int, before: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[Saver]:
        """Open a run's checkpoints: each write raises `Fenced` unless its claim still holds.

        `before` anything is checkpointed it writes what that builds upon.
        """
        opened = _Opened(self._place, check_tenant(tenant))
        try:
            yield _RunSaver(self._databases, opened, run, fence, before)
        finally:
            await opened.aclose()

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


class _Opened:
    """A tenant's checkpoints, opened where they are asked for first: most runs never stop, and need none."""

    def __init__(self, place: Place, tenant: str) -> None:
        self.tenant = tenant
        self._place = place
        self._opening = anyio.Lock()
        self._is_open = False

    async def place(self) -> Place:
        """Return where they are, opened."""
        async with self._opening:
            if not self._is_open:
                await self._place.open(self.tenant)
                self._is_open = True
        return self._place

    def following(self, version: Any) -> str:
        """Return the version after one, as LangGraph's savers number them."""
        return self._place.saver(self.tenant, None).get_next_version(version, None)

    async def aclose(self) -> None:
        """Close them, where they were opened."""
        if self._is_open:
            await self._place.close(self.tenant)


class _TenantSaver(Saver):
    """LangGraph's face of a saver, over its own for threads."""

    def __init__(self, databases: TenantDatabases, opened: _Opened) -> None:
        super().__init__()
        self._databases = databases
        self._opened = opened

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
        return self._opened.following(current)

    async def _read(self, ask: Callable[[Saver], _T]) -> _T:
        place, tenant = await self._opened.place(), self._opened.tenant

        async def work(db: Connection) -> _T:
            return ask(place.saver(tenant, db))

        return await self._databases.read(tenant, work)

    async def _write(self, what: str, tell: Callable[[Saver], _T]) -> _T:
        place, tenant = await self._opened.place(), self._opened.tenant

        async def work(db: Connection) -> _T:
            await self._check(db)
            passing(f"{what}.within")
            return tell(place.saver(tenant, db))

        passing(f"{what}.before")
        told = await self._databases.write(tenant, work)
        passing(f"{what}.after")
        return told

    async def _check(self, db: Connection) -> None:
        """Let anybody write who has the tenant's checkpoints."""


class _RunSaver(_TenantSaver):
    """The saver of a run under one claim."""

    def __init__(
        self,
        databases: TenantDatabases,
        opened: _Opened,
        run: str,
        fence: int,
        before: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(databases, opened)
        self._run = run
        self._fence = fence
        self._before = before
        self._may_have_any = fence > FIRST

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with what was written after it; there is none of a run that never stopped."""
        return await super().aget_tuple(config) if self._may_have_any else None

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint; not that of a run which has its answer, since nothing goes on from there."""
        here = config.get("configurable", {})
        if not here.get("checkpoint_ns") and checkpoint["channel_values"].get("answered"):
            return {"configurable": {**here, "checkpoint_id": checkpoint["id"]}}
        await self._before()
        self._may_have_any = True
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def _check(self, db: Connection) -> None:
        await check_fence(db, self._run, self._fence)


def config(tenant: str, run: str) -> dict[str, dict[str, str]]:
    """Return LangGraph's configuration of a run: each has its own, and what came before it is told to it."""
    return {"configurable": {"thread_id": thread_of(tenant, run)}}


def thread_of(tenant: str, run: str) -> str:
    """Return the name of a run's checkpoints, which its tenant leads."""
    return f"{tenant}:{run}"
