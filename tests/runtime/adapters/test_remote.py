"""Servers at a URL that speak earlier versions over streamable HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from adapters.talkative_http import Server as TalkativeServer
from mcp.server import MCPServer

from adapter_door import HostDoor, said, served
from tausestack.errors import InvalidRequest, Unavailable

pytestmark = pytest.mark.anyio

ACCEPTED = {"action": "accept", "content": {"name": "Ana"}}


def probing(door: HostDoor, **spec: Any) -> Any:
    launch = {**door.specs["talk"], "protocols": [], **spec}
    return door.stack.tenant("acme", system=True).call("probe", {"name": "x", "launch": launch})


@pytest.mark.covers("adapters:remote-session")
async def test_one_session_serves_every_caller_and_is_given_up_at_the_end(
    remote_door: HostDoor, remote: tuple[TalkativeServer, str]
) -> None:
    server, _ = remote
    remote_door.specs["talk"]["headers"] = {"Authorization": "Bearer theirs", "X-Region": "co"}
    server.headers = {"authorization": "Bearer theirs", "x-region": "co"}
    first, other = remote_door.caller("talk"), remote_door.caller("talk", who="key:two")
    await asyncio.gather(*(caller.text("touch", {"uri": "note://1"}) for caller in (first, other) * 5))
    assert len(server.sessions) == 1
    opened, *rest = server.requests
    assert "mcp-session-id" not in opened[1]
    assert {headers["mcp-session-id"] for _, headers in rest} == set(server.sessions)
    assert {headers["mcp-protocol-version"] for _, headers in rest} == {"2025-11-25"}
    # The caller's own credential stays with us.
    assert {headers["authorization"] for _, headers in server.requests} == {"Bearer theirs"}
    await remote_door.stack.tenant("acme", system=True).call("stop", {"name": "talk"})
    assert server.sessions == {}
    assert server.requests[-1][0] == "DELETE"


@pytest.mark.covers("adapters:remote-resumed")
async def test_a_stream_that_breaks_is_taken_up_where_it_broke(
    remote_door: HostDoor, remote: tuple[TalkativeServer, str]
) -> None:
    caller = remote_door.caller("talk")
    await caller.call("steps", progressToken="mine")
    assert [news["params"]["progress"] for news in caller.news] == [1, 2]
    resumed = [headers["last-event-id"] for method, headers in remote[0].requests if "last-event-id" in headers]
    assert any(number.endswith("/1") for number in resumed)


@pytest.mark.covers("adapters:remote-expired")
async def test_a_session_that_the_server_has_ended_is_opened_anew(
    remote_door: HostDoor, remote: tuple[TalkativeServer, str]
) -> None:
    server, caller = remote[0], remote_door.caller("talk")
    await caller.call("grow")
    server.sessions.clear()
    assert "grow" not in str(await caller.text("seen"))
    assert len(server.sessions) == 1


@pytest.mark.covers("adapters:remote-streams")
async def test_each_question_belongs_to_the_call_in_whose_stream_it_came(remote_door: HostDoor) -> None:
    callers = [remote_door.caller("talk", who=f"key:{number}") for number in range(4)]
    unable = remote_door.caller("talk", who="key:unable", capabilities={})
    held = await asyncio.gather(*(caller.call("form") for caller in callers))
    assert "not supported" in said(await unable.call("form"))["refused"]["message"]

    async def answer(number: int) -> Any:
        [key] = held[number]["inputRequests"]
        mine = {**ACCEPTED, "content": {"name": str(number)}}
        return said(await callers[number].call("form", answers={key: mine}, state=held[number]["requestState"]))

    answers = await asyncio.gather(*(answer(number) for number in reversed(range(4))))
    assert [found["content"]["name"] for found in answers] == ["3", "2", "1", "0"]


@pytest.mark.covers("adapters:remote-refused")
async def test_what_can_not_be_reached_or_used_is_refused_in_one_sentence(
    remote_door: HostDoor, remote: tuple[TalkativeServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = remote
    with pytest.raises(Unavailable, match="not at a public address"):
        await probing(remote_door, url="http://127.0.0.1:1/mcp")
    with pytest.raises(InvalidRequest, match="mcp-session-id is not yours"):
        await probing(remote_door, headers={"mcp-session-id": "x"})
    with pytest.raises(InvalidRequest, match="characters that none can have"):
        await probing(remote_door, headers={"x-a": "b\r\nc: d"})
    with pytest.raises(InvalidRequest):
        await probing(remote_door, url="file:///etc/passwd")
    with pytest.raises(Unavailable, match="HTTP 404"):
        await probing(remote_door, url=url.replace("/mcp", "/nothing"))
    server.headers = {"authorization": "Bearer theirs"}
    with pytest.raises(Unavailable, match=r"does not accept the credential .*HTTP 401"):
        await probing(remote_door)
    server.headers, server.flood = {}, True
    with anyio.fail_after(60), pytest.raises(Unavailable, match="larger than"):
        await probing(remote_door)


@pytest.mark.covers("adapters:remote-moved")
async def test_a_server_that_is_elsewhere_in_its_origin_is_followed_and_nobody_else_is_sent_anything(
    remote_door: HostDoor, remote: tuple[TalkativeServer, str]
) -> None:
    server, url = remote
    assert (await probing(remote_door, url=url))["url"] == url
    assert (await probing(remote_door, url=url + "/"))["url"] == url
    remote_door.specs["talk"]["url"] = url + "/"
    await remote_door.caller("talk").text("touch", {"uri": "note://1"})
    server.moved = "/mcp?key=1"
    assert (await probing(remote_door, url=url.replace("/mcp", "/moved")))["url"] == url + "?key=1"
    for location in ("/moved", "/moved?" + "x" * 9000, "", "//[", "http://a b/"):
        server.moved = location
        with anyio.fail_after(60), pytest.raises(Unavailable, match=r"has moved .*HTTP 308"):
            await probing(remote_door, url=url.replace("/mcp", "/moved"))
    other = TalkativeServer()
    async with served(other.app) as elsewhere:
        server.moved = f"{elsewhere}/mcp?key=1"
        with pytest.raises(Unavailable, match=rf"has moved to {elsewhere}/mcp \(HTTP 308\)"):
            await probing(remote_door, url=url.replace("/mcp", "/moved"), headers={"Authorization": "Bearer theirs"})
    assert other.requests == []


@pytest.mark.covers("adapters:remote-eras")
async def test_a_probe_says_every_version_that_a_server_speaks(
    remote_door: HostDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = await probing(remote_door)
    assert (earlier["protocols"], earlier["sandbox"]) == (["2025-11-25"], "")
    assert earlier["offer"]["prompts"] == [{"name": "greet"}]
    official = MCPServer("official", version="3")

    @official.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    app = official.streamable_http_app()
    async with official.session_manager.run(), served(app) as url:
        monkeypatch.setenv("TAUSESTACK_ALLOWED_PRIVATE_HOSTS", url.removeprefix("http://"))
        async with remote_door.other_host():
            both = await probing(remote_door, url=f"{url}/mcp")
    assert both["protocols"] == ["2026-07-28", "2025-11-25"]
    assert both["server"]["serverInfo"]["name"] == "official"
    assert [tool["name"] for tool in both["tools"]] == ["add"]
