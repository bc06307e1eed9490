"""Clients and servers of both eras meet in all four pairings, each as if the other were of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client

import tausestack as ts
from stack import Stack, Tenant
from tausestack.mcp.client import Mode

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.covers("conformance:pairings")]

ERAS: list[tuple[Mode, str]] = [("2026-07-28", "2026-07-28"), ("legacy", "2025-11-25")]
EARLIER_SERVERS = ["afar", "everything"]
"""At a URL, and in a sandbox; both speak 2025-11-25 and nothing later."""


@pytest.fixture(scope="module")
def town(household: Tenant, earlier_url: str, npm_at_hand: None) -> Tenant:
    """The tenant, with servers of the earlier versions too."""
    household.install(earlier_url, name="afar")
    household.install("npm:@modelcontextprotocol/server-everything", name="everything")
    return household


async def fill_in(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Answer as the person at a form."""
    return types.ElicitResult(action="accept", content={"name": "Ana", "username": "ana", "email": "ana@example.com"})


async def think(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Answer as the client's model."""
    text = types.TextContent(type="text", text="a thought of the client's")
    return types.CreateMessageResult(role="assistant", content=text, model="none")


@asynccontextmanager
async def meeting(tenant: Tenant, mode: Mode, version: str) -> AsyncGenerator[Client]:
    async with (
        ts.connect(tenant.name, tenant.key, tenant.url) as ours,
        ours.mcp(mode=mode, elicitation_callback=fill_in, sampling_callback=think) as client,
    ):
        assert client.protocol_version == version
        yield client


def words(result: types.CallToolResult) -> str:
    """Return a result's text."""
    assert not result.is_error, result.content
    return "\n".join(one.text for one in result.content if isinstance(one, types.TextContent))


@pytest.mark.parametrize(("mode", "version"), ERAS)
async def test_a_server_of_today_asks_a_client_of_either_era(mode: Mode, version: str, town: Tenant) -> None:
    async with meeting(town, mode, version) as client:
        said = await client.call_tool("storage__put_json", {"key": "k", "value": {"by": version}})
        assert not said.is_error
        assert "ana" in words(await client.call_tool("test_elicitation", {"message": "Who are you?"}))
        assert "a thought" in words(await client.call_tool("test_sampling", {"prompt": "Think."}))


@pytest.mark.parametrize("server", EARLIER_SERVERS)
@pytest.mark.parametrize(("mode", "version"), ERAS)
async def test_an_earlier_server_asks_a_client_of_either_era(
    mode: Mode, version: str, server: str, town: Tenant
) -> None:
    async with meeting(town, mode, version) as client:
        assert "42" in words(await client.call_tool(f"{server}__get-sum", {"a": 2, "b": 40}))
        assert "Ana" in words(await client.call_tool(f"{server}__trigger-elicitation-request", {}))
        assert "a thought" in words(await client.call_tool(f"{server}__trigger-sampling-request", {"prompt": "Think."}))
        page = {"url": "https://sign.example/1", "message": "Sign here"}
        assert "https://sign.example/1" in words(await client.call_tool(f"{server}__trigger-url-elicitation", page))


async def test_what_an_earlier_server_takes_as_a_task_alone_is_called_like_any_other(town: Tenant) -> None:
    async def research(mode: Mode, version: str, server: str) -> None:
        async with meeting(town, mode, version) as client:
            asked = {"topic": f"tides of {version}", "ambiguous": True}
            report = words(await client.call_tool(f"{server}__simulate-research-query", asked))
        assert f"Research Report: tides of {version}" in report
        # It asked, and was answered.
        assert "User accepted without selection" in report

    async with anyio.create_task_group() as group:  # the servers take five seconds for each
        group.start_soon(research, *ERAS[0], "afar")
        for era in ERAS:  # who asks over a pipe names no call: one at a time
            await research(*era, "everything")


@pytest.mark.parametrize(("mode", "version"), ERAS)
async def test_a_server_that_keeps_no_sessions_asks_a_client_of_either_era(
    mode: Mode, version: str, town: Tenant, sessionless_url: str
) -> None:
    town.install(sessionless_url, name="sessionless")
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with meeting(town, mode, version) as client:
        assert "Hello, Ana" in words(await client.call_tool("sessionless__greet", {}))
        assert "a thought" in words(await client.call_tool("sessionless__think", {}))
        assert '"signature": "accept"' in words(await client.call_tool("sessionless__sign", {}))
        await client.call_tool("sessionless__count", {}, progress_callback=heard)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("server", EARLIER_SERVERS)
@pytest.mark.parametrize(("mode", "version"), ERAS)
async def test_an_earlier_server_tells_its_progress(mode: Mode, version: str, server: str, town: Tenant) -> None:
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with meeting(town, mode, version) as client:
        long = {"duration": 0.3, "steps": 3}
        await client.call_tool(f"{server}__trigger-long-running-operation", long, progress_callback=heard)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("server", EARLIER_SERVERS)
@pytest.mark.parametrize(("mode", "version"), ERAS)
async def test_an_earlier_servers_prompts_and_resources_are_read(
    mode: Mode, version: str, server: str, town: Tenant, stack: Stack
) -> None:
    async with meeting(town, mode, version) as client:
        assert f"{server}__simple-prompt" in {prompt.name for prompt in (await client.list_prompts()).prompts}
        assert (await client.get_prompt(f"{server}__simple-prompt")).messages
        uris = [resource.uri for resource in (await client.list_resources()).resources]
        (one,) = [uri for uri in uris if uri.startswith(f"tausestack://{server}/") and "features" in uri]
        assert (await client.read_resource(one)).contents
        completed = await client.complete(
            types.PromptReference(type="ref/prompt", name=f"{server}__completable-prompt"),
            {"name": "department", "value": "E"},
        )
        assert "Engineering" in completed.completion.values
    # What they said when they were installed stands in for a server that can't be asked, and these can be.
    assert "a server lists nothing" not in stack.log.read_text(encoding="utf-8")
