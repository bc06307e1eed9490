"""A loopback gateway for the agents service, and the service itself: in this process, or as one that can be killed."""

from __future__ import annotations

import asyncio
import copy
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
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from model_server import FakeModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tausestack.contract import META_CALL, Principal
from tausestack.errors import ApprovalRequired, Forbidden, InDoubt, TauseError, Unauthenticated, from_data, to_jsonrpc
from tausestack.limits import exceeded
from tausestack.scopes import ROLES, SYSTEM
from tausestack.tokens import Signer, server_audience

TOOLS = json.loads((Path(__file__).parent / "tools.json").read_text())
PROCESS = "process-credential"
SCRIPT = Path(__file__).parent.parent / "fakes" / "agents_service.py"

Answer = Callable[[dict[str, Any]], Any]


@dataclass
class Sent:
    """A tool call as the gateway saw it."""

    tenant: str
    address: str
    arguments: dict[str, Any]
    key: str | None
    approval: str | None
    credential: str
    hold: bool = False


@dataclass
class FakeGateway:
    """Speaks what the agents service needs of the gateway's internal door; effects are kept by idempotency key."""

    path: str
    answers: dict[str, Answer] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    """The addresses that every search finds."""
    calls: list[Sent] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)
    tools: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(TOOLS))
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: bool = False
    may_search: bool = True
    decided_early: bool = False
    expires_in: float = 3600
    """How long an approval waits, in seconds."""
    delegations: list[dict[str, Any]] = field(default_factory=list)
    budget_is_spent: bool = False
    spent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    started: list[tuple[dict[str, Any], str, str | None]] = field(default_factory=list)
    """Runs that were started through it."""
    done: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, list[str]] = field(default_factory=dict)
    nested: Callable[[Sent], Any] | None = None  # calls the service itself for a run, in a thread
    gates: dict[str, threading.Event] = field(default_factory=dict)
    arrived: dict[str, threading.Event] = field(default_factory=dict)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/tenants/{tenant}/servers/{server}/mcp", self._mcp, methods=["POST"]),
                Route("/api/v2/tenants/{tenant}/tools", self._list),
            ]
        )

    def hold(self, address: str) -> threading.Event:
        """Let calls of a tool wait, before they have an effect, until the event that is returned is set."""
        self.gates[address] = threading.Event()
        self.arrived[address] = threading.Event()
        return self.gates[address]

    async def reached(self, address: str) -> None:
        """Wait until a call of a held tool has come in."""
        assert await asyncio.to_thread(self.arrived[address].wait, 20)

    def sent(self, address: str) -> list[Sent]:
        """Return the calls of one tool."""
        return [call for call in self.calls if call.address == address]

    async def _list(self, request: Request) -> Response:
        shown = [
            {
                **{name: tool[name] for name in ("address", "name", "description")},
                "server": tool["address"].split("/")[0],
                "input_schema": tool["inputSchema"],
                "output_schema": tool.get("outputSchema"),
                **_policy(tool),
            }
            for tool in self.tools
        ]
        return JSONResponse({"tools": shown, "next_cursor": None})

    async def _mcp(self, request: Request) -> Response:
        body = await request.json()
        params, meta = body["params"], body["params"]["_meta"]
        credential = request.headers["authorization"].removeprefix("Bearer ")
        sent = Sent(
            request.path_params["tenant"],
            f"{request.path_params['server']}/{params['name']}",
            params["arguments"],
            meta.get("pro.tause/idempotency-key"),
            meta.get("pro.tause/approval"),
            credential,
            meta.get("pro.tause/hold") is True,
        )
        try:
            found = self._tick(sent) if ":schedule:" in sent.credential else await self._answer(sent)
        except TauseError as error:
            return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "error": to_jsonrpc(error)}, error.status)
        text = {"type": "text", "text": json.dumps(found)}
        result = {"content": [text], "structuredContent": found, "isError": False}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": result})

    def _tick(self, sent: Sent) -> Any:
        self.started.append((sent.arguments, sent.credential, sent.key))
        return {"id": f"run_of_{sent.key}", "status": "pending"}

    async def _answer(self, sent: Sent) -> Any:
        if sent.address == "platform/delegate":
            assert (sent.credential, sent.tenant) == (PROCESS, "_system")
            if self.revoked:
                raise Unauthenticated("Whoever this run acts for was revoked")
            self.delegations.append(sent.arguments)
            return {"token": f"delegation:{sent.arguments['tenant']}:{sent.arguments['run']}", "expires_in": 600}
        if sent.address in {"platform/reserve", "platform/settle"}:
            if sent.address == "platform/reserve" and self.budget_is_spent:
                raise exceeded("tokens_per_month", "tokens", 10, 10, asked=sent.arguments["tokens"])
            self.spent.append((sent.address.partition("/")[2], sent.arguments))
            return {"counted": True}
        if sent.address == "platform/decide_approval":
            held = self.approvals[sent.arguments["id"]]
            held["status"] = "approved" if sent.arguments["decision"] == "approve" else "rejected"
            held["arguments"] = sent.arguments.get("arguments") or held["arguments"]
            return {"id": sent.arguments["id"], "status": held["status"]}
        if sent.address == "platform/withdraw_approvals":
            pending = [held for held in self.approvals.values() if held["status"] == "pending"]
            for held in pending:
                held["status"] = "withdrawn"
            return {"withdrawn": len(pending)}
        if sent.address == "registry/offer":
            self.offered[sent.tenant] = [tool["name"] for tool in sent.arguments["tools"]]
            return {"kept": True}
        assert sent.credential.startswith(f"delegation:{sent.tenant}:")
        if sent.address == "registry/find_tools":
            if not self.may_search:
                raise Forbidden("This credential lacks the scope tools:read", scope="tools:read")
            self.searched.append(sent.arguments["query"])
            return {"tools": [{"address": address} for address in self.finds]}
        self.calls.append(sent)
        self._approve(sent)
        if self.nested is not None and sent.address.startswith("agents/"):
            return await asyncio.to_thread(self.nested, sent)
        return await self._tool(sent)

    async def _tool(self, sent: Sent) -> Any:
        if sent.address in self.gates:
            self.arrived[sent.address].set()
            await asyncio.to_thread(self.gates[sent.address].wait, 30)
        if sent.key in self.done:
            return self.done[sent.key]
        answer = self.answers.get(sent.address, _echo)
        found = answer(sent.arguments)
        if isinstance(found, TauseError):
            raise found
        self.effects[sent.address] += 1
        if sent.key:
            self.done[sent.key] = found
        return found

    def _approve(self, sent: Sent) -> None:
        tool = next(tool for tool in self.tools if tool["address"] == sent.address)
        if _policy(tool).get("approval") != "agents" and not sent.hold:
            return
        if sent.approval is None:
            known = next((one for one, held in self.approvals.items() if held["key"] == sent.key), None)
            identifier = known or f"apr_{len(self.approvals)}"
            status = "approved" if self.decided_early else "pending"
            self.approvals.setdefault(
                identifier, {"status": status, "arguments": sent.arguments, "key": sent.key, "address": sent.address}
            )
            expires_at = self.approvals[identifier].setdefault(
                "expires_at", (datetime.now(UTC) + timedelta(seconds=self.expires_in)).isoformat()
            )
            raise ApprovalRequired("waits for a person's approval", approval=identifier, expires_at=expires_at)
        held = self.approvals[sent.approval]
        if held["status"] == "pending" and held["expires_at"] <= datetime.now(UTC).isoformat():
            raise Forbidden("Its approval has expired", approval=sent.approval, decision="expired")
        if held["status"] == "rejected":
            raise Forbidden("A person rejected this call", approval=sent.approval, decision="reject")
        if held["status"] != "approved" or held["arguments"] != sent.arguments:
            raise Forbidden("The approval is for another call, or not decided", approval=sent.approval)


def _policy(tool: dict[str, Any]) -> dict[str, Any]:
    own = tool.get("_meta", {}).get("pro.tause/tool")
    return own or {"side_effect": "read" if tool.get("annotations", {}).get("readOnlyHint") else "external"}


def _echo(arguments: dict[str, Any]) -> Any:
    return {"echo": arguments}


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """A gateway on a Unix socket, in a thread of its own."""
    with tempfile.TemporaryDirectory(prefix="ts-") as folder:
        fake = FakeGateway(f"{folder}/gateway.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(fake.path)
        listener.listen(128)
        config = uvicorn.Config(fake.app(), log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield fake
        for gate in fake.gates.values():
            gate.set()
        server.should_exit = True
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
        from tausestack_agents.checkpoints import Checkpoints

        return await Checkpoints(self.data).count(tenant)

    def system(self, tenant: str) -> Caller:
        """The gateway itself, for a tenant."""
        return Caller(self.http, self.signer, Principal(tenant, "gateway", frozenset({SYSTEM})))


@pytest.fixture
async def agents(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Agents]:
    """The service in this process, its worker at work, with the offline planner."""
    async with _serving(gateway, tmp_path, monkeypatch, None) as found:
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
        yield Agents(http, signer, gateway, data)


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
