"""The sample servers `kit_notes` and `kit_jobs`, in memory and as processes."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import logs
import tausestack as ts
from stack import free_port
from tausestack.contract import Principal
from tausestack.scopes import ROLES
from tausestack.tokens import Signer, server_audience

FAKES = Path(__file__).parents[2] / "fakes"
DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="session")
def notes() -> ts.mcp.Server:
    """The sample server."""
    sys.path.insert(0, str(FAKES))
    try:
        return importlib.import_module("kit_notes.server").server
    finally:
        sys.path.remove(str(FAKES))


@pytest.fixture
async def stack(notes: ts.mcp.Server) -> AsyncGenerator[ts.testing.Stack]:
    """The sample server in memory."""
    async with ts.testing.stack(notes) as running:
        yield running


class Refused(Exception):
    """A call was answered with an error of the protocol."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status}: {error}")
        self.status, self.error = status, error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_SECONDS)
        self.sock.connect(str(self._path))


@dataclass
class Processes:
    """Starts a sample server as processes over one data folder, and ends them."""

    data: Path
    signer: Signer
    server: str = "notes"
    started: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    python = sys.executable

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection to the Unix socket, not yet opened."""
        return _UnixConnection(self.socket)

    @property
    def log(self) -> Path:
        """What the processes said, one after another."""
        return self.data / "log"

    @property
    def socket(self) -> Path:
        """Where a server started by `over_socket` listens."""
        return self.data / f"{self.server}.sock"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a server that is started alone."""
        (self.data / "jwks.json").write_text(json.dumps(self.signer.jwks()), encoding="utf-8")
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(FAKES), "TAUSESTACK_DATA": str(self.data)}
        return {**own, **more}

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start `python -m kit_{server}`."""
        command = [sys.executable, "-m", f"kit_{self.server}", *arguments]
        with self.log.open("ab") as sink:
            process = subprocess.Popen(command, env=self.environment(**more), stderr=sink)
        self.started.append(process)
        return process

    def over_socket(self, path: Path | None = None, **more: str) -> subprocess.Popen[bytes]:
        """Start the server on its Unix socket (or `path`) and wait for its health."""
        path = path or self.socket
        path.unlink(missing_ok=True)
        process = self.start("--socket", str(path), **more)
        self.wait_for(lambda: self.healthy(_UnixConnection(path)), process)
        return process

    def over_port(self) -> str:
        """Start the server on a free port, wait for its health and return its endpoint."""
        port = free_port()
        process = self.start("--port", str(port))
        self.wait_for(lambda: self.healthy(http.client.HTTPConnection("127.0.0.1", port)), process)
        return f"http://127.0.0.1:{port}/mcp"

    def healthy(self, connection: http.client.HTTPConnection) -> bool:
        """Return whether a server answers."""
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
        """Return once a condition holds; fail at the deadline, or when the process ends before."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if process is not None and process.poll() is not None:
                raise AssertionError(f"the server ended with {process.returncode}:\n{logs.tail(self.log)}")
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.01)  # the poll of a condition with a deadline

    def assertion(
        self, tenant: str = "acme", *, audience: str = "", seconds: int = 60, name: str = "", **more: Any
    ) -> str:
        """Return an assertion of a tenant's admin."""
        principal = Principal(tenant, f"key:{name or tenant}", ROLES["admin"], **more)
        return self.signer.sign(principal, server_audience(audience or self.server), seconds)

    def request(
        self, tool: str, arguments: dict[str, Any], *, assertion: str | None, **meta: Any
    ) -> http.client.HTTPConnection:
        """Send a call over the Unix socket and return the connection, its reply not yet read."""
        return self.send("tools/call", tool, {"name": tool, "arguments": arguments}, assertion=assertion, **meta)

    def send(
        self, method: str, name: str, params: dict[str, Any], *, assertion: str | None, path: Path | None = None,
        **meta: Any,
    ) -> http.client.HTTPConnection:  # fmt: skip
        """Send any request over a Unix socket and return the connection, its reply not yet read."""
        own = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers = {
            "Host": "localhost",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
            "Mcp-Name": name,
            **({} if assertion is None else {"Authorization": f"Bearer {assertion}"}),
        }
        connection = _UnixConnection(path or self.socket)
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": {**own, **meta}}}
        connection.request("POST", "/mcp", json.dumps(body), headers)
        return connection

    def call(self, tool: str, arguments: dict[str, Any], *, assertion: str | None = None, **meta: Any) -> Any:
        """Call a tool over the Unix socket; return its structured result or raise `Refused`."""
        with contextlib.closing(
            self.request(tool, arguments, assertion=assertion or self.assertion(), **meta)
        ) as connection:
            return self.reply(connection)["structuredContent"]

    def reply(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        """Read a reply's result, or raise `Refused`."""
        reply = connection.getresponse()
        message = json.loads(reply.read())
        if "error" in message:
            raise Refused(reply.status, message["error"])
        return message["result"]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes of the sample server `kit_notes`, ended with the test."""
    yield from _processes(tmp_path, "notes")


@pytest.fixture
def job_processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes of the sample server `kit_jobs`, ended with the test."""
    yield from _processes(tmp_path, "jobs")


@pytest.fixture(scope="module")
def one_job_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """One process of `kit_jobs` for all tests that leave it alive."""
    for running in _processes(tmp_path_factory.mktemp("jobs"), "jobs"):
        running.over_socket()
        yield running


def _processes(folder: Path, server: str) -> Iterator[Processes]:
    data = folder / server[0]
    data.mkdir()
    running = Processes(data, Signer(secrets.token_bytes(32)), server)
    logs.keep(running.log)
    yield running
    for process in running.started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def refused() -> type[Refused]:
    """What `Processes.call` raises."""
    return Refused
