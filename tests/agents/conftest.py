"""A loopback gateway for the agents service, and the service itself: in this process, or as one that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from model_server import FakeModel

from agents_gateway import PROCESS, FakeGateway
from loopback import Loopback
from tausestack.contract import META_CALL, Principal
from tausestack.errors import InDoubt, from_data
from tausestack.scopes import ROLES, SYSTEM
from tausestack.tokens import Signer, server_audience

SCRIPT = Path(__file__).parent.parent / "fakes" / "agents_service.py"


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """A gateway on a Unix socket, in a thread of its own."""
    with tempfile.TemporaryDirectory(prefix="ts-") as folder:
        fake = FakeGateway(f"{folder}/gateway.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(fake.path)
        listener.listen(128)
        server = Loopback(uvicorn.Config(fake.app(), log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield fake
        for gate in fake.gates.values():
            gate.set()
        server.end()
        thread.join()
        listener.close()


class Caller:
    """Calls the agents service as the gateway does, for one principal."""

    def __init__(self, http: httpx2.AsyncClient, signer: Signer, principal: Principal) -> None:
        self.http = http
        self.principal = principal
        self.assertion = signer.sign(principal, server_audience("agents"), 3600)

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, *, key: str | None = None) -> Any:
        """Call a tool and return its structured result, or raise what it failed with."""
        meta: dict[str, Any] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            META_CALL: secrets.token_hex(8),
        }
        if key is not None:
            meta["pro.tause/idempotency-key"] = key
        headers = {
            "authorization": f"Bearer {self.assertion}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        params = {"name": tool, "arguments": arguments or {}, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        reply = await self.http.post("/mcp", json=body, headers=headers, timeout=120)
        text = reply.text
        if reply.headers["content-type"].startswith("text/event-stream"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        message = json.loads(text)
        if "error" in message:
            raise from_data(message["error"]["message"], message["error"].get("data") or {})
        result = message["result"]
        if result.get("isError"):
            known = result.get("_meta", {}).get("pro.tause/error", {})
            raise from_data(result["content"][0]["text"], known.get("data", known))
        return result["structuredContent"]

    async def run(self, request: str, **more: Any) -> dict[str, Any]:
        """Run the concierge and return the run once it has ended or waits."""
        return await self.call("run", {"agent": "concierge", "input": request, "wait": 100, **more})


@dataclass
class Agents:
    """The agents service and its callers."""

    http: httpx2.AsyncClient
    signer: Signer
    gateway: FakeGateway
    data: Path
    database_url: str | None = None

    def caller(self, tenant: str, role: str = "admin") -> Caller:
        """Return a caller with a role of a tenant."""
        return Caller(self.http, self.signer, Principal(tenant, f"key:{tenant}", ROLES[role], role=role))

    def acting(self, tenant: str, agent: str) -> Caller:
        """Return an agent that acts for an admin of a tenant."""
        principal = Principal(tenant, f"key:{tenant}", ROLES["admin"], role="admin", agent=agent, run="run_1")
        return Caller(self.http, self.signer, principal)

    @property
    def acme(self) -> Caller:
        """An admin of one tenant."""
        return self.caller("acme")

    @property
    def globex(self) -> Caller:
        """An admin of another."""
        return self.caller("globex")

    async def events(self, run: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the kinds and contents of the events of acme's run, up to its end."""
        headers = {"authorization": f"Bearer {self.acme.assertion}"}
        text = (await self.http.get(f"/http/runs/{run}/events", headers=headers, timeout=120)).text
        told = [block.splitlines() for block in text.split("\n\n") if block.startswith("id:")]
        return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for _, kind, data in told]

    async def checkpoints(self, tenant: str = "acme") -> int:
        """Return how many checkpoints are kept of a tenant."""
        from tausestack.database import TenantDatabases
        from tausestack_agents.checkpoints import Checkpoints
        from tausestack_agents.tables import SCHEMA

        databases = TenantDatabases(SCHEMA, data=self.data, url=self.database_url)
        found = await Checkpoints(databases, self.data, self.database_url).count(tenant)
        await databases.aclose()
        return found

    def system(self, tenant: str) -> Caller:
        """The gateway itself, for a tenant."""
        return Caller(self.http, self.signer, Principal(tenant, "gateway", frozenset({SYSTEM})))


