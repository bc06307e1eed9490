"""The gateway as a run's client sees it: tools listed, searched and called under the run's delegation."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

import anyio

from tausestack.confidential import open_secrets
from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_ERROR,
    META_HOLD,
    META_KEY,
    PROTOCOL_VERSION,
    VERSION,
    Principal,
)
from tausestack.errors import InDoubt, TauseError, Unavailable, UpstreamError, from_data
from tausestack.names import SYSTEM_TENANT
from tausestack.tracing import Tracing
from tausestack.wire import NotSent, Pool, UnixPlace, WireError
from tausestack_agents.spending import Month

CALL_SECONDS = 130.0
"""More than the gateway gives a call: it is the one to say that time is up."""
RESTART_SECONDS = 10.0
"""How long a gateway that refuses connections is waited for."""
RENEW_SECONDS = 60.0
"""A delegation with less left than this is minted anew before it is used."""


class GatewayClient:
    """Speaks MCP to the gateway's internal door, over its Unix socket."""

    def __init__(self, socket: str, process_credential: str, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self._process_credential = process_credential
        self._pool = Pool(UnixPlace(socket), max_connections=32)
        self._next_id = 0

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def delegate(self, principal: Principal, bounds: frozenset[str]) -> tuple[str, float, str]:
        """Return a token for a run to act as whoever started it, until when it is good, and for whom it is.

        Times are of `time.monotonic`. The last is the tenant's incarnation: where the principal says one, no other's
        token is given.
        """
        result = await self.call_tool(
            SYSTEM_TENANT,
            "platform",
            "delegate",
            {
                "tenant": principal.tenant,
                "principal": principal.id,
                "scopes": sorted(principal.scopes),
                "agent": principal.agent or "",
                "bounds": sorted(bounds),
                "run": principal.run or "",
                **({"incarnation": principal.incarnation} if principal.incarnation else {}),
            },
            credential=self._process_credential,
            read=True,
        )
        given = cast("dict[str, Any]", result.get("structuredContent") or {})
        if result.get("isError") or not isinstance(given.get("token"), str):
            raise _tool_error(result)
        until = time.monotonic() + float(given.get("expires_in", 600))
        return given["token"], until, str(given.get("incarnation", ""))

    async def count(
        self, tool: str, principal: Principal, request: str, tokens: int, usd: float, share: Mapping[str, Any]
    ) -> None:
        """Have the platform `reserve` or `settle` what a request to a model uses; asked again, it counts once.

        `share` is of which agent's month it is, and what that may hold.
        """
        amount: dict[str, Any] = {"tokens": tokens, "usd": usd, **share}
        about = {"tenant": principal.tenant, "id": request, "run": principal.run or ""}
        credential = self._process_credential
        result = await self.call_tool(
            SYSTEM_TENANT, "platform", tool, {**about, **amount}, credential=credential, read=True
        )
        if result.get("isError"):
            raise _tool_error(result)

    async def seal(self, tenant: str, run: str, address: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a run's arguments for a tool with their secrets sealed, so that they can be kept."""
        server, _, tool = address.partition("/")
        given: dict[str, Any] = {"tenant": tenant, "run": run, "server": server, "tool": tool, "arguments": arguments}
        result = await self.call_tool(
            SYSTEM_TENANT, "platform", "seal", given, credential=self._process_credential, read=True
        )
        if result.get("isError"):
            raise _tool_error(result)
        return cast("dict[str, Any]", result["structuredContent"]["arguments"])

    async def decide_for(self, tenant: str, principal: str, decision: dict[str, Any]) -> dict[str, Any]:
        """Pass on what a person decided in a task of theirs: `{"id", "decision", "reason"?, "arguments"?}`.

        Return the approval, with the secrets among its arguments sealed.
        """
        given = {"tenant": tenant, "principal": principal, **decision}
        result = await self.call_tool(
            SYSTEM_TENANT, "platform", "decide_for", given, credential=self._process_credential, read=True
        )
        if result.get("isError"):
            raise _tool_error(result)
        return cast("dict[str, Any]", result.get("structuredContent") or {})

    async def withdraw(self, tenant: str, run: str, principal: str) -> None:
        """Withdraw what a run that somebody cancelled still asks for."""
        given = {"tenant": tenant, "run": run, "principal": principal}
        result = await self.call_tool(
            SYSTEM_TENANT, "platform", "withdraw_approvals", given, credential=self._process_credential, read=True
        )
        if result.get("isError"):
            raise _tool_error(result)

    async def list_tools(self, tenant: str, credential: str, *, most: int = 2000) -> list[dict[str, Any]]:
        """Return the tenant's tools with their addresses, as `/api/v2` lists them."""
        found: list[dict[str, Any]] = []
        query: dict[str, str] = {}
        while len(found) < most:
            page = await self.get(f"/api/v2/tenants/{tenant}/tools", query, credential)
            found += cast("list[dict[str, Any]]", page.get("tools", []))
            if not page.get("next_cursor"):
                break
            query = {"cursor": str(page["next_cursor"])}
        return found[:most]

    async def call_tool(
        self,
        tenant: str,
        server: str,
        tool: str,
        arguments: dict[str, Any],
        *,
        credential: str,
        key: str | None = None,
        approval: str | None = None,
        hold: bool = False,
        read: bool = False,
    ) -> dict[str, Any]:
        """Call a tool and return its whole result, `isError` or not; a JSON-RPC error is raised.

        `hold` has the gateway hold the call for a person whatever the tool's own policy says.

        Raises `Unavailable` where nothing was sent, and `InDoubt` where the answer was cut off, unless the tool only
        reads: then it is asked again.
        """
        self._next_id += 1
        meta: dict[str, Any] = {
            MCP_VERSION_META: PROTOCOL_VERSION,
            MCP_CAPABILITIES_META: {},
            MCP_CLIENT_META: {"name": "tausestack-agents", "version": VERSION},
        }
        if key is not None:
            meta[META_KEY] = key
        if approval is not None:
            meta[META_APPROVAL] = approval
        if hold:
            meta[META_HOLD] = True
        if self._tracing is not None:
            meta |= self._tracing.carrier()
        body = {
            "jsonrpc": "2.0",
            "id": self._next_id,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta},
        }
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": PROTOCOL_VERSION,
            "mcp-method": "tools/call",
            "mcp-name": _header(tool),
        }
        path = f"/tenants/{quote(tenant, safe='')}/servers/{quote(server, safe='')}/mcp"
        written = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        return _result(_message(await self._sent("POST", path, credential, headers, written, read=read)))

    async def structured(
        self, tenant: str, server: str, tool: str, arguments: dict[str, Any], *, credential: str, key: str
    ) -> dict[str, Any]:
        """Call a tool and return its structured result, or raise the failure that it tells of."""
        result = await self.call_tool(tenant, server, tool, arguments, credential=credential, key=key)
        if result.get("isError"):
            raise _tool_error(result)
        return cast("dict[str, Any]", result["structuredContent"])

    async def get(self, path: str, query: dict[str, str], credential: str) -> dict[str, Any]:
        """Return the JSON of a REST resource, or raise its problem."""
        target = f"{path}?{urlencode(query)}" if query else path
        answer = await self._sent("GET", target, credential, {}, b"", read=True)
        found = cast("dict[str, Any]", json.loads(answer.body))
        if answer.status != 200:
            raise from_data(str(found.get("detail", "")), found)
        return found

    async def _sent(
        self, method: str, target: str, credential: str, headers: dict[str, str], body: bytes, *, read: bool
    ) -> _Answer:
        """Send a request; a gateway that restarts is waited for a while, and asked again for what is only read."""
        given = [(name.encode(), value.encode()) for name, value in headers.items()]
        given.append((b"authorization", f"Bearer {credential}".encode()))
        give_up = time.monotonic() + RESTART_SECONDS
        pause = 0.05
        while True:
            try:
                reply = await self._pool.request(method, target, given, body, deadline=time.monotonic() + CALL_SECONDS)
                kind = reply.headers.get(b"content-type", b"")
                return _Answer(reply.status, kind.startswith(b"text/event-stream"), await reply.read())
            except WireError as error:
                if not (read or isinstance(error, NotSent)):
                    raise InDoubt("The gateway's answer was cut off") from error
                if time.monotonic() > give_up:
                    raise Unavailable("The gateway is not there") from error
            await anyio.sleep(pause)
            pause = min(pause * 2, 1.0)


