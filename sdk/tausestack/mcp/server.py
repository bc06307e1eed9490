"""An MCP server of the house: tools, `http` bindings and mounted applications, for one tenant a call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mcp_types as types
import structlog
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as ProtocolServer

from tausestack.contract import (
    META_APPROVAL,
    META_ASSERTION,
    META_CALL,
    META_KEY,
    VERSION,
    Approval,
    SideEffect,
)
from tausestack.errors import (
    InternalError,
    InvalidArguments,
    NotFound,
    TauseError,
    Unauthenticated,
    to_jsonrpc,
)
from tausestack.mcp.context import AlreadyDone, Context, Progress
from tausestack.mcp.definition import Function, ToolDefinition, policy_of, tool_name
from tausestack.mcp.earlier import ADDRESS, EarlierFunction, adapted
from tausestack.mcp.service import Service, ServiceEnv
from tausestack.names import Address, check_server

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from tausestack.database import Schema

HttpHandler = Callable[["Request", Context], Awaitable["Response"]]
Lifespan = Callable[[Service], AbstractAsyncContextManager[Any]]

META_ERROR = "pro.tause/error"
"""In a failed result's `_meta`: the error's `code` and data."""


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """What MCP can't carry, under a path of the service."""

    path: str
    methods: tuple[str, ...]
    handler: HttpHandler


