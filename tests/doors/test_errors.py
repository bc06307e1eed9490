"""Bad input gets a clear, typed error at every door, and the stack goes on."""

from __future__ import annotations

import json

import httpx2
import pytest

from stack import Stack, Tenant, mcp_request

FOUR_MIB = 4 * 1024 * 1024


@pytest.mark.covers("errors:bad-json")
def test_bad_json_is_refused_at_both_doors(stack: Stack, tenant: Tenant) -> None:
    rest = tenant.client.post(
        "/tools/storage/get_json", content=b'{"key": ', headers={"Content-Type": "application/json"}
    )
    assert rest.status_code == 400
    assert rest.json()["code"] == "invalid_request"
    assert rest.headers["content-type"] == "application/problem+json"
    mcp = httpx2.post(
        f"{stack.url}/tenants/{tenant.name}/mcp",
        content=b"{nope",
        headers=tenant.headers,
        timeout=60,
        trust_env=False,
        verify=False,
    )
    assert mcp.status_code == 400
    assert mcp.json()["error"]["code"] == -32700


@pytest.mark.covers("errors:wrong-types")
def test_wrong_types_are_named_with_their_path(tenant: Tenant) -> None:
    reply = tenant.call("storage/put_json", {"key": 5, "value": {}})
    assert reply.status_code == 422
    assert reply.json()["code"] == "invalid_arguments"
    assert reply.json()["errors"][0]["path"] == "key"


@pytest.mark.covers("errors:short-quotes")
def test_a_long_value_that_is_wrong_is_not_quoted_back_whole(tenant: Tenant) -> None:
    reply = tenant.call("storage/put_json", {"key": "x" * 1_000_000, "value": {}})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == "key"
    assert "longer than 512" in reply.json()["detail"]
    assert len(reply.content) < 2_000


@pytest.mark.covers("errors:edited-approval")
def test_an_edit_that_fits_no_schema_leaves_the_approval_to_be_decided(tenant: Tenant) -> None:
    request = "crea una factura para Ana por 50.000 COP de clases"
    held = tenant.must("agents/run", {"agent": "concierge", "input": request, "wait": 20})
    assert held["status"] == "interrupted"
    asked = held["interrupt"]["arguments"]
    wrong = {"run": held["id"], "decision": {"arguments": asked | {"items": [{"description": 5}]}}}
    refused = tenant.call("agents/resume", wrong)
    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_arguments"
    assert "items/0" in refused.json()["detail"]
    ended = tenant.must("agents/resume", {"run": held["id"], "decision": {"approve": True}, "wait": 20})
    assert ended["steps"][0]["status"] == "done"


@pytest.mark.covers("errors:key-length")
def test_a_key_that_is_too_long_is_refused_at_both_doors(tenant: Tenant) -> None:
    put, key = {"key": "k", "value": {}}, "x" * 256
    assert tenant.call("storage/put_json", put, key=key).status_code == 400
    reply = tenant.rpc("tools/call", {"name": "storage__put_json", "arguments": put}, **{"Idempotency-Key": key})
    assert reply.status_code == 400
    assert reply.json()["error"]["data"]["code"] == "invalid_request"
    assert tenant.call("storage/put_json", put, key=key[1:]).status_code == 200


@pytest.mark.covers("errors:unknown-is-404")
@pytest.mark.parametrize("address", ["storage/nothing", "nothing/get_json", "auth/authenticate", "registry/launch"])
def test_what_is_not_there_and_what_is_ours_alone_look_alike(tenant: Tenant, address: str) -> None:
    reply = tenant.call(address, {})
    assert reply.status_code == 404
    assert reply.json()["detail"] == "There is no such tenant, server or tool, or it is not yours"


@pytest.mark.covers("errors:too-large")
def test_arguments_over_4_mib_are_refused_and_nothing_is_lost(tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "before", "value": {"n": 1}})
    large = json.dumps({"key": "large", "value": {"text": "x" * FOUR_MIB}}).encode()
    reply = tenant.client.post("/tools/storage/put_json", content=large)
    assert reply.status_code == 413
    assert reply.json()["code"] == "payload_too_large"
    assert tenant.must("storage/get_json", {"key": "before"})["value"] == {"n": 1}


@pytest.mark.covers("errors:credentials")
def test_missing_and_bad_credentials_are_challenged(stack: Stack, tenant: Tenant) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer tsk_abc_def"},
        {"Authorization": "Basic eDp5"},
    ):
        for path in (f"/api/v2/tenants/{tenant.name}/tools", f"/api/v2/tenants/{tenant.name}/servers"):
            reply = httpx2.get(stack.url + path, headers=headers, timeout=60, trust_env=False, verify=False)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"].startswith("Bearer")
            assert reply.json()["code"] == "unauthenticated"
    assert mcp_request(stack.url, tenant.name, None, "tools/list", {}).status_code == 401
    assert mcp_request(stack.url, tenant.name, tenant.key + "x", "tools/list", {}).status_code == 401


