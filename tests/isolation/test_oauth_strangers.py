"""What strangers' requests to sign in take of a tenant, and are told of it: nothing."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from oauth_client import PASSWORD, OAuthClient, http
from stack import Stack, Tenant

LISTEN = {
    "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
    "params": {
        "notifications": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}  # fmt: skip


@pytest.mark.covers("oauth:strangers")
def test_people_sign_in_and_strangers_see_nothing_where_a_tenants_connections_are_all_taken(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.must("auth/create_user", {"id": "ana", "roles": ["admin"], "password": PASSWORD})
    client = OAuthClient(tenant)

    def asked(name: str) -> tuple[int, Any]:
        form = {
            "grant_type": "authorization_code", "client_id": client.id, "code": f"tsc_{'x' * 43}.{name}",
            "redirect_uri": client.redirect, "code_verifier": client.verifier,
            "resource": f"{stack.url}/tenants/{name}/mcp",
        }  # fmt: skip
        reply = http("POST", f"{stack.url}/oauth/token", data=form)
        return reply.status_code, reply.json()

    headers = {
        **tenant.headers, "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }  # fmt: skip
    with (
        httpx2.Client(base_url=tenant.url, timeout=30, trust_env=False) as own,
        own.stream("POST", f"/tenants/{tenant.name}/mcp", json=LISTEN, headers=headers) as stream,
    ):
        assert stream.status_code == 200
        limited = stack.operator("PATCH", f"tenants/{tenant.name}/limits", json={"connections": 1})
        assert limited.status_code == 200
        assert tenant.rpc("tools/list", {}).status_code == 429
        assert asked(tenant.name) == asked("no-such-tenant")
        assert asked(tenant.name)[0] == 400
        assert client.signed_in("ana")["access_token"]


@pytest.mark.covers("oauth:strangers", "oauth:secrets-kept-as-hashes")
def test_who_tries_passwords_is_told_of_to_the_tenant_and_what_is_nobodys_name_is_kept_nowhere(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.must("auth/create_user", {"id": "ana", "roles": ["admin"], "password": PASSWORD})
    client, typed = OAuthClient(tenant), "hunter2-typed-into-the-wrong-field"
    pages = [client.answer(client.open(), name, "wrong password") for name in ("ana", typed, "nobody")]
    assert len({(page.status_code, page.headers["content-type"]) for page in pages}) == 1
    assert not any("tausestack-subject" in page.headers for page in pages)
    entries = tenant.client.get("/audit").json()["entries"]
    told = [(one["principal"], one["error"], one["rule"]) for one in entries if one["tool"] == "oauth/authorize"]
    assert told == [("user:ana", "access_denied", "password")]
    ledger = stack.data / "tenants" / tenant.name / "ledger.jsonl"
    assert typed.encode() not in ledger.read_bytes()


@pytest.mark.covers("limits:lists")
def test_what_a_key_asks_of_oauth_is_one_of_its_tenants_lists_and_what_a_stranger_asks_is_not(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.must("auth/create_user", {"id": "ana", "roles": ["admin"], "password": PASSWORD})
    client = OAuthClient(tenant)
    allowed = stack.operator("PATCH", f"tenants/{tenant.name}/limits", json={"lists_per_minute": 1})
    assert allowed.status_code == 200

    def token() -> httpx2.Response:
        form = {"grant_type": "client_credentials"}
        return http("POST", f"{stack.url}/oauth/token", data=form, headers={"Authorization": f"Bearer {tenant.key}"})

    assert token().status_code == 200
    refused = token()
    assert (refused.status_code, refused.json()["limit"]) == (429, "lists_per_minute")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.signed_in("ana")["access_token"]
    entries = tenant.client.get("/audit").json()["entries"]
    found = [(one["tool"], one["rule"]) for one in entries if one["kind"] == "denied"]
    assert found == [("oauth/token", "limit:lists_per_minute")]
