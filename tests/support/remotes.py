"""Third parties' servers at URLs, for tests: each a process of its own, on a port that the stack may reach."""

from __future__ import annotations

import contextlib
import http.server
import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from stack import Tenant

MODERN = Path(__file__).parents[1] / "fakes" / "remote_party.py"
"""A server of 2026-07-28, and of nothing else."""
EARLIER = MODERN.with_name("earlier_party.py")
"""A server of the versions before it."""
START_SECONDS = 60.0


@dataclass
class Party:
    """A running server: where it is, and its process."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def root(self) -> str:
        return self.url.removesuffix("/mcp")

    def log(self) -> list[dict[str, Any]]:
        """Return what it was sent so far, oldest first."""
        return httpx2.get(f"{self.root}/log", timeout=60, trust_env=False, verify=False).json()

    def calls(self, method: str) -> list[dict[str, Any]]:
        """Return the requests of one method that it was sent."""
        return [one for one in self.log() if (one.get("message") or {}).get("method") == method]

    def tell(self, message: dict[str, Any]) -> int:
        """Have it notify those who listen, and return how many do."""
        return httpx2.post(f"{self.root}/tell", json=message, timeout=60, trust_env=False, verify=False).json()

    def more_tools(self, tools: list[dict[str, Any]]) -> None:
        """Have it offer more tools."""
        httpx2.post(f"{self.root}/tools", json=tools, timeout=60, trust_env=False, verify=False)

    def offer_resources(self, uris: list[str], templates: list[str]) -> None:
        """Have it offer these resources and templates alone."""
        offered = {"uris": uris, "templates": templates}
        httpx2.post(f"{self.root}/resources", json=offered, timeout=60, trust_env=False, verify=False)

    def offer_gate(self) -> None:
        """Have it offer `check_gate`, whose calls wait until `open_gates`."""
        gate = {"type": "string", "description": "The gate.", "examples": ["g-1"]}
        schema = {"type": "object", "properties": {"gate": gate}, "required": ["gate"]}
        about = {"description": "Check whether a gate is open.", "annotations": {"readOnlyHint": True}}
        self.more_tools([{"name": "check_gate", "inputSchema": schema, **about}])

    def open_gates(self) -> None:
        """Let every call of `check_gate` be answered, from now on."""
        httpx2.post(f"{self.root}/open", json={}, timeout=60, trust_env=False, verify=False)

    def close_gates(self) -> None:
        """Let calls of `check_gate` wait again."""
        httpx2.post(f"{self.root}/close", json={}, timeout=60, trust_env=False, verify=False)

    def at_the_gates(self) -> list[str]:
        """Return the gates that were asked about, each call one, oldest first."""
        calls = [one["message"]["params"] for one in self.calls("tools/call")]
        return [call["arguments"]["gate"] for call in calls if call["name"] == "check_gate"]

    def gone(self) -> int:
        """Return how many calls' callers went before they were answered."""
        return sum(one.get("gone") == "tools/call" for one in self.log())

    def forget(self) -> None:
        """Have it forget all sessions."""
        httpx2.post(f"{self.root}/forget", timeout=60, trust_env=False, verify=False)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def spoken_for(port: int, status: int) -> Iterator[None]:
    """Have every request at a port answered with a page of this status, as what stands before a server does."""

    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", "6")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(b"<html>")

        do_GET = do_DELETE = do_POST  # noqa: N815 the names that the base class looks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@contextlib.contextmanager
def party(port: int, name: str, program: Path = MODERN) -> Iterator[Party]:
    """Run a server, and end it on leaving."""
    process = subprocess.Popen([sys.executable, str(program), str(port), name])
    running = Party(f"http://127.0.0.1:{port}/mcp", process)
    try:
        eventually(lambda: _answers(running))
        yield running
    finally:
        process.kill()  # told to end, it would wait for those who still listen
        process.wait()


def _answers(running: Party) -> bool:
    """Whether it serves: somebody may have asked it something before."""
    with contextlib.suppress(httpx2.TransportError):
        running.log()
        return True
    return False


@contextlib.contextmanager
def listening(tenant: Tenant, wanted: dict[str, Any], server: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a stream of notifications, and give the messages as they come."""
    headers = {**tenant.headers, "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": "subscriptions/listen"}  # fmt: skip
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"notifications": wanted, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": "s-1", "method": "subscriptions/listen", "params": params}
    url = f"{tenant.url}/tenants/{tenant.name}/" + ("mcp" if server is None else f"servers/{server}/mcp")
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=60, trust_env=False, verify=False) as stream:
        yield (json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))


def eventually(holds: Any, seconds: float = START_SECONDS) -> Any:
    """Wait until something is so, and return what it then is; fails where it does not become so in time."""
    give_up = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < give_up, f"not so within {seconds} s"
        select.select([], [], [], 0.05)
    return found
