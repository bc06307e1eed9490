"""Definitions that change after they were approved: quarantined, reviewed, approved again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound, Unavailable, UpstreamError
from tausestack.testing import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("stack", ["sqlite", "postgresql"], indirect=True)]

NONE: dict[str, list[str]] = {"added": [], "changed": [], "vanished": []}


def tool(name: str, description: str = "") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


@pytest.fixture
async def server(stack: Stack, adapter: Any) -> str:
    """A server with the approved tools `kept` and `other`."""
    adapter.tools = [tool("kept"), tool("other")]
    await stack.acme.call("install", {"ref": "https://example.com/mcp", "name": "far", "approve": True})
    return "far"


async def observe(stack: Stack, *tools: dict[str, Any], tenant: str = "acme") -> dict[str, Any]:
    return await stack.tenant(tenant, system=True).call("observed", {"server": "far", "tools": list(tools)})


async def statuses(stack: Stack) -> dict[str, str]:
    listed = await stack.acme.call("list_installed")
    one = next(one for one in listed["servers"] if one["name"] == "far")
    return {tool["name"]: tool["status"] for tool in one["tools"]}


async def pins(stack: Stack) -> set[str]:
    return set((await stack.tenant("acme", system=True).call("launch", {"server": "far"}))["pins"])


async def epoch(stack: Stack) -> int:
    return (await stack.system.call("changes", {"boot": "", "epoch": 0}))["epoch"]


@pytest.mark.covers("registry:observed")
async def test_what_was_not_approved_waits_and_what_vanished_is_kept(stack: Stack, server: str) -> None:
    before = await epoch(stack)
    seen = await observe(stack, tool("kept", "now otherwise"), tool("new"))
    assert seen == {"added": ["new"], "changed": ["kept"], "vanished": ["other"]}
    assert await statuses(stack) == {"kept": "quarantined", "new": "quarantined", "other": "active"}
    assert await pins(stack) == {"other"}
    assert await epoch(stack) == before + 1
    found = await stack.tenant("acme", system=True).call("snapshot")
    one = next(one for one in found["installations"] if one["name"] == "far")
    assert one["status"] == "quarantined"
    assert [t["description"] for t in one["tools"] if t["name"] == "kept"] == ["now otherwise"]


@pytest.mark.covers("registry:observed")
async def test_where_nothing_changed_nothing_is_written_or_published(stack: Stack, server: str) -> None:
    before = await epoch(stack)
    assert await observe(stack, tool("other"), tool("kept")) == NONE
    assert await observe(stack, tool("kept")) == {**NONE, "vanished": ["other"]}
    first = await observe(stack, tool("kept"), tool("other"), tool("new"))
    assert first == {**NONE, "added": ["new"]}
    assert await observe(stack, tool("kept"), tool("other"), tool("new")) == NONE
    assert await epoch(stack) == before + 1


@pytest.mark.covers("registry:observed")
async def test_a_tool_that_is_again_as_it_was_approved_is_active_again(stack: Stack, server: str) -> None:
    await observe(stack, tool("kept", "worse"), tool("other"))
    assert (await statuses(stack))["kept"] == "quarantined"
    assert await observe(stack, tool("kept"), tool("other")) == {**NONE, "changed": ["kept"]}
    assert await statuses(stack) == {"kept": "active", "other": "active"}


@pytest.mark.covers("registry:observed")
async def test_observations_at_once_keep_each_new_tool_once(stack: Stack, server: str) -> None:
    tools = (tool("kept", "changed"), tool("other"), tool("new"))
    await asyncio.gather(*(observe(stack, *tools) for _ in range(8)))
    assert await statuses(stack) == {"kept": "quarantined", "new": "quarantined", "other": "active"}


@pytest.mark.covers("registry:observed")
async def test_too_many_definitions_and_anothers_server_change_nothing(stack: Stack, server: str) -> None:
    for page in range(2):
        many = [tool(f"tool{page}-{number}") for number in range(999)]
        if page == 0:
            await observe(stack, *many)
        else:
            with pytest.raises(UpstreamError, match="new tools"):
                await observe(stack, *many, tool("one"))
    for tenant, name in (("globex", "far"), ("acme", "billing")):
        with pytest.raises(NotFound):
            await stack.tenant(tenant, system=True).call("observed", {"server": name, "tools": []})
    with pytest.raises(Forbidden):
        await stack.acme.call("observed", {"server": "far", "tools": []})


@pytest.mark.covers("registry:left-out")
async def test_an_odd_tool_that_comes_later_is_left_out_and_told_until_it_goes(stack: Stack, server: str) -> None:
    async def left_out() -> list[str]:
        listed = await stack.acme.call("list_installed")
        return [one["name"] for server in listed["servers"] if server["name"] == "far" for one in server["left_out"]]

    before = await epoch(stack)
    sound = (tool("kept"), tool("other"))
    assert await observe(stack, *sound, tool("two words"), tool("new")) == {**NONE, "added": ["new"]}
    assert await left_out() == ["two words"]
    assert await observe(stack, *sound, tool("two words"), tool("new")) == NONE
    assert await epoch(stack) == before + 1
    assert await observe(stack, *sound, tool("new")) == NONE
    assert await left_out() == []
    assert await statuses(stack) == {"kept": "active", "other": "active", "new": "quarantined"}


@pytest.mark.covers("registry:approve")
async def test_what_waits_is_reviewed_and_approved_by_the_hash_of_the_review(
    stack: Stack, adapter: Any, server: str
) -> None:
    await observe(stack, tool("kept", "new words"), tool("other"))
    reviewed = await stack.acme.call("review", {"name": "far"})
    assert reviewed["tools"] == [tool("kept", "new words")]
    await observe(stack, tool("kept", "other words"), tool("other"))
    with pytest.raises(Conflict, match="not what was approved"):
        await stack.acme.call("approve", {"name": "far", "approve": reviewed["hash"]})
    assert (await statuses(stack))["kept"] == "quarantined"
    again = await stack.acme.call("review", {"name": "far"})
    before = await epoch(stack)
    approved = await stack.acme.call("approve", {"name": "far", "approve": again["hash"]})
    assert (approved["status"], approved["hash"]) == ("active", again["hash"])
    assert await epoch(stack) == before + 1
    assert await pins(stack) == {"kept", "other"}
    assert adapter.stopped == ["far"]
    assert await stack.acme.call("approve", {"name": "far", "approve": again["hash"]}) == approved
    assert await epoch(stack) == before + 1


@pytest.mark.covers("registry:approve")
async def test_an_approval_holds_though_the_adapter_host_is_away(stack: Stack, server: str) -> None:
    def away(arguments: dict[str, Any]) -> dict[str, Any]:
        raise Unavailable("it starts again")

    await observe(stack, tool("kept"), tool("other"), tool("new"))
    stack.answer("adapter/stop", away)
    approved = await stack.acme.call("approve", {"name": "far"})
    assert approved["status"] == "active"
    assert await pins(stack) == {"kept", "new", "other"}


@pytest.mark.covers("registry:approve")
async def test_only_a_third_partys_tools_of_ones_own_can_be_approved(stack: Stack, server: str) -> None:
    with pytest.raises(NotFound):
        await stack.globex.call("approve", {"name": "far"})
    with pytest.raises(NotFound):
        await stack.globex.call("review", {"name": "far"})
    with pytest.raises(NotFound):
        await stack.acme.call("approve", {"name": "billing"})
    with pytest.raises(InvalidArguments):
        await stack.acme.call("approve", {"name": "far", "approve": False})
