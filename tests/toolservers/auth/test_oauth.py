"""The authorization server's own parts: time, what is kept, and both databases."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tausestack import testing
from tausestack.access_tokens import AccessTokenSigner, Resource, part
from tausestack.errors import InvalidArguments, NotFound, RateLimited, ToolFailed
from tausestack.scopes import ROLES
from tausestack_toolservers.auth.oauth import grants
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.oauth.grants import Consent, Grants, challenge_of
from tausestack_toolservers.auth.passwords import FREE_FAILURES, LONGEST_PAUSE_SECONDS, WAITING, Attempts
from tausestack_toolservers.auth.server import server
from tausestack_toolservers.auth.state import State

pytestmark = pytest.mark.anyio

VERIFIER, PASSWORD, REDIRECT = "v" * 43, "correct horse battery", "http://127.0.0.1/cb"


async def consented(stack: testing.Stack) -> tuple[State, str]:
    """Make a user, have them consent, and return the service's state and the code."""
    state: State = stack.service.state
    await stack.operator.call("create_tenant", {"id": "acme"})
    await stack.acme.call("create_user", {"id": "ana", "roles": ["agent"], "password": PASSWORD})
    return state, await state.grants.begin("acme", consent())


async def registered(stack: testing.Stack) -> str:
    """Return the id of a client that has registered itself."""
    reply = await stack.system.http("POST", "oauth/register", json={"redirect_uris": ["https://app.example/cb"]})
    return reply.json()["client_id"]


async def holder(stack: testing.Stack, tenant: str, principal: str) -> Any:
    """Return what somebody may do now, as the gateway asks for it."""
    return (await stack.system.call("holder", {"tenant": tenant, "principal": principal}))["holder"]


def everything_kept(data: Path) -> bytes:
    return b"".join(path.read_bytes() for path in data.rglob("*.db*"))


def consent() -> Consent:
    scopes = frozenset({"tools:call"})
    return Consent("ana", "client", "Client", REDIRECT, challenge_of(VERIFIER), scopes, Resource("acme"))


def redeemed(grants: Grants, code: str) -> Any:
    return grants.redeem("acme", code, client="client", redirect_uri=REDIRECT, verifier=VERIFIER, check=lambda _: None)


def after(state: State, seconds: float) -> None:
    """Have the service's clock show a later time."""
    state.clock = lambda: time.time() + seconds


@pytest.mark.covers("oauth:time")
async def test_a_code_a_refresh_token_and_an_access_token_hold_in_their_time_alone(stack: testing.Stack) -> None:
    state, code = await consented(stack)
    after(state, 61)
    with pytest.raises(OAuthError):
        await redeemed(state.grants, code)
    after(state, 0)
    grant = await redeemed(state.grants, code)
    signed_in = await stack.acme.call("login", {"user": "ana", "password": PASSWORD})
    assert (await stack.acme.call("verify", {"token": signed_in["access_token"]}))["active"] is True
    after(state, 301)
    assert (await stack.acme.call("verify", {"token": signed_in["access_token"]})) | {"scopes": []} == {
        "active": False, "principal": None, "client": None, "scopes": [], "expires_at": None
    }  # fmt: skip
    after(state, 29 * 24 * 3600)
    grant = await state.grants.refresh("acme", grant.refresh, client="client", check=lambda _: None)
    after(state, 60 * 24 * 3600)
    with pytest.raises(OAuthError):
        await state.grants.refresh("acme", grant.refresh, client="client", check=lambda _: None)


@pytest.mark.covers("oauth:time")
async def test_what_has_ended_or_expired_is_swept_away(stack: testing.Stack) -> None:
    state, code = await consented(stack)
    grant = await redeemed(state.grants, code)
    await state.grants.end("acme", grant.id)
    assert await state.grants.ended("acme", {grant.id})
    assert (await stack.acme.call("list_grants"))["grants"] == []
    for _ in range(3):
        await state.grants.begin("acme", consent())
    after(state, 3600)
    assert not await state.grants.ended("acme", {grant.id})
    await state.grants.begin("acme", consent())
    assert len((await stack.acme.call("list_grants"))["grants"]) == 1


