"""`subscriptions/listen` at servers that know only subscriptions of a session."""

from __future__ import annotations

import pytest

from adapter_door import HostDoor

pytestmark = pytest.mark.anyio

UPDATED, GROWN = "notifications/resources/updated", "notifications/tools/list_changed"


@pytest.mark.covers("adapters:listen")
async def test_a_listener_hears_what_was_agreed_and_nothing_else(either: HostDoor) -> None:
    caller = either.caller("talk")
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["note://1", "note://none"]}
    async with caller.listening(**wanted) as following:
        agreed = await following()
        assert agreed["method"] == "notifications/subscriptions/acknowledged"
        assert agreed["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["note://1"]}
        await caller.call("touch", {"uri": "note://2"})
        await caller.call("touch", {"uri": "note://1"})
        assert await following() == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "note://1", "_meta": {}}}
        await caller.call("grow")
        assert (await following())["method"] == GROWN


@pytest.mark.covers("adapters:listen")
async def test_what_is_not_offered_or_not_wanted_is_not_agreed_to(door: HostDoor) -> None:
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["note://1"]}
    async with door.caller("fake").listening(**wanted) as following:
        assert (await following())["params"]["notifications"] == {}
    async with door.caller("talk").listening(promptsListChanged=True) as following:
        assert (await following())["params"]["notifications"] == {"promptsListChanged": True}


@pytest.mark.covers("adapters:listen-counted")
async def test_a_resource_is_subscribed_to_once_however_many_listen(either: HostDoor) -> None:
    caller = either.caller("talk")
    async with caller.listening(resourceSubscriptions=["note://1"]) as one:
        await one()
        async with either.caller("talk", who="key:two").listening(resourceSubscriptions=["note://1"]) as two:
            await two()
            await caller.call("touch", {"uri": "note://1"})
            assert (await one())["method"] == (await two())["method"] == UPDATED
        seen = await caller.text("seen")
        assert [method for method, _ in seen if "subscribe" in method] == ["resources/subscribe"]
    seen = await caller.until_seen("resources/unsubscribe")
    assert sum(method == "resources/subscribe" for method, _ in seen) == 1


@pytest.mark.covers("adapters:listen-ends")
async def test_a_stream_ends_with_its_result_when_the_server_is_stopped(either: HostDoor) -> None:
    async with either.caller("talk").listening(toolsListChanged=True) as following:
        await following()
        await either.stack.tenant("acme", system=True).call("stop", {"name": "talk"})
        assert (await following())["result"] == {"resultType": "complete", "_meta": {}}
