"""What strangers and thieves try at the authorization server, and with what it gave out."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from oauth_client import PASSWORD, OAuthClient, answered, check_noted, http
from stack import Stack, Tenant, mcp_request
from tausestack.access_tokens import AccessToken, AccessTokenSigner, Resource, derived
from tausestack.contract import Principal
from tausestack.scopes import ROLES
from tausestack_runtime.keys import Masters
from tausestack_runtime.signing import SigningKeys

pytestmark = pytest.mark.covers("oauth:misuse")


@dataclass(frozen=True)
class World:
    """Two tenants, with a person each."""

    stack: Stack
    acme: Tenant
    globex: Tenant

    @property
    def user(self) -> str:
        return "ana"

    def status(self, token: str, tenant: Tenant | None = None, server: str | None = None) -> int:
        """Return how a token is answered at an endpoint."""
        where = tenant or self.acme
        return mcp_request(where.url, where.name, token, "tools/list", {}, server=server).status_code


@pytest.fixture(scope="module")
def world(stack: Stack) -> World:
    found = World(stack, stack.tenant(), stack.tenant())
    for tenant, name in ((found.acme, "ana"), (found.globex, "bea")):
        tenant.must("auth/create_user", {"id": name, "roles": ["admin"], "password": PASSWORD})
    return found


@pytest.fixture(scope="module")
def client(world: World) -> OAuthClient:
    """A client of acme's, with which nothing is broken."""
    return OAuthClient(world.acme)


@pytest.fixture(scope="module")
def token(client: OAuthClient, world: World) -> str:
    """A good access token of acme's."""
    return client.signed_in(world.user)["access_token"]


def error_of(reply: Any) -> str:
    assert reply.status_code in {400, 401}, reply.text
    assert reply.headers["cache-control"] == "no-store"
    return reply.json()["error"]


def test_a_replayed_code_ends_everything_that_came_of_it(world: World) -> None:
    client = OAuthClient(world.acme)
    code = client.code(world.user)
    first = client.redeem(code).json()
    assert world.status(first["access_token"]) == 200
    assert error_of(client.redeem(code)) == "invalid_grant"
    world.stack.operator("GET", "tenants")
    assert until_refused(world, first["access_token"])
    assert error_of(client.refresh(first["refresh_token"])) == "invalid_grant"
    assert error_of(client.redeem(code)) == "invalid_grant"
    check_noted(world.stack, world.acme, world.user, "code_replayed")


def test_a_replayed_refresh_token_ends_the_whole_family(world: World) -> None:
    client = OAuthClient(world.acme)
    first = client.signed_in(world.user)
    second = client.refresh(first["refresh_token"]).json()
    assert error_of(client.refresh(first["refresh_token"])) == "invalid_grant"
    assert error_of(client.refresh(second["refresh_token"])) == "invalid_grant"
    for each in (first, second):
        assert until_refused(world, each["access_token"])
    check_noted(world.stack, world.acme, world.user, "refresh_token_replayed")


def test_of_many_who_redeem_a_code_at_once_one_succeeds_at_most(world: World) -> None:
    client = OAuthClient(world.acme)
    code = client.code(world.user)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: client.redeem(code), range(8)))
    good = [reply.json() for reply in replies if reply.status_code == 200]
    assert len(good) <= 1
    assert all(until_refused(world, each["access_token"]) for each in good)


