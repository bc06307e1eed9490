"""Tenants and keys, through the service's tools."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tausestack import testing
from tausestack.contract import Principal
from tausestack.errors import Conflict, Forbidden, InvalidArguments, InvalidRequest, NotFound, RateLimited, ToolFailed
from tausestack.scopes import ROLES
from tausestack.tenancy import credential_hash
from tausestack_toolservers.auth import keyring
from tausestack_toolservers.auth.server import server

pytestmark = pytest.mark.anyio

SYSTEM_TOOLS = {
    "authenticate",
    "snapshot",
    "holder",
    "ended",
    "changes",
    "change_settings",
    "external_user",
    "limits_used",
}


async def system(stack: testing.Stack, tool: str, **arguments: Any) -> Any:
    caller = stack.system if tool in SYSTEM_TOOLS else stack.operator
    return await caller.call(tool, arguments)


def everything_kept(data: Path) -> str:
    """Return all databases of a data folder as text."""
    found = ""
    for path in data.rglob("*.db"):
        db = sqlite3.connect(path)
        found += "\n".join(db.iterdump())
        db.close()
    return found


async def authenticate(stack: testing.Stack, key: str) -> Any:
    return await system(stack, "authenticate", key_hash=credential_hash(key))


@pytest.mark.covers("auth:tenants")
async def test_a_tenant_is_made_with_an_admin_key_that_authenticates(stack: testing.Stack) -> None:
    made = await system(stack, "create_tenant", id="acme", name="Acme", plan="premium")
    assert made["tenant"] | {"created_at": ""} == {
        "id": "acme", "name": "Acme", "plan": "premium", "status": "active", "created_at": "",
        "legacy_anonymous": False,
    }  # fmt: skip
    found = await authenticate(stack, made["api_key"])
    key_id = made["api_key"].split("_")[1]
    assert len(found.pop("incarnation")) == 16
    assert found == {
        "tenant": "acme", "key_id": key_id, "role": "admin", "scopes": sorted(ROLES["admin"]), "expires_at": None
    }  # fmt: skip
    assert await system(stack, "get_tenant", id="acme") == made["tenant"]
    assert (await system(stack, "list_tenants"))["tenants"] == [made["tenant"]]
    seen = await system(stack, "snapshot", tenant="acme")
    assert (seen["status"], seen["plan"]) == ("active", "premium")
    found = await system(stack, "holder", tenant="acme", principal=f"key:{key_id}")
    assert found["holder"] | {"scopes": []} == {"key_id": key_id, "role": "admin", "scopes": [], "expires_at": None}


@pytest.mark.covers("auth:tenants")
async def test_a_tenant_is_made_once_and_only_under_a_good_name(stack: testing.Stack) -> None:
    first = await system(stack, "create_tenant", id="acme")
    with pytest.raises(Conflict):
        await system(stack, "create_tenant", id="acme")
    assert (await authenticate(stack, first["api_key"]))["tenant"] == "acme"
    for bad in ("_system", "..", "A", "a/b", ""):
        with pytest.raises(InvalidRequest):
            await system(stack, "create_tenant", id=bad)
    with pytest.raises(InvalidArguments):
        await system(stack, "create_tenant", id="globex", plan="free")
    assert await system(stack, "snapshot", tenant="globex") == {"tenant": None}
    for tool, arguments in (
        ("get_tenant", {"id": "globex"}),
        ("list_tenant_keys", {"tenant": "globex"}),
        ("create_tenant_key", {"tenant": "globex", "role": "admin"}),
    ):
        with pytest.raises(NotFound):
            await system(stack, tool, **arguments)


@pytest.mark.covers("auth:settings")
async def test_a_tenants_settings_are_changed_by_the_house_alone_and_published(stack: testing.Stack) -> None:
    for tenant in ("acme", "globex"):
        await system(stack, "create_tenant", id=tenant)
    before = await system(stack, "changes", boot="", epoch=0)
    limits = {"limits": {"calls_per_minute": 5, "runs": 2}}
    assert await system(stack, "change_settings", tenant="acme", change=limits) == {"settings": limits}
    one_less = {"limits": {"calls_per_minute": None, "storage_bytes": 9}, "other": None}
    after = await system(stack, "change_settings", tenant="acme", change=one_less)
    assert after == {"settings": {"limits": {"runs": 2, "storage_bytes": 9}}}
    assert (await system(stack, "snapshot", tenant="acme"))["settings"] == after["settings"]
    assert (await system(stack, "snapshot", tenant="globex"))["settings"] == {}
    changes = await system(stack, "changes", boot=before["boot"], epoch=before["epoch"])
    assert changes["tenants"] == ["acme"]
    with pytest.raises(NotFound):
        await system(stack, "change_settings", tenant="initech", change=limits)
    for caller in (stack.operator, stack.acme):
        with pytest.raises(Forbidden):
            await caller.call("change_settings", {"tenant": "acme", "change": limits})


@pytest.mark.covers("auth:keys")
async def test_a_revoked_key_is_refused_at_once_and_published(stack: testing.Stack) -> None:
    await system(stack, "create_tenant", id="acme")
    before = await system(stack, "changes", boot="", epoch=0)
    assert before["reset"] is True
    made = await stack.acme.call("create_api_key", {"role": "developer", "name": "shop", "expires_days": 3})
    assert (made["role"], made["name"]) == ("developer", "shop")
    assert made["expires_at"] > made["created_at"]
    assert (await authenticate(stack, made["api_key"]))["scopes"] == sorted(ROLES["developer"])
    revoked = await stack.acme.call("revoke_api_key", {"key_id": made["id"]})
    assert revoked["revoked_at"] is not None
    assert await authenticate(stack, made["api_key"]) == {"tenant": None}
    assert await stack.acme.call("revoke_api_key", {"key_id": made["id"]}) == revoked
    after = await system(stack, "changes", boot=before["boot"], epoch=before["epoch"])
    assert (after["reset"], after["tenants"]) == (False, ["acme"])
    assert after["epoch"] > before["epoch"]
    again = await system(stack, "changes", boot=after["boot"], epoch=after["epoch"])
    assert again["tenants"] == []
    assert await system(stack, "holder", tenant="acme", principal=f"key:{made['id']}") == {"holder": None}


@pytest.mark.covers("auth:keys")
async def test_the_operator_makes_and_revokes_any_tenants_keys(stack: testing.Stack) -> None:
    await system(stack, "create_tenant", id="acme")
    made = await system(stack, "create_tenant_key", tenant="acme", role="viewer")
    assert (await authenticate(stack, made["api_key"]))["role"] == "viewer"
    listed = await system(stack, "list_tenant_keys", tenant="acme")
    assert [key["role"] for key in listed["keys"]] == ["admin", "viewer"]
    assert listed == await stack.acme.call("list_api_keys")
    await system(stack, "revoke_tenant_key", tenant="acme", key_id=made["id"])
    assert await authenticate(stack, made["api_key"]) == {"tenant": None}


@pytest.mark.covers("auth:keys-in-pages")
async def test_keys_are_listed_page_by_page_each_once_however_many_are_of_one_moment(
    stack: testing.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system(stack, "create_tenant", id="acme")
    await system(stack, "create_tenant", id="globex")
    monkeypatch.setattr(keyring, "utc_now", lambda: "2126-01-01T00:00:00+00:00")
    made = [await stack.acme.call("create_api_key", {"role": "viewer"}) for _ in range(6)]
    whole = await stack.acme.call("list_api_keys")
    assert whole["next_cursor"] is None
    assert len(whole["keys"]) == 7
    for tool, more in (("list_api_keys", {}), ("list_tenant_keys", {"tenant": "acme"})):
        caller = stack.operator if more else stack.acme
        found, cursor = list[Any](), None
        for size in (3, 3, 1):
            page = await caller.call(tool, {**more, "limit": 3, **({"cursor": cursor} if cursor else {})})
            cursor = page["next_cursor"]
            assert (len(page["keys"]), cursor is None) == (size, size == 1)
            assert "+" not in (cursor or "")
            found += page["keys"]
            if size == 3:  # what is revoked meanwhile, and made, moves nothing
                await stack.acme.call("revoke_api_key", {"key_id": page["keys"][-1]["id"]})
        assert [one["id"] for one in found] == [one["id"] for one in whole["keys"]]
    elsewhere = await stack.globex.call("list_api_keys", {"cursor": f"2026-01-01T00:00:00Z/{made[0]['id']}"})
    assert {one["id"] for one in elsewhere["keys"]}.isdisjoint(one["id"] for one in whole["keys"])
    for wrong in ({"limit": 0}, {"limit": 501}, {"cursor": "nothing"}):
        with pytest.raises((InvalidArguments, ToolFailed)):
            await stack.acme.call("list_api_keys", wrong)


@pytest.mark.covers("auth:isolation")
async def test_a_tenant_sees_and_revokes_no_other_tenants_keys(stack: testing.Stack) -> None:
    for tenant in ("acme", "globex"):
        await system(stack, "create_tenant", id=tenant)
    made = await stack.acme.call("create_api_key", {"role": "agent"})
    assert made["id"] not in str(await stack.globex.call("list_api_keys"))
    with pytest.raises(NotFound) as theirs:
        await stack.globex.call("revoke_api_key", {"key_id": made["id"]})
    with pytest.raises(NotFound) as nobodys:
        await stack.globex.call("revoke_api_key", {"key_id": "0" * 12})
    assert str(theirs.value).replace(made["id"], "") == str(nobodys.value).replace("0" * 12, "")
    assert (await authenticate(stack, made["api_key"]))["tenant"] == "acme"


@pytest.mark.covers("auth:isolation")
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_tenant", {"id": "mine"}),
        ("list_tenants", {}),
        ("get_tenant", {"id": "acme"}),
        ("create_tenant_key", {"tenant": "acme", "role": "admin"}),
        ("list_tenant_keys", {"tenant": "acme"}),
        ("revoke_tenant_key", {"tenant": "acme", "key_id": "0" * 12}),
        ("authenticate", {"key_hash": "0" * 64}),
        ("snapshot", {"tenant": "acme"}),
        ("changes", {"boot": "", "epoch": 0}),
    ],
)
async def test_no_tenant_reaches_beyond_itself(tmp_path: Path, tool: str, arguments: dict[str, Any]) -> None:
    async with testing.stack(server, data=tmp_path) as stack:
        with pytest.raises(Forbidden):
            await stack.globex.call(tool, arguments)
        for scope in ("operator", "system"):
            powerful = stack.caller(Principal("globex", "key:k", frozenset({scope})))
            with pytest.raises(Forbidden):
                await powerful.call(tool, arguments)


@pytest.mark.covers("auth:shown-once")
async def test_only_the_hash_of_a_key_is_kept(tmp_path: Path) -> None:
    async with testing.stack(server, data=tmp_path) as stack:
        first = (await system(stack, "create_tenant", id="acme"))["api_key"]
        second = await stack.acme.call("create_api_key", {"role": "admin"}, idempotency_key="k1")
        kept = everything_kept(tmp_path)
        for key in (first, second["api_key"]):
            assert credential_hash(key) in kept
            assert key.split("_", 2)[2] not in kept


@pytest.mark.covers("auth:shown-once")
async def test_a_repeated_request_makes_no_second_key(stack: testing.Stack) -> None:
    await system(stack, "create_tenant", id="acme")
    made = await stack.acme.call("create_api_key", {"role": "agent"}, idempotency_key="k1")
    with pytest.raises(Conflict) as refused:
        await stack.acme.call("create_api_key", {"role": "agent"}, idempotency_key="k1")
    assert refused.value.data["key_id"] == made["id"]
    assert len((await stack.acme.call("list_api_keys"))["keys"]) == 2


@pytest.mark.covers("auth:whoami")
async def test_whoami_tells_what_the_caller_may_do_now(tmp_path: Path) -> None:
    async with testing.stack(server, data=tmp_path) as stack:
        person = Principal("acme", "key:k1", ROLES["viewer"], "viewer")
        found = await stack.caller(person).call("whoami")
        assert (found["tenant"], found["principal"], found["role"]) == ("acme", "key:k1", "viewer")
        assert found["scopes"] == ["tools:read"]
        agent = Principal(
            "acme",
            "key:k1",
            ROLES["admin"],
            "admin",
            agent="concierge",
            run="r1",
            bounds=frozenset({"tools:call:billing/*"}),
        )
        found = await stack.caller(agent).call("whoami")
        assert (found["scopes"], found["agent"], found["run"]) == (["tools:call:billing/*"], "concierge", "r1")


@pytest.mark.covers("auth:keys")
async def test_an_expired_key_is_refused(tmp_path: Path) -> None:
    async with testing.stack(server, data=tmp_path) as stack:
        await system(stack, "create_tenant", id="acme")
        made = await stack.acme.call("create_api_key", {"role": "agent", "expires_days": 1})
        db = sqlite3.connect(tmp_path / "tenants" / "acme" / "auth.db")
        with db:
            db.execute("UPDATE api_keys SET expires_at = '2020-01-01T00:00:00+00:00' WHERE id = ?", (made["id"],))
        db.close()
        assert await authenticate(stack, made["api_key"]) == {"tenant": None}
        assert await system(stack, "holder", tenant="acme", principal=f"key:{made['id']}") == {"holder": None}


@pytest.mark.covers("limits:stock")
async def test_an_issuers_people_are_bounded_too_and_who_is_there_stays(stack: testing.Stack) -> None:
    await system(stack, "create_tenant", id="acme")
    about = {"tenant": "acme", "issuer": "https://login.example", "roles": ["viewer"], "most": 2}
    for name in ("ana", "bea"):
        await system(stack, "external_user", **about, subject=name, name=name)
    with pytest.raises(RateLimited) as refused:
        await system(stack, "external_user", **about, subject="eva", name="eva")
    assert (refused.value.data["limit"], refused.value.data["quota"], refused.value.data["used"]) == ("users", 2, 2)
    again = await system(stack, "external_user", **{**about, "roles": ["agent"]}, subject="ana", name="ana")
    assert again["roles"] == ["agent"]
    assert {user["name"] for user in (await stack.acme.call("list_users"))["users"]} == {"ana", "bea"}
    assert await stack.tenant("acme", system=True).call("limits_used") == {"users": 2, "api_keys": 1}


@pytest.mark.covers("auth:old-keys")
async def test_of_the_keys_that_are_good_no_more_the_newest_alone_are_kept(
    stack: testing.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "KEPT_DEAD", 10)
    await system(stack, "create_tenant", id="acme")
    made = [await stack.acme.call("create_api_key", {"role": "viewer"}) for _ in range(13)]
    for one in made[:12]:
        await stack.acme.call("revoke_api_key", {"key_id": one["id"]})
    last = await stack.acme.call("create_api_key", {"role": "viewer"})
    left = {key["id"] for key in (await stack.acme.call("list_api_keys"))["keys"]}
    assert left >= {one["id"] for one in made[2:]} | {last["id"]}
    assert not left & {one["id"] for one in made[:2]}
    for one in made[:2]:
        assert await authenticate(stack, one["api_key"]) == {"tenant": None}
    assert (await authenticate(stack, made[12]["api_key"]))["role"] == "viewer"


@pytest.mark.covers("auth:pages")
async def test_people_are_listed_page_by_page(stack: testing.Stack) -> None:
    await system(stack, "create_tenant", id="acme")
    names = [f"u{number}" for number in range(5)]
    for name in reversed(names):
        await stack.acme.call("create_user", {"id": name, "roles": ["viewer"]})
    seen: list[list[str]] = []
    page: dict[str, Any] = {"next_cursor": None}
    while not seen or page["next_cursor"] is not None:
        page = await stack.acme.call("list_users", {"limit": 2, "cursor": page["next_cursor"]})
        seen.append([user["id"] for user in page["users"]])
    assert seen == [names[:2], names[2:4], names[4:]]
    whole = await stack.acme.call("list_users")
    assert ([user["id"] for user in whole["users"]], whole["next_cursor"]) == (names, None)
