"""What a server of an earlier version looks like through the host: modern in all it says."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from adapter_door import HostDoor, said

pytestmark = pytest.mark.anyio

LOG = "io.modelcontextprotocol/logLevel"
SERVER = "io.modelcontextprotocol/serverInfo"


@pytest.mark.covers("adapters:discover")
async def test_it_says_what_it_offers_in_modern_words(either: HostDoor) -> None:
    found = await either.caller("talk").get("server/discover")
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["instructions"] == "Talk."
    assert found["_meta"][SERVER] == {"name": "talkative", "version": "1"}
    assert found["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
    # Tasks of the earlier kind can't be had through the host.
    assert set(found["capabilities"]) == {"tools", "prompts", "resources", "completions", "logging"}
    assert found["resultType"] == "complete"
    assert found["ttlMs"] >= 0
    assert found["cacheScope"] == "private"


@pytest.mark.covers("adapters:every-method")
async def test_every_list_is_passed_on_page_by_page_and_says_how_fresh_it_is(either: HostDoor) -> None:
    caller = either.caller("talk")
    found: list[Any] = []
    params: dict[str, Any] = {}
    while True:
        page = await caller.get("resources/list", params)
        found += page["resources"]
        if "nextCursor" not in page:
            break
        params = {"cursor": page["nextCursor"]}
    assert [one["uri"] for one in found] == ["note://0", "note://1", "note://2"]
    for method, field in (
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/templates/list", "resourceTemplates"),
    ):
        listed = await caller.get(method)
        assert listed[field]
        assert listed["resultType"] == "complete"
        assert (listed["ttlMs"], listed["cacheScope"]) == (60_000, "private")
    note = await caller.get("resources/read", {"uri": "note://1"})
    assert note["contents"][0]["text"] == "a note"
    assert (note["ttlMs"], note["cacheScope"]) == (0, "private")
    asked = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": "a"}}
    assert (await caller.get("completion/complete", asked))["completion"] == {"values": ["a!"]}


@pytest.mark.covers("adapters:errors-modern")
async def test_errors_come_in_modern_words(door: HostDoor) -> None:
    caller = door.caller("talk")
    missing = (await caller.ask("resources/read", {"uri": "note://none"}))["error"]
    assert missing == {"code": -32602, "message": "Resource not found", "data": {"uri": "note://none"}}
    gone = (await caller.ask("resources/subscribe", {"uri": "note://1"}))["error"]
    assert (gone["code"], caller.status) == (-32601, 404)
    only_tools = door.caller("fake")
    assert ((await only_tools.ask("prompts/list"))["error"]["code"], only_tools.status) == (-32601, 404)
    bare = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    reply = await caller.http.post(caller.url, json=bare)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602)
    version = "io.modelcontextprotocol/protocolVersion"
    old = await caller.ask("tools/list", **{version: "2025-11-25"})
    assert (old["error"]["code"], caller.status) == (-32022, 400)
    assert old["error"]["data"]["supported"] == ["2026-07-28"]
    assert (await caller.ask("tools/list", **{LOG: "loud"}))["error"]["code"] == -32602


@pytest.mark.covers("adapters:logs")
async def test_a_caller_hears_logs_only_where_he_asks_and_as_severe_as_he_asks(either: HostDoor) -> None:
    caller = either.caller("talk")
    await caller.call("log")
    assert caller.news == []
    await caller.call("log", **{LOG: "info"})
    assert [news["params"]["level"] for news in caller.news] == ["info", "error"]
    assert ["logging/setLevel", {"level": "info"}] in await caller.text("seen")


@pytest.mark.covers("adapters:logs")
async def test_a_log_that_may_be_anothers_is_shown_to_nobody(door: HostDoor) -> None:
    caller, other = door.caller("talk"), door.caller("talk", who="key:two")
    waiting = asyncio.create_task(other.call("wait"))
    await caller.until_seen("wait")
    await caller.call("log", **{LOG: "debug"})
    assert caller.news == []
    waiting.cancel()
    await asyncio.wait({waiting})


@pytest.mark.covers("adapters:logs")
async def test_a_call_that_waits_for_its_caller_silences_no_other(door: HostDoor) -> None:
    caller = door.caller("talk")
    waiting = await caller.call("form", **{LOG: "info"})
    await caller.call("log", **{LOG: "info"})
    assert [news["params"]["level"] for news in caller.news] == ["info", "error"]
    assert waiting["resultType"] == "input_required"


@pytest.mark.covers("adapters:cut-texts")
async def test_a_text_that_was_cut_in_a_character_comes_with_a_replacement(either: HostDoor) -> None:
    result = await either.caller("talk").call("cut")
    assert result["content"] == [{"type": "text", "text": "half of \N{REPLACEMENT CHARACTER}"}]


@pytest.mark.covers("adapters:unreadable")
async def test_an_answer_that_is_no_json_ends_its_call(door: HostDoor) -> None:
    caller = door.caller("talk")
    with anyio.fail_after(20):
        refused = (await caller.ask("tools/call", {"name": "nan", "arguments": {}}))["error"]
    assert (refused["code"], refused["data"]["code"]) == (-32603, "upstream_error")
    assert await caller.text("seen")


@pytest.mark.covers("adapters:progress")
async def test_progress_bears_the_callers_token(either: HostDoor) -> None:
    caller = either.caller("talk")
    await caller.call("steps", progressToken="mine")
    assert [news["params"] for news in caller.news] == [{"progressToken": "mine", "progress": n} for n in (1, 2)]


@pytest.mark.covers("adapters:cancel")
async def test_a_caller_that_hangs_up_cancels_its_call(either: HostDoor) -> None:
    caller = either.caller("talk")
    waiting = asyncio.create_task(caller.call("wait"))
    await caller.until_seen("wait")
    waiting.cancel()
    await asyncio.wait({waiting})
    await caller.until_seen("notifications/cancelled")


@pytest.mark.covers("adapters:redefined")
async def test_tools_that_come_later_can_be_called_once_the_server_has_told_of_them(either: HostDoor) -> None:
    caller = either.caller("talk")
    assert (await caller.ask("tools/call", {"name": "grown"}))["error"]["code"] == -32602
    await caller.call("grow")
    assert said(await caller.call("grown")) is None
