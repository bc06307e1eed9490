"""The agents' client of the gateway: what only reads is asked again, and what may have happened is in doubt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tausestack.contract import Principal
from tausestack.errors import InDoubt
from tausestack_agents.gateway import GatewayClient, connected

pytestmark = pytest.mark.anyio

ACME = Principal("acme", "key:k1", frozenset({"tools:call"}), "agent", "concierge", "run_1")


class Breaking:
    """A gateway that breaks off its first answer, as one that is killed does, and gives the second."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.requests = 0
        self._answer = json.dumps(answer).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        if self.requests > 1:
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(self._answer)}\r\n\r\n"
            writer.write(head.encode() + self._answer)
            await writer.drain()
        writer.close()


@pytest.fixture
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Any]:
    """Serve a breaking gateway, and give it and a client of it."""

    @asynccontextmanager
    async def serve(answer: dict[str, Any]) -> AsyncGenerator[tuple[Breaking, GatewayClient]]:
        path = str(tmp_path_factory.mktemp("g") / "s")
        gateway = Breaking(answer)
        server = await asyncio.start_unix_server(gateway.serve, path)
        async with server, connected(path, "process-credential") as client:
            yield gateway, client

    return serve


@pytest.mark.covers("agents:reads-are-asked-again")
async def test_a_list_that_broke_midway_is_asked_for_again(breaking: Any) -> None:
    async with breaking({"tools": [{"name": "t"}], "next_cursor": None}) as (gateway, client):
        assert await client.list_tools("acme", "token") == [{"name": "t"}]
        assert gateway.requests == 2


@pytest.mark.covers("agents:reads-are-asked-again")
async def test_a_delegation_that_broke_midway_is_asked_for_again(breaking: Any) -> None:
    given = {"structuredContent": {"token": "t", "expires_in": 600}, "isError": False}
    async with breaking({"jsonrpc": "2.0", "id": 1, "result": given}) as (gateway, client):
        token, *_ = await client.delegate(ACME, frozenset({"tools:call"}))
        assert token == "t"
        assert gateway.requests == 2


@pytest.mark.covers("agents:unkeyed-doubt-waits")
async def test_a_call_that_broke_midway_is_in_doubt_and_not_sent_again(breaking: Any) -> None:
    async with breaking({}) as (gateway, client):
        with pytest.raises(InDoubt):
            await client.call_tool("acme", "billing", "create_invoice", {}, credential="token")
        assert gateway.requests == 1
