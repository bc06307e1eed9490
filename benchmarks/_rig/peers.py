"""The peers: gateways from the package index, in the environments that `make peers` makes from their locks."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = Path(__file__).parents[2] / ".peers"

PROXY = """
import asyncio, sys
from fastmcp import Client
from fastmcp.server import create_proxy

async def main(url, port):
    async with Client(url) as client:
        proxy = create_proxy(client, name="proxy")
        await proxy.run_http_async(
            transport="http", host="127.0.0.1", port=port, show_banner=False, log_level="error",
            stateless_http=True, json_response=True, uvicorn_config={"access_log": False},
        )

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
"""FastMCP's proxy at its best: one connected client for all, no sessions, no event stream, nothing logged."""


@dataclass(frozen=True)
class Peer:
    """A gateway that somebody else made, and the environment that it is in."""

    name: str
    environment: str

    def command(self, url: str, port: int) -> list[str]:
        """Return the command that serves what is at a URL on a loopback port."""
        if self.name == "mcpo":
            own = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
            return [self._tool("mcpo"), *own, "--server-type", "streamable-http", "--", url]
        return [self._tool("python"), "-c", PROXY, url, str(port)]

    def version(self) -> str:
        """Return the version that is installed."""
        told = f"import importlib.metadata; print(importlib.metadata.version({self.name!r}))"
        return subprocess.run(
            [self._tool("python"), "-c", told], check=True, capture_output=True, text=True
        ).stdout.strip()

    def _tool(self, name: str) -> str:
        path = ENVIRONMENTS / self.environment / "bin" / name
        if not path.exists():
            raise SystemExit(f"{self.name} is not there: 'make peers' gets it, --no-peers goes without")
        return str(path)


PEERS = (Peer("mcpo", "python-v1"), Peer("fastmcp", "python"))
