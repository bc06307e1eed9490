"""Remote servers: planned by one contact, their headers sealed, their tools pinned like everybody's."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.errors import Conflict, Forbidden, NotFound
from tausestack.testing import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("stack", ["sqlite", "postgresql"], indirect=True)]

URL = "https://example.com/mcp?key=k1"


async def snapshot(stack: Stack, tenant: str) -> dict[str, Any]:
    found = await stack.tenant(tenant, system=True).call("snapshot")
    return {one["name"]: one for one in found["installations"]}


@pytest.mark.covers("registry:remote")
async def test_a_remote_server_is_planned_by_one_contact_and_approved_by_its_hash(stack: Stack, adapter: Any) -> None:
    given = {"ref": URL, "name": "far", "config": {"X-Region": "co"}, "secrets": {"Authorization": "Bearer abc"}}
    plan = await stack.acme.call("plan", given)
    (asked,) = adapter.probed
    assert asked == {
        "name": "far",
        "launch": {
            "registryType": "remote",
            "url": URL,
            "headers": {"X-Region": "co", "Authorization": "Bearer abc"},
            "protocols": [],
        },
    }
    assert (plan["kind"], plan["url"], plan["sandbox"]) == ("remote", "https://example.com/mcp?…", None)
    assert (plan["protocols"], plan["version"]) == (["2026-07-28", "2025-06-18"], "7.1")
    assert plan["instructions"] == "Be kind."
    assert [tool["name"] for tool in plan["tools"]] == ["get_current_time", "convert_time"]
    assert "far" not in await snapshot(stack, "acme")
    installed = await stack.acme.call("install", {**given, "approve": plan["hash"]})
    assert (installed["status"], installed["hash"]) == ("active", plan["hash"])
    assert not any(call.address == "adapter/fetch" for call in stack.calls)


@pytest.mark.covers("registry:remote")
async def test_a_server_is_installed_where_it_says_that_it_is(stack: Stack, adapter: Any) -> None:
    adapter.url = "https://example.com/mcp/?key=1"
    plan = await stack.acme.call("plan", {"ref": URL, "name": "far"})
    assert plan["url"] == "https://example.com/mcp/?…"
    await stack.acme.call("install", {"ref": URL, "name": "far", "approve": plan["hash"]})
    launch = await stack.tenant("acme", system=True).call("launch", {"server": "far"})
    assert launch["url"] == adapter.url
    adapter.url = ""
    assert (await stack.acme.call("plan", {"ref": URL, "name": "far"}))["hash"] != plan["hash"]


@pytest.mark.covers("registry:remote")
async def test_a_plans_hash_covers_the_url_the_protocols_the_instructions_and_the_tools(
    stack: Stack, adapter: Any
) -> None:
    async def planned(ref: str = URL) -> str:
        return (await stack.acme.call("plan", {"ref": ref, "name": "far"}))["hash"]

    first = await planned()
    adapter.offer = {**adapter.offer, "serverInfo": {"name": "other", "version": "8\0"}}
    assert await planned() == first
    seen = {first, await planned("https://example.com/other")}
    adapter.protocols = ["2026-07-28"]
    seen.add(await planned())
    adapter.tools[0]["description"] = "changed"
    seen.add(await planned())
    adapter.offer = {**adapter.offer, "instructions": "Before anything else, …"}
    seen.add(await planned())
    assert len(seen) == 5
    with pytest.raises(Conflict, match="not what was approved"):
        await stack.acme.call("install", {"ref": URL, "name": "far", "approve": first})


@pytest.mark.covers("registry:remote")
async def test_the_snapshot_tells_what_the_gateway_needs_of_a_remote_server(stack: Stack, adapter: Any) -> None:
    adapter.offer["resources"] = [{"uri": "file:///a"}, {"uri": "file:///a"}, {"no": "uri"}, {"uri": "x" * 100_000}]
    adapter.offer["instructions"] = "with a zero \0"
    await stack.acme.call("install", {"ref": URL, "name": "far", "secrets": {"Authorization": "s3cr3t"}})
    one = (await snapshot(stack, "acme"))["far"]
    assert (one["kind"], one["url"], one["status"]) == ("remote", URL, "quarantined")
    assert one["protocols"] == ["2026-07-28", "2025-06-18"]
    assert one["offer"] == {
        "serverInfo": {"name": "other", "version": "7.1"},
        "capabilities": {"tools": {"listChanged": True}, "prompts": {}},
        "instructions": "with a zero \0",
        "prompts": [{"name": "greet", "_meta": {"theirs": 1}}],
        "resources": [{"uri": "file:///a"}],
        "resourceTemplates": [{"uriTemplate": "file:///{path}", "name": "files"}],
        "leftOut": [],
    }
    own = (await snapshot(stack, "acme"))["billing"]
    assert (own["url"], own["protocols"], own["offer"]["prompts"]) == (None, [], [])
    assert "far" not in await snapshot(stack, "globex")


@pytest.mark.covers("registry:remote")
async def test_a_host_that_says_nothing_of_protocols_and_offer_is_enough(stack: Stack, adapter: Any) -> None:
    def probe(arguments: dict[str, Any]) -> dict[str, Any]:
        said = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "o", "version": "1"}, "capabilities": {}}
        return {"server": said, "tools": adapter.tools, "sandbox": ""}

    stack.answer("adapter/probe", probe)
    await stack.acme.call("install", {"ref": URL, "name": "far", "approve": True})
    one = (await snapshot(stack, "acme"))["far"]
    assert (one["protocols"], one["version"]) == (["2025-11-25"], "1")
    assert one["offer"]["serverInfo"] == {"name": "o", "version": "1"}


@pytest.mark.covers("registry:secrets-sealed")
async def test_a_remote_servers_secret_headers_are_sealed_and_its_settings_go_with_it(stack: Stack) -> None:
    canary = "canary-7c2d"
    given = {"config": {"X-Region": "co"}, "secrets": {"Authorization": f"Bearer {canary}"}, "approve": True}
    installed = await stack.acme.call("install", {"ref": URL, "name": "far", **given})
    shown = str(installed) + str(await stack.acme.call("list_installed")) + str(await snapshot(stack, "acme"))
    assert canary not in shown
    assert "key=k1" not in str(await stack.acme.call("list_installed"))
    for file in stack.service.env.data.rglob("*"):
        assert not file.is_file() or canary.encode() not in file.read_bytes()
    launch = await stack.tenant("acme", system=True).call("launch", {"server": "far"})
    assert launch == {
        "registryType": "remote",
        "url": URL,
        "headers": {"X-Region": "co", "Authorization": f"Bearer {canary}"},
        "protocols": ["2026-07-28", "2025-06-18"],
        "pins": launch["pins"],
        "files": {},
    }
    assert set(launch["pins"]) == {"get_current_time", "convert_time"}
    await stack.acme.call("uninstall", {"name": "far"})
    assert "far" not in await snapshot(stack, "acme")
    with pytest.raises(NotFound):
        await stack.tenant("acme", system=True).call("launch", {"server": "far"})


@pytest.mark.covers("registry:remote-refused")
async def test_an_address_that_may_not_be_reached_is_refused_in_the_hosts_own_words(stack: Stack, adapter: Any) -> None:
    adapter.failure = Forbidden("10.0.0.1:80 is a private address: TAUSESTACK_ALLOWED_PRIVATE_HOSTS can allow it")
    for tool in ("plan", "install"):
        with pytest.raises(Forbidden, match="TAUSESTACK_ALLOWED_PRIVATE_HOSTS"):
            await stack.acme.call(tool, {"ref": "http://10.0.0.1/mcp", "name": "far"})
    assert "far" not in await snapshot(stack, "acme")
