"""The adapter host's door on a loopback port, and callers of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import structlog
import uvicorn

import tausestack as ts
from loopback import Loopback
from tausestack.contract import Principal
from tausestack.mcp import Service
from tausestack.tokens import server_audience
from tausestack_runtime.adapters.door import Door
from tausestack_runtime.adapters.host import server as host_server
from tausestack_runtime.adapters.hosted import Hosted
from tausestack_runtime.egress import Egress

ABLE: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


class Caller:
    """Someone who calls one server through the door."""

    def __init__(self, url: str, token: str, capabilities: dict[str, Any]) -> None:
        self.url, self.capabilities = url, capabilities
        self.headers = {"authorization": f"Bearer {token}"}
        self.http = httpx2.AsyncClient(headers=self.headers, timeout=60, verify=False)
        self.news: list[dict[str, Any]] = []
        """The notifications of the last request."""
        self.status = 0
        self._numbers = 0

    def message(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        self._numbers += 1
        own = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            **meta,
        }
        return {"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": {**(params or {}), "_meta": own}}

    async def ask(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        """Return the whole answer: its `result` or its `error`."""
        reply = await self.http.post(self.url, json=self.message(method, params, **meta))
        self.status = reply.status_code
        if reply.headers["content-type"].startswith("text/event-stream"):
            *self.news, answer = [json.loads(line[5:]) for line in reply.text.splitlines() if line.startswith("data:")]
            return answer
        self.news = []
        return reply.json()

    async def get(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        """Return the result of a request that succeeds."""
        answer = await self.ask(method, params, **meta)
        assert "result" in answer, answer
        return answer["result"]

    async def call(
        self, tool: str, arguments: dict[str, Any] | None = None, *, answers: dict[str, Any] | None = None,
        state: str | None = None, **meta: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Call a tool, in its first round or in a later one."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments or {}}
        if state is not None:
            params = {**params, "inputResponses": answers or {}, "requestState": state}
        return await self.get("tools/call", params, **meta)

    async def text(self, tool: str, arguments: dict[str, Any] | None = None) -> Any:
        """Return what a tool says."""
        return said(await self.call(tool, arguments))

    async def until_seen(self, word: str, times: int = 1) -> list[Any]:
        """Wait until the server says that it has seen something so often, and return all that it has."""
        with anyio.fail_after(60):
            while True:
                seen = await self.text("seen")
                if sum(word in json.dumps(one) for one in seen) >= times:
                    return seen

    @asynccontextmanager
    async def listening(self, **wanted: Any) -> AsyncGenerator[Callable[[], Any]]:
        """Open a stream of notifications and give a function that returns the next message of it."""
        message = self.message("subscriptions/listen", {"notifications": wanted})
        async with self.http.stream("POST", self.url, json=message) as reply:
            lines = reply.aiter_lines()

            async def following() -> dict[str, Any]:
                with anyio.fail_after(60):
                    async for line in lines:
                        if line.startswith("data:"):
                            heard = json.loads(line[5:])
                            told = heard["result"] if "result" in heard else heard["params"]
                            tag = told["_meta"].pop("io.modelcontextprotocol/subscriptionId")
                            assert tag == message["id"]
                            return heard
                return {}

            yield following


class HostDoor:
    """A host at work."""

    def __init__(self, stack: Any, url: str) -> None:
        self.stack, self.url = stack, url
        self.specs: dict[str, dict[str, Any]] = {}
        self._callers: list[Caller] = []
        stack.answer("registry/launch", lambda arguments: self.specs[arguments["server"]])

    @asynccontextmanager
    async def other_host(self, **settings: Any) -> AsyncGenerator[Hosted]:
        """Put another host with other settings behind the door."""
        service: Service = self.stack.service
        own: Hosted = service.state
        log, egress = structlog.get_logger("adapter"), Egress.of(os.environ)
        service.state = other = Hosted(service.env.data / "store", "auto", log, egress=egress, **settings)
        try:
            yield other
        finally:
            service.state = own
            await other.aclose()

    def caller(self, name: str, *, who: str = "key:one", capabilities: dict[str, Any] | None = None) -> Caller:
        principal = Principal("acme", who, frozenset({"tools:call"}))
        token = self.stack.signer.sign(principal, server_audience("adapter"), 3600)
        made = Caller(f"{self.url}/servers/{name}/mcp", token, ABLE if capabilities is None else capabilities)
        self._callers.append(made)
        return made

    async def aclose(self) -> None:
        for caller in self._callers:
            await caller.http.aclose()


@asynccontextmanager
async def open_door(data: Path) -> AsyncGenerator[HostDoor]:
    """Run a tenant's host over a data folder."""
    async with ts.testing.stack(host_server, data=data, tenant="acme") as stack, served(Door(stack.service)) as url:
        door = HostDoor(stack, url)
        try:
            yield door
        finally:
            await door.aclose()


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str]:
    """Serve an ASGI app on a free loopback port and give its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = Loopback(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    task = asyncio.create_task(running._serve([listener]))
    while not running.started:  # noqa: ASYNC110 uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.end()
        await task
        listener.close()


def said(result: dict[str, Any]) -> Any:
    """Return what a tool's result says as JSON."""
    return json.loads(result["content"][0]["text"])