@pytest.fixture
async def agents(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncGenerator[Agents]:
    """The service in this process, its worker at work, with the offline planner; on SQLite unless it is told."""
    on_postgres = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("postgres_url") if on_postgres else None
    async with _serving(gateway, tmp_path, monkeypatch, url) as found:
        yield found


@pytest.fixture
async def agents_on_postgres(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> AsyncGenerator[Agents]:
    """The same, with its tables in PostgreSQL."""
    async with _serving(gateway, tmp_path, monkeypatch, postgres_url) as found:
        yield found


@asynccontextmanager
async def _serving(
    gateway: FakeGateway, data: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> AsyncGenerator[Agents]:
    from tausestack.mcp import ServiceEnv
    from tausestack_agents.server import server

    for name in ("TAUSESTACK_MODEL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    signer = Signer(secrets.token_bytes(32))
    env = ServiceEnv(
        data=data,
        database_url=database_url,
        jwks=signer.jwks(),
        gateway=gateway.path,
        process_credential=PROCESS,
    )
    app = server.asgi(env, allowed_hosts=None)
    transport = httpx2.ASGITransport(app)
    async with _lifespan(app), httpx2.AsyncClient(transport=transport, base_url="http://agents") as http:
        yield Agents(http, signer, gateway, data, database_url)


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncGenerator[None]:
    """Run an ASGI application's lifespan."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)
    )
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    assert started["type"] == "lifespan.startup.complete", started
    yield
    await inbox.put({"type": "lifespan.shutdown"})
    await outbox.get()
    await task


class Nursery:
    """A process that has imported the service, and forks it."""

    def __init__(self) -> None:
        known = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        self._parent = subprocess.Popen(
            [sys.executable, str(SCRIPT)], env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, order: dict[str, Any]) -> str:
        """Send an order and return the answer."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._parent.communicate(timeout=60)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    found = Nursery()
    yield found
    found.close()


class Process:
    """The agents service as a process of its own, to be killed and started anew over the same data."""

    def __init__(self, nursery: Nursery, gateway: FakeGateway, data: Path) -> None:
        self.signer = Signer(secrets.token_bytes(32))
        self.gateway = gateway
        self.data = data
        self.socket = f"{Path(gateway.path).parent}/agents.sock"
        self._nursery = nursery
        self._pid: int | None = None
        self._clients: list[httpx2.AsyncClient] = []
        self.environ: dict[str, str] = {}

    async def start(self) -> Agents:
        """Start it and wait until it answers."""
        await anyio.Path(self.socket).unlink(missing_ok=True)
        order = {"path": self.socket, "data": str(self.data), "jwks": self.signer.jwks(), "environ": self.environ}
        self._pid = int(self._nursery.order({**order, "gateway": self.gateway.path, "process": PROCESS}))
        http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=self.socket, verify=False), base_url="http://agents"
        )
        self._clients.append(http)
        with anyio.fail_after(60):
            while True:
                try:
                    assert (await http.get("/health")).status_code == 200
                except httpx2.TransportError:
                    await anyio.sleep(0.02)  # the poll of a condition with a deadline
                else:
                    return Agents(http, self.signer, self.gateway, self.data)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._pid is not None
        return self._pid

    async def aclose(self) -> None:
        """Close the connections to it."""
        for client in self._clients:
            await client.aclose()

    def kill(self) -> int:
        """Kill it, as a crash would."""
        return self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self._pid is None:
            return 0
        pid, self._pid = self._pid, None
        os.kill(pid, number)
        return int(self._nursery.order({"wait": pid}).removeprefix("- "))


@pytest.fixture
async def process(nursery: Nursery, gateway: FakeGateway, tmp_path: Path) -> AsyncGenerator[Process]:
    """The service as a process, killed at the test's end where it still runs."""
    found = Process(nursery, gateway, tmp_path)
    yield found
    found.kill()
    await found.aclose()


@pytest.fixture
def model(nursery: Nursery) -> Iterator[FakeModel]:
    """A language model on loopback, and processes that have imported what asks it."""
    nursery.order({"import": "litellm"})
    fake = FakeModel()
    yield fake
    fake.close()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline."""

    async def wait(condition: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = await condition()
            if found:
                return found
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await anyio.sleep(0.02)  # the poll of a condition with a deadline

    return wait


@pytest.fixture
def in_doubt() -> Callable[[], InDoubt]:
    """What the gateway says of a call that broke midway."""
    return lambda: InDoubt("It broke midway")
