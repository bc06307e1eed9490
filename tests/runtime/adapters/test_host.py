"""The adapter host as the gateway meets it: over HTTP, for one tenant, its launch from the registry."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

import tausestack as ts
from tausestack.contract import MCP_SERVER_META, META_CALL, Principal
from tausestack.errors import Conflict, Forbidden, InDoubt, NotFound, Unauthenticated, Unavailable, from_data
from tausestack.tokens import server_audience
from tausestack_runtime.adapters.door import Door
from tausestack_runtime.adapters.host import server
from tausestack_runtime.adapters.pinning import digest
from tausestack_runtime.supervisor.linux import descendants

pytestmark = pytest.mark.anyio

SPEC = {
    "registryType": "pypi", "identifier": "fake", "version": "1", "argv": ["third_party:main", "plain"],
    "env": {"REGION": "co"}, "secrets": {"TOKEN": "s3cret"}, "store": "fake",
}  # fmt: skip


class Host:
    """A host in memory, and the registry that answers it."""

    def __init__(self, stack: Any, http: httpx2.AsyncClient) -> None:
        self.stack, self.http = stack, http
        self.own = stack.tenant("acme", system=True)
        self.spec: dict[str, Any] = dict(SPEC)
        stack.answer("registry/launch", lambda arguments: self.launched(arguments))
        stack.answer("registry/observed", lambda arguments: self.observed.append(dict(arguments)))
        self.observed: list[dict[str, Any]] = []
        self.launches: list[str] = []

    def launched(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["server"] != "fake":
            raise NotFound
        self.launches.append(arguments["server"])
        return self.spec

    def headers(self, tenant: str = "acme", audience: str = "adapter") -> dict[str, str]:
        principal = Principal(tenant, "key:test", frozenset({"tools:call"}))
        token = self.stack.signer.sign(principal, server_audience(audience), 60)
        return {"authorization": f"Bearer {token}"}

    async def post(
        self, tool: str, arguments: dict[str, Any] | None = None, *, name: str = "fake", **meta: Any
    ) -> httpx2.Response:
        body = request("tools/call", {"name": tool, "arguments": arguments or {}}, **meta)
        return await self.http.post(f"/servers/{name}/mcp", json=body, headers=self.headers())

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        message = (await self.post(tool, arguments, **meta)).json()
        if "error" in message:
            raise from_data(message["error"]["message"], message["error"].get("data") or {})
        return message["result"]

    async def tools(self) -> list[dict[str, Any]]:
        """Return what is listed on every page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            body = request("tools/list", cursor)
            reply = await self.http.post("/servers/fake/mcp", json=body, headers=self.headers())
            page = reply.json()["result"]
            found += page["tools"]
            if "nextCursor" not in page:
                return found
            cursor = {"cursor": page["nextCursor"]}


def request(method: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
    own = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        META_CALL: "call_1",
        **meta,
    }
    return {"jsonrpc": "2.0", "id": "r-1", "method": method, "params": {**params, "_meta": own}}


@pytest.fixture
async def host(store: Path) -> AsyncGenerator[Host]:
    async with (
        ts.testing.stack(server, data=store.parent, tenant="acme") as stack,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(Door(stack.service)), base_url="http://host") as http,
    ):
        yield Host(stack, http)


@pytest.mark.covers("adapters:translated")
async def test_a_call_goes_through_to_an_older_server_and_comes_back_raw(host: Host) -> None:
    result = await host.call("echo", {"ñ": [1]}, traceparent="00-1-2-01")
    assert result["resultType"] == "complete"
    assert result["extra"] == [1]
    assert json.loads(result["content"][0]["text"]) == {"ñ": [1]}
    # The server saw what others sent, and nothing that is ours or only modern; nor did it speak in our name.
    assert result["_meta"] == {
        "own": {"traceparent": "00-1-2-01"},
        MCP_SERVER_META: {"name": "old"},
    }
    assert await host.call("echo")
    assert host.launches == ["fake"]
    assert host.stack.calls[0].parent == "call_1"


@pytest.mark.covers("adapters:definitions-raw")
async def test_definitions_come_as_the_server_gave_them(host: Host) -> None:
    body = request("tools/list", {})
    reply = await host.http.post("/servers/fake/mcp", json=body, headers=host.headers())
    tools = reply.json()["result"]["tools"]
    assert tools[0]["x-unknown"] == {"kept": 1}
    assert "description" not in tools[0]


