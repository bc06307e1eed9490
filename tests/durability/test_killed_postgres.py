"""`kill -9` of PostgreSQL under calls: no write that was acknowledged is lost, and calls go on by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks._postgres import Postgres, database, running_postgres

from killing import BUSY_SECONDS, RECOVERY_SECONDS, Callers, check, until
from remotes import eventually
from stack import Stack, Tenant, running

WRITES, KILLS, SOAK_KILLS = 10, 1, 20
"""How many writes are done between two kills."""


async def killed(server: Postgres, callers: Callers, kills: int) -> list[float]:
    """Kill the server again and again, and return how long after it was started anew the next write was done."""
    recovered: list[float] = []
    while len(recovered) < kills:
        enough = len(callers.recorded) + WRITES
        await until(lambda: len(callers.recorded) >= enough)  # noqa: B023 waited for at once
        await asyncio.to_thread(server.kill)
        at = time.monotonic()
        await asyncio.to_thread(server.start)
        await until(lambda: callers.written > at)  # noqa: B023 waited for at once
        recovered.append(callers.written - at)
    callers.most = 0
    return recovered


def written(tenant: Tenant, callers: Callers) -> None:
    """Check that what was acknowledged as written is there."""
    kept = {one["metric"]: one["quantity"] for one in tenant.must("billing/get_usage", {})["usage"]}
    assert {name: kept.get(name) for name in callers.recorded if kept.get(name) != 1} == {}
    twice: dict[str, Any] = {name: number for name, number in kept.items() if number > 1}
    assert twice == {}


def nothing_acknowledged_is_lost(folder: Path, kills: int, within: float) -> None:
    """Kill PostgreSQL under load, and compare what callers were told with what is there."""
    with (
        running_postgres() as server,
        database(server.url) as url,
        running(folder / "data", TAUSESTACK_DATABASE_URL=url) as stack,
    ):
        tenant = stack.tenant()
        tenant.must("billing/record_usage", {"metric": "first", "quantity": 1})
        callers = Callers(tenant, sys.maxsize)

        async def both() -> list[float]:
            calling = asyncio.create_task(callers.run())
            recovered = await killed(server, callers, kills)
            await calling
            return recovered

        recovered = asyncio.run(both())
        written(tenant, callers)
        check(tenant, callers)
        print(f"{kills} kills, {len(callers.recorded)} writes, the next one after {max(recovered):.2f} s at most")
        assert max(recovered) < within
        agents_come_back(server, stack, tenant)


def agents_come_back(server: Postgres, stack: Stack, tenant: Tenant) -> None:
    """Have the agents start while there is no database, and see that they work once it is there."""
    first = eventually(lambda: stack.services()["agents"]["pid"])
    server.kill()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: (pid := stack.services()["agents"]["pid"]) and pid != first)
    eventually(lambda: tenant.client.get("/agents").status_code == 503)  # it serves, and says what is away
    server.start()
    run = {"agent": "concierge", "input": "¿Es válido el NIT 900.123.456-8?", "wait": 20}
    assert eventually(lambda: (reply := tenant.client.post("/runs", json=run)).status_code == 200 and reply)


@pytest.mark.covers("durability:postgres", "durability:postgres-agents")
@pytest.mark.timeout(400)
def test_a_killed_database_loses_no_acknowledged_write(tmp_path: Path) -> None:
    nothing_acknowledged_is_lost(tmp_path, KILLS, BUSY_SECONDS)


@pytest.mark.soak
@pytest.mark.covers("durability:postgres-soak")
def test_twenty_kills_of_the_database_lose_no_acknowledged_write(tmp_path: Path) -> None:
    nothing_acknowledged_is_lost(tmp_path, SOAK_KILLS, RECOVERY_SECONDS)
