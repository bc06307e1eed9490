"""Sending a call to its server, and sending it again only where that is safe."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_CALL,
    META_KEY,
    PROTOCOL_VERSION,
    VERSION,
    Principal,
    ToolPolicy,
)
from tausestack.errors import DeadlineExceeded, InDoubt, TauseError, Unavailable, UpstreamError, from_data
from tausestack.raw import as_object
from tausestack.scopes import SYSTEM
from tausestack.tenancy import cache_key
from tausestack.tokens import ASSERTION_SECONDS, Signer, server_audience
from tausestack_runtime.gateway.call import Call, Outcome
from tausestack_runtime.gateway.nesting import loads
from tausestack_runtime.gateway.snapshots import Installation
from tausestack_runtime.gateway.upstreams.events import event_payloads
from tausestack_runtime.gateway.upstreams.wire import Broken, NotSent, Pool, Reply, TimedOut, TooLarge
from tausestack_runtime.supervisor.control import ControlClient

ADAPTER = "adapter"
"""The service that hosts a tenant's third-party servers."""

SYSTEM_SECONDS = 10.0
"""How long the gateway waits for auth and registry."""

MAX_CONNECTIONS = 64
MAX_STREAMS = 512
"""How many calls, and how many event streams, one service serves at once; more wait their turn."""

MAX_REPLY_BYTES = 16 * 1024 * 1024
ASSERTION_MARGIN_SECONDS = 15
FIRST_PAUSE_SECONDS, PAUSE_GROWTH, LAST_PAUSE_SECONDS = 0.02, 1.4, 0.5
MAX_RESENDS = 16
"""How often a call is sent again, where that is safe at all: over some four seconds, with growing pauses."""