@pytest.mark.covers("errors:prefix-of-a-key")
def test_a_key_that_shares_a_prefix_is_another_key(stack: Stack, tenant: Tenant) -> None:
    for forged in (tenant.key[:-1], tenant.key[:20], tenant.key[:-1] + ("a" if tenant.key[-1] != "a" else "b")):
        assert mcp_request(stack.url, tenant.name, forged, "tools/list", {}).status_code == 401


@pytest.mark.covers("mcp:envelope")
def test_headers_have_to_agree_with_the_body(stack: Stack, tenant: Tenant) -> None:
    call = {"name": "storage__list_keys", "arguments": {}}
    assert tenant.rpc("tools/call", call).status_code == 200
    for headers in ({"Mcp-Method": "tools/list"}, {"Mcp-Name": "storage__get_json"}):
        reply = tenant.rpc("tools/call", call, **headers)
        assert reply.status_code == 400
        assert reply.json()["error"]["code"] == -32020
    version = tenant.rpc("tools/list", {}, **{"MCP-Protocol-Version": "2026-07-29"})
    assert version.status_code == 400


@pytest.mark.covers("mcp:unknown-method")
def test_an_unknown_method_is_404(tenant: Tenant) -> None:
    reply = tenant.rpc("tools/destroy", {})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == -32601


@pytest.mark.covers("doors:guard")
def test_other_hosts_and_origins_are_refused(stack: Stack, tenant: Tenant) -> None:
    url = f"{stack.url}/api/v2/tenants/{tenant.name}/tools"
    assert (
        httpx2.get(
            url, headers={**tenant.headers, "Host": "evil.example"}, timeout=60, trust_env=False, verify=False
        ).status_code
        == 421
    )
    assert (
        httpx2.get(
            url, headers={**tenant.headers, "Origin": "http://evil.example"}, timeout=60, trust_env=False, verify=False
        ).status_code
        == 403
    )
    assert httpx2.get(url, headers=tenant.headers, timeout=60, trust_env=False, verify=False).status_code == 200


@pytest.mark.covers("doors:operator")
def test_the_operator_makes_tenants_and_nothing_inside_them(stack: Stack, tenant: Tenant) -> None:
    listed = stack.operator("GET", "tenants").json()
    assert tenant.name in {one["id"] for one in listed["tenants"]}
    inside = stack.operator("GET", f"tenants/{tenant.name}/tools")
    assert inside.status_code == 403
    assert "operator" in inside.json()["detail"]
    assert stack.operator("POST", f"tenants/{tenant.name}/tools/storage/list_keys", json={}).status_code == 403
    assert tenant.client.get("/api/v2/tenants".removeprefix("/api/v2")).status_code != 200


@pytest.mark.covers("doors:roles")
def test_roles_bound_what_a_key_may_do(stack: Stack, tenant: Tenant) -> None:
    def key(role: str) -> Tenant:
        made = tenant.client.post("/keys", json={"role": role})
        assert made.status_code == 201, made.text
        assert made.json()["role"] == role
        return Tenant(tenant.name, made.json()["api_key"], stack.url)

    viewer, agent, developer = key("viewer"), key("agent"), key("developer")
    assert viewer.client.get("/tools").status_code == 200
    denied = viewer.call("storage/put_json", {"key": "k", "value": {}})
    assert denied.status_code == 403
    assert denied.json()["scope"] == "tools:call:storage/put_json"
    assert agent.call("storage/put_json", {"key": "k", "value": {}}).status_code == 200
    assert agent.client.post("/servers", json={"ref": "colombia", "approve": True}).status_code == 403
    assert agent.client.get("/keys").status_code == 403
    assert developer.client.post("/servers", json={"ref": "colombia", "approve": True}).status_code == 201
    assert developer.client.post("/keys", json={"role": "admin"}).status_code == 403


@pytest.mark.covers("doors:revocation")
def test_a_revoked_key_is_refused_at_once(stack: Stack, tenant: Tenant) -> None:
    made = tenant.client.post("/keys", json={"role": "developer"}).json()
    revoked = Tenant(tenant.name, made["api_key"], stack.url)
    assert revoked.client.get("/tools").status_code == 200
    assert tenant.client.delete(f"/keys/{made['id']}").status_code == 200
    assert revoked.client.get("/tools").status_code == 401
    assert revoked.rpc("tools/list", {}).status_code == 401
