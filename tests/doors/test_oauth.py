"""Signing in to a tenant's endpoint, with the official SDK's client and by hand."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from oauth_client import PASSWORD, REDIRECT, OAuthClient, answered, http
from stack import Stack, Tenant, mcp_request


def person(tenant: Tenant, name: str = "ana@acme.co", roles: tuple[str, ...] = ("developer",), **more: Any) -> str:
    """Make a user of a tenant and return what they sign in with."""
    tenant.must("auth/create_user", {"id": name, "roles": list(roles), "password": PASSWORD, **more})
    return name


class Storage:
    """What the SDK's client keeps of its tokens."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def provider(tenant: Tenant, user: str, storage: Storage, server_url: str) -> OAuthClientProvider:
    """The SDK's OAuth client with a person in front of it, who signs in and consents."""
    answer: dict[str, str] = {}

    async def redirect(url: str) -> None:
        browser = OAuthClient(tenant)
        page = http("GET", url)
        browser.cookies.update(page.cookies)
        answer.update(answered(browser.answer(page, user, PASSWORD)))

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    metadata = OAuthClientMetadata.model_validate({"redirect_uris": [REDIRECT], "client_name": "The SDK's client"})
    return OAuthClientProvider(server_url, metadata, storage, redirect, callback)


@pytest.mark.anyio
@pytest.mark.covers("oauth:sdk-client")
@pytest.mark.parametrize("server", [None, "colombia"])
async def test_the_official_client_signs_in_end_to_end_and_calls_a_tool(tenant: Tenant, server: str | None) -> None:
    tenant.install("colombia")
    user, storage = person(tenant), Storage()
    path = "/mcp" if server is None else f"/servers/{server}/mcp"
    url = f"{tenant.url}/tenants/{tenant.name}{path}"
    async with (
        httpx2.AsyncClient(auth=provider(tenant, user, storage, url), trust_env=False) as signed_in,
        Client(streamable_http_client(url, http_client=signed_in)) as client,
    ):
        tool = "format_nit" if server else "colombia__format_nit"
        result = await client.call_tool(tool, {"nit": "900123456"})
        assert result.structured_content == {"formatted": "900.123.456-8"}
    assert storage.tokens is not None
    assert storage.tokens.refresh_token is not None


@pytest.mark.covers("oauth:metadata")
def test_a_request_without_a_credential_is_told_where_to_sign_in(tenant: Tenant) -> None:
    for path in ("/mcp", "/servers/billing/mcp"):
        refused = mcp_request(
            tenant.url, tenant.name, None, "tools/list", {}, server=None if path == "/mcp" else "billing"
        )
        assert refused.status_code == 401
        told = re.search(r'resource_metadata="([^"]+)"', refused.headers["www-authenticate"])
        assert told is not None
        assert told[1] == f"{tenant.url}/.well-known/oauth-protected-resource/tenants/{tenant.name}{path}"
        described = http("GET", told[1]).json()
        assert described["resource"] == f"{tenant.url}/tenants/{tenant.name}{path}"
        assert described["authorization_servers"] == [tenant.url]
    server = http("GET", f"{tenant.url}/.well-known/oauth-authorization-server").json()
    assert server["issuer"] == tenant.url
    assert server["code_challenge_methods_supported"] == ["S256"]
    keys = http("GET", server["jwks_uri"]).json()["keys"]
    assert keys
    assert all("d" not in key for key in keys)
    rest = http("GET", f"{tenant.url}/api/v2/tenants/{tenant.name}/tools")
    assert f"/tenants/{tenant.name}/mcp" in rest.headers["www-authenticate"]


@pytest.mark.covers("oauth:metadata")
def test_a_missing_scope_is_named_so_that_a_client_can_ask_for_it(tenant: Tenant) -> None:
    client = OAuthClient(tenant)
    token = client.signed_in(person(tenant, roles=("admin",)), scope="tools:read")
    headers = {"authorization": f"Bearer {token['access_token']}"}
    refused = http("POST", f"{tenant.url}/api/v2/tenants/{tenant.name}/keys", json={"role": "viewer"}, headers=headers)
    assert refused.status_code == 403
    assert 'error="insufficient_scope", scope="tenant:admin"' in refused.headers["www-authenticate"]


