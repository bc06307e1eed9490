"""Servers that stray from the protocol where the official SDKs' clients don't mind serve here too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from adapters.odd_http import ODDITIES, PAGES, Server

from adapter_door import HostDoor, open_door, served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def odd(store: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[HostDoor, Server]]:
    """A host whose server `odd` is elsewhere."""
    server = Server()
    async with served(server.app) as url:
        monkeypatch.setenv("TAUSESTACK_ALLOWED_PRIVATE_HOSTS", url.removeprefix("http://"))
        async with open_door(store.parent) as door:
            door.specs["odd"] = {"registryType": "remote", "url": f"{url}/mcp", "headers": {}, "protocols": []}
            yield door, server


@pytest.mark.covers("adapters:odd")
@pytest.mark.parametrize("oddity", ODDITIES)
async def test_a_server_may_be_odd(oddity: str, odd: tuple[HostDoor, Server]) -> None:
    door, server = odd
    server.odd = oddity
    probed = await door.stack.tenant("acme", system=True).call("probe", {"name": "odd", "launch": door.specs["odd"]})
    assert [tool["name"] for tool in probed["tools"]] == [f"tool-{page}" for page in range(PAGES)]
    caller = door.caller("odd")
    listed, cursor = list[str](), None
    while cursor is not None or not listed:
        page = await caller.get("tools/list", {} if cursor is None else {"cursor": cursor})
        listed += [tool["name"] for tool in page["tools"]]
        cursor = page.get("nextCursor")
    assert len(listed) == PAGES
    result = await caller.call("tool-0")
    assert result["structuredContent"] == {"done": True}
    assert result["content"] == ([] if oddity == "no content" else [{"type": "text", "text": "done"}])


@pytest.mark.covers("adapters:odd")
async def test_an_error_without_words_gets_some(odd: tuple[HostDoor, Server]) -> None:
    answer = await odd[0].caller("odd").ask("tools/call", {"name": "tool-1", "arguments": {}})
    assert answer["error"]["message"] == "the server refused, and did not say why"


@pytest.mark.covers("adapters:odd")
async def test_an_error_with_404_is_an_answer_and_no_ended_session(odd: tuple[HostDoor, Server]) -> None:
    door, server = odd
    server.sessions = True
    answer = await door.caller("odd").ask("tools/call", {"name": "tool-1", "arguments": {}})
    assert (answer["error"]["code"], server.calls) == (-32601, 1)
    assert (await door.caller("odd").call("tool-0"))["structuredContent"] == {"done": True}


@pytest.mark.covers("adapters:task-alone")
async def test_a_task_ends_with_the_call_that_waits_for_it(odd: tuple[HostDoor, Server]) -> None:
    door, server = odd
    server.tasks = True
    caller = door.caller("odd")
    call = asyncio.create_task(caller.call("tool-0"))
    with anyio.fail_after(60):
        await server.waited.wait()
        call.cancel()
        await server.cancelled.wait()
