"""The whole stack as users start it, for tests: `tausestack up` in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

import logs

READY_SECONDS = 60.0
PORTS = range(15_000, 30_000)
"""Below the ports that outgoing connections, and servers that leave the choice to the kernel, are given."""
TAUSESTACK = Path(sys.executable).with_name("tausestack")
_INDEXES = ("PIP_", "UV_", "NPM_CONFIG_", "NODE_EXTRA_CA_CERTS", "SSL_CERT_")


@dataclass
class Tenant:
    """A tenant of the running stack, with its admin key."""

    name: str
    key: str
    url: str
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx2.Client(
            base_url=f"{self.url}/api/v2/tenants/{self.name}",
            headers=self.headers,
            timeout=60,
            trust_env=False,
            verify=False,
        )
        weakref.finalize(self, self.client.close)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def tools(self, connections: int, timeout: float) -> httpx2.AsyncClient:
        """Return a client of its tools that makes many calls at once; who asks for it closes it."""
        return httpx2.AsyncClient(
            base_url=f"{self.client.base_url}tools",
            headers=self.headers,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections),
            trust_env=False,
            verify=False,
        )

    def call(self, address: str, arguments: dict[str, Any], *, key: str | None = None) -> httpx2.Response:
        """Call a tool over REST."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.client.post(f"/tools/{address}", json=arguments, headers=headers)

    def must(self, address: str, arguments: dict[str, Any], *, key: str | None = None) -> Any:
        """Call a tool over REST and return its result, which has to be one."""
        reply = self.call(address, arguments, key=key)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def install(self, ref: str, **more: Any) -> Any:
        """Install a server."""
        reply = self.client.post("/servers", json={"ref": ref, "approve": True, **more}, timeout=120)
        assert reply.status_code == 201, reply.text
        return reply.json()

    def rpc(self, method: str, params: dict[str, Any], *, server: str | None = None, **headers: str) -> httpx2.Response:
        """Send one MCP request to the merged endpoint, or to a server's."""
        return mcp_request(self.url, self.name, self.key, method, params, server=server, **headers)


def mcp_request(
    url: str,
    tenant: str,
    key: str | None,
    method: str,
    params: dict[str, Any],
    *,
    server: str | None = None,
    **headers: str,
) -> httpx2.Response:
    """Send one MCP 2026-07-28 request as a client would."""
    path = f"/tenants/{tenant}/mcp" if server is None else f"/tenants/{tenant}/servers/{server}/mcp"
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        **params.get("_meta", {}),
    }
    about = params.get("name", params.get("uri", params.get("taskId")))
    sent = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        **({"Authorization": f"Bearer {key}"} if key else {}),
        **({} if about is None else {"Mcp-Name": str(about)}),
        **headers,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    return httpx2.post(url + path, json=body, headers=sent, timeout=60, trust_env=False, verify=False)


@dataclass
class Stack:
    """A running stack: its URL, its data folder, its operator's key."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]
    log: Path
    ready_after: float
    made: int = 0
    remote_ports: tuple[int, ...] = ()
    """The ports of this machine at which it may reach third parties' servers."""

    @property
    def operator_key(self) -> str:
        return (self.data / "operator.key").read_text().strip()

    def operator(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request with the operator's key."""
        headers = {"Authorization": f"Bearer {self.operator_key}"}
        return httpx2.request(
            method, f"{self.url}/api/v2/{path}", headers=headers, timeout=60, trust_env=False, verify=False, **more
        )

    def tenant(self, name: str | None = None, /, **more: Any) -> Tenant:
        """Make a tenant."""
        self.made += 1
        name = name or f"t{self.made}-{os.getpid()}"
        reply = self.operator("POST", "tenants", json={"id": name, **more})
        assert reply.status_code == 201, reply.text
        return Tenant(name, reply.json()["api_key"], self.url)

    def cli(
        self, *arguments: str, key: str | None = None, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this stack, with a tenant's key or the operator's."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "TAUSESTACK_URL": self.url,
            "TAUSESTACK_DATA": str(self.data),
            **({"TAUSESTACK_API_KEY": key} if key else {}),
            **environment,
        }
        return subprocess.run(
            [TAUSESTACK, *arguments], env=env, capture_output=True, text=True, check=check, timeout=120
        )

    def cli_json(self, *arguments: str, key: str | None = None) -> Any:
        """Run the command line with --json and return what it printed."""
        return json.loads(self.cli(*arguments, "--json", key=key).stdout)

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the supervisor's own view of its processes, by name."""
        reply = self.operator("GET", "doctor")
        assert reply.status_code == 200, reply.text
        return {one["name"]: one for one in reply.json()["services"]}


def ways_to_indexes() -> dict[str, str]:
    """Return what this machine's environment says of how the package indexes are reached."""
    return {name: value for name, value in os.environ.items() if name.upper().startswith(_INDEXES)}


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on.

    It is none of those that the kernel gives out by itself: nobody gets it before who asked for it here uses it.
    """
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def running(data: Path, **environment: str) -> Iterator[Stack]:
    """Start `tausestack up` on a free port, wait until it is ready, and stop it on leaving."""
    port = free_port()
    log = logs.keep(data.with_name(data.name + ".log"))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(data.parent),
        "PYTHONWARNDEFAULTENCODING": "0",
        **ways_to_indexes(),
        **environment,
    }
    started = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [TAUSESTACK, "up", "--port", str(port), "--data", str(data)], env=env, stdout=sink, stderr=sink
        )
    stack = Stack(f"http://127.0.0.1:{port}", data, process, log, 0.0)
    try:
        _await_ready(stack, started)
        yield stack
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(stack: Stack, started: float) -> None:
    while time.monotonic() - started < READY_SECONDS:
        if stack.process.poll() is not None:
            pytest.fail(f"the stack ended with {stack.process.returncode}:\n{logs.tail(stack.log)}")
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{stack.url}/health/ready", timeout=10, trust_env=False, verify=False).status_code == 200:
                stack.ready_after = time.monotonic() - started
                return
        select.select([], [], [], 0.05)
    pytest.fail(f"the stack was not ready in {READY_SECONDS} s:\n{logs.tail(stack.log)}")
