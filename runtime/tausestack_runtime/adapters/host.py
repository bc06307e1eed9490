"""The adapter host: one process a tenant, in which its third-party servers are fetched, tried and run."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from typing_extensions import TypedDict

import tausestack as ts
from tausestack.contract import VERSION
from tausestack.errors import InvalidArguments
from tausestack.names import check_server
from tausestack.scopes import SYSTEM
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.door import Door, parse_launch
from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.hosted import Hosted

STORE = "store"


class Fetched(TypedDict):
    """A package in the store: `argv` is its entry point, `store` its folder there, `wheels` their hashes."""

    version: str
    argv: list[str]
    store: str
    wheels: dict[str, str]


class Probed(TypedDict):
    """What a server said when it was started once, and in which sandbox."""

    server: dict[str, Any]
    tools: list[dict[str, Any]]
    sandbox: str


class Stopped(TypedDict):
    """Whether a server ran until now."""

    stopped: bool


@asynccontextmanager
async def lifespan(service: ts.mcp.Service) -> AsyncGenerator[Hosted]:
    """Keep the tenant's servers, and end them with the host."""
    log = structlog.get_logger("adapter")
    hosted = Hosted(_store(service.env.data), sandbox.wish_of(os.environ), log)
    try:
        yield hosted
    finally:
        await hosted.aclose()


server = ts.mcp.Server(
    "adapter",
    version=VERSION,
    title="Adapter host",
    description="Runs a tenant's third-party servers in a sandbox and translates them to the modern protocol.",
    lifespan=lifespan,
)
server.mount("/servers", Door)


@server.tool("adapter/fetch", side_effect="read", scopes=[SYSTEM])
async def fetch(ctx: ts.mcp.Context, registry_type: str, identifier: str, version: str | None = None) -> Fetched:
    """Fetch a package into the store, if it isn't there, without running any of it."""
    if registry_type != "pypi":
        raise InvalidArguments(f"'{registry_type[:40]}' packages can't be fetched: pypi ones can")
    package = await fetch_python(_store(ctx.service.env.data), identifier, version)
    return Fetched(version=package.version, argv=[package.entry], store=package.store, wheels=package.wheels)


@server.tool("adapter/probe", side_effect="read", scopes=[SYSTEM])
async def probe(ctx: ts.mcp.Context, name: str, launch: dict[str, Any]) -> Probed:
    """Start a server once in the sandbox and return its raw tools; nothing of it stays."""
    hosted: Hosted = ctx.state
    said, tools = await hosted.probe(check_server(name), parse_launch(launch))
    return Probed(server=said, tools=tools, sandbox=hosted.tier())


@server.tool("adapter/stop", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def stop(ctx: ts.mcp.Context, name: str) -> Stopped:
    """End a server's process and forget how it is started."""
    hosted: Hosted = ctx.state
    return Stopped(stopped=await hosted.stop(name))


def _store(data: Path) -> Path:
    return data.absolute() / STORE