@pytest.mark.covers("adapters:tenant")
@pytest.mark.parametrize("headers", [{}, {"tenant": "globex"}, {"audience": "billing"}])
async def test_no_other_assertion_gets_in(host: Host, headers: dict[str, str]) -> None:
    sent = host.headers(**headers) if headers else {}
    reply = await host.http.post("/servers/fake/mcp", json=request("tools/list", {}), headers=sent)
    assert reply.status_code in {Unauthenticated.status, NotFound.status}
    assert "result" not in reply.json()
    assert host.launches == []
    with pytest.raises(Unauthenticated):
        await host.stack.tenant("globex", system=True).call("stop", {"name": "fake"})
    with pytest.raises(Forbidden):
        await host.stack.acme.call("stop", {"name": "fake"})


@pytest.mark.covers("adapters:in-doubt")
async def test_a_death_in_mid_call_is_in_doubt_unless_it_only_read_and_the_next_call_starts_anew(host: Host) -> None:
    with pytest.raises(InDoubt):
        await host.call("die")
    assert await host.call("echo", {"again": True})
    with pytest.raises(Unavailable):
        await host.call("die_reading")
    assert await host.call("echo", {"again": True})


@pytest.mark.covers("adapters:killed")
@pytest.mark.parametrize("mode", ["starts_late", "reads_late"])
@pytest.mark.parametrize("which", [0, -1])
async def test_what_only_reads_outlives_the_kill_of_its_server(host: Host, store: Path, mode: str, which: int) -> None:
    host.spec = {**SPEC, "argv": ["third_party:main", mode]}
    call = asyncio.create_task(host.call("echo", {"n": 1}))
    with anyio.fail_after(60):
        while not any(store.parent.rglob("begun")):  # noqa: ASYNC110 nothing tells of a file
            await anyio.sleep(0.01)
    os.kill(processes(mode)[which], signal.SIGKILL)  # the sandbox, or the server in it
    assert (await call)["extra"] == [1]


@pytest.mark.covers("adapters:unasked")
async def test_a_start_that_failed_with_its_callers_gateway_is_made_for_whoever_else_waits(host: Host) -> None:
    asked, goes = asyncio.Event(), asyncio.Event()

    async def launch(_: dict[str, Any]) -> dict[str, Any]:
        if asked.is_set():
            return host.spec
        asked.set()
        await goes.wait()
        raise InDoubt("The gateway broke off in the middle of registry/launch")

    host.stack.answer("registry/launch", launch)
    first = asyncio.create_task(host.call("echo", {"n": 1}))
    await asked.wait()
    others = [asyncio.create_task(host.call("echo", {"n": n})) for n in (2, 3)]
    await anyio.wait_all_tasks_blocked()
    goes.set()
    with pytest.raises(Unavailable, match="could not be asked"):  # and not in doubt: nothing was begun
        await first
    assert [one["extra"] for one in await asyncio.gather(*others)] == [[1], [1]]


def processes(word: str) -> list[int]:
    """Return the processes that were started here with a word among their arguments, parents first."""
    return [pid for pid in descendants(os.getpid()) if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.covers("adapters:progress")
async def test_progress_is_streamed_under_the_callers_own_token(host: Host) -> None:
    reply = await host.post("count", progressToken="mine")
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[5:]) for line in reply.text.splitlines() if line.startswith("data:")]
    assert [event["params"]["progress"] for event in events[:-1]] == [0, 1, 2]
    assert {event["params"]["progressToken"] for event in events[:-1]} == {"mine"}
    assert events[-1]["id"] == "r-1"
    assert "result" in events[-1]


@pytest.mark.covers("adapters:errors-not-ours")
async def test_a_servers_error_comes_as_it_was_but_never_as_one_of_ours(host: Host) -> None:
    plain = (await host.post("refuse", {"data": {"why": 1}})).json()["error"]
    assert plain == {"code": -32000, "message": "no", "data": {"why": 1}}
    posing = (await host.post("refuse", {"data": {"code": "approval_required", "approval": "x"}})).json()["error"]
    assert posing["data"]["code"] == "upstream_error"
    assert posing["data"]["answered"]["data"] == {"code": "approval_required", "approval": "x"}