@pytest.mark.covers("oauth:ends")
async def test_what_ended_is_asked_for_by_name_and_bounded_and_no_grant_is_kept_from_ending(
    stack: testing.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, code = await consented(stack)
    grant = await redeemed(state.grants, code)
    monkeypatch.setattr(grants, "MOST_ENDED", 3)
    for number in range(3):
        await state.grants.end("acme", f"{number:024x}")
    with pytest.raises(OAuthError) as refused:
        await state.grants.end("acme", "f" * 24)
    assert (refused.value.error, refused.value.status, refused.value.noted) == (
        "temporarily_unavailable", 503, "rate_limited"
    )  # fmt: skip
    assert await state.grants.end("acme", grant.id)

    async def ended(tenant: str, *ids: str) -> bool:
        return (await stack.system.call("ended", {"tenant": tenant, "ids": list(ids)}))["ended"]

    assert await ended("acme", grant.id)
    assert await ended("acme", "e" * 24, f"{2:024x}")
    assert not await ended("acme", "f" * 24, "e" * 24)
    assert await ended("globex", "e" * 24)  # of a tenant that is none nothing goes on
    assert "ended" not in await stack.system.call("snapshot", {"tenant": "acme"})
    after(state, 361)
    assert not await ended("acme", grant.id)
    await state.grants.end("acme", "f" * 24)


@pytest.mark.covers("oauth:bounded")
async def test_a_person_has_so_many_grants_listed_page_by_page_and_the_oldest_ends(
    stack: testing.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = await consented(stack)
    monkeypatch.setattr(grants, "MOST_GRANTS", 5)
    tokens = list[Any]()
    for each in range(7):
        after(state, each + 1)
        tokens.append(await redeemed(state.grants, await state.grants.begin("acme", consent())))
    after(state, 9)
    await state.grants.begin("acme", replace(consent(), user="bea"))
    whole = await stack.acme.call("list_grants")
    assert whole["next_cursor"] is None
    assert [one["id"] for one in whole["grants"]][1:] == [one.id for one in reversed(tokens[2:])]
    assert [await state.grants.ended("acme", {one.id}) for one in tokens] == [True] * 2 + [False] * 5
    found, cursor = list[str](), None
    for size in (4, 2):
        page = await stack.acme.call("list_grants", {"limit": 4, **({"cursor": cursor} if cursor else {})})
        cursor, ids = page["next_cursor"], [one["id"] for one in page["grants"]]
        assert len(ids) == size
        found += ids
    assert cursor is None
    assert found == [one["id"] for one in whole["grants"]]
    with pytest.raises((InvalidArguments, ToolFailed)):
        await stack.acme.call("list_grants", {"cursor": "nothing"})
    assert (await stack.acme.call("revoke_grant", {"grant": found[0]}))["id"] == found[0]
    with pytest.raises((NotFound, ToolFailed)):
        await stack.acme.call("revoke_grant", {"grant": found[0]})


@pytest.mark.covers("oauth:bounded", "oauth:misuse")
async def test_a_grant_keeps_its_newest_used_refresh_tokens_and_one_of_them_still_ends_it(
    stack: testing.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, code = await consented(stack)
    monkeypatch.setattr(grants, "MOST_USED", 3)
    shown = [(await redeemed(state.grants, code)).refresh]

    async def refreshed(token: str) -> str:
        return (await state.grants.refresh("acme", token, client="client", check=lambda _: None)).refresh

    for each in range(6):
        after(state, each)
        shown.append(await refreshed(shown[-1]))
    for old, ends in ((shown[0], False), (shown[4], True)):
        with pytest.raises(OAuthError) as refused:
            await refreshed(old)
        assert (refused.value.noted == "refresh_token_replayed") is ends
        assert ((await stack.acme.call("list_grants"))["grants"] == []) is ends
    with pytest.raises(OAuthError):
        await refreshed(shown[-1])


@pytest.mark.covers("oauth:secrets-kept-as-hashes")
async def test_no_password_code_or_token_is_kept_as_it_is(stack: testing.Stack, tmp_path: Path) -> None:
    state, code = await consented(stack)
    grant = await redeemed(state.grants, code)
    kept = everything_kept(tmp_path)
    for secret in (PASSWORD, code, grant.refresh, VERIFIER):
        assert secret.encode() not in kept


@pytest.mark.covers("oauth:people")
async def test_people_of_one_tenant_are_not_anothers(stack: testing.Stack) -> None:
    await consented(stack)
    await stack.operator.call("create_tenant", {"id": "globex"})
    assert (await stack.globex.call("list_users"))["users"] == []
    with pytest.raises(ToolFailed) as theirs:
        await stack.globex.call("login", {"user": "ana", "password": PASSWORD})
    with pytest.raises(ToolFailed) as wrong:
        await stack.acme.call("login", {"user": "ana", "password": "another password"})
    assert theirs.value.message == wrong.value.message
    token = (await stack.acme.call("login", {"user": "ana", "password": PASSWORD}))["access_token"]
    assert (await stack.acme.call("verify", {"token": token}))["principal"] == "user:ana"
    assert (await stack.globex.call("verify", {"token": token}))["active"] is False


@pytest.mark.covers("oauth:people")
async def test_a_person_who_is_disabled_can_not_sign_in_until_enabled(stack: testing.Stack) -> None:
    await consented(stack)
    await stack.acme.call("disable_user", {"user": "ana"})
    with pytest.raises(ToolFailed):
        await stack.acme.call("login", {"user": "ana", "password": PASSWORD})
    assert await holder(stack, "acme", "user:ana") is None
    await stack.acme.call("enable_user", {"user": "ana"})
    assert await holder(stack, "acme", "user:ana") == {"role": "agent", "scopes": sorted(ROLES["agent"])}
    for tenant, who in (
        ("globex", "user:ana"),
        ("acme", "user:an"),
        ("acme", "key:ana"),
        ("acme", "ana"),
        ("_system", "user:ana"),
    ):
        assert await holder(stack, tenant, who) is None
    signed_in = await stack.acme.call(
        "login", {"user": "ana", "password": PASSWORD, "scopes": ["tools:call:billing/*"]}
    )
    assert signed_in["scope"] == "tools:call:billing/*"
    assert signed_in["user"]["last_login_at"] is None
    (user,) = (await stack.acme.call("list_users"))["users"]
    assert user["last_login_at"] is not None


@pytest.mark.covers("oauth:passwords-shared-out")
async def test_a_tenant_with_many_passwords_at_once_is_refused_and_holds_up_no_other(stack: testing.Stack) -> None:
    await consented(stack)
    await stack.operator.call("create_tenant", {"id": "globex"})
    outcomes: list[str] = []

    async def set_password() -> None:
        try:
            await stack.acme.call("set_password", {"user": "ana", "password": PASSWORD})
        except RateLimited:
            outcomes.append("refused")
        else:
            outcomes.append("set")

    async with anyio.create_task_group() as tasks:
        for _ in range(5 * WAITING):
            tasks.start_soon(set_password)
        await stack.globex.call("create_user", {"id": "bea", "roles": ["agent"], "password": PASSWORD})
    assert outcomes.count("set") >= WAITING
    assert "refused" in outcomes
    await stack.acme.call("login", {"user": "ana", "password": PASSWORD})


@pytest.mark.covers("oauth:guessing")
def test_each_further_failure_costs_more_time_and_success_forgives_all() -> None:
    now = 1000.0
    attempts = Attempts(lambda: now)

    def try_one() -> None:
        with attempts.trying("acme", "ana"):
            pass

    for _ in range(4):
        attempts.failed("acme", "ana")
    try_one()
    waits: list[int] = []
    for _ in range(8):
        attempts.failed("acme", "ana")
        with pytest.raises(RateLimited) as slow:
            try_one()
        waits.append(slow.value.data["retry_after"])
        now += waits[-1]
        try_one()
    assert waits == sorted(waits)
    assert waits[0] < waits[1]
    assert waits[-1] <= LONGEST_PAUSE_SECONDS + 1
    with attempts.trying("globex", "ana"):
        pass
    attempts.succeeded("acme", "ana")
    attempts.failed("acme", "ana")
    try_one()


@pytest.mark.covers("oauth:guessing")
async def test_who_guesses_at_once_guesses_no_more_often_than_one_by_one(stack: testing.Stack) -> None:
    await consented(stack)
    outcomes: list[str] = []

    async def guess(password: str) -> None:
        try:
            await stack.acme.call("login", {"user": "ana", "password": password})
            outcomes.append("in")
        except ToolFailed:
            outcomes.append("wrong")
        except RateLimited:
            outcomes.append("refused")

    async with anyio.create_task_group() as tasks:
        for each in range(WAITING):
            tasks.start_soon(guess, f"wrong password {each}")
    assert (outcomes.count("wrong"), outcomes.count("refused")) == (FREE_FAILURES, WAITING - FREE_FAILURES)
    await guess(PASSWORD)
    assert outcomes[-1] == "refused"


@pytest.mark.covers("oauth:guessing")
def test_after_a_pause_one_password_of_a_name_is_tried_at_a_time_and_what_is_right_counts_nothing() -> None:
    now = 1000.0
    attempts = Attempts(lambda: now)
    for _ in range(3 * FREE_FAILURES):
        with attempts.trying("acme", "ana"):
            attempts.succeeded("acme", "ana")
    for _ in range(FREE_FAILURES):
        with attempts.trying("acme", "ana"):
            attempts.failed("acme", "ana")
    now += LONGEST_PAUSE_SECONDS
    with attempts.trying("acme", "ana"):
        with pytest.raises(RateLimited) as busy, attempts.trying("acme", "ana"):
            pass
        with attempts.trying("acme", "bea"):
            attempts.succeeded("acme", "ana")
    assert busy.value.data["retry_after"] == 1
    with attempts.trying("acme", "ana"), attempts.trying("acme", "ana"):
        pass


@pytest.mark.covers("oauth:client-documents")
async def test_a_document_is_believed_about_its_own_url_alone(stack: testing.Stack) -> None:
    state: State = stack.service.state
    clients, url = state.clients, "https://app.example/client.json"
    good: dict[str, Any] = {"client_id": url, "client_name": "App\u202e\n", "redirect_uris": ["https://app.example/cb"]}
    client = clients.find(url, good)
    assert client is not None
    assert (client.name, client.site) == ("App", "app.example")
    assert client.redirect(None) == "https://app.example/cb"
    assert client.redirect("https://app.example/cb2") is None
    for wrong in (
        {"client_id": "https://other.example/client.json"},
        {"client_id": None},
        {"redirect_uris": []},
        {"redirect_uris": ["http://app.example/cb"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": "https://app.example/cb"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"client_secret": "s"},
    ):
        assert clients.find(url, {**good, **wrong}) is None, wrong
    assert clients.find(url, None) is None


@pytest.mark.covers("oauth:pages")
async def test_over_tls_the_cookie_is_bound_to_the_host(stack: testing.Stack) -> None:
    await consented(stack)
    base = "https://tools.acme.co"
    client = await registered(stack)
    asked = {
        "response_type": "code", "client_id": client, "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256", "resource": f"{base}/tenants/acme/mcp",
    }  # fmt: skip
    headers = {"tausestack-base": base, "accept-language": "fr, en-GB;q=0.8"}
    door = stack.tenant("acme", system=True)
    page = await door.http("GET", "oauth/authorize", params=asked, headers=headers)
    assert page.status_code == 200
    assert "Password" in page.text
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-tausestack-authorize=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    refused = await stack.acme.http("GET", "oauth/authorize", params=asked, headers=headers)
    assert refused.status_code == 403


@pytest.mark.covers("oauth:misuse")
async def test_a_name_that_a_stranger_types_ends_no_header(stack: testing.Stack) -> None:
    await consented(stack)
    client = await registered(stack)
    base = "http://127.0.0.1:8000"
    asked = {
        "response_type": "code", "client_id": client, "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256", "resource": f"{base}/tenants/acme/mcp",
    }  # fmt: skip
    door, headers = stack.tenant("acme", system=True), {"tausestack-base": base}
    page = await door.http("GET", "oauth/authorize", params=asked, headers=headers)
    sealed = page.text.partition('name="request" value="')[2].partition('"')[0]
    headers["cookie"] = page.headers["set-cookie"].partition(";")[0]
    for name in ("日本", "a\r\nset-cookie: b=c", "<b>", "x" * 4000):
        form = {"request": sealed, "decision": "allow", "username": name, "password": PASSWORD}
        reply = await door.http("POST", "oauth/authorize", data=form, headers=headers)
        assert reply.status_code == 401, name
        assert "set-cookie" not in reply.headers
        assert "<b>" not in reply.text


@pytest.mark.covers("oauth:rotation")
async def test_what_the_last_master_signed_is_believed_until_that_one_is_retired(tmp_path: Path) -> None:
    masters = {"one": b"1" * 32}
    async with testing.stack(server, data=tmp_path, masters=lambda: masters) as stack:
        await consented(stack)
        before = (await stack.acme.call("login", {"user": "ana", "password": PASSWORD}))["access_token"]
        masters = {"two": b"2" * 32, "one": b"1" * 32}
        after = (await stack.acme.call("login", {"user": "ana", "password": PASSWORD}))["access_token"]
        for token in (before, after):
            assert (await stack.acme.call("verify", {"token": token}))["active"] is True
        kids = [AccessTokenSigner(key).jwks()["keys"][0]["kid"] for key in masters.values()]
        assert [part(token, 0)["kid"] for token in (after, before)] == kids
        masters = {"two": b"2" * 32}
        assert (await stack.acme.call("verify", {"token": before}))["active"] is False
        assert (await stack.acme.call("verify", {"token": after}))["active"] is True


@pytest.mark.covers("oauth:registrations-last")
async def test_a_client_stays_registered_when_the_master_leaves_that_it_was_registered_under(tmp_path: Path) -> None:
    masters = {"one": b"1" * 32}
    async with testing.stack(server, data=tmp_path, masters=lambda: masters) as stack:
        await consented(stack)
        first = await registered(stack)
        masters = {"two": b"2" * 32}
        second = await registered(stack)
        assert [await is_known(stack, client) for client in (first, second)] == [True, True]
    masters = {"three": b"3" * 32}
    async with testing.stack(server, data=tmp_path, masters=lambda: masters) as stack:
        third = await registered(stack)
        assert [await is_known(stack, client) for client in (first, second, third)] == [True, True, True]
        kept = everything_kept(tmp_path)
        assert masters["three"] not in kept
    async with testing.stack(server, masters=lambda: masters) as another:
        await consented(another)
        assert [await is_known(another, client) for client in (first, third)] == [False, True]
        masters = {"four": b"4" * 32}
        assert await is_known(another, third)


async def is_known(stack: testing.Stack, client: str) -> bool:
    """Whether a client may show a person the page."""
    base = "https://tools.acme.co"
    asked = {
        "response_type": "code", "client_id": client, "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256", "resource": f"{base}/tenants/acme/mcp",
    }  # fmt: skip
    door = stack.tenant("acme", system=True)
    page = await door.http("GET", "oauth/authorize", params=asked, headers={"tausestack-base": base})
    return page.status_code == 200
