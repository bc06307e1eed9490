"""A stdio server that is modern itself, and the official SDK's client at the host's door."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from adapter_door import HostDoor, said

pytestmark = pytest.mark.anyio

LOG = "io.modelcontextprotocol/logLevel"


@pytest.mark.covers("adapters:modern-stdio")
async def test_requests_and_results_go_through_as_they_are(door: HostDoor) -> None:
    caller = door.caller("modern")
    found = await caller.get("server/discover")
    assert found["supportedVersions"] == ["2026-07-28"]
    assert (found["ttlMs"], found["cacheScope"]) == (7, "public")
    result = await caller.call("echo", progressToken="mine", traceparent="00-1-2-01")
    assert result["extra"] == [1]
    assert said(result)["io.modelcontextprotocol/clientCapabilities"] == caller.capabilities
    assert said(result)["traceparent"] == "00-1-2-01"
    assert [news["params"]["progressToken"] for news in caller.news] == ["mine"]
    await caller.call("log", **{LOG: "info"})
    assert [news["params"]["data"] for news in caller.news] == ["logged"]
    await caller.call("log")
    assert caller.news == []


@pytest.mark.covers("adapters:modern-stdio")
async def test_its_own_questions_and_states_are_the_callers(door: HostDoor) -> None:
    caller = door.caller("modern")
    held = await caller.call("name")
    assert held["requestState"] == "as it is"
    answers = {"who": {"action": "decline"}}
    assert said(await caller.call("name", answers=answers, state="as it is")) == [answers, "as it is"]


@pytest.mark.covers("adapters:modern-stdio")
async def test_its_streams_bear_the_callers_id_and_end_with_him(door: HostDoor) -> None:
    caller = door.caller("modern")
    async with caller.listening(toolsListChanged=True) as following:
        assert (await following())["params"]["notifications"] == {"toolsListChanged": True}
        await caller.call("grow")
        assert (await following())["method"] == "notifications/tools/list_changed"
    await caller.until_seen("notifications/cancelled")
    waiting = asyncio.create_task(caller.call("wait"))
    await caller.until_seen("tools/call", 5)
    waiting.cancel()
    await asyncio.wait({waiting})
    await caller.until_seen("notifications/cancelled", 2)


@pytest.mark.covers("adapters:eras")
async def test_how_a_server_speaks_is_found_out_once_and_said(door: HostDoor) -> None:
    own = door.stack.tenant("acme", system=True)
    modern = await own.call("probe", {"name": "modern", "launch": door.specs["modern"]})
    assert modern["protocols"] == ["2026-07-28"]
    assert modern["server"]["serverInfo"] == {"name": "modern", "version": "2"}
    earlier = await own.call("probe", {"name": "talk", "launch": door.specs["talk"]})
    assert earlier["protocols"] == ["2025-11-25"]
    assert set(earlier["offer"]) == {
        "serverInfo", "capabilities", "instructions", "prompts", "resources", "resourceTemplates",
    }  # fmt: skip
    assert [one["uri"] for one in earlier["offer"]["resources"]] == ["note://0", "note://1", "note://2"]
    assert earlier["offer"]["prompts"] == [{"name": "greet"}]
    # One that dies of the question is started again without it.
    shy = {**door.specs["fake"], "argv": ["third_party:main", "shy"]}
    assert (await own.call("probe", {"name": "shy", "launch": shy}))["protocols"] == ["2024-11-05"]


@pytest.mark.covers("adapters:official-client")
async def test_the_official_client_finds_a_modern_server_and_answers_its_questions(door: HostDoor) -> None:
    caller = door.caller("talk")

    async def elicited(context: Any, params: Any) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"name": params.message})

    async def logged(params: mcp_types.LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    heard: list[Any] = []
    async with httpx2.AsyncClient(headers=caller.headers, verify=False) as http:
        transport = streamable_http_client(caller.url, http_client=http)
        async with Client(
            transport, mode="2026-07-28", elicitation_callback=elicited, logging_callback=logged, log_level="info"
        ) as client:
            assert "form" in [tool.name for tool in (await client.list_tools()).tools]
            assert (await client.read_resource("note://1")).contents[0].text == "a note"
            result = await client.call_tool("twice", {})
            assert result.content[0].text.count("Who?") == 2
            await client.call_tool("log", {})
            async with client.listen(tools_list_changed=True) as events:
                await client.call_tool("grow", {})
                async for event in events:
                    assert "Tools" in type(event).__name__
                    break
    assert "error" in heard
