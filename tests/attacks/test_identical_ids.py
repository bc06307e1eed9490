"""Clients whose requests look alike: each gets its own answer."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import orjson
import pytest

from stack import Stack, Tenant
from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire import Pool

CLIENTS = 200
TENANTS = 5
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


class Client:
    """One client on a connection of its own, whose every JSON-RPC id is 1, as everybody's."""

    def __init__(self, tenant: Tenant, origin: Origin, egress: Egress) -> None:
        self.pool = Pool(origin, max_connections=1, egress=egress)
        self._tenant = tenant
        self._rest = [(b"authorization", f"Bearer {tenant.key}".encode()), (b"content-type", b"application/json")]
        self._mcp = [
            *self._rest,
            (b"accept", b"application/json, text/event-stream"),
            (b"mcp-protocol-version", b"2026-07-28"),
            (b"mcp-method", b"tools/call"),
            (b"mcp-name", b"colombia__format_nit"),
        ]

    async def over_rest(self, nit: str) -> str:
        target = f"/api/v2/tenants/{self._tenant.name}/tools/colombia/format_nit"
        return orjson.loads(await self._ask(target, self._rest, {"nit": nit}))["formatted"]

    async def over_mcp(self, nit: str) -> str:
        params = {"name": "colombia__format_nit", "arguments": {"nit": nit}, "_meta": META}
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        reply = orjson.loads(await self._ask(f"/tenants/{self._tenant.name}/mcp", self._mcp, request))
        assert reply["id"] == 1
        return reply["result"]["structuredContent"]["formatted"]

    async def _ask(self, target: str, headers: list[tuple[bytes, bytes]], body: object) -> bytes:
        deadline = asyncio.get_running_loop().time() + 60
        reply = await self.pool.request("POST", target, headers, orjson.dumps(body), deadline=deadline)
        return await reply.read()


async def calls_that_look_alike(stack: Stack, calls: int) -> None:
    place = urlsplit(stack.url)
    assert place.port is not None
    origin = Origin("http", "127.0.0.1", place.port)
    egress = Egress(frozenset({(origin.host, origin.port)}))
    tenants = [stack.tenant() for _ in range(TENANTS)]
    for tenant in tenants:
        tenant.install("colombia")
    clients = [Client(tenants[n % TENANTS], origin, egress) for n in range(CLIENTS)]
    crossed: list[tuple[str, str]] = []

    async def work(client: Client, first: int) -> None:
        for n in range(first, calls, CLIENTS):
            nit = str(800_000_000 + n)
            answer = await (client.over_mcp(nit) if (n // CLIENTS) % 2 else client.over_rest(nit))
            if answer.replace(".", "").partition("-")[0] != nit:
                crossed.append((nit, answer))

    try:
        await asyncio.gather(*(work(client, n) for n, client in enumerate(clients)))
    finally:
        for client in clients:
            await client.pool.aclose()
    assert crossed == []


@pytest.mark.anyio
@pytest.mark.covers("attacks:identical-ids")
async def test_two_hundred_clients_with_identical_ids_get_their_own_answers(stack: Stack) -> None:
    await calls_that_look_alike(stack, 2_000)


@pytest.mark.anyio
@pytest.mark.soak
@pytest.mark.covers("attacks:identical-ids")
async def test_two_hundred_thousand_calls_with_identical_ids_get_their_own_answers(stack: Stack) -> None:
    await calls_that_look_alike(stack, 200_000)
