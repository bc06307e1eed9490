"""Claims of several workers: no run is anybody's twice, and no tenant has more under way than it may."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest

from tausestack.database import TenantDatabases
from tausestack_agents.dispatch import Dispatch, Due
from tausestack_agents.tables import SCHEMA

pytestmark = pytest.mark.anyio

TENANTS, RUNS, WORKERS, TENANT_RUNS = 3, 12, 4, 2


@pytest.mark.covers("agents:runs-at-once")
@pytest.mark.timeout(120)
async def test_workers_that_race_never_have_more_of_a_tenant_under_way_than_it_may(
    tmp_path: Path, postgres_url: str
) -> None:
    under_way, most, claimed = Counter[str](), Counter[str](), list[str]()

    async def work(databases: TenantDatabases) -> None:
        dispatch = Dispatch(databases, tenant_runs=TENANT_RUNS)
        while len(claimed) < TENANTS * RUNS:
            held: list[Due] = await dispatch.claim(4)
            for due in held:
                claimed.append(due.run)
                under_way[due.tenant] += 1
                most[due.tenant] = max(most[due.tenant], under_way[due.tenant])
            for due in held:
                under_way[due.tenant] -= 1
                await dispatch.done(due)

    each = [TenantDatabases(SCHEMA, data=tmp_path, url=postgres_url) for _ in range(WORKERS)]
    asking = Dispatch(each[0])
    for run in range(RUNS):
        for tenant in range(TENANTS):
            await asking.add(f"t{tenant}", f"r{tenant}-{run}")
    async with anyio.create_task_group() as group:
        for databases in each:
            group.start_soon(work, databases)
    for databases in each:
        await databases.aclose()
    assert sorted(claimed) == sorted({f"r{tenant}-{run}" for tenant in range(TENANTS) for run in range(RUNS)})
    assert set(most.values()) == {TENANT_RUNS}