class Upstreams:
    """The servers behind the gateway, by service and tenant."""

    def __init__(self, sockets: dict[str, str], control: ControlClient, signer: Signer) -> None:
        self._sockets = sockets
        self._control = control
        self._signer = signer
        self._pools: dict[tuple[str, bool], Pool] = {}
        self._assertions: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def aclose(self) -> None:
        """Close every pooled connection."""
        for pool in self._pools.values():
            await pool.aclose()

    async def call(self, call: Call, installation: Installation, policy: ToolPolicy, epoch: str) -> Outcome:
        """Send a call to its server and return what came of it.

        Raises `InDoubt` when it broke midway and may not be repeated.
        """
        call.assertion = self._assertion(call.principal, installation.service, epoch)
        body = _request_body(call)
        safe = policy.retriable or (policy.keyed and call.key is not None)
        for attempt in range(MAX_RESENDS + 1):
            try:
                return await self._attempt(call, installation, body)
            except NotSent as error:
                await _pause(attempt, call.deadline, error)
            except Broken as error:
                if not safe:
                    raise InDoubt(
                        f"{call.server} broke off in the middle of {call.tool}: it may or may not have taken effect",
                        call=call.id,
                    ) from error
                if attempt == MAX_RESENDS:
                    raise Unavailable(f"{call.server} keeps breaking off in the middle of {call.tool}") from error
                await _pause(attempt, call.deadline, error)
            except TimedOut as error:
                if safe:
                    raise DeadlineExceeded(f"{call.server} did not answer {call.tool} in time") from error
                raise InDoubt(
                    f"{call.server} did not answer {call.tool} in time: it may or may not have taken effect",
                    call=call.id,
                ) from error
        raise Unavailable(f"{call.server} takes no connections")

    async def system(self, service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a system tool of one of our own services as the gateway; return its structured result."""
        principal = Principal(tenant=tenant, id="gateway", scopes=frozenset({SYSTEM}))
        call = Call(
            tenant=tenant,
            principal=principal,
            server=service,
            tool=tool,
            arguments=arguments,
            door="gateway",
            deadline=asyncio.get_running_loop().time() + SYSTEM_SECONDS,
        )
        installation = Installation(service, "service", service, service, "", False, "active", {})
        outcome = await self.call(call, installation, ToolPolicy(side_effect="read"), "")
        if outcome.failed:
            raise outcome.failure
        return outcome.result["structuredContent"]

    @asynccontextmanager
    async def stream(
        self, call: Call, service: str, target: str, headers: list[tuple[bytes, bytes]], epoch: str
    ) -> AsyncGenerator[Reply]:
        """Open an `http` binding of a service for a call; the reply is streamed and closed on leaving."""
        call.assertion = self._assertion(call.principal, service, epoch)
        pool = await self._pool(service, call.tenant, streams=True)
        own = [*headers, (b"authorization", b"Bearer " + call.assertion.encode()), (b"host", b"localhost")]
        try:
            reply = await pool.request("GET", f"/http{target}", own, b"", deadline=call.deadline)
        except (NotSent, Broken, TimedOut) as error:
            raise Unavailable(f"{service} does not answer") from error
        try:
            yield reply
        finally:
            await reply.aclose()

    async def _attempt(self, call: Call, installation: Installation, body: bytes) -> Outcome:
        pool = await self._pool(installation.service, call.tenant)
        target = f"/servers/{installation.name}/mcp" if installation.kind == ADAPTER else "/mcp"
        headers = [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
            (b"authorization", b"Bearer " + call.assertion.encode()),
            (b"mcp-protocol-version", PROTOCOL_VERSION.encode()),
            (b"mcp-method", b"tools/call"),
            (b"mcp-name", call.tool.encode()),
        ]
        reply = await pool.request("POST", target, headers, body, deadline=call.deadline, max_body=MAX_REPLY_BYTES)
        try:
            return await _outcome(call, reply)
        except TooLarge as error:
            raise UpstreamError(f"the reply of {call.server} is larger than {MAX_REPLY_BYTES} bytes") from error
        finally:
            await reply.aclose()

    async def _pool(self, service: str, tenant: str, *, streams: bool = False) -> Pool:
        """Streams have connections of their own, so that however many are open they keep no call waiting."""
        path = self._sockets.get(service)
        if path is None and service == ADAPTER:
            path = await self._control.ensure(ADAPTER, tenant)
        if path is None:
            raise Unavailable(f"{service} does not run here")
        pool = self._pools.get((path, streams))
        if pool is None:
            pool = Pool(path, max_connections=MAX_STREAMS if streams else MAX_CONNECTIONS)
            self._pools[path, streams] = pool
        return pool

    def _assertion(self, principal: Principal, service: str, epoch: str) -> str:
        bounds = "" if principal.bounds is None else ",".join(sorted(principal.bounds))
        key = cache_key(
            principal.tenant, principal.id, epoch, service, principal.agent or "", principal.run or "", principal.role,
            ",".join(sorted(principal.scopes)), str(principal.bounds is None), bounds,
        )  # fmt: skip
        now = time.time()
        known = self._assertions.get(key)
        if known is not None and known[1] > now:
            return known[0]
        token = self._signer.sign(principal, server_audience(service), ASSERTION_SECONDS)
        self._assertions[key] = (token, now + ASSERTION_SECONDS - ASSERTION_MARGIN_SECONDS)
        while len(self._assertions) > 4096:
            self._assertions.popitem(last=False)
        return token


async def _pause(attempt: int, deadline: float, error: Exception) -> None:
    seconds = min(FIRST_PAUSE_SECONDS * PAUSE_GROWTH**attempt, LAST_PAUSE_SECONDS)
    if asyncio.get_running_loop().time() + seconds >= deadline:
        raise Unavailable("the server takes no connections") from error
    await asyncio.sleep(seconds)


def _request_body(call: Call) -> bytes:
    meta = {
        MCP_CAPABILITIES_META: {},
        MCP_CLIENT_META: {"name": "tausestack", "version": VERSION},
        **call.meta,
        MCP_VERSION_META: PROTOCOL_VERSION,
        META_CALL: call.id,
    }
    if call.key is not None:
        meta[META_KEY] = call.key
    if call.approval is not None:
        meta[META_APPROVAL] = call.approval
    request_id = call.id if call.request_id is None else call.request_id
    params = {"name": call.tool, "arguments": call.arguments, "_meta": meta}
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})


async def _outcome(call: Call, reply: Reply) -> Outcome:
    if not reply.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        return _parsed(call, await reply.read(), reply.status)
    async for payload in event_payloads(reply.chunks()):
        message = _json(call, payload)
        if "method" not in message:
            return _parsed(call, payload, 200)
        if call.notify is not None:
            await call.notify(message)
    raise Broken("the stream ended without a response")


def _parsed(call: Call, raw: bytes, status: int) -> Outcome:
    message = _json(call, raw) if raw else {}
    result = as_object(message.get("result"))
    if result is not None:
        return Outcome(result, raw)
    error = as_object(message.get("error"))
    if error is not None:
        raise _error(call, error)
    if status == 503:
        raise NotSent("the server is restarting")
    raise UpstreamError(f"{call.server} answered with HTTP {status} and no JSON-RPC response")


def _error(call: Call, error: dict[str, Any]) -> TauseError:
    data = as_object(error.get("data"))
    message = str(error.get("message", ""))
    if data is not None and "code" in data:
        return from_data(message, data)
    refused = UpstreamError(message or f"{call.server} refused the call", upstream=error)
    if isinstance(error.get("code"), int):
        refused.rpc = error["code"]  # pyright: ignore[reportAttributeAccessIssue] the server's own code goes through
    return refused


def _json(call: Call, raw: bytes) -> dict[str, Any]:
    try:
        message = as_object(loads(raw))
    except orjson.JSONDecodeError as error:
        raise UpstreamError(f"{call.server} answered with something that is not JSON") from error
    if message is None:
        raise UpstreamError(f"{call.server} answered with something that is not a JSON-RPC message")
    return message
