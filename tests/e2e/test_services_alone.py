"""Each service alone, as anybody would try it: `python -m …`, the official SDK's client, stdio and HTTP."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from remotes import eventually
from stack import TAUSESTACK, free_port

pytestmark = pytest.mark.anyio

SERVICES = {
    "auth": ("tausestack_toolservers.auth", "whoami", {}),
    "billing": ("tausestack_toolservers.billing", "list_plans", {}),
    "colombia": ("tausestack_toolservers.colombia", "validate_nit", {"nit": "900123456-8"}),
    "storage": ("tausestack_toolservers.storage", "list_keys", {}),
    "registry": ("tausestack_registry", "search", {"query": "time"}),
    "agents": ("tausestack_agents", "list_agents", {}),
}


def environment(data: Path) -> dict[str, str]:
    """Return what a person has in their shell."""
    return {"PATH": os.environ["PATH"], "HOME": str(data), "TAUSESTACK_DATA": str(data)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which each service is tried."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def tokens(data: Path) -> Callable[[str], str]:
    """Mints an assertion as the README says, one for each service."""

    @functools.cache
    def minted(service: str) -> str:
        command = [TAUSESTACK, "token", service, "--tenant", "acme", "--seconds", "3600"]
        done = subprocess.run(command, env=environment(data), capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return minted


@contextlib.contextmanager
def over_http(module: str, data: Path) -> Iterator[str]:
    """Serve a service on a free port; yield its endpoint."""
    port = free_port()
    log = data / f"{module}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--port", str(port)], env=environment(data), stderr=sink
        )

    def healthy() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx2.HTTPError):
            return (
                httpx2.get(f"http://127.0.0.1:{port}/health", timeout=60, trust_env=False, verify=False).status_code
                == 200
            )
        return False

    try:
        eventually(healthy)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.covers("services:alone-over-stdio")
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_lists_and_calls_over_stdio(service: str, data: Path, tokens: Callable[[str], str]) -> None:
    module, tool, arguments = SERVICES[service]
    good = tokens(service)
    server = StdioServerParameters(command=sys.executable, args=["-m", module], env=environment(data))
    async with Client(server) as client:
        assert tool in {one.name for one in (await client.list_tools()).tools}
        with pytest.raises(mcp.MCPError) as refused:
            await client.call_tool(tool, arguments)
        assert refused.value.code == -32061
        result = await client.call_tool(tool, arguments, meta={"pro.tause/assertion": good})
        assert not result.is_error, result
        assert result.structured_content is not None


@pytest.mark.covers("services:alone-over-http")
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_lists_and_calls_over_http_and_refuses_without_an_assertion(
    service: str, data: Path, tokens: Callable[[str], str]
) -> None:
    module, tool, arguments = SERVICES[service]
    good, other = tokens(service), tokens("billing" if service != "billing" else "storage")
    with over_http(module, data) as url:
        result = await _call(url, good, tool, arguments)
        assert not result.is_error, result
        for bad in (None, "nonsense", good[:-4] + "AAAA", other):
            assert _status(url, bad, tool, arguments) == 401


async def _call(url: str, assertion: str, tool: str, arguments: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {assertion}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False, verify=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert tool in {one.name for one in (await client.list_tools()).tools}
        return await client.call_tool(tool, arguments)


def _status(url: str, assertion: str | None, tool: str, arguments: dict[str, Any]) -> int:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        **({"Authorization": f"Bearer {assertion}"} if assertion else {}),
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return httpx2.post(url, content=body, headers=headers, timeout=60, trust_env=False, verify=False).status_code
