"""The peers: gateways from the package index, each in an environment of its own that is made once and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
    """A gateway that somebody else made: what to install, and how to run it."""

    name: str
    packages: tuple[str, ...]

    def command(self, url: str, port: int) -> list[str]:
        """Return the command that serves what is at a URL on a loopback port; the environment is made when missing."""
        tools = self._environment() / "bin"
        if self.name == "mcpo":
            own = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
            return [str(tools / "mcpo"), *own, "--server-type", "streamable-http", "--", url]
        return [str(tools / "python"), "-c", PROXY, url, str(port)]

    def version(self) -> str:
        """Return the version that is installed."""
        told = [str(self._environment() / "bin" / "python"), "-c", f"{_VERSION}{self.name!r}))"]
        return subprocess.run(told, check=True, capture_output=True, text=True).stdout.strip()

    def _environment(self) -> Path:
        """Return the folder of the environment: one for each set of packages, under the user's cache."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        asked = " ".join((sys.version, *self.packages))
        folder = cache / "tausestack-benchmarks" / f"{self.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
        whole = folder / "whole"
        if not whole.exists():
            print(f"making an environment for {self.name}: {' '.join(self.packages)}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", *self.packages], check=True)
            whole.touch()
        return folder


_VERSION = "import importlib.metadata as m; print(m.version("

PEERS = (
    Peer("mcpo", ("mcpo==0.0.20", "mcp<2", "fastapi<0.116")),  # with newer ones of these it does not start
    Peer("fastmcp", ("fastmcp==4.2.3",)),
)
