"""Each service alone, as anybody would try it: `python -m …`, the official SDK's client, stdio and HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

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


def token(service: str, data: Path) -> str:
    """Mint an assertion as the README says."""
    command = [TAUSESTACK, "token", service, "--tenant", "acme"]
    done = subprocess.run(command, env=environment(data), capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def over_http(module: str, data: Path) -> Iterator[str]:
    """Serve a service on a free port; yield its endpoint."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", str(port)], env=environment(data), stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            select.select([], [], [], 0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.communicate(timeout=15)


@pytest.mark.covers("services:alone-over-stdio")
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_lists_and_calls_over_stdio(service: str, tmp_path: Path) -> None:
    module, tool, arguments = SERVICES[service]
    good = token(service, tmp_path)
    server = StdioServerParameters(command=sys.executable, args=["-m", module], env=environment(tmp_path))
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
    service: str, tmp_path: Path
) -> None:
    module, tool, arguments = SERVICES[service]
    good = token(service, tmp_path)
    other = token("billing" if service != "billing" else "storage", tmp_path)
    with over_http(module, tmp_path) as url:
        result = await _call(url, good, tool, arguments)
        assert not result.is_error, result
        for bad in (None, "nonsense", good[:-4] + "AAAA", other):
            assert _status(url, bad, tool, arguments) == 401


async def _call(url: str, assertion: str, tool: str, arguments: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {assertion}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
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
    return httpx2.post(url, content=body, headers=headers, trust_env=False).status_code
