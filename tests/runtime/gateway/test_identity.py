"""Who calls: each kind of credential becomes its own principal for its own tenant, or is refused in one sentence."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from owners import KEY, Owners
from tausestack.access_tokens import Resource
from tausestack.contract import Principal
from tausestack.errors import NotFound, TauseError, TenantSuspended, Unauthenticated
from tausestack.names import SYSTEM_TENANT
from tausestack.scopes import OPERATOR, ROLES, SYSTEM
from tausestack.tenancy import credential_hash
from tausestack.tokens import Signer, server_audience
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.identity import MAX_CREDENTIAL, Credential, Identity, NotYours, bearer, shown
from tausestack_runtime.gateway.snapshots import Snapshots

pytestmark = pytest.mark.anyio

OPERATOR_KEY = "tsk_operator_" + "o" * 40
API_KEY = "tsk_k1_" + "a" * 40
PROCESS = "process-credential"
SIGNER = Signer(b"s" * 32)
NOWHERE = "There is no such tenant, server or tool, or it is not yours"
NOT_OURS = "This is no credential of ours"
ANA = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin")


class Others:
    """The other parts that an identity asks: what they were asked is kept, what they say is a test's to change."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []
        self.processes = {credential_hash(PROCESS): "billing"}
        self.issuer = "https://login.example"
        self.found: dict[tuple[str, str, str], tuple[Principal, Resource]] = {}
        self.elsewhere: list[int | None] = []

    def note(self, tenant: str, key: str) -> None:
        self.noted.append((tenant, key))

    async def identify(self, hashed: str) -> str | None:
        return self.processes.get(hashed)

    def check_here(self, number: int | None) -> None:
        self.elsewhere.append(number)


class Tokens:
    """Takes the tokens that it was given, of one kind."""

    def __init__(self, kind: str, others: Others) -> None:
        self.kind, self.others, self.issuer = kind, others, others.issuer

    async def principal(self, token: str, hashed: str) -> tuple[Principal, Resource]:
        found = self.others.found.get((self.kind, token, hashed))
        if found is None:
            raise Unauthenticated(f"no {self.kind} token")
        return found


@pytest.fixture
def owners() -> Owners:
    made = Owners()
    made.keys = {credential_hash(API_KEY): dict(KEY)}
    made.users = [{"id": "ana", "scopes": ["tools:read", "tools:call:billing/*"], "roles": ["viewer", "agent"]}]
    return made


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def calls() -> dict[str, Call]:
    """The calls that are under way."""
    return {}


def identity_of(owners: Owners, others: Others, calls: dict[str, Call], **options: Any) -> Identity:
    parts: Any = {
        "operator_key": OPERATOR_KEY, "signer": SIGNER, "snapshots": Snapshots(owners, []), "control": others,
        "in_flight": calls, "tokens": Tokens("own", others), "uses": others, "external": Tokens("external", others),
        **options,
    }  # fmt: skip
    return Identity(**parts)


@pytest.fixture
def identity(owners: Owners, others: Others, calls: dict[str, Call]) -> Identity:
    return identity_of(owners, others, calls)


async def refusal(asked: Any, kind: type[TauseError] = Unauthenticated) -> str:
    """Return the sentence that something is refused with."""
    with pytest.raises(kind) as refused:
        await asked
    return refused.value.message


