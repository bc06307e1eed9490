"""The MCP doors: a tenant's merged endpoint, and one endpoint a server; both translate and decide nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tausestack.contract import (
    MCP_SERVER_META,
    META_APPROVAL,
    META_KEY,
    META_PARENT,
    META_PREFIX,
    PROTOCOL_VERSION,
    VERSION,
    Principal,
)
from tausestack.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Cancelled,
    Forbidden,
    NotFound,
    TauseError,
    to_jsonrpc,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack.scopes import OPERATOR, TOOLS_CALL, TOOLS_READ, covers, missing
from tausestack_runtime.gateway.call import CALL_SECONDS, Call
from tausestack_runtime.gateway.exchange import JSON, Exchange
from tausestack_runtime.gateway.identity import Identity, bearer
from tausestack_runtime.gateway.mcp.envelope import Refused, Request, read
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.snapshots import Snapshots, TenantSnapshot, Tool, not_found

LIST_TTL_MS = 5_000


class McpEndpoint:
    """Answers `server/discover`, `tools/list` and `tools/call`."""

    def __init__(self, pipeline: Pipeline, identity: Identity, snapshots: Snapshots) -> None:
        self._pipeline = pipeline
        self._identity = identity
        self._snapshots = snapshots

    async def __call__(self, exchange: Exchange, tenant: str, server: str | None) -> None:
        """Serve one POST; `server` is None on the merged endpoint."""
        if exchange.method != "POST":
            await exchange.reply(405, b"", headers=[(b"allow", b"POST")])
            return
        request_id: str | int | None = None
        try:
            credential = bearer(exchange.header(b"authorization"))
            request = await read(exchange)
            request_id = request.id
            principal, parent = await self._who(exchange, credential, request, tenant)
            if request.id is None:
                await exchange.reply(202, b"")
                return
            await self._answer(exchange, request, principal, parent, server)
        except Cancelled:
            return
        except Refused as error:
            await _fail(exchange, error.request_id if request_id is None else request_id, error)
        except TauseError as error:
            await _fail(exchange, request_id, error)

    async def _who(
        self, exchange: Exchange, credential: str, request: Request, tenant: str
    ) -> tuple[Principal, Call | None]:
        if not exchange.internal:
            return await self._identity.principal(credential, tenant), None
        parent = request.meta.get(META_PARENT)
        if isinstance(parent, str):
            process = exchange.header(b"x-tausestack-process")
            return await self._identity.nested(credential, parent, process, tenant)
        if tenant == SYSTEM_TENANT:
            return await self._identity.own_process(credential, tenant), None
        return await self._identity.principal(credential, tenant), None

    async def _answer(
        self, exchange: Exchange, request: Request, principal: Principal, parent: Call | None, server: str | None
    ) -> None:
        if request.method == "tools/call":
            await self._call(exchange, request, principal, parent, server)
            return
        if OPERATOR in principal.scopes:
            raise Forbidden("The operator's key makes tenants and keys, and nothing inside them", scope=TOOLS_READ)
        snapshot = await self._snapshots.tenant(principal.tenant)
        if server is not None and server not in snapshot.installations:
            raise not_found()
        if request.method == "server/discover":
            await exchange.reply_json(200, _response(request, _discovery(snapshot, server)))
        elif request.method == "tools/list":
            await exchange.reply(200, _listing(request, snapshot, server, principal))
        else:
            raise Refused(METHOD_NOT_FOUND, f"Method not found: {request.method[:120]}", request.id)

    async def _call(
        self, exchange: Exchange, request: Request, principal: Principal, parent: Call | None, server: str | None
    ) -> None:
        arguments = as_object(request.params.get("arguments", {}))
        if arguments is None:
            raise Refused(INVALID_PARAMS, "params.arguments has to be an object", request.id)
        owner, tool = await self._named(principal, server, str(request.params["name"]))
        loop = asyncio.get_running_loop()

        async def notify(message: dict[str, Any]) -> None:
            if exchange.accepts_events():
                await exchange.event(orjson.dumps(message))

        call = Call(
            tenant=principal.tenant,
            principal=principal,
            server=owner,
            tool=tool,
            arguments=arguments,
            door="mcp",
            deadline=parent.deadline if parent else loop.time() + CALL_SECONDS,
            key=_text(request.meta.get(META_KEY)) or exchange.header(b"idempotency-key"),
            approval=_text(request.meta.get(META_APPROVAL)),
            parent=parent,
            meta={name: value for name, value in request.meta.items() if not name.startswith(META_PREFIX)},
            request_id=request.id,
            bytes_in=request.size,
            notify=notify,
        )
        outcome = await exchange.while_connected(self._pipeline.run(call))
        raw = outcome.raw or orjson.dumps(_response(request, outcome.result))
        if exchange.streaming:
            await exchange.event(raw)
            await exchange.end_events()
        else:
            await exchange.reply(200, raw)

    async def _named(self, principal: Principal, server: str | None, name: str) -> tuple[str, str]:
        """Return the server and tool that a name means on this endpoint."""
        if server is not None:
            return server, name
        if principal.tenant == SYSTEM_TENANT:
            raise not_found()
        tool = (await self._snapshots.tenant(principal.tenant)).wires.get(name)
        # What is not there has no server; the pipeline refuses it, and leaves the line that says so.
        return ("", name) if tool is None or OPERATOR in principal.scopes else (tool.server, tool.name)


def visible(tool: Tool, principal: Principal) -> bool:
    """Whether a principal is shown a tool: it is active, and they may call it or read what there is."""
    if tool.hidden or tool.status != "active" or OPERATOR in tool.policy.scopes:
        return False
    if all(covers(limit, TOOLS_READ) for limit in principal.limits):
        return True
    return missing(principal.limits, tool.needs) is None


def _listing(request: Request, snapshot: TenantSnapshot, server: str | None, principal: Principal) -> bytes:
    """Return the whole `tools/list` response: cached definitions, joined."""
    if not any(covers(limit, TOOLS_READ) or _may_call(limit) for limit in principal.limits):
        raise Forbidden(f"This credential lacks the scope {TOOLS_READ}", scope=TOOLS_READ)
    if request.params.get("cursor") is not None:
        raise Refused(INVALID_PARAMS, "This cursor is not one of ours", request.id)
    if server is not None:
        tools = snapshot.installations[server].tools.values()
        shown = [tool.definition for tool in tools if visible(tool, principal)]
    else:
        found = sorted(snapshot.wires.items())
        shown = [
            tool.merged_definition if name == tool.wire else tool.definition
            for name, tool in found
            if visible(tool, principal)
        ]
    head = orjson.dumps({"jsonrpc": "2.0", "id": request.id})[:-1]
    rest = orjson.dumps({"resultType": "complete", "ttlMs": LIST_TTL_MS, "cacheScope": "private"})[1:-1]
    return head + b',"result":{' + rest + b',"tools":[' + b",".join(shown) + b"]}}"


def _may_call(limit: frozenset[str]) -> bool:
    return any(scope.startswith(TOOLS_CALL) for scope in limit)


def _discovery(snapshot: TenantSnapshot, server: str | None) -> dict[str, Any]:
    own = None if server is None else snapshot.installations[server]
    return {
        "resultType": "complete",
        "supportedVersions": [PROTOCOL_VERSION],
        "capabilities": {"tools": {}},
        "ttlMs": LIST_TTL_MS,
        "cacheScope": "private",
        "_meta": {
            MCP_SERVER_META: {
                "name": "tausestack" if own is None else own.name,
                "title": "TauseStack" if own is None else own.title,
                "version": VERSION if own is None else own.version or VERSION,
            }
        },
    }


def _response(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


async def _fail(exchange: Exchange, request_id: str | int | None, error: TauseError) -> None:
    body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": to_jsonrpc(error)})
    await exchange.fail(error, _status(error), body, JSON, b"message")


def _status(error: TauseError) -> int:
    """JSON-RPC's own errors have the statuses that the protocol gives them; ours keep theirs."""
    if error.rpc == METHOD_NOT_FOUND:
        return 404
    if isinstance(error, NotFound):
        return 404
    return 400 if error.rpc == INVALID_PARAMS else error.status
