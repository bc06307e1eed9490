"""An issuer's tokens: only its own, only as it says now, and only what its claims are mapped to."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from owners import Owners
from tausestack.access_tokens import Resource
from tausestack.contract import Principal
from tausestack.errors import TauseError, Unauthenticated, Unavailable
from tausestack.names import SYSTEM_TENANT, external_user
from tausestack_runtime.gateway.oauth import external
from tausestack_runtime.gateway.oauth.bases import Bases
from tausestack_runtime.gateway.oauth.external import ExternalIssuer, Mapping
from tausestack_runtime.gateway.oauth.fetching import Document
from tausestack_runtime.gateway.snapshots import Snapshots

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example"
BASE = "https://tools.example.com"
MAPPING = Mapping(ISSUER, "tausestack", "tenant_id", "groups")
ANA = external_user(ISSUER, "ana@idp")
NOW = 2_000_000_000.0
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "sub": "ana@idp", "name": "Ana", "aud": "tausestack", "tenant_id": "acme", "groups": ["viewer"],
    "iat": int(NOW), "exp": int(NOW) + 600,
}  # fmt: skip
KEYS: dict[str, Any] = {
    "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
    "okp": OKPKey.generate_key("Ed25519", {"kid": "okp"}),
    "new": ECKey.generate_key("P-256", {"kid": "new"}),
}
EXPIRED = "The token has expired, or is another issuer's"
FUTURE = "The token is from the future, or from nobody knows when"
NOBODY = "The token names no tenant, or nobody"
NO_ROLE = "The token names no role that there is here"
AUDIENCE = "The token is for another audience"
NOT_ITS = "This is no access token of the issuer's"
NO_KEY = "The token's key is none of the issuer's"


class Issuer:
    """What the issuer publishes, which a test may change; it counts what is asked for."""

    def __init__(self) -> None:
        self.keys: list[Any] = [KEYS[name].as_dict(private=False) for name in ("rsa", "ec", "okp")]
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.asked: list[tuple[str, int]] = []
        self.down = False
        self.place = ISSUER

    async def get(self, url: str, most: int) -> Document:
        self.asked.append((url, most))
        if self.down:
            raise Unavailable("The document can't be had")
        documents = {
            f"{self.place}/.well-known/openid-configuration": self.metadata,
            str(self.metadata.get("jwks_uri")): {"keys": self.keys},
        }
        return Document(documents[url], 0)


class Clock:
    """Both clocks, which stand still until they are set."""

    def __init__(self) -> None:
        self.now = NOW
        self.running = 5000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    both = SimpleNamespace(time=lambda: made.now, monotonic=lambda: made.running)
    monkeypatch.setattr(external, "time", both)
    return made


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def owners() -> Owners:
    made = Owners()
    made.users = [{"id": ANA, "scopes": ["tools:read", "tools:call"], "roles": ["viewer"]}]
    return made


def gateway(owners: Owners, issuer: Issuer, mapping: Mapping = MAPPING) -> ExternalIssuer:
    parts: Any = {"fetching": issuer, "bases": Bases(BASE), "snapshots": Snapshots(owners, []), "system": owners}
    return ExternalIssuer(mapping, **parts)


@pytest.fixture
def taking(owners: Owners, issuer: Issuer, clock: Clock) -> ExternalIssuer:
    del clock
    return gateway(owners, issuer)


def token(key: str = "ec", alg: str = "ES256", header: dict[str, Any] | None = None, **changed: Any) -> str:
    """Return a token; None leaves a claim out."""
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return jws.serialize_compact(
        {"alg": alg, "kid": key, **(header or {})}, json.dumps(claims).encode(), KEYS[key], algorithms=[alg]
    )


async def taken(taking: ExternalIssuer, text: str) -> Principal:
    return (await taking.principal(text, f"hash of {text}"))[0]


async def refused(taking: ExternalIssuer, text: str, kind: type[TauseError] = Unauthenticated) -> str:
    with pytest.raises(kind) as said:
        await taken(taking, text)
    return said.value.message


VIEWER = Principal("acme", f"user:{ANA}", frozenset({"tools:read", "tools:call"}), "viewer")


@pytest.mark.covers("oidc:acts")
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # and issuers use it yet
@pytest.mark.parametrize(
    ("key", "alg"),
    [("rsa", "RS256"), ("rsa", "PS512"), ("ec", "ES256"), ("okp", "EdDSA"), ("okp", "Ed25519")],
)
async def test_a_token_by_any_of_its_keys_acts(taking: ExternalIssuer, owners: Owners, key: str, alg: str) -> None:
    assert await taken(taking, token(key, alg)) == VIEWER
    assert owners.told == []  # who is known as they are is nothing new


@pytest.mark.covers("oidc:acts")
async def test_a_header_may_say_what_kind_it_is(taking: ExternalIssuer) -> None:
    for kind in ("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"):
        assert await taken(taking, token(header={"typ": kind})) == VIEWER
    for header in ({"typ": "id+jwt"}, {"typ": "logout+jwt"}, {"typ": ""}):
        assert await refused(taking, token(header=header)) == NOT_ITS


@pytest.mark.covers("oidc:refused")
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://evil.example"}, EXPIRED),
        ({"exp": None}, EXPIRED),
        ({"exp": "2000000600"}, EXPIRED),
        ({"exp": int(NOW)}, EXPIRED),
        ({"iat": int(NOW) + 31}, FUTURE),
        ({"nbf": int(NOW) + 31}, FUTURE),
        ({"iat": "0"}, FUTURE),
        ({"iat": None}, FUTURE),
        ({"nbf": "0"}, FUTURE),
        ({"tenant_id": None}, NOBODY),
        ({"tenant_id": ["acme"]}, NOBODY),
        ({"tenant_id": "_system"}, NOBODY),
        ({"tenant_id": "ACME"}, NOBODY),
        ({"sub": None}, NOBODY),
        ({"sub": ""}, NOBODY),
        ({"sub": 7}, NOBODY),
        ({"groups": None}, NO_ROLE),
        ({"groups": []}, NO_ROLE),
        ({"groups": "viewers"}, NO_ROLE),
        ({"groups": ["operator", 7]}, NO_ROLE),
        ({"groups": {"viewer": True}}, NO_ROLE),
        ({"aud": None}, AUDIENCE),
        ({"aud": "another"}, AUDIENCE),
        ({"aud": BASE}, AUDIENCE),
        ({"aud": f"{BASE}/tenants/globex/mcp"}, AUDIENCE),
        ({"aud": "https://evil.example/tenants/acme/mcp"}, AUDIENCE),
        ({"aud": [7, f"{BASE}/tenants/acme"]}, AUDIENCE),
        ({"tenant_id": "globex"}, "The token names no tenant"),
    ],
)
async def test_each_misuse_is_refused_by_its_reason(
    taking: ExternalIssuer, changed: dict[str, Any], reason: str
) -> None:
    for _ in range(2):
        assert await refused(taking, token(**changed)) == reason


@pytest.mark.covers("oidc:refused")
async def test_forged_tokens_are_refused(taking: ExternalIssuer) -> None:
    good = token()
    head, body, signature = good.split(".")
    other = jws.serialize_compact({"alg": "ES256", "kid": "ec"}, b"{}", KEYS["new"], algorithms=["ES256"])
    bad = "The token's signature is not good"

    def headed(**header: Any) -> str:
        raw = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        return f"{raw}.{body}.{signature}"

    for text, reason in (
        (f"{head}.{body}.", bad), (f"{head}.{body}.{signature[:-6]}AAAAAA", bad), (other, bad),
        (headed(alg="none", kid="ec"), NOT_ITS), (headed(alg="HS256", kid="ec"), NOT_ITS), (headed(kid="ec"), NOT_ITS),
        (headed(alg="RS256", kid="ec"), bad), (headed(alg="ES256", kid="none"), NO_KEY), (headed(alg="ES256"), NO_KEY),
        (headed(alg="ES256", kid=["ec"]), NO_KEY), (headed(alg=["ES256"], kid="ec"), NOT_ITS),
        (headed(alg="ES256", kid="ec", typ=7), NOT_ITS), (headed(alg="ES256", kid="ec", typ=None), NOT_ITS),
        (headed(alg="ES256", kid="new"), NO_KEY),
        ("a.b.c", "This is no token"), (good + "." + "x", "This is no token"),
    ):  # fmt: skip
        assert await refused(taking, text) == reason
    long = token(more="x" * 9000)
    assert await refused(taking, long) == "This is no token"
    assert len(token(more="x" * 5000)) > 4096
    assert await taken(taking, token(more="x" * 5000)) == VIEWER


@pytest.mark.covers("oidc:acts")
async def test_what_varies_within_bounds_does_no_harm(taking: ExternalIssuer) -> None:
    for changed in (
        {"iat": int(NOW) + 30, "nbf": int(NOW) + 30}, {"exp": NOW + 0.5}, {"groups": "viewer"},
        {"groups": ["other", 7, "viewer"]}, {"aud": ["another", "tausestack"]}, {"aud": [f"{BASE}/tenants/acme/mcp"]},
        {"aud": ["x", f"{BASE}/tenants/globex/mcp", f"{BASE}/tenants/acme/mcp"]}, {"iat": NOW + 0.5},
    ):  # fmt: skip
        assert await taken(taking, token(**changed)) == VIEWER


@pytest.mark.covers("oidc:acts", "identity:incarnations")
async def test_a_token_from_before_its_tenant_was_made_is_for_another(taking: ExternalIssuer, owners: Owners) -> None:
    made = datetime.fromtimestamp(int(NOW) + 0.9, UTC).isoformat()
    owners.tenants["acme"] |= {"created_at": made, "incarnation": "second"}
    said = "The token is from before its tenant was made: sign in anew"
    assert await refused(taking, token(iat=int(NOW) - 1)) == said
    for at in (int(NOW), int(NOW) + 1):
        assert await taken(taking, token(iat=at)) == replace(VIEWER, incarnation="second")


@pytest.mark.covers("oidc:acts")
async def test_a_token_is_for_its_tenant_or_for_one_server(
    taking: ExternalIssuer, owners: Owners, issuer: Issuer
) -> None:
    async def of(by: ExternalIssuer, **changed: Any) -> Resource:
        text = token(**changed)
        return (await by.principal(text, text))[1]

    server = f"{BASE}/tenants/acme/servers/billing/mcp"
    assert await of(taking) == Resource("acme")
    assert await of(taking, aud=server) == Resource("acme", "billing")
    assert await of(taking, aud=[server, "tausestack"]) == Resource("acme")
    none = gateway(owners, issuer, replace(MAPPING, audience=None))
    assert await of(none, aud=server) == Resource("acme", "billing")
    assert await refused(none, token()) == AUDIENCE


@pytest.mark.covers("oidc:acts")
async def test_scopes_of_ours_narrow_and_others_say_nothing(taking: ExternalIssuer) -> None:
    for scope, left in (
        ("openid email", {"tools:read", "tools:call"}), ("tools:read openid", {"tools:read"}), ("runs:write", set()),
        ("tools:call:billing/*", {"tools:call:billing/*"}), (["tools:read"], {"tools:read", "tools:call"}),
    ):  # fmt: skip
        assert await taken(taking, token(scope=scope)) == replace(VIEWER, scopes=frozenset(left))


@pytest.mark.covers("oidc:people")
async def test_who_is_not_known_is_made_a_user_with_the_roles_that_the_issuer_says(
    taking: ExternalIssuer, owners: Owners
) -> None:
    known = owners.users
    owners.users = []

    def becomes() -> None:
        owners.users = [{**known[0], "roles": ["admin", "viewer"]}]
        owners.touch()

    owners.during_load = becomes
    both = token(groups=["viewer", "x", "admin"])
    assert await taken(taking, both) == replace(VIEWER, role="admin,viewer")
    for _ in range(2):
        assert await taken(taking, both) == replace(VIEWER, role="admin,viewer")
    about = {"tenant": "acme", "issuer": ISSUER, "subject": "ana@idp", "name": "Ana", "most": 500}
    told = [one for one in owners.told if one[3]["roles"] == ["admin", "viewer"]]
    assert [one[:3] for one in told[:1]] == [("auth", "external_user", SYSTEM_TENANT)] or not told
    assert all(one[3] == {**about, "roles": ["admin", "viewer"]} for one in told)


@pytest.mark.covers("oidc:people")
async def test_a_change_of_roles_is_told_once_and_a_disabled_person_refused(
    taking: ExternalIssuer, owners: Owners
) -> None:
    owners.users[0]["roles"] = ["agent"]
    text = token()
    assert await taken(taking, text) == VIEWER
    about = {"tenant": "acme", "issuer": ISSUER, "subject": "ana@idp", "name": "Ana", "roles": ["viewer"], "most": 500}
    assert owners.told == [("auth", "external_user", SYSTEM_TENANT, about)]
    assert await taken(taking, text) == VIEWER
    assert len(owners.told) == 1
    owners.users = []
    disabled = "This person was disabled here"
    for number in range(2):
        assert await refused(taking, token(sub="bob", jti=number)) == disabled
    assert [one[3]["subject"] for one in owners.told] == ["ana@idp", "bob", "bob"]
    for changed, name in (
        ({"name": None, "preferred_username": "ana.b"}, "ana.b"), ({"name": "", "preferred_username": None}, "bob"),
        ({"name": "n" * 200}, "n" * 120), ({"name": 7}, "7"),
    ):  # fmt: skip
        assert await refused(taking, token(sub="bob", **changed)) == disabled
        assert owners.told[-1][3]["name"] == name


@pytest.mark.covers("oidc:people")
async def test_what_changes_in_the_tenant_is_seen_at_once(owners: Owners, issuer: Issuer, clock: Clock) -> None:
    del clock
    snapshots = Snapshots(owners, [])
    parts: Any = {"fetching": issuer, "bases": Bases(BASE), "snapshots": snapshots, "system": owners}
    taking = ExternalIssuer(MAPPING, **parts)
    text = token()
    first = await taken(taking, text)
    assert first is await taken(taking, text)
    owners.users[0]["scopes"] = ["tools:read"]
    owners.touch()
    snapshots.expire()
    assert await taken(taking, text) == replace(VIEWER, scopes=frozenset({"tools:read"}))
    owners.users = []
    owners.touch()
    snapshots.expire()
    assert await refused(taking, text) == "This person was disabled here"
    assert await refused(taking, token(tenant_id="globex")) == "The token names no tenant"


@pytest.mark.covers("oidc:keys")
async def test_the_keys_are_asked_for_once_an_hour_and_anew_for_one_that_is_not_known(
    taking: ExternalIssuer, issuer: Issuer, clock: Clock
) -> None:
    where = [(f"{ISSUER}/.well-known/openid-configuration", 256 * 1024), (f"{ISSUER}/keys", 256 * 1024)]
    for number in range(3):
        assert await taken(taking, token(jti=number)) == VIEWER
    assert issuer.asked == where
    issuer.keys.append(KEYS["new"].as_dict(private=False))
    clock.running += 10.0
    assert await refused(taking, token("new")) == NO_KEY
    assert issuer.asked == where
    clock.running += 0.1
    assert await taken(taking, token("new")) == VIEWER
    assert issuer.asked == where * 2
    clock.running += 3600.0
    assert await taken(taking, token("new", jti=1)) == VIEWER
    assert issuer.asked == where * 2
    clock.running += 0.1
    assert await taken(taking, token("new", jti=2)) == VIEWER
    assert issuer.asked == where * 3


@pytest.mark.covers("oidc:keys")
async def test_keys_that_cannot_be_had_are_asked_for_again_soon_and_those_known_serve_on(
    taking: ExternalIssuer, issuer: Issuer, clock: Clock
) -> None:
    assert await taken(taking, token()) == VIEWER
    issuer.down = True
    clock.running += 3601.0
    assert await refused(taking, token(jti=1), Unavailable) == "The document can't be had"
    assert await taken(taking, token(jti=1)) == VIEWER
    asked = len(issuer.asked)
    clock.running += 10.0
    assert await taken(taking, token(jti=2)) == VIEWER
    assert len(issuer.asked) == asked
    clock.running += 0.1
    assert await refused(taking, token(jti=3), Unavailable)
    issuer.down = False
    clock.running += 10.1
    assert await taken(taking, token(jti=3)) == VIEWER


@pytest.mark.covers("oidc:keys")
async def test_what_a_key_vouched_for_that_is_gone_holds_no_longer(
    taking: ExternalIssuer, issuer: Issuer, clock: Clock
) -> None:
    old = token()
    assert await taken(taking, old) == VIEWER
    issuer.keys = [KEYS["rsa"].as_dict(private=False), KEYS["new"].as_dict(private=False)]
    assert await taken(taking, old) == VIEWER
    clock.running += 11.0
    assert await taken(taking, token("new")) == VIEWER
    assert await refused(taking, old) == NO_KEY
    assert await refused(taking, token(jti=5)) == NO_KEY
    issued = len(issuer.asked)
    clock.running += 3601.0  # the same keys: what was verified stays so
    assert await taken(taking, token("rsa", "RS256")) == VIEWER
    assert len(issuer.asked) == issued + 2


@pytest.mark.covers("oidc:keys")
async def test_a_token_that_lives_long_is_held_against_the_keys_of_the_hour(
    taking: ExternalIssuer, issuer: Issuer, clock: Clock
) -> None:
    old = token(exp=NOW + 86_400)
    assert await taken(taking, old) == VIEWER
    issuer.keys = [KEYS["new"].as_dict(private=False)]
    clock.running += 3600.0
    assert await taken(taking, old) == VIEWER
    clock.running += 0.1
    assert await refused(taking, old) == NO_KEY


@pytest.mark.covers("oidc:ends")
async def test_a_token_ends_to_the_second(taking: ExternalIssuer, clock: Clock, issuer: Issuer) -> None:
    text = token(exp=NOW + 0.5)
    assert await taken(taking, text) == VIEWER
    clock.now += 0.4
    assert await taken(taking, text) == VIEWER
    clock.now += 0.1
    assert await refused(taking, text) == "The token has expired"
    assert len(issuer.asked) == 2


@pytest.mark.covers("oidc:keys")
@pytest.mark.parametrize(
    "key",
    [
        "no key", {"kty": "oct", "k": "AAAA", "kid": "ec"}, {"kty": "RSA", "kid": "ec"}, {"kty": None},
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "!", "kid": "ec"}, {"use": "enc"}, {"kid": 7}, {"kid": None},
        {"use": None}, {"kty": ["EC"]},
    ],
)  # fmt: skip
async def test_what_is_no_key_for_signatures_is_left_out(taking: ExternalIssuer, issuer: Issuer, key: Any) -> None:
    known = KEYS["ec"].as_dict(private=False)
    issuer.keys = [
        {**known, **key} if isinstance(key, dict) and len(key) == 1 else key,
        {**KEYS["okp"].as_dict(private=False), "use": "sig"},
    ]
    assert await refused(taking, token()) == NO_KEY
    assert await taken(taking, token("okp", "Ed25519")) == VIEWER


@pytest.mark.covers("oidc:keys")
async def test_metadata_of_anothers_or_keys_without_tls_are_not_believed(
    owners: Owners, issuer: Issuer, clock: Clock
) -> None:
    del clock
    for metadata, reason in (
        ({"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/keys"}, "The issuer's metadata is another's"),
        ({"jwks_uri": f"{ISSUER}/keys"}, "The issuer's metadata is another's"),
        ({"issuer": ISSUER, "jwks_uri": "http://login.example/keys"}, "The issuer's keys are not behind TLS"),
        ({"issuer": ISSUER}, "The issuer's keys are not behind TLS"),
    ):
        issuer.metadata = metadata
        assert await refused(gateway(owners, issuer), token(), Unavailable) == reason
    issuer.metadata = {"issuer": ISSUER, "jwks_uri": "https://keys.example/"}
    assert await taken(gateway(owners, issuer), token()) == VIEWER


@pytest.mark.covers("oidc:keys")
@pytest.mark.parametrize("path", ["/", "/X", "/realms/acme"])
async def test_an_issuers_path_is_its_own(owners: Owners, issuer: Issuer, clock: Clock, path: str) -> None:
    del clock
    where = f"{ISSUER}{path}"
    issuer.place = where.rstrip("/")
    issuer.metadata = {"issuer": where, "jwks_uri": f"{ISSUER}/keys"}
    owners.users[0]["id"] = external_user(where, "ana@idp")
    found = await taken(gateway(owners, issuer, replace(MAPPING, issuer=where)), token(iss=where))
    assert found.id == f"user:{external_user(where, 'ana@idp')}"
    assert issuer.asked[0][0] == f"{issuer.place}/.well-known/openid-configuration"


@pytest.mark.covers("oidc:keys")
async def test_an_issuer_on_this_machine_may_do_without_tls(owners: Owners, issuer: Issuer, clock: Clock) -> None:
    del clock
    here = "http://127.0.0.1:9"
    owners.users[0]["id"] = external_user(here, "ana@idp")

    async def get(url: str, most: int) -> Document:
        del most
        return Document({"issuer": here, "jwks_uri": f"{here}/keys", "keys": issuer.keys} if url else {}, 0)

    parts: Any = {"fetching": SimpleNamespace(get=get), "bases": Bases(BASE), "snapshots": Snapshots(owners, []),
                  "system": owners}  # fmt: skip
    assert await taken(ExternalIssuer(replace(MAPPING, issuer=here), **parts), token(iss=here))


@pytest.mark.covers("oidc:acts")
async def test_the_first_of_too_many_are_forgotten(
    taking: ExternalIssuer, issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "KEPT", 2)
    texts = [token(jti=number) for number in range(3)]
    kept = [await taken(taking, texts[0])]
    clock.running += 10.0
    kept += [await taken(taking, text) for text in texts[1:]]
    assert [await taken(taking, text) for text in texts[1:]] == kept[1:]
    assert all(
        again is one for again, one in zip([await taken(taking, text) for text in texts[1:]], kept[1:], strict=True)
    )
    issuer.keys = [KEYS["new"].as_dict(private=False)]
    issuer.down = True
    clock.running += 3591.0
    assert await taken(taking, texts[1]) is kept[1]  # verified within the hour: nobody is asked
    assert await refused(taking, texts[0], Unavailable)
