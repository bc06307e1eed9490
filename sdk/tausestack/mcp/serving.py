"""Processes that serve a server: over a socket they are handed, over HTTP, over stdio."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.server.stdio import stdio_server

from tausestack.mcp.bindings import LOOPBACK
from tausestack.mcp.environment import ServiceEnv
from tausestack.telemetry import configure_logging

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tausestack.mcp.server import Server

_BACKLOG = 4096
_IDLE_SECONDS = 75
"""How long a connection may be idle: longer than any pool of the gateway's keeps one."""
_GRACE_SECONDS = 10
"""How long calls in flight may take to end after SIGTERM."""


def serve_socket(server: Server, sock: socket.socket, env: ServiceEnv) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT, then let the calls in flight end, 10 s at most.

    Raises `SystemExit` where the service's lifespan breaks, at its start or later: whoever started it starts it again.
    A Unix socket is guarded by its folder; over TCP only loopback's own names are taken as `Host`.
    """
    configure_logging(env.log_level, server.name)
    if sock.family == socket.AF_UNIX:
        _serve(server.asgi(replace(env, socket=sock.getsockname()), allowed_hosts=None), sock)
    else:
        _serve(server.asgi(env, allowed_hosts=LOOPBACK), sock)


def main(server: Server, argv: Sequence[str] | None) -> None:
    """Serve a server as its command line says."""
    parser = argparse.ArgumentParser(prog=server.name, description=server.description or server.title or server.name)
    parser.add_argument("--port", type=int, help="serve HTTP on this port; 0: a free one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to serve HTTP on (127.0.0.1)")
    parser.add_argument("--socket", type=Path, help="serve HTTP on this Unix socket")
    asked = parser.parse_args(argv)
    env = ServiceEnv.from_environment()
    configure_logging(env.log_level, server.name)
    if asked.socket is not None:
        with _unix_socket(asked.socket) as sock:
            _serve(server.asgi(replace(env, socket=str(asked.socket)), allowed_hosts=None), sock)
    elif asked.port is not None:
        with _tcp_socket(asked.host, asked.port) as sock:
            hosts = [*LOOPBACK, asked.host, f"{asked.host}:*"]
            shown = f"[{asked.host}]" if ":" in asked.host else asked.host
            print(f"{server.name}: http://{shown}:{sock.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
            _serve(server.asgi(env, allowed_hosts=hosts), sock)
    else:
        asyncio.run(_serve_stdio(server, env))


def _serve(app: ASGIApp, sock: socket.socket) -> None:
    # Only here: a server over stdio needs none of it.
    import uvicorn

    class Process(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            """Stop on a signal, and exit 0: uvicorn would raise it again once everything has ended."""
            loop = asyncio.get_running_loop()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, self.handle_exit, each, None)
            yield

        async def on_tick(self, counter: int) -> bool:
            """Stop also once the service's own work broke: without it each call would fail, and nobody mend it."""
            return self.lifespan.error_occurred or await super().on_tick(counter)

    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        backlog=_BACKLOG,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    process = Process(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(process.serve(sockets=[sock]))
    if not process.started or process.lifespan.error_occurred:
        raise SystemExit(1)


async def _serve_stdio(server: Server, env: ServiceEnv) -> None:
    service = server.service(env)
    protocol = server.protocol(service)
    async with service.running(server.lifespan), stdio_server() as (read, write):
        await protocol.run(read, write, protocol.create_initialization_options())


@contextmanager
def _unix_socket(path: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        except OSError as error:
            raise SystemExit(f"{path}: {error.strerror}") from error
        finally:
            os.umask(before)
        try:
            sock.listen(_BACKLOG)
            yield sock
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _tcp_socket(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SystemExit(f"{host}:{port}: {error.strerror}; choose another with --port") from error
    with sock:
        yield sock
