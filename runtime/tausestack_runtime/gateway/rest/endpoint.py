"""The REST doors of `/api/v2`; they translate and decide nothing."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tausestack.contract import Principal
from tausestack.errors import (
    Cancelled,
    Forbidden,
    InvalidRequest,
    NotFound,
    TauseError,
    ToolFailed,
    Unauthenticated,
    from_data,
    to_problem,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack.scopes import OPERATOR, TOOLS_READ
from tausestack_runtime.gateway.call import Call, Notify, Outcome
from tausestack_runtime.gateway.exchange import PROBLEM, Exchange
from tausestack_runtime.gateway.identity import Identity, bearer
from tausestack_runtime.gateway.mcp.endpoint import visible
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.rest.openapi import document
from tausestack_runtime.gateway.rest.page import PAGE
from tausestack_runtime.gateway.rest.resources import OPERATOR_RESOURCES, RESOURCES, Resource
from tausestack_runtime.gateway.snapshots import Snapshots, Tool, not_found
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.supervisor.control import ControlClient

CALL_SECONDS = 120.0
STREAM_SECONDS = 3600.0
MAX_KEY = 255
PAGE_SIZE = 500
FOUND = 100
"""How many tools a search ranks."""


class RestEndpoint:
    """Answers everything below `/api/v2/tenants`."""

    def __init__(
        self,
        pipeline: Pipeline,
        identity: Identity,
        snapshots: Snapshots,
        upstreams: Upstreams,
        control: ControlClient,
    ) -> None:
        self._pipeline = pipeline
        self._identity = identity
        self._snapshots = snapshots
        self._upstreams = upstreams
        self._control = control

    async def __call__(self, exchange: Exchange, path: str) -> None:
        """Serve one request; `path` is what follows `/api/v2/`, such as `tenants/acme/tools`."""
        try:
            await self._serve(exchange, path)
        except Cancelled:
            return
        except TauseError as error:
            await fail(exchange, error)

    async def _serve(self, exchange: Exchange, path: str) -> None:
        if path == "doctor" and exchange.method == "GET":
            await self._doctor(exchange)
            return
        root, _, rest = path.partition("/")
        tenant, _, below = rest.partition("/")
        if root != "tenants":
            raise not_found()
        if below == "docs" and exchange.method == "GET":
            await exchange.reply(200, PAGE, b"text/html; charset=utf-8", _PAGE_HEADERS)
            return
        principal = await self._identity.principal(bearer(exchange.header(b"authorization")), tenant or SYSTEM_TENANT)
        if OPERATOR in principal.scopes:
            await self._operate(exchange, principal, path, below)
        elif not tenant:
            raise Forbidden("Only the operator's key makes and lists tenants", scope=OPERATOR)
        elif below.startswith("tools/") and exchange.method == "POST":
            await self._call_tool(exchange, principal, below)
        elif below == "tools" and exchange.method == "GET":
            await self._list_tools(exchange, principal)
        elif below == "openapi.json" and exchange.method == "GET":
            await exchange.reply_json(200, document(tenant, await self._shown(principal)))
        elif below.startswith("runs/") and below.endswith("/events") and exchange.method == "GET":
            await self._stream_run(exchange, principal, below.split("/")[1])
        elif below.startswith("servers/") and exchange.method == "GET":
            await self._show_server(exchange, principal, below.removeprefix("servers/"))
        else:
            await self._resource(exchange, principal, below, RESOURCES)

    async def _operate(self, exchange: Exchange, principal: Principal, path: str, below: str) -> None:
        """The operator's routes run in `_system`; a session lets it into a tenant, under its own name."""
        if below == "session" and exchange.method == "POST":
            await self._snapshots.tenant(principal.tenant)
            await exchange.reply_json(201, await self._session(principal.tenant))
            return
        own = Principal(tenant=SYSTEM_TENANT, id=principal.id, scopes=principal.scopes, role=principal.role)
        if not any(route.match(exchange.method, path) is not None for route in OPERATOR_RESOURCES):
            raise Forbidden(
                "The operator's key makes tenants and keys, and nothing inside them: use a key of the tenant",
                scope=TOOLS_READ,
            )
        await self._resource(exchange, own, path, OPERATOR_RESOURCES)

    async def _doctor(self, exchange: Exchange) -> None:
        """Show the operator the supervisor's own figures of its processes."""
        principal = await self._identity.principal(bearer(exchange.header(b"authorization")), SYSTEM_TENANT)
        if OPERATOR not in principal.scopes:
            raise not_found()
        await exchange.reply_json(200, await self._control.services())

    async def _session(self, tenant: str) -> dict[str, Any]:
        principal = await self._identity.alive(tenant, OPERATOR)
        assert principal is not None
        return self._identity.session(principal)

    async def _resource(
        self, exchange: Exchange, principal: Principal, below: str, resources: tuple[Resource, ...]
    ) -> None:
        for resource in resources:
            fields = resource.match(exchange.method, below)
            if fields is None:
                continue
            body, size = await exchange.json_object() if exchange.method == "POST" else ({}, 0)
            arguments = resource.arguments(fields, _query(exchange), body)
            call = self._call(exchange, principal, resource.server, resource.tool, arguments, size)
            outcome = await exchange.while_connected(self._pipeline.run(call))
            if outcome.failed:
                raise _cause(outcome)
            found: Any = outcome.result.get("structuredContent")
            await exchange.reply_json(resource.status(found), found)
            return
        raise not_found()

    async def _show_server(self, exchange: Exchange, principal: Principal, name: str) -> None:
        call = self._call(exchange, principal, "registry", "list_installed", {}, 0)
        outcome = await exchange.while_connected(self._pipeline.run(call))
        if outcome.failed:
            raise _cause(outcome)
        servers = outcome.result["structuredContent"]["servers"]
        found = next((server for server in servers if server["name"] == name), None)
        if found is None:
            raise not_found()
        await exchange.reply_json(200, found)

    async def _call_tool(self, exchange: Exchange, principal: Principal, below: str) -> None:
        parts = below.split("/")
        if len(parts) != 3:
            raise not_found()
        arguments, size = await exchange.json_object()
        notify = _progress(exchange) if exchange.accepts_events() else None
        call = self._call(exchange, principal, parts[1], parts[2], arguments, size, notify)
        if notify is not None:
            call.meta = {"progressToken": call.id}
        try:
            outcome = await exchange.while_connected(self._pipeline.run(call))
            if outcome.failed:
                cause = _cause(outcome).code
                more = {} if cause == ToolFailed.code else {"cause": cause}
                raise ToolFailed(outcome.text, call=call.id, **more)
        except Cancelled:
            raise
        except TauseError as error:
            if notify is None:
                raise
            await exchange.event(orjson.dumps(to_problem(error)), b"error")
            await exchange.end_events()
            return
        body = structured(outcome)
        if notify is None:
            await exchange.reply_json(200, body, [(b"tausestack-call", call.id.encode())])
        else:
            await exchange.event(orjson.dumps(body), b"result")
            await exchange.end_events()

    async def _list_tools(self, exchange: Exchange, principal: Principal) -> None:
        query = _query(exchange)
        shown = {str(address): tool for address, tool in _addressed(await self._shown(principal))}
        if query.get("search"):
            call = self._call(
                exchange, principal, "registry", "find_tools", {"query": query["search"], "limit": FOUND}, 0
            )
            outcome = await exchange.while_connected(self._pipeline.run(call))
            if outcome.failed:
                raise _cause(outcome)
            ranked = [hit["address"] for hit in outcome.result["structuredContent"]["tools"]]
            shown = {address: shown[address] for address in ranked if address in shown}
        start, limit = _page(query)
        page = list(shown.items())[start : start + limit]
        cursor = str(start + limit) if start + limit < len(shown) else None
        tools = [_tool_shape(address, tool) for address, tool in page]
        await exchange.reply_json(200, {"tools": tools, "next_cursor": cursor})

    async def _shown(self, principal: Principal) -> list[Tool]:
        snapshot = await self._snapshots.tenant(principal.tenant)
        found = sorted(snapshot.installations.items())
        return [tool for _, one in found for tool in one.tools.values() if visible(tool, principal)]

    async def _stream_run(self, exchange: Exchange, principal: Principal, run: str) -> None:
        call = self._call(exchange, principal, "agents", "get_run", {"run": run}, 0)
        outcome = await exchange.while_connected(self._pipeline.run(call))
        if outcome.failed:
            raise _cause(outcome)
        snapshot = await self._snapshots.tenant(principal.tenant)
        last = exchange.header(b"last-event-id")
        headers = [(b"last-event-id", last.encode("latin-1"))] if last else []
        call.deadline = asyncio.get_running_loop().time() + STREAM_SECONDS
        await exchange.while_connected(self._copy_events(exchange, call, run, headers, snapshot.epoch))

    async def _copy_events(
        self, exchange: Exchange, call: Call, run: str, headers: list[tuple[bytes, bytes]], epoch: str
    ) -> None:
        async with self._upstreams.stream(call, "agents", f"/runs/{run}/events", headers, epoch) as reply:
            if reply.status != 200:
                raise not_found()
            await exchange.start_events()
            async for chunk in reply.chunks():
                await exchange.chunk(chunk)
            await exchange.end_events()

    def _call(
        self, exchange: Exchange, principal: Principal, server: str, tool: str, arguments: dict[str, Any], size: int,
        notify: Notify | None = None,
    ) -> Call:  # fmt: skip
        key = exchange.header(b"idempotency-key")
        if key is not None and not 0 < len(key) <= MAX_KEY:
            raise InvalidRequest(f"An Idempotency-Key has 1 to {MAX_KEY} characters")
        trace = exchange.header(b"traceparent")
        return Call(
            tenant=principal.tenant,
            principal=principal,
            server=server,
            tool=tool,
            arguments=arguments,
            door="rest",
            deadline=asyncio.get_running_loop().time() + CALL_SECONDS,
            key=key,
            approval=exchange.header(b"tausestack-approval"),
            meta={"traceparent": trace} if trace else {},
            bytes_in=size,
            notify=notify,
        )


