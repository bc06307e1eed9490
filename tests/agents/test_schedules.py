"""Schedules: cron in a time zone, each tick once, whoever looks and however often."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from both_databases import ON_BOTH
from tausestack.database import TenantDatabases
from tausestack.errors import Forbidden, InvalidArguments, NotFound
from tausestack_agents.cron import Cron
from tausestack_agents.gateway import connected
from tausestack_agents.schedules import KIND, Scheduler
from tausestack_agents.tables import SCHEMA, schedules
from tausestack_agents.timers import Timers

pytestmark = pytest.mark.anyio

DAILY = {"name": "daily", "agent": "concierge", "input": "¿Qué hora es en Tokio?", "cron": "0 9 * * *"}
NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.covers("agents:schedules")
def test_ticks_are_at_the_hour_of_their_time_zone_whatever_its_clocks_do() -> None:
    bogota = Cron("0 9 * * 1-5", "America/Bogota")
    assert bogota.next(at("2026-11-27T15:00+00:00")) == at("2026-11-30T14:00+00:00")
    assert bogota.latest(at("2026-11-29T12:00+00:00")) == at("2026-11-27T14:00+00:00")
    assert bogota.latest(at("2026-11-27T14:00+00:00")) == at("2026-11-27T14:00+00:00")
    gap = Cron("30 2 * * *", NEW_YORK)
    assert gap.next(at("2026-03-08T05:00+00:00")) == at("2026-03-08T07:00+00:00")
    twice = Cron("30 1 * * *", NEW_YORK)
    first = twice.next(at("2026-11-01T04:00+00:00"))
    assert (first, twice.next(first)) == (at("2026-11-01T05:30+00:00"), at("2026-11-02T06:30+00:00"))


@pytest.mark.covers("agents:schedules")
def test_what_was_missed_is_one_run_or_none() -> None:
    cron, tick = Cron("0 * * * *", "UTC"), at("2026-11-27T10:00+00:00")
    late = tick + timedelta(hours=3, minutes=5)
    assert cron.due(tick, late, "once") == tick + timedelta(hours=3)
    assert cron.due(tick, late, "skip") is None
    assert cron.due(tick, tick + timedelta(hours=3, seconds=20), "skip") == tick + timedelta(hours=3)
    assert cron.due(tick, tick + timedelta(seconds=5), "skip") == tick


@pytest.mark.covers("agents:schedules")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron": "61 * * * *"}, "no cron"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "0 0 30 2 *"}, "no cron|never comes"),
        ({"timezone": "America/Macondo"}, "no time zone"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
        ({"timezone": "localtime"}, "no time zone"),
        ({"timezone": "posixrules"}, "no time zone"),
        ({"timezone": "Factory"}, "no time zone"),
        ({"timezone": "right/America/Bogota"}, "no time zone"),
        ({"input": " "}, "needs input"),
    ],
)
async def test_what_can_never_tick_is_refused(agents: Any, change: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidArguments, match=says):
        await agents.acme.call("save_schedule", {**DAILY, **change})
    assert (await agents.acme.call("list_schedules"))["schedules"] == []


@pytest.mark.covers("agents:schedules")
async def test_a_schedule_is_saved_changed_listed_and_deleted_by_its_tenant(agents: Any) -> None:
    with pytest.raises(NotFound):
        await agents.acme.call("save_schedule", {**DAILY, "agent": "nobody"})
    saved = await agents.acme.call("save_schedule", {**DAILY, "timezone": "America/Bogota"})
    assert at(saved["next_at"]).astimezone(UTC).hour == 14
    changed = await agents.acme.call("save_schedule", {"name": "daily", "enabled": False, "cron": "0 8 * * *"})
    assert (changed["enabled"], changed["timezone"], changed["input"]) == (False, "America/Bogota", DAILY["input"])
    assert at(changed["next_at"]).astimezone(UTC).hour == 13
    assert changed["principal"] == "key:acme"
    for tool in ("get_schedule", "delete_schedule"):
        with pytest.raises(NotFound):
            await agents.globex.call(tool, {"name": "daily"})
    assert (await agents.globex.call("list_schedules"))["schedules"] == []
    await agents.acme.call("delete_schedule", {"name": "daily"})
    with pytest.raises(NotFound):
        await agents.acme.call("get_schedule", {"name": "daily"})
    with pytest.raises(NotFound):
        await agents.acme.call("save_schedule", {"name": "daily", "enabled": True})


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
async def scheduler(agents: Any) -> AsyncGenerator[Callable[[Clock], Any]]:
    """Makes a worker that looks at timers by a clock, beside the one of the service."""
    databases = TenantDatabases(SCHEMA, data=agents.data, url=agents.database_url)
    async with connected(agents.gateway.path, "process-credential") as gateway:

        def make(clock: Clock) -> Any:
            timers, looks = Timers(databases, clock=clock), Scheduler(databases, gateway, clock=clock)
            return lambda: timers.look({KIND: looks.look, "approval": looks.look})

        yield make
    await databases.aclose()


@ON_BOTH
@pytest.mark.covers("agents:schedules")
async def test_each_tick_runs_once_with_several_workers_at_it_and_again_after_a_restart(
    agents: Any, scheduler: Callable[[Clock], Any]
) -> None:
    saved = await agents.acme.call("save_schedule", DAILY)
    agents.gateway.started = []
    clock = Clock()
    workers = [scheduler(clock) for _ in range(4)]
    for _ in range(3):
        clock.now = at((await agents.acme.call("get_schedule", {"name": "daily"}))["next_at"]) + timedelta(seconds=1)
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for look in workers:
                    group.start_soon(look)
    keys = [key for _, _, key in agents.gateway.started]
    assert len(set(keys)) == 3
    given, credential, _ = agents.gateway.started[0]
    assert given == {"agent": "concierge", "input": DAILY["input"]}
    assert credential.startswith("delegation:acme:")
    asked = agents.gateway.delegations[-1]
    assert asked["bounds"] == asked["scopes"]
    assert {"tools:call", "tools:read", "runs:write"} <= set(asked["scopes"])
    assert (asked["tenant"], asked["principal"]) == ("acme", "key:acme")
    assert (asked["agent"], asked["run"]) == ("schedule", "schedule:daily")
    after = await agents.acme.call("get_schedule", {"name": "daily"})
    assert after["last_run"] == f"run_of_{keys[-1]}"
    assert after["last_at"] > saved["next_at"]
    assert after["next_at"] > after["last_at"]


@pytest.mark.covers("agents:schedules")
async def test_a_tick_that_is_refused_says_why_and_the_next_one_comes(
    agents: Any, scheduler: Callable[[Clock], Any]
) -> None:
    saved = await agents.acme.call("save_schedule", DAILY)
    agents.gateway.started = []
    agents.gateway.revoked = True
    clock = Clock()
    clock.now = at(saved["next_at"]) + timedelta(seconds=1)
    await scheduler(clock)()
    after = await agents.acme.call("get_schedule", {"name": "daily"})
    assert after["last_error"]["code"] == "unauthenticated"
    assert at(after["next_at"]) == at(saved["next_at"]) + timedelta(days=1)
    agents.gateway.revoked = False
    clock.now += timedelta(days=1)
    await scheduler(clock)()
    assert (await agents.acme.call("get_schedule", {"name": "daily"}))["last_error"] is None
    assert len(agents.gateway.started) == 1


@ON_BOTH
@pytest.mark.covers("agents:schedules")
@pytest.mark.parametrize("change", [{"input": "¿Y en Lima?"}, {"cron": "0 8 * * *"}, {"timezone": "Asia/Calcutta"}])
async def test_a_tick_that_is_due_when_its_schedule_is_saved_is_run_once_as_it_is_now(
    agents: Any, until: Callable[..., Any], change: dict[str, str]
) -> None:
    await agents.acme.call("save_schedule", DAILY)
    agents.gateway.started = []
    tick = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    databases = TenantDatabases(SCHEMA, data=agents.data, url=agents.database_url)
    due = sa.update(schedules).values(next_at=tick)
    await databases.write("acme", lambda db: db.execute(due))
    await databases.aclose()
    await agents.acme.call("save_schedule", {"name": "daily", **change})

    async def ticked() -> Any:
        found = await agents.acme.call("get_schedule", {"name": "daily"})
        return found["last_at"] is not None and found

    after = await until(ticked)
    assert (after["last_error"], after["next_at"] > datetime.now(UTC).isoformat()) == (None, True)
    ((given, _, _),) = agents.gateway.started
    assert given["input"] == change.get("input", DAILY["input"])


@pytest.mark.covers("agents:schedules")
async def test_what_is_only_to_be_changed_has_to_be_there(agents: Any) -> None:
    with pytest.raises(NotFound):
        await agents.acme.call("save_schedule", {**DAILY, "existing": True})
    await agents.acme.call("save_schedule", DAILY)
    changed = await agents.acme.call("save_schedule", {"name": "daily", "cron": "0 8 * * *", "existing": True})
    assert changed["cron"] == "0 8 * * *"


@pytest.mark.covers("agents:schedules")
async def test_an_agent_makes_no_schedule(agents: Any) -> None:
    with pytest.raises(Forbidden):
        await agents.acting("acme", "concierge").call("save_schedule", DAILY)
