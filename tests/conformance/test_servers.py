"""Servers that nobody here wrote, behind the merged endpoint, met by a client of each era."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

import tausestack as ts
from stack import Stack, Tenant
from tausestack.mcp.client import Mode

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

MODES: list[Mode] = ["2026-07-28", "legacy"]


class Server(NamedTuple):
    """What is installed, a tool of it, and what its answer has to hold."""

    ref: str
    name: str
    tool: str
    arguments: dict[str, Any]
    answer: str


SERVERS = [
    Server("pypi:mcp-server-time", "time", "get_current_time", {"timezone": "America/Bogota"}, "America/Bogota"),
    Server("pypi:mcp-server-fetch", "fetch", "fetch", {"url": "http://127.0.0.1:9/robots.txt"}, "127.0.0.1:9"),
    Server("npm:@modelcontextprotocol/server-everything", "everything", "get-sum", {"a": 2, "b": 40}, "42"),
    Server("npm:@modelcontextprotocol/server-filesystem", "files", "create_directory", {"path": "drafts"}, "drafts"),
    Server("npm:@modelcontextprotocol/server-memory", "graph", "read_graph", {}, "entities"),
]  # fmt: skip


@pytest.mark.covers("conformance:servers")
@pytest.mark.usefixtures("npm_at_hand")
@pytest.mark.parametrize("server", SERVERS, ids=[server.name for server in SERVERS])
async def test_a_server_is_met_through_the_merged_endpoint(server: Server, household: Tenant) -> None:
    installed = household.install(server.ref, name=server.name)
    assert installed["status"] == "active"
    wire = f"{server.name}__{server.tool}"
    async with ts.connect(household.name, household.key, household.url) as ours:
        for mode in MODES:
            async with ours.mcp(mode=mode) as client:
                assert wire in {tool.name for tool in (await client.list_tools()).tools}
                called = await client.call_tool(wire, server.arguments)
                assert server.answer in json.dumps(called.model_dump(mode="json"))


@pytest.mark.covers("registry:arguments")
async def test_a_servers_command_is_given_the_words_that_it_needs(household: Tenant, stack: Stack) -> None:
    words = ["--local-timezone", "America/Bogota"]
    asked = ("plan", "pypi:mcp-server-time", "--tenant", household.name, *(f"--arg={word}" for word in words))
    assert stack.cli_json(*asked, key=household.key)["command"][1:] == words
    household.install("pypi:mcp-server-time", name="zoned", arguments=words)
    async with (
        ts.connect(household.name, household.key, household.url) as ours,
        ours.mcp("zoned") as client,
    ):
        (tool,) = [one for one in (await client.list_tools()).tools if one.name == "get_current_time"]
        assert "'America/Bogota' as local timezone" in json.dumps(tool.input_schema)
        called = await client.call_tool("get_current_time", {"timezone": "America/Bogota"})
    assert not called.is_error
