"""`kill -9` of gateways and services under calls: what was answered has one end in the ledger, and nothing has two."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from benchmarks._postgres import database

from killing import BUSY_SECONDS, RECOVERY_SECONDS, Callers, check, until
from ledgers import file_of
from stack import Stack, running

CALLS, KILLS = 300, 3
SOAK_CALLS, SOAK_KILLS = 10_000, 40


async def killed(stack: Stack, callers: Callers, kills: int) -> list[float]:
    """Kill processes at random while calls go on; return how long after each the next call was answered, in seconds."""
    chance = random.Random(kills)
    away: list[float] = []
    while len(away) < kills and not callers.over:
        enough = len(callers.answered) + callers.most // (2 * kills) * chance.random() + 1
        await until(lambda: len(callers.answered) >= enough or callers.over)  # noqa: B023 waited for at once
        pids = await asyncio.to_thread(living, stack)
        if not pids:
            continue
        with suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
        at = time.monotonic()
        await until(lambda: callers.latest > at or callers.over)  # noqa: B023 waited for at once
        away.append(callers.latest - at)
    return away


def living(stack: Stack) -> list[int]:
    """Return the processes of gateways and of the services that are called; gateways as often as all services."""
    try:
        told = stack.operator("GET", "doctor").json()
    except httpx2.TransportError:
        return []
    services = [one.get("pid") for one in told.get("services", []) if one["name"] in {"storage", "billing", "auth"}]
    gateways = [one.get("pid") for one in told.get("gateways", [])]
    return [pid for pid in [*services, *gateways * len(services)] if pid]


def nothing_is_lost_or_told_twice(folder: Path, calls: int, kills: int, within: float, **settings: str) -> None:
    """Kill under load, compare, and flip a byte while nothing runs."""
    with running(folder / "data", **settings) as stack:
        tenant = stack.tenant()
        tenant.must("storage/put_json", {"key": "first", "value": {}})
        callers = Callers(tenant, calls)

        async def both() -> list[float]:
            calling = asyncio.create_task(callers.run())
            away = await killed(stack, callers, kills)
            await calling
            return away

        away = asyncio.run(both())
        check(tenant, callers)
        assert len(away) >= kills // 2
        told = Counter(f"{status} {code}".strip() for status, code in callers.answered.values())
        print(f"{len(away)} kills, next answer after {max(away):.2f} s at most; {len(callers.broken)} broken; {told}")
        assert max(away) < within
    path = file_of(stack.data, tenant.name)
    whole = bytearray(path.read_bytes())
    whole[random.Random(calls).randrange(len(whole))] ^= 4
    path.write_bytes(whole)
    with running(folder / "data", **settings) as stack:
        refused = stack.cli("audit", "verify", "--tenant", tenant.name, key=tenant.key, check=False)
        assert refused.returncode == 1
        assert "broken at entry" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.covers("durability:ledger")
@pytest.mark.timeout(400)
def test_what_was_answered_has_one_end_in_the_ledger_whatever_is_killed(tmp_path: Path) -> None:
    nothing_is_lost_or_told_twice(tmp_path, CALLS, KILLS, BUSY_SECONDS)


@pytest.mark.soak
@pytest.mark.covers("durability:ledger-soak")
def test_ten_thousand_calls_under_kills(tmp_path: Path) -> None:
    nothing_is_lost_or_told_twice(tmp_path, SOAK_CALLS, SOAK_KILLS, RECOVERY_SECONDS)


@pytest.mark.soak
@pytest.mark.covers("durability:ledger-soak")
def test_ten_thousand_calls_under_kills_with_two_gateways(tmp_path: Path, postgres_server: str) -> None:
    with database(postgres_server) as url:
        settings = {"TAUSESTACK_DATABASE_URL": url, "TAUSESTACK_GATEWAYS": "2"}
        nothing_is_lost_or_told_twice(tmp_path, SOAK_CALLS, SOAK_KILLS, RECOVERY_SECONDS, **settings)