@pytest.mark.covers("oauth:tokens")
def test_a_person_acts_at_every_door_of_the_tenant_within_role_and_consent(tenant: Tenant) -> None:
    tenant.install("colombia")
    token = OAuthClient(tenant).signed_in(person(tenant), scope="tools:read tools:call:colombia/*")
    assert token["token_type"] == "Bearer"
    assert set(token["scope"].split()) == {"tools:read", "tools:call:colombia/*"}
    me = Tenant(tenant.name, token["access_token"], tenant.url)
    assert me.must("colombia/format_nit", {"nit": "900123456"}) == {"formatted": "900.123.456-8"}
    assert me.call("auth/create_api_key", {"role": "viewer"}).status_code == 403
    who = me.must("auth/whoami", {})
    assert (who["principal"], who["role"]) == ("user:ana@acme.co", "developer")
    lines = tenant.must("platform/query_audit", {"limit": 20})["entries"]
    assert {"auth/oauth/authorize", "auth/oauth/token"} <= {
        f"{line['server']}/{line['tool']}" for line in lines if line["principal"] == "user:ana@acme.co"
    }


@pytest.mark.covers("oauth:pages")
def test_the_page_is_in_the_browsers_language_and_shows_who_asks_for_what(tenant: Tenant) -> None:
    client = OAuthClient(tenant, name='<script>alert("x")</script>')
    page = client.open(ui_locales="es-CO", scope="tools:call:billing/*")
    assert page.status_code == 200
    assert "Contraseña" in page.text
    assert "billing/*" in page.text
    assert tenant.name in page.text
    assert "http://127.0.0.1:7777" in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert "HttpOnly" in page.headers["set-cookie"]
    assert "SameSite=strict" in page.headers["set-cookie"]
    assert "Password" in client.open(ui_locales="en").text
    said_no = answered(client.answer(page, "", "", form={"decision": "deny"}))
    assert (said_no["error"], said_no["state"], said_no["iss"]) == ("access_denied", "a-state", tenant.url)


@pytest.mark.covers("oauth:keys-as-clients")
def test_a_key_is_a_client_that_gets_short_tokens_of_its_own(tenant: Tenant) -> None:
    made = tenant.must("auth/create_api_key", {"role": "agent", "scopes": ["tools:call:colombia/*"]})
    tenant.install("colombia")
    form = {"grant_type": "client_credentials", "resource": f"{tenant.url}/tenants/{tenant.name}/mcp"}
    reply = http("POST", f"{tenant.url}/oauth/token", data=form, auth=(made["id"], made["api_key"]))
    assert reply.status_code == 200, reply.text
    assert "refresh_token" not in reply.json()
    me = Tenant(tenant.name, reply.json()["access_token"], tenant.url)
    assert me.must("colombia/format_nit", {"nit": "900123456"}) == {"formatted": "900.123.456-8"}
    assert me.must("auth/whoami", {})["principal"] == f"key:{made['id']}"
    assert me.call("auth/list_users", {}).status_code == 403
    tenant.must("auth/revoke_api_key", {"key_id": made["id"]})
    assert me.call("auth/whoami", {}).status_code == 401


@pytest.mark.covers("completeness:oauth")
def test_what_a_client_that_proved_itself_asks_stands_in_the_ledger_refused_or_not(tenant: Tenant) -> None:
    made = tenant.must("auth/create_api_key", {"role": "agent"})
    form = {"grant_type": "client_credentials"}

    def asked(endpoint: str, **form: str) -> int:
        return http("POST", f"{tenant.url}/oauth/{endpoint}", data=form, auth=(made["id"], made["api_key"])).status_code

    assert asked("introspect", token="nonsense") == 200
    assert asked("token", **form, scope="tenant:admin") == 400
    assert asked("token", grant_type="password") == 400
    assert asked("revoke", token="nonsense") == 200
    assert asked("token", **form) == 200
    assert http("POST", f"{tenant.url}/oauth/token", data={**form, "client_id": made["id"]}).status_code == 401
    entries = tenant.client.get("/audit").json()["entries"]
    mine = [entry for entry in entries if entry["principal"] == f"key:{made['id']}"]
    assert [(one["tool"], one["outcome"], one.get("error", "")) for one in reversed(mine)] == [
        ("oauth/introspect", "done", ""),
        ("oauth/token", "denied", "invalid_scope"),
        ("oauth/token", "denied", "unsupported_grant_type"),
        ("oauth/revoke", "done", ""),
        ("oauth/token", "done", ""),
    ]