_PAGE_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
]


def structured(outcome: Outcome) -> Any:
    """Return what REST shows of a result: its structured content, or its content where it has none."""
    if "structuredContent" in outcome.result:
        return outcome.result["structuredContent"]
    return {"content": outcome.result.get("content", [])}


async def fail(exchange: Exchange, error: TauseError) -> None:
    """Answer with a problem; a stream that has begun ends with it."""
    problem = to_problem(error)
    if exchange.streaming:
        await exchange.event(orjson.dumps(problem), b"error")
        await exchange.end_events()
        return
    headers = [(b"www-authenticate", b'Bearer realm="tausestack"')] if isinstance(error, Unauthenticated) else []
    if "retry_after" in error.data:
        headers.append((b"retry-after", str(error.data["retry_after"]).encode()))
    await exchange.reply(error.status, orjson.dumps(problem), PROBLEM, headers)


def _cause(outcome: Outcome) -> TauseError:
    """Return the failure behind a fixed route's tool: its own code where it has one, so that 404 is 404."""
    cause = as_object((as_object(outcome.result.get("_meta")) or {}).get("pro.tause/error"))
    if cause is None or "code" not in cause:
        return ToolFailed(outcome.text)
    error = from_data(outcome.text, cause)
    return NotFound(error.message) if isinstance(error, NotFound) else error