@pytest.mark.covers("adapters:pins")
async def test_a_tool_that_is_not_what_was_approved_is_not_called(host: Host, launch: Callable[..., Any]) -> None:
    pins = {tool["name"]: digest(tool) for tool in await host.tools()}
    await host.own.call("stop", {"name": "fake"})
    host.spec = {**SPEC, "pins": pins}
    assert await host.call("echo")
    assert host.observed == []
    await host.own.call("stop", {"name": "fake"})
    host.spec = {**SPEC, "pins": pins, "argv": ["third_party:main", "changed"]}
    with pytest.raises(Conflict, match="approve it again"):
        await host.call("echo")
    # The registry was told what it is now, once, so that there is something to approve.
    with pytest.raises(Conflict, match="approve it again"):
        await host.call("look")
    [told] = host.observed
    assert (told["server"], told["left_out"]) == ("fake", [])
    assert [tool["name"] for tool in told["tools"]] == list(pins)
    assert {tool["description"] for tool in told["tools"]} == {"as of changed"}


@pytest.mark.covers("adapters:pins")
async def test_a_server_that_says_that_its_tools_changed_is_read_again_and_told_of(host: Host) -> None:
    host.spec = {**SPEC, "argv": ["talkative:main"]}
    tools = await host.tools()
    await host.own.call("stop", {"name": "fake"})
    host.spec = {**host.spec, "pins": {tool["name"]: digest(tool) for tool in tools}}
    await host.call("grow")
    while not host.observed:
        await host.call("seen")
    assert [tool["name"] for tool in host.observed[0]["tools"]] == [*(tool["name"] for tool in tools), "grown"]
    with pytest.raises(Conflict, match="approve it again"):
        await host.call("grown")
    assert len(host.observed) == 1


@pytest.mark.covers("adapters:start-fails")
@pytest.mark.parametrize(("mode", "told"), [("circle", "round in a circle"), ("endless", "do not end")])
async def test_a_list_whose_pages_do_not_end_is_broken_off_and_told_of(host: Host, mode: str, told: str) -> None:
    host.spec = {**SPEC, "argv": ["third_party:main", mode]}
    with pytest.raises(Unavailable, match=told):
        await host.call("echo")


@pytest.mark.covers("adapters:unknown")
async def test_what_is_not_there_is_not_found(host: Host) -> None:
    with pytest.raises(NotFound):
        await host.call("echo", name="other")
    with pytest.raises(NotFound):
        await host.call("nothing")
    reply = await host.http.post("/servers/fake/mcp", json=request("sampling/x", {}), headers=host.headers())
    assert reply.json()["error"]["code"] == -32601
    assert reply.status_code == 404


@pytest.mark.covers("adapters:probe")
async def test_a_probe_starts_a_server_once_and_leaves_nothing(host: Host) -> None:
    probed = await host.own.call("probe", {"name": "fake", "launch": SPEC})
    assert len(probed["tools"]) == 12
    assert probed["sandbox"] in {"bwrap", "landlock"}
    assert host.stack.service.state.running() == {}
    with pytest.raises(Unavailable, match="does not start"):
        await host.own.call("probe", {"name": "x", "launch": {**SPEC, "argv": ["third_party:main", "dead"]}})
    with pytest.raises(Unavailable, match="not in the store"):
        await host.own.call("probe", {"name": "x", "launch": {**SPEC, "store": "../../etc"}})


@pytest.mark.covers("adapters:stop")
async def test_stopping_a_server_ends_its_process(host: Host) -> None:
    await host.call("echo")
    running = host.stack.service.state.running()
    assert set(running) == {"fake"}
    assert await host.own.call("stop", {"name": "fake"}) == {"stopped": True}
    with pytest.raises(ProcessLookupError):
        os.kill(running["fake"], 0)
    assert await host.own.call("stop", {"name": "fake"}) == {"stopped": False}


@pytest.mark.covers("adapters:cancel")
async def test_a_caller_that_hangs_up_cancels_its_call_at_the_server(host: Host) -> None:
    await host.call("echo")
    body = json.dumps(request("tools/call", {"name": "wait", "arguments": {}})).encode()
    hung_up, sent = asyncio.Event(), list[Any]()

    async def receive() -> dict[str, Any]:
        nonlocal body
        if body:
            whole, body = body, b""
            return {"type": "http.request", "body": whole}
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in host.headers().items()]
    scope = {"type": "http", "method": "POST", "path": "/servers/fake/mcp", "headers": headers}
    waiting = asyncio.create_task(Door(host.stack.service)(scope, receive, send))
    await host.call("echo")
    hung_up.set()
    await waiting
    assert sent == []
    with anyio.fail_after(60):
        while json.loads((await host.call("cancelled"))["content"][0]["text"]) == []:
            await anyio.lowlevel.checkpoint()
