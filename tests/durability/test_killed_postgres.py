"""`kill -9` of PostgreSQL under calls: no write that was acknowledged is lost, and calls go on by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
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
    it_is_told_what_is_away(stack, tenant)
    server.start()
    assert eventually(lambda: asked(stack, "/health/ready").status_code == 200)
    run = {"agent": "concierge", "input": "¿Es válido el NIT 900.123.456-8?", "wait": 20}
    assert eventually(lambda: (reply := tenant.client.post("/runs", json=run)).status_code == 200 and reply)


def it_is_told_what_is_away(stack: Stack, tenant: Tenant) -> None:
    """See that the stack lives, is not ready, and tells callers that they may come again."""
    assert asked(stack, "/health").json()["status"] == "healthy"
    ready = asked(stack, "/health/ready")
    assert (ready.status_code, ready.json()["away"]) == (503, ["database"])
    for arguments in ({"key": "k", "value": {"n": 1}}, {"key": "k"}):
        tool = "put_json" if "value" in arguments else "get_json"
        refused = tenant.call(f"storage/{tool}", arguments)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable"), refused.text
        told = tenant.rpc("tools/call", {"name": f"storage__{tool}", "arguments": arguments}).json()
        assert told["error"]["data"]["code"] == "unavailable", told


def asked(stack: Stack, path: str) -> httpx2.Response:
    return httpx2.get(stack.url + path, timeout=30, trust_env=False, verify=False)


@pytest.mark.covers("durability:postgres", "durability:postgres-agents", "health:ready", "errors:away")
@pytest.mark.timeout(400)
def test_a_killed_database_loses_no_acknowledged_write(tmp_path: Path) -> None:
    nothing_acknowledged_is_lost(tmp_path, KILLS, BUSY_SECONDS)


@pytest.mark.soak
@pytest.mark.covers("durability:postgres-soak")
def test_twenty_kills_of_the_database_lose_no_acknowledged_write(tmp_path: Path) -> None:
    nothing_acknowledged_is_lost(tmp_path, SOAK_KILLS, RECOVERY_SECONDS)
