"""Serving a server: over stdio, over HTTP, or on a socket that the supervisor hands over."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tausestack.errors import TauseError, Unauthenticated, to_jsonrpc, to_problem
from tausestack.mcp.context import Context
from tausestack.mcp.server import HttpBinding
from tausestack.mcp.service import Service, ServiceEnv
from tausestack.telemetry import configure_logging

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from tausestack.mcp.server import Server

KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10

_LOOPBACK = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1", "127.0.0.1:*", "localhost", "localhost:*", "[::1]", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)


def application(server: Server, env: ServiceEnv) -> ASGIApp:
    """Return a server's ASGI application; its lifespan opens what the server needs and closes it again."""
    service = Service(server.name, env, server.schema)
    manager = StreamableHTTPSessionManager(
        app=server.protocol(service), stateless=True, security_settings=_LOOPBACK, max_request_body_size=8 * 1024 * 1024
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with running(server, service), manager.run():
            yield

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "healthy", "service": server.name, "version": server.version})

    return Starlette(
        routes=[
            Route("/mcp", endpoint=_McpDoor(manager, service)),
            *(Mount("/http", routes=[_route(binding, service)]) for binding in server.bindings),
            *(Mount(prefix, app=app(service)) for prefix, app in server.mounts),
            Route("/health", endpoint=health),
        ],
        lifespan=lifespan,
    )


@asynccontextmanager
async def running(server: Server, service: Service) -> AsyncGenerator[None]:
    """Run a server's lifespan around its life, and close what the service opened."""
    async with AsyncExitStack() as exits:
        exits.push_async_callback(service.aclose)
        if server.lifespan is not None:
            service.state = await exits.enter_async_context(server.lifespan(service))
        yield


def serve_socket(server: Server, sock: socket.socket, env: ServiceEnv) -> None:
    """Serve a listening socket until SIGTERM; calls in flight then have 10 s to end."""
    configure_logging(env.log_level, server.name)
    config = uvicorn.Config(
        server.asgi(env),
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[sock]))


def main(server: Server, argv: Sequence[str] | None) -> None:
    """Serve as the command line says: stdio, or HTTP with `--port`, or a Unix socket with `--socket`."""
    parser = argparse.ArgumentParser(description=server.description or f"The MCP server '{server.name}'.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (with --port)")
    parser.add_argument("--port", type=int, help="serve streamable HTTP at http://HOST:PORT/mcp; 0: a free port")
    parser.add_argument("--socket", type=Path, help="serve streamable HTTP on a Unix socket")
    given = parser.parse_args(argv)
    env = ServiceEnv.from_environment()
    if given.port is not None or given.socket is not None:
        with _listening(given.host, given.port, given.socket) as sock:
            serve_socket(server, sock, env)
        return
    configure_logging(env.log_level, server.name)
    if sys.stdin.isatty():
        print(f"{server.name}: speaking MCP over stdio; --port 8080 serves HTTP instead", file=sys.stderr)
    asyncio.run(_serve_stdio(server, env))


async def _serve_stdio(server: Server, env: ServiceEnv) -> None:
    service = Service(server.name, env, server.schema)
    protocol = server.protocol(service)
    serving = asyncio.current_task()
    assert serving is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    async with running(server, service), stdio_server() as (incoming, outgoing):
        await protocol.run(incoming, outgoing, protocol.create_initialization_options())


def _listening(host: str, port: int | None, path: Path | None) -> socket.socket:
    if path is not None:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port or 0))
        except OSError as error:
            sys.exit(f"can't listen on {host}:{port}: {error.strerror}")
        print(f"listening on http://{host}:{sock.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    sock.listen(4096)
    return sock


class _McpDoor:
    """`POST /mcp`: a call without a good assertion is answered 401 before its body is read."""

    def __init__(self, manager: StreamableHTTPSessionManager, service: Service) -> None:
        self._manager = manager
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("mcp-method") == "tools/call":
            try:
                self._service.authenticate(headers)
            except Unauthenticated as error:
                refusal = {"jsonrpc": "2.0", "id": None, "error": to_jsonrpc(error)}
                challenge = {"WWW-Authenticate": f'Bearer realm="{self._service.name}"'}
                await JSONResponse(refusal, status_code=401, headers=challenge)(scope, receive, send)
                return
        await self._manager.handle_request(scope, receive, send)


def _route(binding: HttpBinding, service: Service) -> Route:
    async def answer(request: Request) -> Response:
        try:
            context = _http_context(request, service, binding)
            return await binding.handler(request, context)
        except TauseError as error:
            body = json.dumps(to_problem(error))
            return Response(body, status_code=error.status, media_type="application/problem+json")

    return Route(binding.path, endpoint=answer, methods=list(binding.methods))


def _http_context(request: Request, service: Service, binding: HttpBinding) -> Context:
    headers: dict[str, Any] = dict(request.headers)
    principal = service.authenticate(headers)
    return Context(
        service,
        principal,
        tool=binding.path,
        assertion=headers["authorization"].partition(" ")[2].strip(),
        call_id=headers.get("tausestack-call", "http"),
    )