class Server:
    """A server: what is registered on it, and how each call is taken to its tool.

    `schema` gives it a database per tenant; `lifespan` runs around its life, and what it yields is `ctx.state`.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = VERSION,
        title: str = "",
        description: str = "",
        instructions: str | None = None,
        schema: Schema | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        self.name = check_server(name)
        self.version = version
        self.title = title or name
        self.description = description
        self.instructions = instructions
        self.schema = schema
        self.lifespan = lifespan
        self.bindings: list[HttpBinding] = []
        self.mounts: list[tuple[str, Callable[[Service], ASGIApp]]] = []
        self._tools: dict[str, ToolDefinition] = {}

    def tool(
        self,
        address: str | None = None,
        *,
        title: str | None = None,
        description: str | None = None,
        side_effect: SideEffect = "write",
        idempotent: bool = False,
        scopes: Sequence[str] = (),
        approval: Approval = "never",
        price: str = "standard",
    ) -> Callable[[Function], Function]:
        """Register a function as a tool, named `server/tool` or by itself.

        Parameters and return type make the schemas, the docstring the description. The tenant is `ctx.tenant`.
        """
        keyed = self.schema is not None
        policy = policy_of(
            side_effect, idempotent=idempotent, keyed=keyed, scopes=scopes, approval=approval, price=price
        )

        def register(function: Function) -> Function:
            name = tool_name(self.name, address, function)
            self._add(ToolDefinition(function, name=name, policy=policy, title=title, description=description))
            return function

        return register

    def include(self, function: EarlierFunction, *, side_effect: SideEffect = "write") -> None:
        """Register a tool of the earlier form, marked with `ts.mcp.tool`."""
        address = getattr(function, ADDRESS, None)
        if address is None:
            raise ValueError("mark the function with @ts.mcp.tool('service/operation') first")
        policy = policy_of(side_effect, idempotent=False, keyed=False, scopes=(), approval="never", price="standard")
        name = tool_name(self.name, address, function)
        self._add(_EarlierTool(adapted(function), name=name, policy=policy, title=None, description=None))

    def http(self, path: str, *, methods: Sequence[str] = ("GET",)) -> Callable[[HttpHandler], HttpHandler]:
        """Register a handler `(request, ctx)` below `/http`; it needs the same assertion as a call."""

        def register(handler: HttpHandler) -> HttpHandler:
            self.bindings.append(HttpBinding("/" + path.lstrip("/"), tuple(methods), handler))
            return handler

        return register

    def mount(self, prefix: str, app: Callable[[Service], ASGIApp]) -> None:
        """Serve another ASGI application below a path; it checks its callers by `service.authenticate`."""
        self.mounts.append((prefix, app))

    def definitions(self) -> list[dict[str, Any]]:
        """Return the raw tool objects, sorted by name."""
        return [self._tools[name].raw for name in sorted(self._tools)]

    def asgi(self, env: ServiceEnv) -> ASGIApp:
        """Return the ASGI application: `POST /mcp`, `/http/…`, mounts, `GET /health`."""
        from tausestack.mcp.serve import application

        return application(self, env)

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Serve: over stdio, or over HTTP with `--port`, or on a Unix socket with `--socket`."""
        from tausestack.mcp.serve import main

        main(self, argv)

    def protocol(self, service: Service) -> ProtocolServer[Any]:
        """Return the official SDK's server that lists and calls these tools."""
        return ProtocolServer(
            self.name,
            version=self.version,
            title=self.title,
            description=self.description or None,
            instructions=self.instructions,
            get_tool_input_schema=self._input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=_Dispatch(self, service).call_tool,
        )

    def find(self, name: str) -> ToolDefinition:
        """Return a tool, or raise `NotFound`."""
        found = self._tools.get(name)
        if found is None:
            raise NotFound(f"{self.name} has no tool '{name[:128]}'")
        return found

    def _add(self, definition: ToolDefinition) -> None:
        if definition.name in self._tools:
            raise ValueError(f"{self.name} has a tool '{definition.name}' already")
        self._tools[definition.name] = definition

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        found = self._tools.get(name)
        return None if found is None else found.raw["inputSchema"]

    async def _list_tools(
        self, _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> Any:
        return types.ListToolsResult(
            tools=[types.Tool.model_validate(tool) for tool in self.definitions()], ttl_ms=60_000, cache_scope="public"
        )


class _EarlierTool(ToolDefinition):
    """A tool of the earlier form: all its arguments are `params`."""

    @property
    def raw(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride] computed in both
        open_object: dict[str, Any] = {"type": "object", "additionalProperties": True, "properties": {}}
        return {**super().raw, "inputSchema": open_object}

    def parse(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return super().parse({"params": arguments})


class _Dispatch:
    """Takes a `tools/call` to its tool: assertion, arguments, effect, result."""

    def __init__(self, server: Server, service: Service) -> None:
        self._server = server
        self._service = service

    async def call_tool(self, request: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        meta: dict[str, Any] = dict(request.meta or {})
        try:
            assertion = _assertion(request, meta)
            context = self._context(request, params, meta, assertion)
            return await run_tool(self._server, context, params.name, params.arguments or {})
        except (Unauthenticated, InvalidArguments, NotFound) as error:
            wire = to_jsonrpc(error)
            raise MCPError(code=wire["code"], message=wire["message"], data=wire["data"]) from error

    def _context(
        self,
        request: ServerRequestContext[Any],
        params: types.CallToolRequestParams,
        meta: dict[str, Any],
        assertion: str,
    ) -> Context:
        return Context(
            self._service,
            self._service.verify(assertion),
            tool=params.name,
            assertion=assertion,
            call_id=str(meta.get(META_CALL) or f"direct-{request.request_id}"),
            idempotency_key=_text(meta.get(META_KEY)),
            approval=_text(meta.get(META_APPROVAL)),
            digest=arguments_digest(params.arguments or {}),
            progress=_progress(request),
        )


async def run_tool(server: Server, context: Context, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a tool to its end and return the raw result object.

    Its effect commits with the key and the result; a failure of the tool is a result with `isError`. Raises
    `NotFound`, `InvalidArguments`.
    """
    definition = server.find(name)
    parsed = definition.parse(arguments)
    address = Address(server.name, name)
    try:
        structured = await definition.run(parsed, context)
        await context.settle(structured)
    except AlreadyDone as done:
        structured = done.result
    except TauseError as error:
        return _failed(error)
    except Exception:
        context.logger.exception("tool raised", address=str(address))
        return _failed(InternalError(f"{address} failed on our side; it is in the log under {context.call_id}"))
    finally:
        await context.aclose()
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": json.dumps(structured, ensure_ascii=False)}],
        "structuredContent": structured,
        "isError": False,
    }


def arguments_digest(arguments: dict[str, Any]) -> str:
    """Return the SHA-256 of arguments in canonical JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _failed(error: TauseError) -> dict[str, Any]:
    structlog.get_logger("kit").debug("tool failed", code=error.code)
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": error.message}],
        "isError": True,
        "_meta": {META_ERROR: to_jsonrpc(error)["data"]},
    }


def _assertion(request: ServerRequestContext[Any], meta: dict[str, Any]) -> str:
    """Return the assertion: the bearer token over HTTP, an entry of `_meta` over stdio."""
    if request.request is not None:
        scheme, _, token = str(request.request.headers.get("authorization", "")).partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    return _text(meta.get(META_ASSERTION)) or ""


def _progress(request: ServerRequestContext[Any]) -> Progress:
    async def report(progress: float, total: float | None, message: str | None) -> None:
        await request.session.report_progress(progress, total, message)

    return report


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
