"""A client of any MCP server over HTTP, ours or another's, whichever version it speaks: the official SDK's, opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx2

from tausestack.errors import InvalidRequest

if TYPE_CHECKING:
    from mcp import Client

CONNECT_SECONDS = 30.0
STREAM_SECONDS = 300.0
"""How long a server may be silent on a stream that it holds open."""

Mode = Literal["auto", "legacy", "2026-07-28"]
"""`auto` asks the server what it speaks; `legacy` says `initialize`; a version takes the server to speak it."""

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@asynccontextmanager
async def connect(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth: httpx2.Auth | None = None,
    mode: Mode = "auto",
    **more: Any,
) -> AsyncGenerator[Client]:
    """Connect to an MCP server and give out the official SDK's client of it, for as long as the block lasts.

    The task that enters the block owns the connection; any task may call through it meanwhile. `auth` is, for one,
    an `OAuthClientProvider`; what else is said goes to `mcp.Client`: callbacks for elicitation, sampling, roots and
    logging, extensions, the cache.
    """
    from mcp import Client  # a server that calls nobody does not load it
    from mcp.client.streamable_http import streamable_http_client

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidRequest(f"'{url[:200]}' is no MCP server's URL: it is like https://example.com/mcp")
    async with (
        httpx2.AsyncClient(
            headers=dict(headers or {}),
            auth=auth,
            timeout=httpx2.Timeout(CONNECT_SECONDS, read=STREAM_SECONDS),
            trust_env=parts.hostname not in _LOOPBACK,
        ) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **more) as client,
    ):
        yield client
