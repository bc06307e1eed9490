"""Installations through the doors: made the default, quarantined, reviewed, approved."""

from __future__ import annotations

import pytest

from stack import Stack, Tenant


def names(tenant: Tenant) -> set[str]:
    return {tool["name"] for tool in tenant.rpc("tools/list", {}).json()["result"]["tools"]}


@pytest.mark.covers("doors:servers")
def test_one_server_is_made_the_default_and_its_tools_go_by_their_own_names(stack: Stack, tenant: Tenant) -> None:
    made = tenant.client.patch("/servers/storage", json={"default": True})
    assert (made.status_code, made.json()["default"]) == (200, True)
    assert "put_json" in names(tenant)
    listed = [tool["name"] for tool in tenant.rpc("tools/list", {}).json()["result"]["tools"]]
    assert [name for name in listed if "__" not in name] == listed[:4], "the default server's come first"
    told = stack.cli_json("update", "billing", "--default", "--tenant", tenant.name, key=tenant.key)
    assert told["default"] is True
    assert tenant.client.get("/servers/storage").json()["default"] is False
    assert "create_invoice" in names(tenant)
    assert "put_json" not in names(tenant)
    assert tenant.client.patch("/servers/nothing", json={"default": True}).status_code == 404
    assert tenant.client.patch("/servers/billing", json={"version": "1"}).status_code == 422


@pytest.mark.covers("doors:servers")
@pytest.mark.usefixtures("clock_at_hand")
def test_what_waits_in_quarantine_is_reviewed_and_approved(stack: Stack, tenant: Tenant) -> None:
    installed = tenant.install("mcp-server-time", approve=False)
    assert installed["status"] == "quarantined"
    assert "mcp-server-time__get_current_time" not in names(tenant)
    line = ("approve", "mcp-server-time", "--tenant", tenant.name)
    reviewed = stack.cli_json(*line, "--review", key=tenant.key)
    assert {tool["name"] for tool in reviewed["tools"]} == {"get_current_time", "convert_time"}
    assert tenant.client.post("/servers/mcp-server-time/approve", json={"approve": "0" * 64}).status_code == 409
    approved = tenant.client.post("/servers/mcp-server-time/approve", json={"approve": reviewed["hash"]})
    assert (approved.status_code, approved.json()["status"]) == (200, "active")
    told = tenant.must("mcp-server-time/get_current_time", {"timezone": "America/Bogota"})
    assert "Bogota" in str(told)
    assert tenant.client.post("/servers/storage/approve", json={}).status_code == 404
