"""Snapshots follow their owners' feeds: a change is seen at once or within a second, and doubt closes the door."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from owners import Owners
from tausestack.changes import ChangeFeed
from tausestack.errors import NotFound, Unavailable
from tausestack_runtime.gateway import snapshots
from tausestack_runtime.gateway.snapshots import Holder, Snapshots

pytestmark = pytest.mark.anyio


@pytest.fixture
def owners() -> Owners:
    return Owners()


@pytest.mark.covers("snapshots:cached")
async def test_what_has_not_changed_is_asked_for_once(owners: Owners) -> None:
    found = Snapshots(owners, [])
    for _ in range(5):
        assert (await found.key("h1")) is not None
        assert (await found.tenant("acme")).plan == "basic"
    assert owners.asked.count(("auth", "snapshot")) == 1
    assert owners.asked.count(("auth", "authenticate")) == 1
    assert owners.asked.count(("auth", "changes")) == 1


@pytest.mark.covers("snapshots:write-seen-at-once")
async def test_a_revocation_through_this_gateway_is_seen_by_the_next_request(owners: Owners) -> None:
    found = Snapshots(owners, [])
    assert await found.key("h1") is not None
    first = await found.tenant("acme")
    assert await found.holder(first, "key:k1") is not None
    del owners.keys["h1"]
    owners.feeds["auth"].touch("acme")
    found.expire()
    assert await found.key("h1") is None
    assert await found.holder(await found.tenant("acme"), "key:k1") is None


@pytest.mark.covers("snapshots:fails-closed")
async def test_a_stale_snapshot_fails_closed(owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Snapshots(owners, [])
    await found.tenant("acme")
    monkeypatch.setattr(snapshots, "FRESH_SECONDS", 0.0)
    owners.down = True
    with pytest.raises(Unavailable):
        await found.tenant("acme")
    with pytest.raises(Unavailable):
        await found.key("h1")


@pytest.mark.covers("snapshots:no-old-load")
async def test_what_was_loaded_before_a_change_is_not_kept_after_it(owners: Owners) -> None:
    found = Snapshots(owners, [])
    await found.follow()

    def change() -> None:
        owners.tenants["acme"]["plan"] = "premium"
        owners.feeds["auth"].touch("acme")
        found.expire()

    owners.during_load = change
    first = await found.tenant("acme")
    second = await found.tenant("acme")
    assert (first.plan, second.plan) == ("basic", "premium")


@pytest.mark.covers("snapshots:who-acts")
async def test_who_acts_is_asked_for_once_a_snapshot_and_nobody_else_is(owners: Owners) -> None:
    owners.users = [{"id": f"u{each}", "scopes": ["tools:read"], "roles": ["viewer", "agent"]} for each in range(9)]
    found = Snapshots(owners, [])
    snapshot = await found.tenant("acme")
    seen = await asyncio.gather(*(found.holder(snapshot, "user:u3") for _ in range(5)))
    assert seen == [Holder(frozenset({"tools:read"}), "viewer,agent")] * 5
    assert await found.holder(snapshot, "user:u3") == seen[0]
    for nobody in ("user:k1", "key:u3", "user:u33", "u3", "operator", ""):
        assert await found.holder(snapshot, nobody) is None
    assert owners.asked.count(("auth", "holder")) == 7
    owners.users[3]["roles"] = ["admin"]
    owners.touch()
    found.expire()
    again = await found.holder(await found.tenant("acme"), "user:u3")
    assert again == Holder(frozenset({"tools:read"}), "admin")


@pytest.mark.covers("snapshots:lists")
async def test_lists_are_put_together_once_and_no_more_of_them_kept_than_there_is_room_for(
    owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_LISTED", 100)
    snapshot, made = await Snapshots(owners, []).tenant("acme"), list[str]()

    def listed(key: str) -> tuple[bytes, str]:
        def make() -> bytes:
            made.append(key)
            return b'["' + key.encode() * 10 + b'"]'

        return snapshot.listing(key, make)

    a, b = listed("a" * 4), listed("b" * 4)
    assert a != b
    assert (listed("a" * 4), listed("b" * 4)) == (a, b)
    assert listed("c" * 4)[0] == b'["' + b"c" * 40 + b'"]'
    assert listed("a" * 4) == a
    assert [key[0] for key in made] == ["a", "b", "c", "a"]


@pytest.mark.covers("snapshots:who-acts")
async def test_a_key_that_expires_acts_no_more_though_nothing_changed(owners: Owners) -> None:
    owners.keys["h1"]["expires_at"] = "2126-01-01T00:00:00+00:00"
    found = Snapshots(owners, [])
    snapshot = await found.tenant("acme")
    good = await found.holder(snapshot, "key:k1")
    assert good is not None
    assert good.until == datetime(2126, 1, 1, tzinfo=UTC).timestamp()
    owners.keys["h1"]["expires_at"] = "2020-01-01T00:00:00+00:00"
    snapshot.holders.clear()
    assert await found.holder(snapshot, "key:k1") is None


@pytest.mark.covers("snapshots:who-acts")
async def test_who_could_not_be_asked_for_is_asked_for_again(owners: Owners) -> None:
    found = Snapshots(owners, [])
    snapshot = await found.tenant("acme")
    owners.down = True
    with pytest.raises(Unavailable):
        await found.holder(snapshot, "key:k1")
    owners.down = False
    assert await found.holder(snapshot, "key:k1") is not None


@pytest.mark.covers("snapshots:restart-drops-all")
async def test_another_process_of_the_owner_drops_everything(owners: Owners) -> None:
    found = Snapshots(owners, [])
    await found.tenant("acme")
    owners.feeds["auth"] = ChangeFeed()
    found.expire()
    await found.tenant("acme")
    assert owners.asked.count(("auth", "snapshot")) == 2


@pytest.mark.covers("snapshots:unknown-tenant")
async def test_a_tenant_that_is_not_there_is_not_found(owners: Owners) -> None:
    with pytest.raises(NotFound, match="no such tenant, server or tool"):
        await Snapshots(owners, []).tenant("nobody")


@pytest.mark.covers("snapshots:others-write")
async def test_a_tenant_that_writes_without_end_holds_up_no_other(owners: Owners) -> None:
    async def meanwhile(service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await owners(service, tool, tenant, arguments)
        if tool != "changes":
            owners.touch("globex")
            await found.follow()
        found.expire()
        return answer

    found = Snapshots(meanwhile, [])
    with anyio.fail_after(10):
        assert await found.key("h1") is not None
        assert await found.key("h2") is None
        assert await found.holder(await found.tenant("acme"), "key:k1") is not None


@pytest.mark.covers("snapshots:write-seen-at-once")
async def test_an_answer_that_was_under_way_when_something_was_written_does_not_count(owners: Owners) -> None:
    asked, told = anyio.Event(), anyio.Event()
    told.set()

    async def slowly(service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await owners(service, tool, tenant, arguments)
        if tool == "changes":
            asked.set()
            await told.wait()
        return answer

    async def revoke() -> None:
        await asked.wait()
        del owners.keys["h1"]
        owners.touch()
        found.expire()
        tasks.start_soon(answered)
        assert await found.key("h1") is None

    async def answered() -> None:
        told.set()

    found = Snapshots(slowly, [])
    assert await found.key("h1") is not None
    asked, told = anyio.Event(), anyio.Event()
    found.expire()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(revoke)
            await found.follow()