class Delegation:
    """A run's right to act, minted anew before it ends; it dies with whoever gave it."""

    def __init__(
        self, gateway: GatewayClient, principal: Principal, bounds: frozenset[str], monthly: Month | None = None
    ) -> None:
        """`monthly` is what the agent may use of models in a month."""
        self._gateway = gateway
        self.principal = principal
        self.monthly = monthly or Month()
        self._bounds = bounds
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """Return a token that is good for a while; raises `Unauthenticated` when the giver was revoked."""
        if time.monotonic() > self._until - RENEW_SECONDS:
            self._token, self._until, of = await self._gateway.delegate(self.principal, self._bounds)
            self.principal = replace(self.principal, incarnation=of)
        return self._token

    async def sealed(self, address: str, schema: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the run's arguments for a tool of a schema with their secrets sealed."""
        if not open_secrets(schema, arguments):
            return arguments
        return await self._gateway.seal(self.principal.tenant, self.principal.run or "", address, arguments)

    async def reserve(self, request: str, tokens: int, usd: float) -> None:
        """Set aside of the tenant's month what a request to a model may use; raises `RateLimited`."""
        share = {"agent": self.principal.agent or "", **self.monthly.told()}
        await self._gateway.count("reserve", self.principal, request, tokens, usd, share)

    async def settle(self, request: str, tokens: int, usd: float) -> None:
        """Count what a request used in place of what was set aside for it."""
        await self._gateway.count("settle", self.principal, request, tokens, usd, {})

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the tools that the run may see."""
        return await self._gateway.list_tools(self.principal.tenant, await self.token())

    async def call(
        self,
        server: str,
        tool: str,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        approval: str | None = None,
        hold: bool = False,
    ) -> dict[str, Any]:
        """Call a tool as the run."""
        token = await self.token()
        return await self._gateway.call_tool(
            self.principal.tenant, server, tool, arguments, credential=token, key=key, approval=approval, hold=hold
        )


@asynccontextmanager
async def connected(
    socket: str, process_credential: str, tracing: Tracing | None = None
) -> AsyncGenerator[GatewayClient]:
    """Give a client for as long as it is used."""
    client = GatewayClient(socket, process_credential, tracing)
    try:
        yield client
    finally:
        await client.aclose()


def text_of(result: dict[str, Any]) -> str:
    """Return the text of a tool's result."""
    blocks = cast("list[dict[str, Any]]", result.get("content") or [])
    return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _tool_error(result: dict[str, Any]) -> TauseError:
    meta = cast("dict[str, Any]", result.get("_meta") or {})
    known = meta.get(META_ERROR)
    text = text_of(result)
    if not isinstance(known, dict):
        return UpstreamError(text or "The gateway gave no answer")
    found = cast("dict[str, Any]", known)
    inner = found.get("data")
    return from_data(text, cast("dict[str, Any]", inner) if isinstance(inner, dict) else found)


def _header(name: str) -> str:
    if name.isascii() and name.isprintable():
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


class _Answer(NamedTuple):
    """What the gateway answered."""

    status: int
    streamed: bool
    """Whether the body is a stream of events."""
    body: bytes


def _message(answer: _Answer) -> dict[str, Any]:
    """Return the JSON-RPC response: the body, or the last message of an event stream."""
    payloads = [answer.body]
    if answer.streamed:
        payloads = [line[5:].strip() for line in answer.body.splitlines() if line.startswith(b"data:")]
    for payload in reversed(payloads):
        try:
            message: Any = json.loads(payload)
        except json.JSONDecodeError:
            continue
        if isinstance(message, dict) and ("result" in message or "error" in message):
            return cast("dict[str, Any]", message)
    raise InDoubt(f"The gateway answered {answer.status} without a JSON-RPC message")


def _result(message: dict[str, Any]) -> dict[str, Any]:
    error = message.get("error")
    if error is None:
        return cast("dict[str, Any]", message["result"])
    found = cast("dict[str, Any]", error)
    inner: Any = found.get("data")
    data = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    text = str(found.get("message", ""))
    if "code" not in data:
        raise UpstreamError(text, upstream=found)
    raise from_data(text, data)
