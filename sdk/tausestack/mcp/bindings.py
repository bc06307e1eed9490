"""A server over HTTP: its MCP endpoint, its `http` bindings, what is mounted beside them, its health."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import structlog
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tausestack.errors import InternalError, TauseError, Unauthenticated, to_problem
from tausestack.mcp.assertions import bearer
from tausestack.mcp.calls import EXCHANGE, require_own
from tausestack.mcp.context import Context
from tausestack.mcp.service import Lifespan, Service
from tausestack.mcp.tenant_door import tenant_routes
from tausestack.mcp.tenant_work import Keeper
from tausestack.mcp.writing import Writing

LOOPBACK = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[::1]:*")
"""The `Host` values taken from a browser's neighbourhood: nobody can point a name of theirs at us."""

MAX_BODY_BYTES = 8 * 1024 * 1024

Handler = Callable[[Request, Context], Awaitable[Response]]


@dataclass(frozen=True)
class Binding:
    """A handler of what MCP can't carry, served under `/http/{path}`."""

    path: str
    methods: tuple[str, ...]
    scopes: tuple[str, ...]
    handler: Handler


class ServiceApp:
    """The ASGI application of one service; its lifespan is the service's."""

    def __init__(
        self, service: Service, protocol: Any, lifespan: Lifespan | None, bindings: Sequence[Binding],
        keepers: Sequence[Keeper], mounts: Mapping[str, Callable[[Service], ASGIApp]],
        allowed_hosts: Sequence[str] | None,
    ) -> None:  # fmt: skip
        self._service = service
        self._lifespan = lifespan
        self._manager = StreamableHTTPSessionManager(
            protocol,
            stateless=True,
            security_settings=_security(allowed_hosts),
            max_request_body_size=MAX_BODY_BYTES,
        )
        routes: list[BaseRoute] = [Route("/health", self._health)]
        routes += tenant_routes(service, keepers)
        routes += [Route(f"/http/{each.path}", self._endpoint(each), methods=list(each.methods)) for each in bindings]
        self._mounts = mounts
        self._router = Router(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["path"] == "/mcp":
            await self._serve_mcp(scope, receive, send)
        else:
            await self._router(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._service.running(self._lifespan))
                await stack.enter_async_context(self._manager.run())
                self._router.routes += [Mount(prefix, make(self._service)) for prefix, make in self._mounts.items()]
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
        except Exception as error:
            structlog.get_logger(self._service.name).exception("service broke")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        told: dict[str, Any] = {}

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start" and "status" in told:
                challenge = (b"www-authenticate", b"Bearer")
                message = {**message, "status": told["status"], "headers": [*message.get("headers", []), challenge]}
            await send(message)

        await self._manager.handle_request({**scope, EXCHANGE: told}, receive, send_told)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "healthy", "server": self._service.name})

    def _endpoint(self, binding: Binding) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            call_id = secrets.token_hex(8)
            try:
                return await self._answer(binding, request, call_id)
            except TauseError as error:
                return _problem(error)
            except Exception:  # noqa: BLE001 whatever a handler raises: it is logged, its text never leaves
                structlog.get_logger(self._service.name).exception("binding raised", path=binding.path, call=call_id)
                return _problem(InternalError(f"internal error, call {call_id}", call=call_id))

        return endpoint

    async def _answer(self, binding: Binding, request: Request, call_id: str) -> Response:
        assertion = bearer(request.headers)
        principal = self._service.principal(assertion)
        require_own(principal, list(binding.scopes))
        reads = request.method in {"GET", "HEAD"}
        databases = self._service.databases
        writing = None if reads or databases is None else Writing(databases, principal.tenant, binding.path)
        context = Context(
            service=self._service,
            principal=principal,
            assertion=assertion or "",
            call_id=call_id,
            tool=binding.path,
            reads=reads,
            writing=writing,
        )
        with context.logged(), self._service.work.of(context.tenant):
            if writing is None:
                return await binding.handler(request, context)
            async with aclosing(writing):
                response = await binding.handler(request, context)
                await writing.commit({})
                return response


def _problem(error: TauseError) -> Response:
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
    return JSONResponse(to_problem(error), error.status, headers, media_type="application/problem+json")


def _security(allowed_hosts: Sequence[str] | None) -> TransportSecuritySettings:
    if allowed_hosts is None:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    hosts = list(allowed_hosts)
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins)
