"""The REST doors of `/api/v2`; they translate and decide nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tausestack.contract import Principal
from tausestack.errors import (
    Cancelled,
    Forbidden,
    InputRequired,
    InvalidRequest,
    NotFound,
    TauseError,
    ToolFailed,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import number_of
from tausestack.scopes import OPERATOR, TOOLS_READ
from tausestack_runtime.gateway.call import CALL_SECONDS, TOOLS_CALL, Call, Notify, Outcome
from tausestack_runtime.gateway.crowd import TENANT_STREAMS, Shares
from tausestack_runtime.gateway.exchange import JSON, Exchange
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.identity import Identity, bearer, shown
from tausestack_runtime.gateway.installed import Tool, not_found
from tausestack_runtime.gateway.limits.limiter import LISTS
from tausestack_runtime.gateway.mcp.lists import visible
from tausestack_runtime.gateway.mcp.watching import watched
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.rest.asked import Asked, asked_of
from tausestack_runtime.gateway.rest.keys import KeyRotation
from tausestack_runtime.gateway.rest.openapi import document
from tausestack_runtime.gateway.rest.page import PAGE
from tausestack_runtime.gateway.rest.resources import OPERATOR_RESOURCES, RESOURCES, Resource, fields_of
from tausestack_runtime.gateway.snapshots import Snapshots, TenantSnapshot
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.supervisor.control import ControlClient

STREAM_SECONDS = 3600.0
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
        leaving: asyncio.Event,
    ) -> None:
        """`leaving` is set when the gateway ends: streams then end as well."""
        self._pipeline = pipeline
        self._identity = identity
        self._snapshots = snapshots
        self._upstreams = upstreams
        self._control = control
        self._rotation = KeyRotation(control, upstreams, pipeline.meter.reseal)
        self._leaving = leaving
        self._streams = Shares(TENANT_STREAMS, "streams")

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request."""
        asked = exchange.head.once(asked_of)
        try:
            if asked.root != "tenants":
                await self._beside(exchange, asked)
            elif asked.below == "docs" and exchange.method == "GET":
                await exchange.reply(200, PAGE, b"text/html; charset=utf-8", _PAGE_HEADERS)
            else:
                credential, tenant = exchange.head.once(shown), asked.tenant or SYSTEM_TENANT
                principal = self._identity.at_hand(credential, tenant)
                principal = principal or await self._identity.principal(credential, tenant)
                exchange.asker = principal
                await self._answer(exchange, asked, principal)
        except Cancelled:
            return
        except TauseError as error:
            below = "/".join(asked.path.split("/")[2:])  # who asks for another tenant need not have it in the own chain
            await self._pipeline.meter.refuse(exchange, error, "rest", f"{exchange.method} /{below}")
            await exchange.problem(error)

    async def _beside(self, exchange: Exchange, asked: Asked) -> None:
        """Answer what is asked for beside the tenants: the stack's own, which the operator has."""
        if asked.path == "doctor" and exchange.method == "GET":
            await self._doctor(exchange)
        elif asked.root == "keys":
            await self._keys(exchange, asked.path)
        else:
            raise not_found()

    def _answer(self, exchange: Exchange, asked: Asked, principal: Principal) -> Awaitable[None]:
        """Return the answer to what a known principal asks for."""
        if OPERATOR in principal.scopes:
            return self._operate(exchange, principal, asked.path, asked.below)
        if not asked.tenant:
            raise Forbidden("Only the operator's key makes and lists tenants", scope=OPERATOR)
        exchange.belong(principal.tenant)
        found = exchange.head.once(_routed)
        if found is None:
            return self._resource(exchange, principal, asked.below, RESOURCES)
        route, fields = found
        return route.serve(self, exchange, principal, fields)

    async def _operate(self, exchange: Exchange, principal: Principal, path: str, below: str) -> None:
        """The operator's routes run in `_system`; a session lets it into a tenant, under its own name."""
        if below == "session" and exchange.method == "POST":
            await self._snapshots.tenant(principal.tenant)
            await self._note(exchange, principal, "platform", "session")
            await exchange.reply_json(201, await self._session(principal.tenant))
            return
        own = Principal(tenant=SYSTEM_TENANT, id=principal.id, scopes=principal.scopes, role=principal.role)
        if not any(route.match(exchange.method, path) is not None for route in OPERATOR_RESOURCES):
            raise Forbidden(
                "The operator's key makes tenants and keys, and nothing inside them: use a key of the tenant",
                scope=TOOLS_READ,
            )
        noted = _NOTED.get((exchange.method, below.partition("/")[0]))
        if noted is not None:
            # A tenant's keys and limits are its own concern: that the operator reached for them stands in its chain.
            await self._snapshots.seen(principal.tenant)
            await self._note(exchange, principal, *noted)
        await self._resource(exchange, own, path, OPERATOR_RESOURCES)

    async def _doctor(self, exchange: Exchange) -> None:
        """Show the operator the supervisor's own figures of its processes."""
        principal = await self._identity.principal(bearer(exchange.header(b"authorization")), SYSTEM_TENANT)
        if OPERATOR not in principal.scopes:
            raise not_found()
        await exchange.reply_json(200, await self._control.services())

    async def _keys(self, exchange: Exchange, path: str) -> None:
        """Have the operator, and nobody else, see and rotate the stack's keys; that it did stands in the audit."""
        own = await self._identity.principal(bearer(exchange.header(b"authorization")), SYSTEM_TENANT)
        if OPERATOR not in own.scopes:
            raise not_found()
        body, size = await exchange.json_object() if exchange.method == "POST" else ({}, 0)

        async def tenants() -> list[str]:
            return [one["id"] for one in (await self._ask(exchange, own, "auth", "list_tenants", {}))["tenants"]]

        found = await self._rotation.answer(exchange.method, path, body, tenants)
        if exchange.method == "POST":
            await self._pipeline.meter.note(self._call(exchange, own, "platform", "rotate_keys", {"step": path}, size))
        await exchange.reply_json(200, found)

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
            body, size = await exchange.json_object() if exchange.method in {"POST", "PATCH"} else ({}, 0)
            arguments = resource.arguments(fields, _query(exchange), body)
            found = await self._ask(exchange, principal, resource.server, resource.tool, arguments, size)
            await exchange.reply_json(resource.status(found), found)
            return
        raise not_found()

    async def _show_server(self, exchange: Exchange, principal: Principal, fields: dict[str, str]) -> None:
        name = fields["name"]
        listed = await self._ask(exchange, principal, "registry", "list_installed", {})
        found = next((server for server in listed["servers"] if server["name"] == name), None)
        if found is None:
            raise not_found()
        breaker = self._upstreams.breakers.of(principal.tenant, name)
        await exchange.reply_json(200, {**found, "health": breaker.status()})

    async def _call_tool(self, exchange: Exchange, principal: Principal, fields: dict[str, str]) -> None:
        server = fields["server"]
        arguments, size = await exchange.json_object()
        call = self._call(exchange, principal, server, fields["tool"], arguments, size)
        streams = exchange.head.once(asked_of).events
        if streams:
            call.meta["progressToken"], call.notify = call.id, _progress(exchange)
            await exchange.start_events()
        outcome = await exchange.while_connected(self._pipeline.run(call))
        if outcome.waits:
            asked = outcome.result.get("inputRequests", {})
            raise InputRequired(f"{server} asks for input, which only an MCP client can give", input_requests=asked)
        if outcome.failed:
            cause = outcome.failure.code
            more = {} if cause == ToolFailed.code else {"cause": cause}
            raise ToolFailed(outcome.text, call=call.id, **more)
        body = orjson.dumps(structured(outcome))
        if streams:
            await exchange.event(body, b"result")
            await exchange.end_events()
        else:
            standing = self._pipeline.standing(call.tenant)
            await exchange.reply(200, body, JSON, [(b"tausestack-call", call.id.encode()), *standing])

    async def _document(self, exchange: Exchange, principal: Principal, _fields: dict[str, str]) -> None:
        snapshot = await self._snapshots.tenant(principal.tenant)
        told = await self._listed(exchange, principal, "openapi.json")
        key = repr(("openapi.json", sorted(map(sorted, principal.limits))))
        body, _ = snapshot.listing(key, lambda: orjson.dumps(document(snapshot.tenant, _shown(snapshot, principal))))
        await exchange.reply(200, body, headers=told)

    async def _list_tools(self, exchange: Exchange, principal: Principal, _fields: dict[str, str]) -> None:
        query, told = _query(exchange), list[tuple[bytes, bytes]]()
        snapshot = await self._snapshots.tenant(principal.tenant)
        shown = {str(address): tool for address, tool in _addressed(_shown(snapshot, principal))}
        if query.get("search"):
            asked = {"query": query["search"], "limit": FOUND}
            hits = await self._ask(exchange, principal, "registry", "find_tools", asked)
            ranked = [hit["address"] for hit in hits["tools"]]
            shown = {address: shown[address] for address in ranked if address in shown}
        else:
            told = await self._listed(exchange, principal, "tools/list")
        start, limit = _page(query)
        page = list(shown.items())[start : start + limit]
        cursor = str(start + limit) if start + limit < len(shown) else None
        tools = [_tool_shape(address, tool) for address, tool in page]
        await exchange.reply_json(200, {"tools": tools, "next_cursor": cursor}, told)

    async def _stream_run(self, exchange: Exchange, principal: Principal, fields: dict[str, str]) -> None:
        run = fields["run"]
        call = self._call(exchange, principal, "agents", "get_run", {"run": run})
        await self._answered(exchange, call)
        snapshot = await self._snapshots.tenant(principal.tenant)
        last = exchange.header(b"last-event-id")
        if last and not (last.isascii() and last.isdigit()):
            raise InvalidRequest("Last-Event-ID is the number of the event that came last")
        headers = [(b"last-event-id", last.encode("latin-1"))] if last else []
        call.deadline = asyncio.get_running_loop().time() + STREAM_SECONDS
        with self._streams.hold(principal.tenant):
            await exchange.while_connected(self._copy_while_allowed(exchange, call, run, headers, snapshot.epoch))
        await exchange.end_events()

    async def _copy_while_allowed(
        self, exchange: Exchange, call: Call, run: str, headers: list[tuple[bytes, bytes]], epoch: str
    ) -> None:
        copying = asyncio.ensure_future(self._copy_events(exchange, call, run, headers, epoch))
        credential = bearer(exchange.header(b"authorization"))
        async with watched(self._identity, credential, call.tenant, self._leaving) as ended:
            try:
                done, _ = await asyncio.wait({copying, ended}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                copying.cancel()
                await asyncio.wait({copying})

    async def _copy_events(
        self, exchange: Exchange, call: Call, run: str, headers: list[tuple[bytes, bytes]], epoch: str
    ) -> None:
        async with self._upstreams.stream(call, "agents", f"/runs/{run}/events", headers, epoch) as reply:
            if reply.status != 200:
                raise not_found()
            await exchange.start_events()
            async for chunk in reply.chunks():
                await exchange.chunk(chunk)

    async def _ask(
        self,
        exchange: Exchange,
        principal: Principal,
        server: str,
        tool: str,
        arguments: dict[str, Any],
        size: int = 0,
    ) -> Any:
        """Return the structured result of the tool behind a fixed route, or raise its failure."""
        return await self._answered(exchange, self._call(exchange, principal, server, tool, arguments, size))

    async def _answered(self, exchange: Exchange, call: Call) -> Any:
        outcome = await exchange.while_connected(self._pipeline.run(call))
        if outcome.failed:
            raise _shown_failure(outcome)
        return outcome.result.get("structuredContent")

    async def _note(self, exchange: Exchange, principal: Principal, server: str, tool: str) -> None:
        """Have the ledger tell of what the operator does to a tenant."""
        await self._pipeline.meter.note(self._call(exchange, principal, server, tool, {}))

    async def _listed(self, exchange: Exchange, principal: Principal, what: str) -> list[tuple[bytes, bytes]]:
        """Count what this door is about to answer itself, and return the header fields that tell what is left."""
        call = self._call(exchange, principal, "", what, {})
        if exchange.internal:  # a run's own look at what there is, which is a part of it
            await self._pipeline.meter.note(call)
            return []
        await self._pipeline.note(call)
        return self._pipeline.standing(principal.tenant, LISTS)

    def _call(
        self,
        exchange: Exchange,
        principal: Principal,
        server: str,
        tool: str,
        arguments: dict[str, Any],
        size: int = 0,
    ) -> Call:
        exchange.noted = True
        said, deadline = exchange.head.once(asked_of), time.monotonic() + CALL_SECONDS
        meta = {"traceparent": said.trace} if said.trace else {}
        call = Call(principal.tenant, principal, server, tool, arguments, "rest", deadline, TOOLS_CALL, {}, meta)
        call.key, call.approval, call.bytes_in, call.task = said.key, said.approval, size, exchange.task
        return call


_NOTED = {
    ("POST", "keys"): ("auth", "create_api_key"),
    ("DELETE", "keys"): ("auth", "revoke_api_key"),
    ("PATCH", "limits"): ("platform", "set_limits"),
}
"""What the operator does to a tenant by which tool, by method and the path's first part."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route below the tenant that is more than one tool under a REST name."""

    method: str
    path: str
    serve: Callable[[RestEndpoint, Exchange, Principal, dict[str, str]], Awaitable[None]]


ROUTES = (
    Route("POST", "tools/{server}/{tool}", RestEndpoint._call_tool),  # pyright: ignore[reportPrivateUsage] its own
    Route("GET", "tools", RestEndpoint._list_tools),  # pyright: ignore[reportPrivateUsage] its own
    Route("GET", "openapi.json", RestEndpoint._document),  # pyright: ignore[reportPrivateUsage] its own
    Route("GET", "runs/{run}/events", RestEndpoint._stream_run),  # pyright: ignore[reportPrivateUsage] its own
    Route("GET", "servers/{name}", RestEndpoint._show_server),  # pyright: ignore[reportPrivateUsage] its own
)
"""Asked before the fixed routes of `resources`."""


def _routed(head: Head) -> tuple[Route, dict[str, str]] | None:
    """Return which of the routes a request is for, and the fields of its path; None for one of `resources`."""
    below = head.once(asked_of).below
    for route in ROUTES:
        fields = fields_of(route.path, below) if head.method == route.method else None
        if fields is not None:
            return route, fields
    return None


_PAGE_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
]


def structured(outcome: Outcome) -> Any:
    """Return what REST shows of a result: its structured content, or its content where it has none."""
    if "structuredContent" in outcome.result:
        return outcome.result["structuredContent"]
    return {"content": outcome.result.get("content", [])}


def _shown_failure(outcome: Outcome) -> TauseError:
    """Return the failure of a fixed route's tool; what is not there says nothing more, lest it tell whose it is."""
    error = outcome.failure
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
    start, limit = number_of(query.get("cursor", "0")), number_of(query.get("limit", str(PAGE_SIZE)))
    if start is None or not limit:
        raise InvalidRequest("limit is a positive integer, and cursor one that an earlier page gave")
    return start, min(limit, PAGE_SIZE)


def _shown(snapshot: TenantSnapshot, principal: Principal) -> list[Tool]:
    found = sorted(snapshot.installations.items())
    return [tool for _, one in found for tool in one.tools.values() if visible(tool, principal.limits)]


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