def _progress(exchange: Exchange) -> Notify:
    async def notify(message: dict[str, Any]) -> None:
        if message.get("method") == "notifications/progress":
            params = {
                name: value for name, value in message["params"].items() if name not in {"progressToken", "_meta"}
            }
            await exchange.event(orjson.dumps(params), b"progress")

    return notify


def _query(exchange: Exchange) -> dict[str, str]:
    return dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))


def _page(query: dict[str, str]) -> tuple[int, int]:
    start, limit = query.get("cursor", "0"), query.get("limit", str(PAGE_SIZE))
    if not (start.isdigit() and limit.isdigit() and len(start) < 10 and len(limit) < 10 and int(limit) > 0):
        raise InvalidRequest("limit is a positive integer, and cursor one that an earlier page gave")
    return int(start), min(int(limit), PAGE_SIZE)


def _addressed(tools: list[Tool]) -> list[tuple[str, Tool]]:
    return [(f"{tool.server}/{tool.name}", tool) for tool in tools]


def _tool_shape(address: str, tool: Tool) -> dict[str, Any]:
    policy = tool.policy
    return {
        "address": address,
        "server": tool.server,
        "name": tool.name,
        "title": tool.raw.get("title"),
        "description": tool.raw.get("description", ""),
        "input_schema": tool.raw.get("inputSchema", {}),
        "output_schema": tool.raw.get("outputSchema"),
        "side_effect": policy.side_effect,
        "idempotent": policy.idempotent,
        "keyed": policy.keyed,
        "approval": policy.approval,
        "scopes": list(tool.needs),
    }