@pytest.mark.covers("oauth:exchange")
def test_an_exchanged_token_acts_for_the_person_within_what_both_may_do(tenant: Tenant) -> None:
    tenant.install("colombia")
    person_token = OAuthClient(tenant).signed_in(person(tenant))["access_token"]
    service = tenant.must("auth/create_api_key", {"role": "agent", "scopes": ["tools:call:colombia/*"]})
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": person_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": f"{tenant.url}/tenants/{tenant.name}/servers/colombia/mcp",
    }
    reply = http("POST", f"{tenant.url}/oauth/token", data=form, auth=(service["id"], service["api_key"]))
    assert reply.status_code == 200, reply.text
    assert reply.json()["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    token = reply.json()["access_token"]
    call = {"name": "format_nit", "arguments": {"nit": "900123456"}}
    assert mcp_request(tenant.url, tenant.name, token, "tools/call", call, server="colombia").status_code == 200
    # It is for that server alone.
    assert mcp_request(tenant.url, tenant.name, token, "tools/list", {}).status_code == 401
    assert mcp_request(tenant.url, tenant.name, token, "tools/list", {}, server="auth").status_code == 401
    told = http(
        "POST", f"{tenant.url}/oauth/introspect", data={"token": token}, auth=(service["id"], service["api_key"])
    )
    assert told.json()["act"] == {"sub": f"key:{service['id']}"}
    assert told.json()["sub"] == "user:ana@acme.co"
    tenant.must("auth/revoke_api_key", {"key_id": service["id"]})
    assert mcp_request(tenant.url, tenant.name, token, "tools/call", call, server="colombia").status_code == 401


@pytest.mark.covers("oauth:refresh")
def test_tokens_are_refreshed_and_each_refresh_token_is_good_once(tenant: Tenant) -> None:
    client = OAuthClient(tenant)
    first = client.signed_in(person(tenant))
    second = client.refresh(first["refresh_token"], resource=client.resource)
    assert second.status_code == 200, second.text
    assert second.json()["refresh_token"] != first["refresh_token"]
    narrowed = client.refresh(second.json()["refresh_token"], scope="tools:read")
    assert narrowed.json()["scope"] == "tools:read"
    for token in (first, second.json(), narrowed.json()):
        assert Tenant(tenant.name, token["access_token"], tenant.url).call("auth/whoami", {}).status_code == 200


@pytest.mark.covers("oauth:introspection")
def test_a_tenants_key_learns_what_a_token_of_the_tenant_says_and_of_no_other(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    token = OAuthClient(tenant).signed_in(person(tenant))
    key = tenant.must("auth/create_api_key", {"role": "viewer"})
    stranger = other.must("auth/create_api_key", {"role": "admin"})

    def told(text: str, client: dict[str, Any]) -> dict[str, Any]:
        reply = http(
            "POST", f"{tenant.url}/oauth/introspect", data={"token": text}, auth=(client["id"], client["api_key"])
        )
        return reply.json()

    for text in (token["access_token"], token["refresh_token"]):
        assert told(text, key)["active"] is True
        assert told(text, key)["sub"] == "user:ana@acme.co"
        assert told(text, stranger) == {"active": False} == told("nonsense", key)
    anonymous = http("POST", f"{tenant.url}/oauth/introspect", data={"token": token["access_token"]})
    assert anonymous.status_code == 401
    assert anonymous.json()["error"] == "invalid_client"


@pytest.mark.covers("oauth:revocation")
def test_what_a_client_gives_back_is_dead_at_once_with_all_that_came_of_it(tenant: Tenant) -> None:
    client = OAuthClient(tenant)
    first = client.signed_in(person(tenant))
    second = client.refresh(first["refresh_token"]).json()
    gone = http("POST", f"{tenant.url}/oauth/revoke", data={"token": second["refresh_token"], "client_id": client.id})
    assert gone.status_code == 200
    for token in (first, second):
        assert Tenant(tenant.name, token["access_token"], tenant.url).call("auth/whoami", {}).status_code == 401
    assert client.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.covers("oauth:revocation")
@pytest.mark.parametrize("how", ["disabled", "password", "grant", "roles"])
def test_a_token_dies_with_the_person_and_with_the_grant(tenant: Tenant, how: str) -> None:
    user = person(tenant)
    client = OAuthClient(tenant)
    token = client.signed_in(user)
    me = Tenant(tenant.name, token["access_token"], tenant.url)
    assert me.must("auth/whoami", {})["principal"] == f"user:{user}"
    if how == "disabled":
        tenant.must("auth/disable_user", {"user": user})
    elif how == "password":
        tenant.must("auth/set_password", {"user": user, "password": "another password"})
    elif how == "grant":
        (grant,) = me.must("auth/list_grants", {})["grants"]
        assert (grant["client_name"], grant["user"]) == ("Test client", user)
        tenant.must("auth/revoke_grant", {"grant": grant["id"]})
    else:
        tenant.must("auth/set_roles", {"user": user, "roles": ["viewer"]})
        assert me.must("auth/whoami", {})["scopes"] == ["tools:read"]
        return
    assert me.call("auth/whoami", {}).status_code == 401
    assert client.refresh(token["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.covers("oauth:explain")
def test_explain_names_the_rule_that_decides(tenant: Tenant) -> None:
    tenant.install("colombia")
    user = person(tenant, roles=("viewer",))
    key = tenant.must("auth/create_api_key", {"role": "developer", "scopes": ["tools:read", "tools:call:colombia/*"]})
    grant = OAuthClient(tenant).signed_in(person(tenant, "dora"), scope="tools:read")["access_token"]

    def rule(server: str, tool: str, who: Tenant = tenant, **more: str) -> tuple[bool, str]:
        found = who.must("platform/explain", {"server": server, "tool": tool, **more})
        return found["allowed"], found["rule"]

    assert rule("colombia", "format_nit") == (True, "role:admin")
    assert rule("colombia", "no_such_tool") == (False, "installed")
    assert rule("nowhere", "format_nit") == (False, "installed")
    assert rule("auth", "snapshot") == (False, "installed")
    assert rule("auth", "whoami") == (True, "any")
    assert rule("colombia", "format_nit", principal=f"user:{user}") == (False, "role:viewer")
    narrow = Tenant(tenant.name, key["api_key"], tenant.url)
    assert rule("colombia", "format_nit", narrow) == (True, "scope:tools:call:colombia/*")
    assert rule("agents", "run", narrow) == (False, "bound:key")
    assert rule("auth", "create_user", narrow) == (False, "role:developer")
    assert rule("colombia", "format_nit", Tenant(tenant.name, grant, tenant.url)) == (False, "bound:grant")
    # And the ledger says the same of the calls themselves.
    dora = Tenant(tenant.name, grant, tenant.url)
    viewer = Tenant(tenant.name, OAuthClient(tenant).signed_in(user)["access_token"], tenant.url)
    for who, address, arguments in (
        (tenant, "colombia/format_nit", {"nit": "900123456"}), (tenant, "colombia/no_such_tool", {}),
        (tenant, "nowhere/format_nit", {}), (tenant, "auth/whoami", {}), (viewer, "colombia/format_nit", {}),
        (narrow, "colombia/format_nit", {"nit": "900123456"}), (narrow, "agents/run", {}),
        (narrow, "auth/create_user", {}), (dora, "colombia/format_nit", {}),
    ):  # fmt: skip
        who.call(address, arguments)
        server, tool = address.split("/")
        [line] = [each for each in tenant.client.get("/audit?limit=1").json()["entries"] if each["tool"] == tool]
        assert (line["decision"] == "allow", line["rule"]) == rule(server, tool, who), address
    for who, asked in ((narrow, f"user:{user}"), (tenant, "user:nobody"), (tenant, "operator"), (tenant, "gateway")):
        refused = who.call("platform/explain", {"server": "auth", "tool": "whoami", "principal": asked})
        assert refused.status_code == 422


@pytest.mark.covers("oauth:last-use")
def test_a_key_says_when_it_was_last_used(tenant: Tenant) -> None:
    made = tenant.must("auth/create_api_key", {"role": "viewer", "expires_days": 1})
    assert made["last_used_at"] is None
    Tenant(tenant.name, made["api_key"], tenant.url).must("auth/whoami", {})
    deadline = time.monotonic() + 30
    while True:
        keys = {key["id"]: key for key in tenant.must("auth/list_api_keys", {})["keys"]}
        if keys[made["id"]]["last_used_at"] is not None:
            break
        assert time.monotonic() < deadline
    assert keys[made["id"]]["last_used_at"] > made["created_at"]
