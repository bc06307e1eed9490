"""On PostgreSQL a tenant's checkpoints are its own: the wall stands in the database, not in LangGraph's queries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tausestack.database import TenantDatabases
from tausestack.errors import Unavailable
from tausestack_agents.checkpoints import Checkpoints, config
from tausestack_agents.postgres_checkpoints import SCHEMA
from tausestack_agents.tables import SCHEMA as AGENTS

pytestmark = pytest.mark.anyio

ACME: Any = config("acme", "t1")
STATE = {"turns": [{"said": "secreto"}], "answer": "sí"}


@pytest.fixture
async def checkpoints(tmp_path: Path, postgres_url: str) -> AsyncIterator[Checkpoints]:
    """Checkpoints where the agents' own tables are prepared, as they are before any run."""
    databases = TenantDatabases(AGENTS, data=tmp_path, url=postgres_url)
    await databases.migrate("acme")
    yield Checkpoints(databases, tmp_path, postgres_url)
    await databases.aclose()


async def keep(checkpoints: Checkpoints, tenant: str, place: Any) -> Any:
    """Keep a checkpoint and a write of it."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = dict(STATE)
    checkpoint["channel_versions"] = dict.fromkeys(STATE, "1")
    where: Any = {"configurable": {**place["configurable"], "checkpoint_ns": ""}}
    async with checkpoints.saver(tenant) as saver:
        kept: Any = await saver.aput(where, checkpoint, {"step": 1}, checkpoint["channel_versions"])
        await saver.aput_writes(kept, [("answer", "después")], "task")
    return kept


@pytest.mark.covers("agents:postgres-checkpoints")
async def test_another_tenant_neither_sees_nor_touches_a_thread(checkpoints: Checkpoints, tmp_path: Path) -> None:
    kept = await keep(checkpoints, "acme", ACME)
    async with checkpoints.saver("globex") as saver:
        assert await saver.aget_tuple(ACME) is None
        assert [one async for one in saver.alist(ACME)] == []
        assert [one async for one in saver.alist(None)] == []
        await saver.adelete_thread("acme:t1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await saver.aput_writes(kept, [("answer", "forged")], "other")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await keep(checkpoints, "globex", ACME)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await keep(checkpoints, "acm", ACME)
    async with checkpoints.saver("acme") as saver:
        found = await saver.aget_tuple(ACME)
        assert found is not None
        assert found.checkpoint["channel_values"] == STATE
        assert found.pending_writes == [("task", "answer", "después")]
    assert not [path async for path in anyio.Path(tmp_path).iterdir()]


@pytest.mark.covers("agents:postgres-checkpoints")
async def test_without_a_tenant_there_is_nothing_even_for_the_owner(
    checkpoints: Checkpoints, postgres_url: str
) -> None:
    await keep(checkpoints, "acme", ACME)
    with psycopg.connect(postgres_url) as owner:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            assert owner.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchone() == (0,)
        owner.execute("SELECT set_config('app.tenant', 'acme', true)")
        assert owner.execute(f"SELECT count(*) FROM {SCHEMA}.checkpoints").fetchone() == (1,)


@pytest.mark.covers("agents:postgres-checkpoints")
async def test_processes_that_start_at_once_set_up_once(
    checkpoints: Checkpoints, tmp_path: Path, postgres_url: str
) -> None:
    async def start(tenant: str) -> None:
        databases = TenantDatabases(AGENTS, data=tmp_path, url=postgres_url)
        await keep(Checkpoints(databases, tmp_path, postgres_url), tenant, config(tenant, "t"))
        await databases.aclose()

    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(start, f"tenant-{n}")


@pytest.mark.covers("agents:postgres-checkpoints")
async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://owner@/nowhere?host={tmp_path}"
    nowhere = Checkpoints(TenantDatabases(AGENTS, data=tmp_path, url=url), tmp_path, url)
    with pytest.raises(Unavailable):
        async with nowhere.saver("acme"):
            pass
