"""What an attacker inside a tenant tries at the doors: nothing goes through, and what is refused leaves its line."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from stack import Stack, Tenant, mcp_request


def lines(tenant: Tenant) -> list[dict[str, Any]]:
    return tenant.client.get("/audit?limit=100").json()["entries"]


@pytest.mark.covers("attacks:stream-ends-with-its-key")
def test_a_stream_ends_when_its_key_is_revoked(tenant: Tenant) -> None:
    made = tenant.client.post("/keys", json={"role": "agent"}).json()
    spy = Tenant(tenant.name, made["api_key"], tenant.url)
    request = "crea una factura para Ana por 50.000 COP de clases"
    held = spy.client.post("/runs", json={"agent": "concierge", "input": request, "wait": 20}).json()
    assert held["status"] == "interrupted"
    with spy.client.stream("GET", f"/runs/{held['id']}/events", timeout=60) as events:
        assert events.status_code == 200
        assert tenant.client.delete(f"/keys/{made['id']}").status_code == 200
        revoked = time.monotonic()
        said = "".join(events.iter_text())
    assert time.monotonic() - revoked < 20  # half a second on a machine of its own
    assert said.rstrip().rpartition("\n\n")[2].startswith("event: error")
    assert "unauthenticated" in said


@pytest.mark.covers("attacks:nesting")
@pytest.mark.parametrize("depth", [300, 1000, 100_000])
def test_what_is_nested_too_deep_is_refused_at_both_doors(tenant: Tenant, depth: int) -> None:
    value = b'{"key": "k", "value": {"x": ' + b"[" * depth + b"]" * depth + b"}}"
    reply = tenant.client.post("/tools/storage/put_json", content=value)
    assert reply.status_code == 400
    assert reply.json()["code"] == "invalid_request"
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": ' + value + b"}}"
    mcp = httpx2.post(
        f"{tenant.url}/tenants/{tenant.name}/mcp",
        content=body,
        headers=tenant.headers,
        timeout=60,
        trust_env=False,
        verify=False,
    )
    assert mcp.status_code == 400
    assert mcp.json()["error"]["code"] == -32700


@pytest.mark.covers("attacks:nesting")
def test_what_is_taken_comes_back_whole(tenant: Tenant) -> None:
    value: Any = {"x": json.loads("[" * 230 + "]" * 230)}
    tenant.must("storage/put_json", {"key": "deep", "value": value})
    assert tenant.must("storage/get_json", {"key": "deep"})["value"] == value


@pytest.mark.covers("attacks:every-refusal-has-its-line")
def test_a_tool_that_is_not_there_leaves_a_line_on_every_endpoint(stack: Stack, tenant: Tenant) -> None:
    long = "x" * 5000
    for name, server in (("nowhere__nothing", None), ("nothing", "storage"), (long, None), (long, "storage")):
        before = len(lines(tenant))
        assert tenant.rpc("tools/call", {"name": name, "arguments": {}}, server=server).status_code == 404
        after = lines(tenant)
        assert after[0]["tool"] == name[:128]
        assert after[0]["outcome"] == "denied"
        assert len(after) > before
    call = {"name": "storage__list_keys", "arguments": {}}
    assert mcp_request(stack.url, tenant.name, stack.operator_key, "tools/call", call).status_code == 404
    assert next(line for line in lines(tenant) if line["principal"] == "operator")["outcome"] == "denied"
    assert tenant.client.get("/audit/verify").json()["ok"] is True


@pytest.mark.covers("attacks:operator-session")
def test_a_session_of_the_operator_stands_in_the_tenants_own_ledger(stack: Stack, tenant: Tenant) -> None:
    assert stack.operator("POST", f"tenants/{tenant.name}/session").status_code == 201
    opened = next(line for line in lines(tenant) if line["tool"] == "session")
    assert (opened["principal"], opened["server"], opened["outcome"]) == ("operator", "platform", "done")


@pytest.mark.covers("attacks:operator-keys")
def test_the_operators_work_on_a_tenants_keys_stands_in_the_tenants_own_ledger(stack: Stack, tenant: Tenant) -> None:
    made = stack.operator("POST", f"tenants/{tenant.name}/keys", json={"role": "viewer"}).json()
    assert stack.operator("DELETE", f"tenants/{tenant.name}/keys/{made['id']}").status_code == 200
    found = [(line["principal"], line["tool"]) for line in lines(tenant) if line["server"] == "auth"]
    assert found == [("operator", "revoke_api_key"), ("operator", "create_api_key")]
    assert stack.operator("POST", "tenants/nobody/keys", json={"role": "viewer"}).status_code == 404


@pytest.mark.covers("attacks:operator-in-system")
def test_the_operator_reaches_auth_alone_in_the_system_tenant(stack: Stack) -> None:
    for server, tool in (("storage", "put_json"), ("billing", "list_plans"), ("adapter", "probe"), ("nothing", "x")):
        call = {"name": tool, "arguments": {}}
        reply = mcp_request(stack.url, "_system", stack.operator_key, "tools/call", call, server=server)
        assert reply.status_code == 404, server


@pytest.mark.covers("attacks:repeated-headers")
def test_a_repeated_credential_is_refused(tenant: Tenant) -> None:
    url = f"{tenant.url}/api/v2/tenants/{tenant.name}/tools"
    for first, last in ((tenant.key, "tsk_other"), ("tsk_other", tenant.key)):
        headers = [("Authorization", f"Bearer {first}"), ("Authorization", f"Bearer {last}")]
        assert httpx2.get(url, headers=headers, timeout=60, trust_env=False, verify=False).status_code == 400


@pytest.mark.covers("attacks:paths")
def test_a_path_is_decoded_once(tenant: Tenant) -> None:
    for path in ("%252ftools", "/tools%252f..", "%25%32%66tools", "%2ftools", "%2Ftools"):
        url = f"{tenant.url}/api/v2/tenants/{tenant.name}{path}"
        assert httpx2.get(url, headers=tenant.headers, timeout=60, trust_env=False, verify=False).status_code == 404, (
            path
        )
    for query in ("limit=%C2%B2", "cursor=%C2%B2"):
        assert tenant.client.get(f"/tools?{query}").status_code == 400


@pytest.mark.covers("attacks:paths")
def test_an_endpoint_is_none_by_an_escaped_slash(tenant: Tenant) -> None:
    for path in (f"/tenants/{tenant.name}%2fmcp", f"/tenants%2F{tenant.name}/mcp", f"/api%2fv2/tenants/{tenant.name}"):
        url = tenant.url + path
        assert httpx2.post(url, headers=tenant.headers, timeout=60, trust_env=False, verify=False).status_code == 404
