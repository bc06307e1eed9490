"""Installing, approving, uninstalling: one tenant at a time, at once or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.errors import Conflict, InvalidArguments, NotFound, Unavailable, UpstreamError
from tausestack.testing import Stack

pytestmark = pytest.mark.anyio


def named(servers: dict[str, Any]) -> dict[str, Any]:
    return {server["name"]: server for server in servers["servers"]}


async def snapshot(stack: Stack, tenant: str, plan: str | None = None) -> dict[str, Any]:
    found = await stack.tenant(tenant, system=True).call("snapshot", {"plan": plan})
    return {one["name"]: one for one in found["installations"]}


async def revealed(stack: Stack, tenant: str) -> dict[str, str]:
    asked = {"server": "other", "names": ["TOKEN"]}
    return (await stack.tenant(tenant, system=True).call("reveal", asked))["secrets"]


@pytest.mark.covers("registry:by-plan")
async def test_a_plan_brings_its_services_and_the_registry_remembers_it(stack: Stack) -> None:
    assert {"auth", "agents", "platform", "registry", "billing", "storage"} == set(
        await snapshot(stack, "acme", "basic")
    )
    assert "colombia" in await snapshot(stack, "globex", "premium")
    assert "colombia" not in named(await stack.acme.call("list_installed"))
    assert "colombia" in named(await stack.globex.call("list_installed"))


@pytest.mark.covers("registry:own-service")
async def test_one_of_our_services_is_installed_and_uninstalled_for_one_tenant_alone(stack: Stack) -> None:
    installed = await stack.acme.call("install", {"ref": "colombia"})
    assert installed["status"] == "active"
    assert "validate_nit" in {tool["name"] for tool in installed["tools"]}
    assert "colombia" not in await snapshot(stack, "globex", "basic")
    assert await stack.acme.call("install", {"ref": "colombia"}) == installed
    await stack.acme.call("uninstall", {"name": "colombia"})
    assert "colombia" not in await snapshot(stack, "acme", "premium")
    with pytest.raises(Conflict, match="stays"):
        await stack.acme.call("uninstall", {"name": "auth"})
    with pytest.raises(NotFound):
        await stack.acme.call("uninstall", {"name": "colombia"})


@pytest.mark.covers("registry:install-external")
async def test_a_third_partys_tools_are_kept_raw_and_speak_not_in_our_name(stack: Stack) -> None:
    installed = await stack.acme.call("install", {"ref": "mcp-server-time", "approve": True})
    assert installed["status"] == "active"
    one = (await snapshot(stack, "acme"))["mcp-server-time"]
    assert (one["kind"], one["service"]) == ("adapter", "adapter")
    tool = next(tool for tool in one["tools"] if tool["name"] == "get_current_time")
    assert tool["x-unknown"] == {"kept": True}
    assert tool["_meta"] == {"theirs": 1}
    assert "mcp-server-time" not in await snapshot(stack, "globex")
    assert "mcp-server-time" not in named(await stack.globex.call("list_installed"))


@pytest.mark.covers("registry:install-twice")
async def test_installing_what_is_installed_returns_it_unchanged(stack: Stack, adapter: Any) -> None:
    first = await stack.acme.call("install", {"ref": "pypi:mcp-server-time==2.0", "approve": True})
    again = await stack.acme.call("install", {"ref": "pypi:mcp-server-time==9.9", "approve": True})
    assert again == first
    assert first["version"] == "2.0"
    assert len(adapter.probed) == 1


@pytest.mark.covers("registry:install-twice")
async def test_a_name_that_another_server_has_is_not_taken_for_it(stack: Stack, adapter: Any) -> None:
    await stack.acme.call("install", {"ref": "npm:@one/thing", "approve": True})
    for other in ("npm:@other/thing", "pypi:thing", "https://thing/mcp"):
        with pytest.raises(Conflict, match="name of another server"):
            await stack.acme.call("install", {"ref": other, "name": "thing", "approve": True})
    assert len(adapter.probed) == 1
    far = {"ref": "https://example.com/mcp/", "name": "far", "approve": True}
    adapter.url = "https://example.com/mcp"
    installed = await stack.acme.call("install", far)
    assert await stack.acme.call("install", far) == installed
    assert await stack.acme.call("install", {**far, "ref": adapter.url}) == installed


@pytest.mark.covers("registry:quarantine")
async def test_without_an_approval_the_tools_wait_in_quarantine(stack: Stack, adapter: Any) -> None:
    installed = await stack.acme.call("install", {"ref": "pypi:other"})
    assert installed["status"] == "quarantined"
    assert {tool["status"] for tool in installed["tools"]} == {"quarantined"}
    assert (await stack.tenant("acme", system=True).call("launch", {"server": "other"}))["pins"] == {}
    found = await stack.acme.call("find_tools", {"query": "current time timezone"})
    assert not any(hit["address"].startswith("other/") for hit in found["tools"])
    approved = await stack.acme.call("install", {"ref": "pypi:other", "approve": True})
    assert approved["status"] == "active"
    assert adapter.stopped == ["other"]
    assert len((await stack.tenant("acme", system=True).call("launch", {"server": "other"}))["pins"]) == 2


@pytest.mark.covers("registry:plan")
async def test_a_plan_shows_all_and_changes_nothing_and_its_hash_can_be_approved(stack: Stack, adapter: Any) -> None:
    plan = await stack.acme.call("plan", {"ref": "pypi:other"})
    assert [tool["name"] for tool in plan["tools"]] == ["get_current_time", "convert_time"]
    assert (plan["sandbox"], plan["version"], plan["installed"]) == ("bwrap", "3.0", False)
    assert "other" not in named(await stack.acme.call("list_installed"))
    adapter.tools[1]["description"] = "changed since"
    with pytest.raises(Conflict, match="not what was approved"):
        await stack.acme.call("install", {"ref": "pypi:other", "approve": plan["hash"]})
    assert "other" not in named(await stack.acme.call("list_installed"))
    again = await stack.acme.call("plan", {"ref": "pypi:other"})
    assert again["hash"] != plan["hash"]
    assert (await stack.acme.call("install", {"ref": "pypi:other", "approve": again["hash"]}))["status"] == "active"


@pytest.mark.covers("registry:install-fails-whole")
async def test_what_fails_leaves_nothing_behind(stack: Stack, adapter: Any) -> None:
    adapter.failure = Unavailable("it does not start")
    with pytest.raises(Unavailable, match="does not start"):
        await stack.acme.call("install", {"ref": "pypi:other", "secrets": {"TOKEN": "x"}, "approve": True})
    with pytest.raises(NotFound):
        await stack.acme.call("install", {"ref": "pypi:missing", "approve": True})
    assert "other" not in named(await stack.acme.call("list_installed"))
    assert await revealed(stack, "acme") == {}


def nested(depth: int) -> dict[str, Any]:
    return {"items": nested(depth - 1)} if depth else {}


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "wide": ({"name": "wide", "inputSchema": {"enum": list(range(5000))}}, "more than 5000 values"),
    "deep": ({"name": "deep", "inputSchema": nested(40)}, "nested deeper than 32"),
    "schemaless": ({"name": "schemaless"}, "no input schema"),
    "no schema": ({"name": "odd", "inputSchema": True}, "no input schema"),
    "spaced": ({"name": "two words", "inputSchema": {}}, "its name is none"),
    "unnamed": ({"inputSchema": {}}, "its name is none"),
    "away": ({"name": "away", "inputSchema": {"$ref": "http://192.0.2.1/schema.json"}}, "another document"),
    "out": ({"name": "out", "inputSchema": {}, "outputSchema": {"items": {"$ref": "x.json"}}}, "another document"),
    "huge": ({"name": "huge", "inputSchema": {"title": "x" * 300_000}}, "larger than 256 KiB"),
    "wordy": ({"name": "wordy", "inputSchema": {}, "description": "x" * 9_000}, "longer than 8 KiB"),
    "twice": ({"name": "convert_time", "inputSchema": {}, "title": "the other"}, "listed twice"),
}
"""What may be odd about one tool, and how that is told."""


@pytest.mark.covers("registry:left-out")
@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_tool_is_left_out_with_its_reason_and_the_others_are_installed(
    stack: Stack, adapter: Any, kind: str
) -> None:
    tool, reason = ODD[kind]
    adapter.tools.append(tool)
    plan = await stack.acme.call("plan", {"ref": "pypi:other"})
    assert [one["name"] for one in plan["left_out"]] == [tool.get("name", "")]
    assert reason in plan["left_out"][0]["reason"]
    made = await stack.acme.call("install", {"ref": "pypi:other", "approve": plan["hash"]})
    assert made["left_out"] == plan["left_out"]
    assert named(await stack.acme.call("list_installed"))["other"] == made
    whole = {"get_current_time"} if kind == "twice" else {"get_current_time", "convert_time"}
    assert {one["name"]: one["status"] for one in made["tools"]} == dict.fromkeys(whole, "active")
    launch = await stack.tenant("acme", system=True).call("launch", {"server": "other"})
    assert launch["pins"].keys() == whole


@pytest.mark.covers("registry:left-out")
async def test_a_tool_that_is_listed_twice_as_the_same_thing_is_one_tool(stack: Stack, adapter: Any) -> None:
    adapter.tools += [dict(tool) for tool in adapter.tools]
    made = await stack.acme.call("install", {"ref": "pypi:other", "approve": True})
    assert sorted(tool["name"] for tool in made["tools"]) == ["convert_time", "get_current_time"]
    assert made["left_out"] == []


@pytest.mark.covers("registry:left-out")
async def test_what_the_host_left_out_is_told_too(stack: Stack, adapter: Any) -> None:
    adapter.left_out = [{"name": "vast", "reason": "its definition has more than 5000 values"}]
    assert (await stack.acme.call("plan", {"ref": "pypi:other"}))["left_out"] == adapter.left_out


@pytest.mark.covers("registry:definitions-bounded")
async def test_a_server_with_more_tools_than_anybody_takes_is_not_installed(stack: Stack, adapter: Any) -> None:
    adapter.tools = [{"name": f"tool{n}", "inputSchema": {}} for n in range(1001)]
    with pytest.raises(UpstreamError, match="1000 are the most"):
        await stack.acme.call("install", {"ref": "pypi:other", "approve": True})
    assert "other" not in named(await stack.acme.call("list_installed"))


@pytest.mark.covers("registry:secrets-sealed")
async def test_secrets_are_sealed_and_given_to_the_server_alone(stack: Stack, adapter: Any) -> None:
    canary = "canary-5b1f"
    settings = {"config": {"REGION": "co", "LIMIT": 5}, "secrets": {"TOKEN": canary}, "approve": True}
    installed = await stack.acme.call("install", {"ref": "pypi:other", **settings})
    assert canary not in str(installed) + str(await stack.acme.call("list_installed"))
    assert adapter.probed[0]["launch"]["secrets"] == {"TOKEN": canary}
    assert await revealed(stack, "acme") == {"TOKEN": canary}
    launch = await stack.tenant("acme", system=True).call("launch", {"server": "other"})
    assert launch["env"] == {"REGION": "co", "LIMIT": "5"}
    assert launch["secrets"] == {"TOKEN": canary}
    for file in stack.service.env.data.rglob("*"):
        assert not file.is_file() or canary.encode() not in file.read_bytes()
    with pytest.raises(NotFound):
        await stack.tenant("globex", system=True).call("launch", {"server": "other"})
    assert await revealed(stack, "globex") == {}
    await stack.acme.call("uninstall", {"name": "other"})
    assert await revealed(stack, "acme") == {}


@pytest.mark.covers("registry:default")
async def test_one_server_at_most_is_the_default(stack: Stack) -> None:
    await stack.acme.call("install", {"ref": "colombia", "default": True})
    await stack.acme.call("install", {"ref": "pypi:other", "approve": True, "default": True})
    assert [name for name, one in (await snapshot(stack, "acme")).items() if one["default"]] == ["other"]
    await stack.acme.call("install", {"ref": "storage", "default": True})
    assert [name for name, one in (await snapshot(stack, "acme")).items() if one["default"]] == ["storage"]


@pytest.mark.covers("registry:update")
async def test_another_server_is_made_the_default_and_the_plan_still_decides_on_ours(stack: Stack) -> None:
    async def defaults(plan: str = "premium") -> list[str]:
        return [name for name, one in (await snapshot(stack, "acme", plan)).items() if one["default"]]

    await stack.acme.call("install", {"ref": "pypi:other", "approve": True})
    assert (await stack.acme.call("update", {"name": "other", "default": True}))["default"] is True
    assert await defaults() == ["other"]
    assert (await stack.acme.call("update", {"name": "colombia", "default": True}))["default"] is True
    assert await defaults() == ["colombia"]
    assert "colombia" not in await snapshot(stack, "acme", "basic")
    assert (await stack.acme.call("update", {"name": "other"}))["default"] is False
    assert await defaults() == ["colombia"]
    await stack.acme.call("update", {"name": "colombia", "default": False})
    assert await defaults() == []
    for tenant, name in ((stack.globex, "other"), (stack.acme, "nothing")):
        with pytest.raises(NotFound, match="not installed"):
            await tenant.call("update", {"name": name, "default": True})


@pytest.mark.covers("registry:changes")
async def test_each_change_is_published_after_it_is_kept(stack: Stack) -> None:
    async def since(boot: str, epoch: int) -> dict[str, Any]:
        return await stack.system.call("changes", {"boot": boot, "epoch": epoch})

    start = await since("", 0)
    assert start["reset"] is True
    await stack.globex.call("install", {"ref": "colombia"})
    seen = await since(start["boot"], start["epoch"])
    assert (seen["reset"], seen["tenants"]) == (False, ["globex"])
    await stack.globex.call("uninstall", {"name": "colombia"})
    assert (await since(start["boot"], seen["epoch"]))["tenants"] == ["globex"]


async def test_a_name_of_ones_own_choice(stack: Stack) -> None:
    installed = await stack.acme.call("install", {"ref": "pypi:other", "name": "clock", "approve": True})
    assert installed["name"] == "clock"
    with pytest.raises(InvalidArguments, match="keeps its name"):
        await stack.acme.call("install", {"ref": "colombia", "name": "kolumbien"})
    with pytest.raises(Conflict, match="choose another name"):
        await stack.acme.call("install", {"ref": "pypi:other", "name": "billing"})
    with pytest.raises(InvalidArguments, match="choose one"):
        await stack.acme.call("install", {"ref": "pypi:other", "name": "Not A Name"})
