"""An issuer of the operator's choice stands in for the embedded authorization server."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from oauth_client import http
from oidc_issuer import Issuer, issuing
from remotes import eventually
from stack import Stack, Tenant, free_port, mcp_request, running

pytestmark = pytest.mark.covers("oauth:external-issuer")


@dataclass(frozen=True)
class World:
    """A stack that takes an issuer's tokens, and a tenant of it."""

    stack: Stack
    issuer: Issuer
    tenant: Tenant

    @property
    def audience(self) -> str:
        return f"{self.tenant.url}/tenants/{self.tenant.name}/mcp"

    def token(self, **changed: Any) -> str:
        """Return a token that is good but for what is changed."""
        usual = {"aud": self.audience, "org": self.tenant.name, "groups": ["developer"], **changed}
        return self.issuer.token(**usual)

    def status(self, token: str) -> int:
        return mcp_request(self.tenant.url, self.tenant.name, token, "tools/list", {}).status_code


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    port = free_port()
    with (
        issuing(port) as issuer,
        running(
            tmp_path_factory.mktemp("oidc") / "data",
            TAUSESTACK_OIDC_ISSUER=issuer.url,
            TAUSESTACK_OIDC_TENANT_CLAIM="org",
            TAUSESTACK_OIDC_ROLES_CLAIM="groups",
            TAUSESTACK_OIDC_AUDIENCE="tausestack-prod",
            TAUSESTACK_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{port}",
        ) as stack,
    ):
        yield World(stack, issuer, stack.tenant())


def test_claims_become_tenant_person_and_roles(world: World) -> None:
    me = Tenant(world.tenant.name, world.token(), world.tenant.url)
    who = me.must("auth/whoami", {})
    assert (who["tenant"], who["role"]) == (world.tenant.name, "developer")
    (user,) = world.tenant.must("auth/list_users", {})["users"]
    assert who["principal"] == f"user:{user['id']}"
    assert (user["name"], user["external"], user["roles"]) == ("Ana", True, ["developer"])
    wide = Tenant(world.tenant.name, world.token(aud=["tausestack-prod", "x"], groups="admin"), world.tenant.url)
    assert wide.must("auth/whoami", {})["role"] == "admin"
    narrow = Tenant(world.tenant.name, world.token(scope="openid tools:read"), world.tenant.url)
    assert narrow.must("auth/whoami", {})["scopes"] == ["tools:read"]
    pointed = http("GET", f"{world.tenant.url}/.well-known/oauth-protected-resource/tenants/{world.tenant.name}/mcp")
    assert pointed.json()["authorization_servers"] == [world.issuer.url]


def test_a_person_of_the_issuers_can_be_disabled_here(world: World) -> None:
    token = world.token(sub="eva@idp")
    me = Tenant(world.tenant.name, token, world.tenant.url)
    user = me.must("auth/whoami", {})["principal"].removeprefix("user:")
    world.tenant.must("auth/disable_user", {"user": user})
    assert me.call("auth/whoami", {}).status_code == 401
    assert world.status(world.token(sub="eva@idp", groups=["admin"])) == 401
    assert world.tenant.call("auth/login", {"user": user, "password": ""}).status_code == 422


def test_a_rotated_key_is_fetched_and_a_strangers_is_not_asked_for_again_and_again(world: World) -> None:
    assert world.status(world.token()) == 200
    stranger = RSAKey.generate_key(2048, {"kid": "stranger"})
    before = world.issuer.asked
    for _ in range(5):
        assert world.status(world.token(key=stranger)) == 401
    assert world.issuer.asked <= before + 1
    world.issuer.rotate()
    eventually(lambda: world.status(world.token()) == 200, 30)


def by_public_key(world: World, claims: dict[str, Any]) -> str:
    """Return a token whose signature is an HMAC by the issuer's public key."""
    key = world.issuer.keys[-1]
    signed = ".".join(encoded(part) for part in ({"alg": "HS256", "kid": key.kid}, claims))
    mac = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_tokens_of_others_and_for_others_are_refused(world: World) -> None:
    good, now = world.token(), int(time.time())
    head, body, _ = good.split(".")
    other = world.stack.tenant()
    same_name = RSAKey.generate_key(2048, {"kid": world.issuer.keys[-1].kid})
    claims = {"iss": world.issuer.url, "aud": world.audience, "org": world.tenant.name, "groups": ["admin"], "sub": "x"}
    wrong = {
        "another audience": world.token(aud="https://elsewhere.example"),
        "another tenant's audience": world.token(aud=f"{other.url}/tenants/{other.name}/mcp"),
        "no audience": world.token(aud=None),
        "no tenant": world.token(org=None),
        "several tenants": world.token(org=[world.tenant.name]),
        "the house's tenant": world.token(org="_system", aud="tausestack-prod"),
        "no such tenant": world.token(org="no-such-tenant", aud="tausestack-prod"),
        "no role": world.token(groups=["marketing"]),
        "no roles": world.token(groups=None),
        "nobody": world.token(sub=None),
        "expired": world.token(exp=now - 1),
        "no expiry": world.token(exp=None),
        "from the future": world.token(nbf=now + 600),
        "issuer with a slash": world.token(iss=world.issuer.url + "/"),
        "another key of the same name": world.token(key=same_name),
        "alg none": f"{head}.{body}.",
        "HS256 by the public key": by_public_key(world, {**claims, "exp": now + 60}),
    }
    for what, token in wrong.items():
        assert world.status(token) == 401, what
    theirs = world.token(org=other.name, aud="tausestack-prod")
    assert world.status(theirs) == 404
    assert world.status(good) == 200
