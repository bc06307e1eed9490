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
from tausestack_runtime.adapters.door import Door
from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.fetch_npm import fetch_npm
from tausestack_runtime.adapters.folders import Folders
from tausestack_runtime.adapters.hosted import Hosted
from tausestack_runtime.adapters.launches import Remote, parse_launch
from tausestack_runtime.egress import Egress

STORE = "store"


class Fetched(TypedDict):
    """A package in the store: `argv` is its entry point, `store` its folder there, `wheels` their hashes."""

    version: str
    argv: list[str]
    store: str
    wheels: dict[str, str]


class Probed(TypedDict):
    """What a server said when it was started once, and in which sandbox; "" for one that is reached at a URL.

    `protocols` are the versions that it speaks, newest first; `offer` what it offers beside its tools; `left_out` its
    tools that are out of bounds, each with the reason; `url` where it was found, "" where it runs here.
    """

    server: dict[str, Any]
    tools: list[dict[str, Any]]
    sandbox: str
    protocols: list[str]
    offer: dict[str, Any]
    left_out: list[dict[str, str]]
    url: str


class Stopped(TypedDict):
    """Whether a server ran until now."""

    stopped: bool


@asynccontextmanager
async def lifespan(service: ts.mcp.Service) -> AsyncGenerator[Hosted]:
    """Keep the tenant's servers, and end them with the host."""
    log, tenant = structlog.get_logger("adapter"), service.env.tenant
    folders = None if tenant is None else Folders(service.env.data.absolute() / "tenants" / tenant / "servers")
    egress = Egress.of(os.environ)
    hosted = Hosted(_store(service.env.data), sandbox.wish_of(os.environ), log, folders=folders, egress=egress)
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
    fetchers = {"pypi": fetch_python, "npm": fetch_npm}
    if registry_type not in fetchers:
        raise InvalidArguments(f"'{registry_type[:40]}' packages can't be fetched: pypi and npm ones can")
    package = await fetchers[registry_type](_store(ctx.service.env.data), identifier, version)
    return Fetched(version=package.version, argv=[package.entry], store=package.store, wheels=package.wheels)


@server.tool("adapter/probe", side_effect="read", scopes=[SYSTEM])
async def probe(ctx: ts.mcp.Context, name: str, launch: dict[str, Any]) -> Probed:
    """Start a server once in the sandbox, or reach it, and return its raw tools; nothing of it stays."""
    hosted: Hosted = ctx.state
    wanted = parse_launch(launch)
    found = await hosted.probe(check_server(name), wanted)
    tier = "" if isinstance(wanted, Remote) else hosted.tier()
    return Probed(
        server=found.server, tools=found.tools, sandbox=tier, protocols=found.protocols, offer=found.offer,
        left_out=found.left_out, url=found.url or "",
    )  # fmt: skip


@server.tool("adapter/stop", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def stop(ctx: ts.mcp.Context, name: str, purge: bool = False) -> Stopped:
    """End a server's process and forget how it is started; with `purge`, remove what it has written too."""
    hosted: Hosted = ctx.state
    return Stopped(stopped=await hosted.stop(check_server(name), purge=purge))


def _store(data: Path) -> Path:
    return data.absolute() / STORE
