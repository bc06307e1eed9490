"""Tokens and money of a month: reserved and settled in the tenant's own database, on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tausestack.database import TenantDatabases
from tausestack.errors import NotFound, RateLimited
from tausestack_runtime.gateway.limits.allowances import MICROS, limits_of
from tausestack_runtime.gateway.limits.budgets import Amount, Budgets, Share
from tausestack_runtime.gateway.tables import SCHEMA

pytestmark = pytest.mark.anyio

LIMITS = limits_of("basic", {"limits": {"tokens_per_month": 100, "cost_per_month": 1}})
ONE = Amount(10, 1000)


@pytest.fixture(params=["sqlite", "postgresql"])
async def databases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[TenantDatabases]]:
    """The databases as two gateways see them; there is one on SQLite."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    found = [TenantDatabases(SCHEMA, data=tmp_path, url=url) for _ in range(2 if url else 1)]
    yield found
    for each in found:
        await each.aclose()


async def spent(budgets: Budgets, tenant: str = "acme") -> tuple[int, int]:
    standings = await budgets.standings(tenant)
    return standings["tokens_per_month"].used, standings["cost_per_month"].used


@pytest.mark.covers("limits:budgets")
async def test_what_is_reserved_is_counted_until_what_was_used_takes_its_place(
    databases: list[TenantDatabases],
) -> None:
    budgets = Budgets(databases[0])
    await budgets.reserve("acme", "a", Amount(60, 600), LIMITS)
    await budgets.reserve("acme", "a", Amount(60, 600), LIMITS)
    assert await spent(budgets) == (60, 600)
    with pytest.raises(RateLimited) as refused:
        await budgets.reserve("acme", "b", Amount(41, 1), LIMITS)
    assert refused.value.data["limit"] == "tokens_per_month"
    assert (refused.value.data["used"], refused.value.data["left"]) == (60, 40)
    assert refused.value.data["retry_after"] > 0
    await budgets.settle("acme", "a", Amount(5, 50))
    await budgets.settle("acme", "a", Amount(9, 90))
    assert await spent(budgets) == (5, 50)
    await budgets.reserve("acme", "b", Amount(95, 1), LIMITS)
    with pytest.raises(RateLimited) as money:
        await budgets.reserve("globex", "c", Amount(1, MICROS + 1), LIMITS)
    assert (money.value.data["limit"], money.value.data["quota"]) == ("cost_per_month", 1.0)
    with pytest.raises(NotFound):
        await budgets.settle("globex", "a", ONE)
    assert await spent(budgets, "globex") == (0, 0)


@pytest.mark.covers("limits:budgets", "limits:gateways")
async def test_many_at_once_reserve_no_more_than_there_is(databases: list[TenantDatabases]) -> None:
    gateways = [Budgets(each) for each in databases]

    async def reserve(number: int) -> bool:
        try:
            await gateways[number % len(gateways)].reserve("acme", f"r{number}", ONE, LIMITS)
        except RateLimited:
            return False
        return True

    admitted = await asyncio.gather(*(reserve(number) for number in range(30)))
    assert sum(admitted) == 10
    assert await spent(gateways[-1]) == (100, 10_000)


@pytest.mark.covers("limits:budgets")
async def test_a_new_month_begins_with_nothing_and_the_last_ones_reservations_are_settled_there(
    databases: list[TenantDatabases],
) -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    budgets = Budgets(databases[0], lambda: now)
    await budgets.reserve("acme", "old", Amount(100, 1), LIMITS)
    assert (await budgets.standings("acme"))["tokens_per_month"].resets_at == datetime(2027, 1, 1, tzinfo=UTC)
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert await spent(budgets) == (0, 0)
    await budgets.reserve("acme", "new", Amount(100, 1), LIMITS)
    await budgets.settle("acme", "old", Amount(1, 1))
    assert await spent(budgets) == (100, 1)


@pytest.mark.covers("limits:budgets")
async def test_an_agents_month_is_a_share_of_its_tenants(databases: list[TenantDatabases]) -> None:
    budgets = Budgets(databases[0])
    till, clerk = Share("till", tokens=30, cost=500), Share("clerk")
    await budgets.reserve("acme", "a", Amount(20, 100), LIMITS, till)
    await budgets.reserve("acme", "a", Amount(20, 100), LIMITS, till)
    with pytest.raises(RateLimited, match="of the agent till") as refused:
        await budgets.reserve("acme", "b", Amount(11, 1), LIMITS, till)
    assert refused.value.data["limit"] == "agent_tokens_per_month"
    assert (refused.value.data["used"], refused.value.data["quota"]) == (20, 30)
    with pytest.raises(RateLimited) as refused:
        await budgets.reserve("acme", "b", Amount(1, 401), LIMITS, till)
    assert refused.value.data["limit"] == "agent_cost_per_month"
    assert await spent(budgets) == (20, 100), "what was refused is counted nowhere"
    await budgets.reserve("acme", "c", Amount(70, 1), LIMITS, clerk)
    assert await spent(budgets) == (90, 101)
    with pytest.raises(RateLimited) as refused:
        await budgets.reserve("acme", "d", Amount(11, 1), LIMITS, clerk)
    assert refused.value.data["limit"] == "tokens_per_month", "the tenant's holds for all of its agents"
    await budgets.settle("acme", "a", Amount(5, 10))
    await budgets.settle("acme", "a", Amount(5, 10))
    assert await spent(budgets) == (75, 11)
    await budgets.reserve("acme", "e", Amount(25, 1), LIMITS, till)


@pytest.mark.covers("limits:budgets")
async def test_an_agents_share_is_of_its_month_and_settled_there(databases: list[TenantDatabases]) -> None:
    now = [datetime(2026, 1, 31, 23, 59, tzinfo=UTC)]
    budgets = Budgets(databases[0], lambda: now[0])
    till = Share("till", tokens=30)
    await budgets.reserve("acme", "old", Amount(30, 1), LIMITS, till)
    now[0] = datetime(2026, 2, 1, tzinfo=UTC)
    await budgets.reserve("acme", "new", Amount(30, 1), LIMITS, till)
    await budgets.settle("acme", "old", Amount(1, 1))
    with pytest.raises(RateLimited):
        await budgets.reserve("acme", "more", Amount(1, 1), LIMITS, till)