def until_refused(world: World, token: str) -> bool:
    """Wait until a token is refused, for as long as a revocation may take on a busy machine."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if world.status(token) == 401:
            return True
    return False


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"client_id": None}, "invalid_client"),
        ({"resource": "http://127.0.0.1:1/tenants/acme/mcp"}, "invalid_target"),
        ({"scope": "tools:read tenant:admin servers:manage system"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"code": "tsc_nonsense"}, "invalid_grant"),
    ],
)
def test_a_slip_of_its_client_leaves_a_code_to_be_redeemed(
    client: OAuthClient, world: World, changed: dict[str, str | None], error: str
) -> None:
    code = client.code(world.user)
    # Nothing at the endpoint gives the tenant away but the code itself.
    assert error_of(client.redeem(code, **{"resource": None, **changed})) == error
    assert client.redeem(code).status_code == 200


def test_a_code_is_nobody_elses(client: OAuthClient, world: World) -> None:
    code = client.code(world.user)
    moved = code.partition(".")[0] + f".{world.globex.name}"
    assert error_of(client.redeem(moved, resource=None)) == "invalid_grant"
    nowhere = code.partition(".")[0] + ".no-such-tenant"
    assert error_of(client.redeem(nowhere, resource=None)) == "invalid_grant"
    theirs = f"{world.globex.url}/tenants/{world.globex.name}/mcp"
    assert error_of(client.redeem(code, resource=theirs)) == "invalid_grant"
    assert client.redeem(code).status_code == 200
    other, code = OAuthClient(world.acme, name="Another"), client.code(world.user)
    other.verifier = client.verifier
    assert error_of(other.redeem(code)) == "invalid_grant"


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 42 + "="},
        {"response_type": "token"},
        {"response_type": "code id_token"},
        {"response_type": None},
        {"scope": "operator"},
        {"scope": "system"},
        {"scope": "*"},
        {"scope": "tools:call:*x"},
        {"scope": "tools:call:billing*/x"},
        {"resource": "https://elsewhere.example/tenants/acme/mcp"},
        {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"request_uri": "https://elsewhere.example/request"},
    ],
)
def test_a_wrong_request_is_told_to_its_client_and_shows_no_page(
    client: OAuthClient, changed: dict[str, str | None]
) -> None:
    back = answered(client.open(**changed))
    assert "code" not in back
    assert back["error"] in {
        "invalid_request", "unsupported_response_type", "invalid_scope", "invalid_target", "request_not_supported"
    }  # fmt: skip
    assert (back["state"], back["iss"]) == ("a-state", client.tenant.url)


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:7777/callback/../evil"},
        {"redirect_uri": "http://127.0.0.1:7777/callback?next=https://evil.example"},
        {"redirect_uri": "http://127.0.0.1:7777/callback#fragment"},
        {"redirect_uri": "http://127.0.0.1:7777@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example:7777/callback"},
        {"redirect_uri": "http://localhost:7777/callback"},
        {"redirect_uri": "https://127.0.0.1:7777/callback"},
        {"redirect_uri": "//evil.example"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1:7777/callback\r\nSet-Cookie: a=b"},
        {"client_id": "nobody"},
        {"client_id": None},
        {"client_id": "https://127.0.0.1/client.json"},
        {"client_id": "https://evil.example@127.0.0.1/client.json"},
    ],
)
def test_a_browser_is_sent_nowhere_that_is_not_the_clients(client: OAuthClient, changed: dict[str, str | None]) -> None:
    reply = client.open(**changed)
    assert reply.status_code == 400
    assert "location" not in reply.headers
    assert "evil" not in reply.text


def test_a_loopback_client_may_use_any_port_as_apps_do(client: OAuthClient) -> None:
    assert client.open(redirect_uri="http://127.0.0.1:49152/callback").status_code == 200


@pytest.mark.parametrize(
    "redirect",
    [
        "javascript:alert(1)", "data:text/html,x", "http://evil.example/cb", "https://a.example/cb#f", "file:///etc/x",
        "https://user@a.example/cb", "https://*.a\\@evil", "ftp://a.example", "myapp:/cb", "", "https://a b.example",
    ],
)  # fmt: skip
def test_no_client_registers_a_place_that_is_not_its_own(world: World, redirect: str) -> None:
    reply = http("POST", f"{world.acme.url}/oauth/register", json={"redirect_uris": [redirect]})
    assert error_of(reply) == "invalid_redirect_uri"


def test_a_registration_can_not_be_changed(client: OAuthClient) -> None:
    head, _, tail = client.id.split(".")
    claims = json.dumps({"name": "x", "redirect_uris": ["https://evil.example/cb"]}).encode()
    changed = f"{head}.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.{tail}"
    assert client.open(client_id=changed, redirect_uri="https://evil.example/cb").status_code == 400
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "client+jwt"}).encode()).rstrip(b"=").decode()
    assert client.open(client_id=f"{none}.{changed.split('.')[1]}.").status_code == 400


def test_a_repeated_parameter_is_refused(client: OAuthClient, world: World) -> None:
    asked = urlencode(client.asked()) + "&redirect_uri=https%3A%2F%2Fevil.example"
    assert http("GET", f"{world.acme.url}/oauth/authorize?{asked}").status_code == 400
    form = urlencode({"grant_type": "refresh_token", "refresh_token": "x", "client_id": client.id}) + "&client_id=y"
    sent = {"content-type": "application/x-www-form-urlencoded"}
    assert error_of(http("POST", f"{world.acme.url}/oauth/token", content=form, headers=sent)) == "invalid_request"


def test_a_consent_counts_in_the_browser_that_was_asked_alone(client: OAuthClient, world: World) -> None:
    page = client.open()
    assert client.answer(page, world.user, PASSWORD, cookies={}).status_code == 403
    assert client.answer(page, world.user, PASSWORD, cookies={"tausestack-authorize": "another"}).status_code == 403
    evil = {"origin": "https://evil.example"}
    assert client.answer(page, world.user, PASSWORD, headers=evil).status_code == 403
    assert client.answer(page, world.user, PASSWORD, form={"request": "a.b.c"}).status_code == 403
    assert client.answer(page, world.user, PASSWORD).status_code == 303


def test_wrong_passwords_do_not_tell_whether_there_is_a_tenant(world: World) -> None:
    """They are counted for the tenant that the page is for, also where there is none: each has its own five."""
    for there in (world.acme, world.globex):
        for name in (there.name, f"no-{there.name}"):
            client = OAuthClient(replace(there, name=name))
            tried = [client.answer(client.open(), "eve", "a wrong password") for _ in range(7)]
            assert [reply.status_code for reply in tried] == [401] * 5 + [429] * 2, name
            assert ["retry-after" in reply.headers for reply in tried] == [False] * 5 + [True] * 2, name


def test_a_page_for_one_tenant_lets_nobody_into_another(client: OAuthClient, world: World) -> None:
    page = client.open()
    assert client.answer(page, "bea", PASSWORD).status_code == 401
    assert client.answer(page, "bea", PASSWORD, form={"resource": f"{world.globex.url}/tenants/{world.globex.name}/mcp"}
                         ).status_code == 401  # fmt: skip
    nowhere = client.open(resource=f"{world.acme.url}/tenants/no-such-tenant/mcp")
    assert nowhere.status_code == 200
    assert client.answer(nowhere, world.user, PASSWORD).status_code == 401


def test_guessing_a_password_gets_slow_for_people_and_for_nobodies_alike(world: World) -> None:
    world.acme.must("auth/create_user", {"id": "carla", "roles": ["viewer"], "password": PASSWORD})
    client = OAuthClient(world.acme)
    page = client.open()
    for name in ("carla", "nobody"):
        for _ in range(5):
            assert client.answer(page, name, "wrong password").status_code == 401
        slow = client.answer(page, name, PASSWORD)
        assert slow.status_code == 429
        assert int(slow.headers["retry-after"]) > 0
    assert world.acme.call("auth/login", {"user": "carla", "password": PASSWORD}).status_code != 200


def test_a_client_that_is_a_key_is_that_key_of_that_tenant(world: World) -> None:
    mine = world.acme.must("auth/create_api_key", {"role": "agent"})
    theirs = world.globex.must("auth/create_api_key", {"role": "admin"})
    url = f"{world.acme.url}/oauth/token"
    form = {"grant_type": "client_credentials", "resource": f"{world.acme.url}/tenants/{world.acme.name}/mcp"}
    for auth in ((mine["id"], "wrong"), (theirs["id"], mine["api_key"]), ("", mine["api_key"])):
        refused = http("POST", url, data=form, auth=auth)
        assert error_of(refused) == "invalid_client"
        assert refused.headers["www-authenticate"].startswith("Basic")
    assert error_of(http("POST", url, data=form)) == "invalid_client"
    assert error_of(http("POST", url, data=form, auth=(theirs["id"], theirs["api_key"]))) == "invalid_target"
    for scope in ("tenant:admin", "system", "operator", "*"):
        greedy = http("POST", url, data={**form, "scope": scope}, auth=(mine["id"], mine["api_key"]))
        assert error_of(greedy) == "invalid_scope"
    both = {**form, "client_id": mine["id"], "client_secret": mine["api_key"]}
    assert error_of(http("POST", url, data=both, auth=(mine["id"], mine["api_key"]))) == "invalid_request"


def test_only_a_tenants_own_token_is_exchanged(world: World, token: str) -> None:
    url, theirs = f"{world.acme.url}/oauth/token", world.globex.must("auth/create_api_key", {"role": "admin"})
    mine = world.acme.must("auth/create_api_key", {"role": "agent", "scopes": ["tools:call:billing/*"]})
    kind = "urn:ietf:params:oauth:token-type:access_token"
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": kind,
    }

    def asked(key: dict[str, Any], **changed: str) -> Any:
        return http("POST", url, data={**form, **changed}, auth=(key["id"], key["api_key"]))

    assert error_of(asked(theirs)) == "invalid_request"
    assert error_of(http("POST", url, data=form)) == "invalid_client"
    assert error_of(asked(mine, subject_token=mine["api_key"])) == "invalid_request"
    assert error_of(asked(mine, subject_token_type="urn:ietf:params:oauth:token-type:id_token")) == "invalid_request"
    assert error_of(asked(mine, actor_token=token)) == "invalid_request"
    there = f"{world.globex.url}/tenants/{world.globex.name}/mcp"
    assert error_of(asked(mine, resource=there)) == "invalid_target"
    exchanged = asked(mine).json()["access_token"]
    assert Tenant(world.acme.name, exchanged, world.acme.url).call("auth/list_users", {}).status_code == 403


def test_a_token_is_for_its_tenant_and_another_looks_like_none(world: World, token: str) -> None:
    theirs = mcp_request(world.acme.url, world.globex.name, token, "tools/list", {})
    nobodys = mcp_request(world.acme.url, "no-such-tenant", token, "tools/list", {})
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()
    assert world.status(token) == 200


def test_a_token_in_a_query_is_no_credential(world: World, token: str) -> None:
    for path in (f"/api/v2/tenants/{world.acme.name}/tools", f"/tenants/{world.acme.name}/mcp"):
        for name in ("access_token", "token", "authorization", "api_key"):
            assert http("GET", f"{world.acme.url}{path}?{name}={token}").status_code in {401, 405}
    assert (
        http("POST", f"{world.acme.url}/tenants/{world.acme.name}/mcp?access_token={token}", json={}).status_code == 401
    )


def test_what_is_no_access_token_is_taken_for_none(world: World, client: OAuthClient) -> None:
    signed_in = client.signed_in(world.user)
    code = client.code(world.user)
    for wrong in (signed_in["refresh_token"], code, client.id, signed_in["access_token"] + "a", "a.b.c", "..", "..."):
        assert world.status(wrong) == 401
    assert error_of(client.refresh(signed_in["access_token"], resource=client.resource)) == "invalid_grant"
    assert error_of(client.redeem(signed_in["refresh_token"])) == "invalid_grant"


def sealed(header: dict[str, Any], claims: Any, key: Any, algorithm: str) -> str:
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[algorithm])


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(world: World, good: str) -> dict[str, str]:
    """Return tokens that nobody gave out, by what is wrong with each."""
    head, body, signature = good.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    seed = Masters(world.stack.data, make=False).current.subkey("auth")
    public = AccessTokenSigner(seed).jwks()["keys"][0]
    raw_public = base64.urlsafe_b64decode(public["x"] + "==")
    own = OKPKey.generate_key("Ed25519")
    mine = {"kty": "OKP", "crv": "Ed25519", "x": own.as_dict(private=False)["x"]}
    right = OKPKey.import_key(
        {**{k: public[k] for k in ("kty", "crv", "x")}, "d": encoded(derived(seed, "access-tokens"))}
    )
    now = int(time.time())

    def signed(**changed: Any) -> str:
        """Signed by the right key: what is wrong is what it says."""
        said = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return sealed(header, said, right, "Ed25519")

    twice = json.dumps(claims)[:-1].encode() + b', "sub": "user:bea"}'
    hs = {"alg": "HS256", "kid": public["kid"], "typ": "at+jwt"}
    gateway = SigningKeys(world.stack.data, Masters(world.stack.data, make=False))
    principal = Principal(world.acme.name, "user:ana", ROLES["admin"], role="admin")
    tokens = {
        "alg none": f"{encoded({**header, 'alg': 'none'})}.{body}.",
        "alg None, signed": f"{encoded({**header, 'alg': 'None'})}.{body}.{signature}",
        "no alg": f"{encoded({'kid': header['kid'], 'typ': 'at+jwt'})}.{body}.{signature}",
        "HS256 by the public key": sealed(hs, claims, OctKey.import_key(raw_public), "HS256"),
        "HS256 by the public key's text": sealed(hs, claims, OctKey.import_key(public["x"].encode()), "HS256"),
        "HS256 by the JWK": sealed(hs, claims, OctKey.import_key(json.dumps(public).encode()), "HS256"),
        "another key": sealed(header, claims, own, "Ed25519"),
        "another key's name": sealed({**header, "kid": own.thumbprint()}, claims, own, "Ed25519"),
        "no key's name": sealed({"alg": "Ed25519", "typ": "at+jwt"}, claims, own, "Ed25519"),
        "jwk": sealed({**header, "jwk": mine}, claims, own, "Ed25519"),
        "jwk, right key": sealed({**header, "jwk": mine}, claims, right, "Ed25519"),
        "jku": sealed({**header, "jku": "https://evil.example/jwks.json"}, claims, own, "Ed25519"),
        "jku, right key": sealed({**header, "jku": "https://evil.example/jwks.json"}, claims, right, "Ed25519"),
        "x5u": sealed({**header, "x5u": "https://evil.example/cert.pem"}, claims, right, "Ed25519"),
        "x5c": sealed({**header, "x5c": ["MIIB"]}, claims, right, "Ed25519"),
        "ES256": sealed({**header, "alg": "ES256"}, claims, ECKey.generate_key("P-256"), "ES256"),
        "typ JWT": sealed({**header, "typ": "JWT"}, claims, right, "Ed25519"),
        "no typ": sealed({"alg": "Ed25519", "kid": header["kid"]}, claims, right, "Ed25519"),
        "kid of a path": sealed({**header, "kid": "../../dev/null"}, claims, own, "Ed25519"),
        "changed claims": f"{head}.{encoded({**claims, 'sub': 'user:bea'})}.{signature}",
        "a claim twice": f"{head}.{encoded(twice)}.{signature}",
        "no signature": f"{head}.{body}.",
        "expired": signed(exp=now - 1),
        "expired long ago": signed(exp=0),
        "no expiry": signed(exp=None),
        "expiry as text": signed(exp=str(now + 60)),
        "another issuer": signed(iss="https://evil.example", aud=f"https://evil.example/tenants/{world.acme.name}/mcp"),
        "issuer by its look": signed(iss=claims["iss"] + ".evil.example"),
        "issuer of the house": signed(iss="tausestack"),
        "no issuer": signed(iss=None),
        "another's audience": signed(aud="https://evil.example/mcp"),
        "audience of a server": signed(aud="server:billing"),
        "audience of the gateway": signed(aud="gateway"),
        "several audiences": signed(aud=[claims["aud"], "https://evil.example"]),
        "audience that climbs": signed(aud=claims["aud"].replace("/mcp", "/../x/mcp")),
        "no audience": signed(aud=None),
        "no subject": signed(sub=None),
        "nobody": signed(sub="user:nobody"),
        "another tenant's person": signed(sub="user:bea"),
        "the operator": signed(sub="operator"),
        "a service": signed(sub="service:agents"),
        "the gateway": signed(sub="gateway"),
        "another tenant's key": signed(sub=f"key:{world.globex.key.split('_')[1]}"),
        "no grant": signed(grant=None),
        "of a tenant that had the id before": signed(incarnation="0" * 16),
        "of no tenant in particular": signed(incarnation=None),
        "an actor who is nobody": signed(act={"sub": "key:nobody"}),
        "no tenant's": signed(aud=claims["aud"].replace(world.acme.name, "no-such-tenant")),
        "the house's tenant": signed(aud=claims["aud"].replace(world.acme.name, "_system")),
        "an assertion": gateway.sign(principal, "server:billing", 60),
        "an assertion for the endpoint": gateway.sign(principal, claims["aud"], 60),
        "ten thousand characters": "a" * 5000 + "." + "b" * 5000 + ".c",
        "SHA-256 of a good one": hashlib.sha256(good.encode()).hexdigest(),
    }
    assert world.status(signed()) == 200, "the forger's tools work"
    return tokens


def test_every_forged_or_misused_token_is_refused_and_challenged(world: World, token: str) -> None:
    found = forged(world, token)
    assert len(found) >= 50
    for what, text in found.items():
        for door in ("mcp", "rest"):
            if door == "mcp":
                reply = mcp_request(world.acme.url, world.acme.name, text, "tools/list", {})
            else:
                where = f"{world.acme.url}/api/v2/tenants/{world.acme.name}/tools"
                reply = http("GET", where, headers={"authorization": f"Bearer {text}"})
            assert reply.status_code == 401, (what, door, reply.text)
            challenge = reply.headers["www-authenticate"]
            assert 'error="invalid_token"' in challenge, what
            assert "resource_metadata=" in challenge, what
            assert text not in reply.text


def test_scopes_in_a_token_are_no_more_than_its_person_has(world: World, token: str) -> None:
    seed = Masters(world.stack.data, make=False).current.subkey("auth")
    world.acme.must("auth/create_user", {"id": "dora", "roles": ["viewer"]})
    greedy = AccessToken(
        issuer=world.acme.url,
        resource=Resource(world.acme.name),
        subject="user:dora",
        client="c",
        scopes=frozenset({"tenant:admin", "system", "operator", "*"}),
        grant="g1",
        id="t1",
        expires=int(time.time()) + 60,
        incarnation=json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["incarnation"],
    )
    signer = AccessTokenSigner(seed)
    for text in (signer.sign(greedy), signer.sign(replace(greedy, scopes=ROLES["admin"]))):
        dora = Tenant(world.acme.name, text, world.acme.url)
        assert dora.call("auth/list_users", {}).status_code == 403
        assert set(dora.must("auth/whoami", {})["scopes"]) <= {"tools:read"}


def test_nobody_gives_another_what_they_lack(world: World) -> None:
    token = OAuthClient(world.acme).signed_in(world.user, scope="tenant:admin")["access_token"]
    narrow = Tenant(world.acme.name, token, world.acme.url)
    for tool, arguments in (
        ("create_api_key", {"role": "admin"}),
        ("create_api_key", {"role": "agent"}),
        ("create_user", {"id": "eva", "roles": ["admin"], "password": PASSWORD}),
        ("set_roles", {"user": "bea", "roles": ["developer"]}),
        ("set_password", {"user": "ana", "password": "another password"}),
    ):
        assert narrow.call(f"auth/{tool}", arguments).json()["cause"] == "forbidden", tool
    for scopes in (["*"], ["system"], ["operator"], ["tools:*"], ["tools:call:"], ["tools:call:a/b/c"]):
        assert world.acme.call("auth/create_api_key", {"role": "admin", "scopes": scopes}).status_code == 422
