"""A code, or a refresh token, that somebody shows who can't prove that it is theirs."""

from __future__ import annotations

import pytest

from oauth_client import PASSWORD, OAuthClient, check_noted
from stack import Stack, Tenant


def refused(client: OAuthClient, code: str, shown: dict[str, str | None]) -> bool:
    reply = client.redeem(code, **shown)
    return (reply.status_code, reply.json().get("error")) == (400, "invalid_grant")


@pytest.mark.covers("oauth:misuse")
def test_a_code_that_is_shown_without_its_proof_is_good_no_more_and_its_tenant_is_told(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.must("auth/create_user", {"id": "ana", "roles": ["admin"], "password": PASSWORD})
    owner = OAuthClient(tenant)
    unproven: list[dict[str, str | None]] = [
        {"code_verifier": "x" * 43},
        {"client_id": OAuthClient(tenant, name="Another").id},
        {"redirect_uri": "http://127.0.0.1:7777/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:7778/callback"},
    ]
    for shown in unproven:
        code = owner.code("ana")
        for each in ({"resource": None, **shown}, {}, shown, {}):
            assert refused(owner, code, each)
    assert tenant.must("auth/list_grants", {})["grants"] == []
    check_noted(stack, tenant, "ana", "code_unproven", rule="proof", times=len(unproven))
    assert owner.signed_in("ana")["access_token"]


@pytest.mark.covers("oauth:misuse")
def test_a_refresh_token_that_another_client_shows_ends_its_grant_and_its_tenant_is_told(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.must("auth/create_user", {"id": "ana", "roles": ["admin"], "password": PASSWORD})
    owner = OAuthClient(tenant)
    token = owner.signed_in("ana")["refresh_token"]
    for shown in ({"client_id": OAuthClient(tenant, name="Another").id}, {}):
        assert owner.refresh(token, **shown).json()["error"] == "invalid_grant"
    assert tenant.must("auth/list_grants", {})["grants"] == []
    check_noted(stack, tenant, "ana", "refresh_token_unproven", rule="proof")