def token_from(issuer: str) -> str:
    """Return a token that says who it is from; what is behind the signature's dot is nobody's."""
    head, _, signature = Signer(b"x" * 32).sign(ANA, issuer, 60).split(".")
    body = base64.urlsafe_b64encode(json.dumps({"iss": issuer}).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


@pytest.mark.covers("identity:header")
def test_a_credential_is_a_bearer_token_of_a_size() -> None:
    for said in ("Bearer x y", "bearer  x y ", "BEARER x y"):
        assert bearer(said) == "x y"
        assert bearer(said).hashed == credential_hash("x y")
    assert len(bearer("Bearer " + "x" * MAX_CREDENTIAL)) == MAX_CREDENTIAL
    wrong = "The credential has to be sent as Authorization: Bearer <API key>"
    none = "No credential: send Authorization: Bearer <API key or access token>"
    for said, reason in (
        (None, none), ("", none), ("Basic eDp5", wrong), ("Bearer", wrong), ("Bearer  ", wrong), ("Bearerx y", wrong),
        ("Bearer " + "x" * (MAX_CREDENTIAL + 1), NOT_OURS),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated) as refused:
            bearer(said)
        assert refused.value.message == reason
    head = Head("GET", b"/", [(b"authorization", b"Bearer abc"), (b"x-authorization", b"Bearer d")])
    assert shown(head) == "abc"
    with pytest.raises(Unauthenticated):
        shown(Head("GET", b"/", [(b"x-authorization", b"Bearer d")]))


@pytest.mark.covers("identity:keys")
async def test_a_key_that_is_known_is_told_without_asking_for_its_own_tenant_alone(
    identity: Identity, owners: Owners, others: Others
) -> None:
    key, stranger = Credential(API_KEY), Credential("tsk_k2_" + "b" * 40)
    assert identity.at_hand(key, "acme") is None
    found = await identity.principal(key, "acme")
    asked = list(owners.asked)
    assert identity.at_hand(key, "acme") == found
    assert others.noted == [("acme", "k1")] * 2
    assert identity.at_hand(key, "globex") is None
    assert identity.at_hand(stranger, "acme") is None
    assert owners.asked == asked
    owners.keys[credential_hash(API_KEY)]["expires_at"] = "2020-01-01T00:00:00+00:00"
    late = identity_of(owners, others, {})
    assert "expired" in await refusal(late.principal(key, "acme"))
    assert late.at_hand(key, "acme") is None  # nothing of the tenant's was looked at for it


@pytest.mark.covers("identity:operator")
async def test_the_operator_makes_tenants_and_is_nobody_in_them(identity: Identity, owners: Owners) -> None:
    found = await identity.principal(Credential(OPERATOR_KEY), "acme")
    assert found == Principal("acme", "operator", frozenset({OPERATOR}), "operator")
    assert owners.asked == []
    assert await refusal(identity.principal(Credential(OPERATOR_KEY + "x"), "acme"))


@pytest.mark.covers("identity:keys")
async def test_a_key_acts_for_its_own_tenant_alone(identity: Identity, owners: Owners, others: Others) -> None:
    assert await identity.principal(Credential(API_KEY), "acme") == ANA
    assert others.noted == [("acme", "k1")]
    with pytest.raises(NotYours) as refused:
        await identity.principal(Credential(API_KEY), "globex")
    assert (refused.value.message, refused.value.asker) == (NOWHERE, ANA)
    gone = "This API key is unknown, revoked or expired"
    assert await refusal(identity.principal(Credential(API_KEY[:-1]), "acme")) == gone
    owners.keys = {credential_hash(API_KEY): {**KEY, "expires_at": "2020-01-01T00:00:00+00:00"}}
    owners.touch()
    expired = identity_of(owners, others, {})
    assert await refusal(expired.principal(Credential(API_KEY), "acme")) == gone
    assert len(others.noted) == 2


@pytest.mark.covers("identity:suspended")
async def test_a_suspended_tenant_is_told_to_its_own_and_to_nobody_else(identity: Identity, owners: Owners) -> None:
    owners.tenants["acme"]["status"] = "suspended"
    with pytest.raises(TenantSuspended):
        await identity.principal(Credential(API_KEY), "acme")
    assert await refusal(identity.principal(Credential(API_KEY), "globex"), NotFound) == NOWHERE


@pytest.mark.covers("identity:suspended")
async def test_who_is_known_is_asked_for_once(identity: Identity, owners: Owners) -> None:
    for _ in range(3):
        assert await identity.principal(Credential(API_KEY), "acme")
    assert owners.asked.count(("auth", "snapshot")) == 1


@pytest.mark.covers("identity:tokens")
async def test_a_token_is_judged_by_whom_it_says_that_it_is_from(identity: Identity, others: Others) -> None:
    ana = replace(ANA, id="user:ana")
    own, foreign = Credential(token_from("https://tools.example")), Credential(token_from(others.issuer))
    assert await refusal(identity.principal(own, "acme")) == "no own token"
    assert await refusal(identity.principal(foreign, "acme")) == "no external token"
    others.found["own", own, own.hashed] = others.found["external", foreign, foreign.hashed] = ana, Resource("acme")
    for token in (own, foreign):
        for server in (None, "billing"):
            assert await identity.principal(token, "acme", server) == ana
        assert await refusal(identity.principal(token, "globex"), NotYours) == NOWHERE
    for two in ("a.b", "a.b.c.d"):
        assert "API key" in await refusal(identity.principal(Credential(two), "acme"))
    without = identity_of(Owners(), others, {}, external=None)
    assert await refusal(without.principal(foreign, "acme")) == "no own token"


@pytest.mark.covers("identity:tokens")
async def test_a_token_for_one_server_is_good_there_alone(identity: Identity, others: Others) -> None:
    token = Credential(token_from("https://tools.example"))
    others.found["own", token, token.hashed] = ANA, Resource("acme", "billing")
    assert await identity.principal(token, "acme", "billing") == ANA
    for server in (None, "storage"):
        said = await refusal(identity.principal(token, "acme", server))
        assert said == "The access token is for another endpoint"


@pytest.mark.covers("identity:delegations")
async def test_a_delegation_does_no_more_than_its_giver_may_now(
    identity: Identity, owners: Owners, others: Others
) -> None:
    run = Principal("acme", "user:ana", frozenset({"tools:call", "tools:read"}), "viewer", "concierge", "run_1",
                    frozenset({"tools:call:billing/pay"}))  # fmt: skip
    session = identity.session(run)
    assert session.keys() == {"token", "expires_in"}
    assert session["expires_in"] == 600
    token = Credential(session["token"])
    narrowed = replace(run, scopes=frozenset({"tools:read", "tools:call:billing/*"}))
    assert await identity.principal(token, "acme") == narrowed
    assert await identity.principal(token, "acme", "billing") == narrowed
    assert await refusal(identity.principal(token, "globex"), NotYours) == NOWHERE
    assertion = Credential(SIGNER.sign(run, server_audience("billing"), 60))
    assert await refusal(identity.principal(assertion, "acme")) == "the assertion is for another audience"
    revoked = "Whoever this run acts for was revoked"
    owners.users = []
    owners.touch()
    assert await refusal(identity_of(owners, others, {}).principal(token, "acme")) == revoked
    del owners.tenants["acme"]
    assert await refusal(identity_of(owners, others, {}).principal(token, "acme")) == revoked


@pytest.mark.covers("identity:incarnations")
async def test_what_was_given_out_for_a_tenant_is_nothing_to_the_next_one_of_its_id(
    owners: Owners, others: Others
) -> None:
    def begun(incarnation: str) -> Identity:
        owners.tenants["acme"]["incarnation"] = owners.keys[credential_hash(API_KEY)]["incarnation"] = incarnation
        owners.touch()
        return identity_of(owners, others, {})

    first = begun("first")
    assert (await first.principal(Credential(API_KEY), "acme")).incarnation == "first"
    givers = [await first.alive("acme", who) for who in ("operator", "user:ana", "key:k1")]
    tokens = [Credential(first.session(giver)["token"]) for giver in givers if giver is not None]
    for token in tokens:
        assert (await first.principal(token, "acme")).incarnation == "first"
    # Not even a second passes, and everybody goes by the same name.
    for incarnation in ("second", ""):
        later = begun(incarnation)
        for token in tokens:
            assert await refusal(later.principal(token, "acme")) == "Whoever this run acts for was revoked"
    for token in tokens:
        assert (await begun("first").principal(token, "acme")).incarnation == "first"


@pytest.mark.covers("identity:clients")
async def test_a_client_proves_to_be_the_key_that_it_names(identity: Identity) -> None:
    assert await identity.client(None, API_KEY) == await identity.client("k1", API_KEY) == ANA
    assert await refusal(identity.client("k2", API_KEY)) == "This is no credential of that client's"
    assert await refusal(identity.client("k1", API_KEY + "x")) == "This API key is unknown, revoked or expired"


@pytest.mark.covers("identity:processes")
async def test_a_process_of_ours_acts_in_the_reserved_tenant_and_nowhere_else(identity: Identity) -> None:
    assert await identity.process(PROCESS) == "billing"
    assert await refusal(identity.process("another")) == NOT_OURS
    found = await identity.own_process(PROCESS, SYSTEM_TENANT)
    assert found == Principal(SYSTEM_TENANT, "service:billing", frozenset({SYSTEM}))
    assert await refusal(identity.own_process(PROCESS, "acme"), NotFound) == NOWHERE
    assert await refusal(identity.own_process("another", SYSTEM_TENANT)) == NOT_OURS


def call_of(calls: dict[str, Call], principal: Principal) -> Call:
    call = Call("acme", principal, "billing", "pay", {}, "mcp", 1e9, service="billing", assertion="ñ-assertion")
    calls[call.id] = call
    return call


@pytest.mark.covers("identity:nested")
async def test_a_server_acts_on_behalf_of_a_call_that_it_was_given(identity: Identity, calls: dict[str, Call]) -> None:
    for bounds in (None, frozenset({"tools:call:billing/*"})):
        principal = replace(ANA, bounds=bounds)
        call = call_of(calls, principal)
        assert await identity.nested(call.assertion, call.id, None, "acme") == (principal, call)
        widened = None if bounds is None else bounds | {SYSTEM}
        own = replace(principal, scopes=principal.scopes | {SYSTEM}, bounds=widened)
        assert await identity.nested(call.assertion, call.id, PROCESS, "acme") == (own, call)


@pytest.mark.covers("identity:nested")
async def test_nobody_acts_on_behalf_of_anothers_call(
    identity: Identity, calls: dict[str, Call], owners: Owners, others: Others
) -> None:
    call = call_of(calls, ANA)
    gone = "The call in whose course this one is made is not in flight"
    assert await refusal(identity.nested("another", call.id, None, "acme")) == gone
    assert await refusal(identity.nested(call.assertion, "call_ff", None, "acme")) == gone
    assert await refusal(identity.nested(call.assertion, call.id, None, "globex"), NotFound) == NOWHERE
    others.processes = {credential_hash(PROCESS): "storage"}
    said = await refusal(identity.nested(call.assertion, call.id, PROCESS, "acme"))
    assert said == "The call in whose course this one is made is another server's"
    assert await refusal(identity.nested(call.assertion, call.id, "another", "acme")) == NOT_OURS
    several = identity_of(owners, others, calls, siblings=others)
    assert await refusal(several.nested("another", call.id, None, "acme")) == gone
    assert others.elsewhere == []
    assert await refusal(several.nested(call.assertion, "call_07" + "0" * 22, None, "acme")) == gone
    assert others.elsewhere == [7]


@pytest.mark.covers("identity:alive")
async def test_who_may_act_now_is_as_the_tenant_says(identity: Identity) -> None:
    assert await identity.alive("acme", "operator") == Principal("acme", "operator", ROLES["admin"], "admin")
    assert await identity.alive("acme", "key:k1") == ANA
    ana = Principal("acme", "user:ana", frozenset({"tools:read", "tools:call:billing/*"}), "viewer,agent")
    assert await identity.alive("acme", "user:ana") == ana
    for nobody in ("key:k2", "user:k1", "key:ana", "operator2", ""):
        assert await identity.alive("acme", nobody) is None
    with pytest.raises(NotFound):
        await identity.alive("globex", "operator")
