"""Clients that nobody here wrote list and call through a tenant's merged endpoint, each in the versions it speaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peculiar_party
import pytest

import peers
import tausestack as ts
from stack import Tenant

CLIENTS = Path(__file__).with_name("clients")
INSPECTOR = peers.NODE_MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
TOOL = "time__get_current_time"
ARGUMENTS = {"timezone": "America/Bogota"}
MODERN = "2026-07-28"
EARLIER = ("2025-03-26", "2025-06-18", "2025-11-25")

PECULIAR = [f"peculiar__{tool['name']}" for tool in peculiar_party.TOOLS]

SPEAKERS = [
    (peers.OURS_PYTHON, "sdk.py", "auto", MODERN),
    (peers.OURS_PYTHON, "sdk.py", MODERN, MODERN),
    *((peers.OURS_PYTHON, "sdk.py", version, version) for version in EARLIER),
    *((peers.V1_PYTHON, "sdk_v1.py", version, version) for version in EARLIER),
    (peers.FASTMCP_PYTHON, "fastmcp_client.py", "auto", MODERN),
    (peers.FASTMCP_PYTHON, "fastmcp_client.py", EARLIER[-1], EARLIER[-1]),
    (peers.FASTMCP_PYTHON, "pydantic_ai_client.py", "auto", None),
    (peers.NODE, "typescript.mjs", "auto", MODERN),
    (peers.NODE, "typescript.mjs", MODERN, MODERN),
    *((peers.NODE, "typescript.mjs", version, version) for version in EARLIER),
    (peers.NODE, "typescript_v1.mjs", EARLIER[-1], EARLIER[-1]),
]
"""The program, its script, how it is to ask, and the version that it then has to agree on; None: it does not tell."""


def endpoint(tenant: Tenant) -> str:
    return f"{tenant.url}/tenants/{tenant.name}/mcp"


@pytest.mark.timeout(300)
@pytest.mark.covers("conformance:clients")
@pytest.mark.parametrize(
    ("program", "script", "mode", "version"), SPEAKERS, ids=[f"{script}-{mode}" for _, script, mode, _ in SPEAKERS]
)
def test_a_client_lists_and_calls(
    program: Path, script: str, mode: str, version: str | None, household: Tenant
) -> None:
    done = peers.run(program, CLIENTS / script, endpoint(household), household.key, mode, TOOL, json.dumps(ARGUMENTS))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    said = json.loads(done.stdout)
    assert said["version"] == version
    assert {TOOL, "storage__put_json"} <= set(said["tools"])
    # One of the servers defines what strict clients refuse to read: that would cost them every list.
    assert set(PECULIAR) <= set(said["tools"])
    assert version is None or {"peculiar__wrong", "note://wrong", "note://{name}"} <= set(said["offered"])
    assert not said["failed"]
    assert "America/Bogota" in said["result"]


def inspect(tenant: Tenant, era: str, method: str, *more: str) -> dict[str, Any]:
    """Run the MCP Inspector's command line once."""
    header = f"Authorization: Bearer {tenant.key}"
    told = ("--cli", endpoint(tenant), "--protocol-era", era, "--header", header, "--method", method, *more)
    done = peers.run(peers.NODE, INSPECTOR, *told, "--format", "json", "--quiet")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
@pytest.mark.covers("conformance:clients")
@pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
def test_the_inspector_lists_and_calls(era: str, household: Tenant) -> None:
    listed = inspect(household, era, "tools/list")
    assert TOOL in {tool["name"] for tool in listed["result"]["tools"]}
    called = inspect(household, era, "tools/call", "--tool-name", TOOL, "--tool-args-json", json.dumps(ARGUMENTS))
    assert called["result"]["structuredContent"]["timezone"] == "America/Bogota"


@pytest.mark.anyio
@pytest.mark.covers("sdk:mcp-client")
async def test_our_own_client_opens_both_endpoints(household: Tenant) -> None:
    async with ts.connect(household.name, household.key, household.url) as client:
        async with client.mcp() as merged:
            assert TOOL in {tool.name for tool in (await merged.list_tools()).tools}
        async with client.mcp("time") as own:
            called = await own.call_tool("get_current_time", ARGUMENTS)
    assert called.structured_content is not None
    assert called.structured_content["timezone"] == "America/Bogota"


@pytest.mark.anyio
@pytest.mark.covers("sdk:mcp-client")
async def test_what_is_no_url_is_said_before_anything_opens() -> None:
    with pytest.raises(ts.errors.InvalidRequest, match="no MCP server's URL"):
        async with ts.mcp.connect("example.com/mcp"):
            raise AssertionError("it opened")
