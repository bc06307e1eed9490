"""A suspended tenant: refused to its own, not there for strangers, and at rest."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx2
import pytest

from remotes import eventually, party
from stack import Stack, Tenant, mcp_request


def _suspend(stack: Stack, tenant: Tenant) -> dict[str, Any]:
    reply = stack.operator("POST", f"tenants/{tenant.name}/suspend", json={})
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.covers("life:suspended-own", "life:suspended-strangers", "life:resumed")
def test_its_own_credentials_are_told_and_strangers_see_nothing(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    tenant.must("storage/put_json", {"key": "kept", "value": 1})
    revoked = tenant.client.post("/keys", json={"role": "viewer"}).json()
    assert tenant.client.delete(f"/keys/{revoked['id']}").status_code == 200
    assert _suspend(stack, tenant)["status"] == "suspended"
    assert stack.operator("GET", f"tenants/{tenant.name}").json()["status"] == "suspended"

    for path in ("/tools", "/servers", "/usage", "/runs", "/audit", "/keys", "/openapi.json"):
        refused = tenant.client.get(path)
        assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended"), path
    refused = tenant.call("storage/get_json", {"key": "kept"})
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    for server in (None, "storage"):
        over_mcp = tenant.rpc("tools/list", {}, server=server)
        assert (over_mcp.status_code, over_mcp.json()["error"]["data"]["code"]) == (403, "tenant_suspended")
    earlier = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begun = httpx2.post(
        f"{stack.url}/tenants/{tenant.name}/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": earlier},
        headers={**tenant.headers, "Accept": "application/json, text/event-stream"},
    )
    assert (begun.status_code, begun.json()["error"]["data"]["code"]) == (403, "tenant_suspended")
    # A revoked key of its own, and no key at all, are what they ever were.
    gone = httpx2.get(str(tenant.client.base_url) + "tools", headers={"Authorization": f"Bearer {revoked['api_key']}"})
    assert (gone.status_code, gone.json()["code"]) == (401, "unauthenticated")
    assert httpx2.get(str(tenant.client.base_url) + "tools").status_code == 401

    theirs, nobodys = (
        httpx2.get(f"{stack.url}/api/v2/tenants/{name}/tools", headers=other.headers)
        for name in (tenant.name, "x" * len(tenant.name))
    )
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()
    seen = mcp_request(stack.url, tenant.name, other.key, "tools/list", {})
    unseen = mcp_request(stack.url, "x" * len(tenant.name), other.key, "tools/list", {})
    assert (seen.status_code, seen.json()) == (unseen.status_code, unseen.json())

    session = stack.operator("POST", f"tenants/{tenant.name}/session", json={})
    assert (session.status_code, session.json()["code"]) == (403, "tenant_suspended")
    resumed = stack.operator("POST", f"tenants/{tenant.name}/resume", json={})
    assert resumed.json()["status"] == "active"
    assert tenant.must("storage/get_json", {"key": "kept"})["value"] == 1


@pytest.mark.covers("life:suspended-ends")
@pytest.mark.usefixtures("clock_at_hand")
def test_what_runs_for_it_ends(stack: Stack, tenant: Tenant) -> None:
    tenant.install("pypi:mcp-server-time", name="clock")
    tenant.must("clock/get_current_time", {"timezone": "America/Bogota"})
    assert [one for one in stack.operator("GET", "doctor").json()["services"] if one["tenant"] == tenant.name]
    tenant.install("colombia")
    waiting = tenant.client.post("/runs", json={"agent": "concierge", "input": _HELD, "wait": 30}).json()
    assert waiting["status"] == "interrupted", waiting
    ended: dict[str, httpx2.Response] = {}

    def follow() -> None:
        ended["stream"] = tenant.client.get(f"/runs/{waiting['id']}/events", timeout=60)

    following = threading.Thread(target=follow)
    following.start()
    eventually(lambda: tenant.client.get("/usage").status_code == 200)
    _suspend(stack, tenant)
    following.join(10)
    assert not following.is_alive()
    assert "tenant_suspended" in ended["stream"].text
    # Before the answer, its servers' processes have ended, and their socket is gone.
    assert not [one for one in stack.operator("GET", "doctor").json()["services"] if one["tenant"] == tenant.name]
    stack.operator("POST", f"tenants/{tenant.name}/resume", json={})
    again = tenant.client.get(f"/runs/{waiting['id']}").json()
    assert again["status"] == "interrupted"
    done = tenant.client.post(f"/runs/{waiting['id']}/resume", json={"decision": {"approve": True}, "wait": 30}).json()
    assert done["status"] == "success", done
    tenant.must("clock/get_current_time", {"timezone": "America/Bogota"})


@pytest.mark.covers("life:suspended-seen")
def test_its_operator_sees_a_suspended_tenant_and_verifies_its_chain(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "kept", "value": 1})
    _suspend(stack, tenant)
    shown = stack.cli_json("tenant", "show", tenant.name)
    assert shown["status"] == "suspended"
    assert shown["limits"]["calls_per_minute"]["limit"] > 7
    assert "suspended" in stack.cli("tenant", "show", tenant.name).stdout
    lowered = stack.cli_json("tenant", "set", tenant.name, "calls_per_minute=7")
    assert lowered["limits"]["calls_per_minute"]["limit"] == 7
    found = stack.cli_json("audit", "verify", "--tenant", tenant.name)
    assert (found["ok"], found["tenant"]) == (True, tenant.name)
    assert found["calls"] >= 1
    assert f"the audit chain of {tenant.name} is whole" in stack.cli("audit", "verify", "--tenant", tenant.name).stdout
    refused = stack.cli("audit", "verify", "--tenant", tenant.name, key=tenant.key, check=False)
    assert (refused.returncode, "suspended" in refused.stderr) == (1, True)
    assert tenant.client.get("/audit/verify").status_code == 403
    nobodys = stack.operator("GET", "tenants/no-such-tenant/audit/verify")
    assert nobodys.status_code == 404
    stack.operator("POST", f"tenants/{tenant.name}/resume", json={})
    assert tenant.client.get("/limits").json()["limits"]["calls_per_minute"]["limit"] == 7


@pytest.mark.covers("life:operators-chain")
def test_the_operators_own_chain_is_verified_by_a_command(stack: Stack, tenant: Tenant) -> None:
    for asked in ((), ("--tenant", "_system")):
        found = stack.cli_json("audit", "verify", *asked)
        assert (found["ok"], found["tenant"]) == (True, "_system")
        assert found["lines"] > 0
    assert "the audit chain of _system is whole" in stack.cli("audit", "verify").stdout
    theirs = httpx2.get(f"{stack.url}/api/v2/tenants/_system/audit/verify", headers=tenant.headers)
    assert theirs.status_code == 404


@pytest.mark.covers("oauth:refusal-form")
def test_a_client_of_a_suspended_tenant_is_refused_in_the_form_of_oauth(stack: Stack, tenant: Tenant) -> None:
    _suspend(stack, tenant)
    client = {"client_id": tenant.key.split("_")[1], "client_secret": tenant.key}
    for path, more in (("token", {"grant_type": "client_credentials"}), ("introspect", {"token": "x"}),
                       ("revoke", {"token": "x"})):  # fmt: skip
        refused = httpx2.post(f"{stack.url}/oauth/{path}", data={**client, **more})
        assert refused.status_code == 400, path
        assert refused.headers["content-type"].startswith("application/json")
        assert refused.json()["error"] == "unauthorized_client"
        assert "suspended" in refused.json()["error_description"]
    stack.operator("POST", f"tenants/{tenant.name}/resume", json={})
    good = httpx2.post(f"{stack.url}/oauth/token", data={**client, "grant_type": "client_credentials"})
    assert good.status_code == 200, good.text


_HELD = "Valida el NIT 900.123.456-8 y crea una factura para Ana por 250.000 COP de asesoría"


@pytest.mark.covers("life:suspended-ends")
def test_a_call_that_is_under_way_ends_at_once_and_says_why(stack: Stack, tenant: Tenant) -> None:
    with party(stack.remote_ports[0], "red") as red:
        tenant.install(red.url, name="red")
        answered: list[tuple[httpx2.Response, float]] = []
        calling = threading.Thread(target=lambda: answered.append((tenant.call("red/wait", {}), time.monotonic())))
        calling.start()
        eventually(lambda: red.calls("tools/call"))
        told = time.monotonic()
        _suspend(stack, tenant)
        calling.join(20)
        ((reply, at),) = answered
        assert (reply.status_code, reply.json()["code"]) == (403, "tenant_suspended")
        assert at - told < 5, "a second, on a machine with time for it"
        eventually(lambda: [one for one in red.log() if one.get("gone") == "tools/call"])
    stack.operator("POST", f"tenants/{tenant.name}/resume", json={})
    last = tenant.client.get("/audit?limit=50").json()["entries"]
    assert [(one["outcome"], one["error"]) for one in last if one["server"] == "red" and one["kind"] == "result"] == [
        ("cancelled", "tenant_suspended")
    ]


@pytest.mark.covers("life:operator-alone")
@pytest.mark.parametrize("tool", ["suspend_tenant", "resume_tenant", "delete_tenant"])
def test_no_tenants_credential_reaches_the_operators_tools(stack: Stack, tenant: Tenant, tool: str) -> None:
    other = stack.tenant()
    for target in (tenant.name, other.name):
        refused = tenant.call(f"platform/{tool}", {"id": target})
        assert (refused.status_code, refused.json()["scope"]) == (403, "operator")
    for method, path in (("DELETE", ""), ("POST", "/suspend"), ("POST", "/resume")):
        for owner in (tenant, other):
            reply = httpx2.request(method, f"{stack.url}/api/v2/tenants/{owner.name}{path}", headers=tenant.headers)
            assert reply.status_code == 404, reply.text
    assert other.client.get("/tools").status_code == 200
