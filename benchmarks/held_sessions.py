"""A call on the session that the gateway holds against a session made for it: connect, list, call, close.

Run as `python -m benchmarks.held_sessions [CALLS]`. Over stdio the server is mcp-server-time, in the gateway's sandbox
and as a process of one's own; over streamable HTTP one that is written with the official SDK, asked in sessions as of
2025, and as of 2026-07-28, which has none: there is only a connection to make. The two ways take turns, so that what
else the machine does weighs on both; what counts is their ratio, within one run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

CALLS = 20
A_CALL = 5
"""So many calls on the held session for each session that is made."""
BOUND = 0.1
WAIT_SECONDS = 60.0
TENANT = "bench"
TIME, ROOM = {"timezone": "America/Bogota"}, {"room": "r1"}
WITHOUT_SESSIONS = "HTTP, 2026"
SERVER = """
import sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("rooms", log_level="ERROR")
@server.tool()
def check_room(room: str) -> str:
    "Check whether a room is free."
    return f"{room} is free."
server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
"""


@dataclass
class Compared:
    """Milliseconds of calls by both ways."""

    held: list[float] = field(default_factory=list[float])
    made: list[float] = field(default_factory=list[float])

    @property
    def ratio(self) -> float:
        """The median of the one over that of the other."""
        return statistics.median(self.held) / statistics.median(self.made)


async def compare(calls: int, held: Callable[[], None], made: Callable[[], Awaitable[None]]) -> Compared:
    """Time both ways in turn."""
    found = Compared()
    held()
    await made()
    for _ in range(calls):
        for _ in range(A_CALL):
            began = time.perf_counter()
            held()
            found.held.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        await made()
        found.made.append((time.perf_counter() - began) * 1000)
    return found


async def once(server: Any, tool: str, arguments: dict[str, Any], mode: Literal["auto", "legacy"] = "auto") -> None:
    """Connect, list, call, close."""
    async with Client(server, mode=mode) as client:
        await client.list_tools()
        assert not (await client.call_tool(tool, arguments)).is_error


def measure(calls: int = CALLS) -> dict[str, Compared]:
    """Return the figures of both transports on this machine."""
    with tempfile.TemporaryDirectory(prefix="tsb", dir="/tmp") as folder, _rooms() as url:
        data = Path(folder) / "data"
        with _stack(data, url) as call:
            over_stdio = _time_server(data)

            def room() -> None:
                call("rooms/check_room", ROOM)

            return {
                "stdio": anyio.run(
                    compare,
                    calls,
                    lambda: call("clock/get_current_time", TIME),
                    lambda: once(over_stdio, "get_current_time", TIME),
                ),
                "HTTP, 2025": anyio.run(compare, calls, room, lambda: once(url, "check_room", ROOM, "legacy")),
                WITHOUT_SESSIONS: anyio.run(compare, calls, room, lambda: once(url, "check_room", ROOM)),
            }


def report(figures: dict[str, Compared]) -> bool:
    """Print the figures, and return whether each ratio is within its bound."""
    for name, found in figures.items():
        held, made = statistics.median(found.held), statistics.median(found.made)
        bound = "" if name == WITHOUT_SESSIONS else f"   bound {BOUND:g}"
        print(f"{name:10} held {held:8.1f} ms   made {made:8.1f} ms   ratio {found.ratio:.3f}{bound}")
    return all(found.ratio <= BOUND for name, found in figures.items() if name != WITHOUT_SESSIONS)


def _time_server(data: Path) -> StdioServerParameters:
    """Return the server that the gateway installed, to be started without it."""
    (module,) = data.rglob("mcp_server_time/__init__.py")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(module.parents[1])}
    return StdioServerParameters(command=sys.executable, args=["-m", "mcp_server_time"], env=environment)


@contextlib.contextmanager
def _rooms() -> Generator[str]:
    """Serve over streamable HTTP, and return the URL."""
    port = _free_port()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await(f"http://127.0.0.1:{port}/mcp", process)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


@contextlib.contextmanager
def _stack(data: Path, rooms: str) -> Generator[Callable[[str, dict[str, Any]], None]]:
    """Start a stack with both servers installed, and give what calls a tool."""
    port, allowed = _free_port(), rooms.split("/")[2]
    command = [str(Path(sys.executable).with_name("tausestack")), "up", "--data", str(data), "--port", str(port)]
    environment = {**os.environ, "TAUSESTACK_LOG_LEVEL": "error", "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": allowed}
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=environment) as process:
        try:
            _await(f"{base}/health/ready", process)
            with httpx2.Client(base_url=f"{base}/api/v2", timeout=300, trust_env=False) as http:
                operator = {"Authorization": f"Bearer {(data / 'operator.key').read_text().strip()}"}
                made = http.post("/tenants", headers=operator, json={"id": TENANT, "plan": "premium"})
                http.headers["Authorization"] = f"Bearer {made.raise_for_status().json()['api_key']}"
                limits = {"calls_per_minute": None}
                http.patch(f"/tenants/{TENANT}/limits", headers=operator, json=limits).raise_for_status()
                for name, ref in (("clock", "pypi:mcp-server-time"), ("rooms", rooms)):
                    asked = {"ref": ref, "name": name, "approve": True}
                    http.post(f"/tenants/{TENANT}/servers", json=asked).raise_for_status()

                def call(address: str, arguments: dict[str, Any]) -> None:
                    http.post(f"/tenants/{TENANT}/tools/{address}", json=arguments).raise_for_status()

                yield call
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers at a URL, whatever it says."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(url, trust_env=False).status_code < 500:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing answered at {url}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Measure, print, and return 1 where a bound is broken."""
    return 0 if report(measure(int(sys.argv[1]) if sys.argv[1:] else CALLS)) else 1


if __name__ == "__main__":
    sys.exit(main())
