"""An approval lets exactly one call through: the one that a person saw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tausestack.contract import Principal, ToolPolicy
from tausestack.database import TenantDatabases
from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound
from tausestack_runtime.gateway.approvals import Approvals, policy_version
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.tables import SCHEMA

pytestmark = pytest.mark.anyio

AGENT = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin", "concierge", "run_1", frozenset({"tools:call"}))
POLICY = policy_version(ToolPolicy(approval="agents"))
PERSON = Principal("acme", "key:k2", frozenset({"tenant:admin"}), "admin")


@pytest.fixture
async def approvals(tmp_path: Path) -> AsyncIterator[Approvals]:
    databases = TenantDatabases(SCHEMA, data=tmp_path, url=None)
    yield Approvals(databases)
    await databases.aclose()


def call(**given: Any) -> Call:
    """Return an agent's call to make an invoice, with some of it changed."""
    fields: dict[str, Any] = {
        "tenant": "acme",
        "principal": AGENT,
        "server": "billing",
        "tool": "create_invoice",
        "arguments": {"total": 100},
        "door": "mcp",
        "deadline": 0.0,
        "key": "k",
    }
    return Call(**{**fields, **given})


async def granted(approvals: Approvals) -> str:
    """Open an approval and have a person grant it."""
    identifier = await opened(approvals)
    await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments=None)
    return identifier


async def opened(approvals: Approvals, **given: Any) -> str:
    """Have a call wait for a person, and return the approval's id."""
    waiting = await approvals.open(call(), policy=POLICY, **given)
    assert waiting is not None
    return waiting.id


@pytest.mark.covers("approvals:single-use")
async def test_a_grant_lets_a_call_through_once(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    await approvals.claim(call(approval=identifier, key=None), policy=POLICY)
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier, key=None), policy=POLICY)


@pytest.mark.covers("approvals:same-write-again")
async def test_the_same_keyed_write_may_use_its_grant_again(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    await approvals.claim(call(approval=identifier), policy=POLICY)
    await approvals.claim(call(approval=identifier), policy=POLICY)
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier, key="another"), policy=POLICY)
    assert await approvals.open(call(), policy=POLICY) is None


@pytest.mark.covers("approvals:no-second-effect")
async def test_a_tool_that_keeps_no_keys_gets_one_effect_for_one_grant(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    assert await approvals.open(call(), policy=POLICY, repeatable=False) is None
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier), policy=POLICY, repeatable=False)
    assert await opened(approvals, repeatable=False) != identifier


@pytest.mark.covers("approvals:exact-call")
@pytest.mark.parametrize(
    "changed",
    [
        {"arguments": {"total": 101}},
        {"tool": "pay_invoice"},
        {"server": "payments"},
        {"principal": replace(AGENT, id="key:k9")},
        {"principal": replace(AGENT, agent="other")},
        {"principal": replace(AGENT, run="run_2")},
        {"tenant": "globex", "principal": replace(AGENT, tenant="globex")},
    ],
)
async def test_a_grant_is_for_nothing_but_what_was_asked(approvals: Approvals, changed: dict[str, Any]) -> None:
    identifier = await granted(approvals)
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier, **changed), policy=POLICY)
    await approvals.claim(call(approval=identifier), policy=POLICY)


@pytest.mark.covers("approvals:pending-and-rejected")
async def test_what_is_pending_or_rejected_is_refused_with_the_reason(approvals: Approvals) -> None:
    identifier = await opened(approvals)
    assert await opened(approvals) == identifier
    with pytest.raises(Forbidden, match="not been decided"):
        await approvals.claim(call(approval=identifier), policy=POLICY)
    await approvals.decide("acme", identifier, "reject", by=PERSON, reason="too dear", arguments=None)
    for attempt in (approvals.claim(call(approval=identifier), policy=POLICY), approvals.open(call(), policy=POLICY)):
        with pytest.raises(Forbidden, match="too dear"):
            await attempt
    with pytest.raises(Conflict):
        await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments=None)


@pytest.mark.covers("approvals:edited")
async def test_edited_arguments_are_what_is_granted(approvals: Approvals) -> None:
    identifier = await opened(approvals)
    decided = await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments={"total": 90})
    assert decided["arguments"] == {"total": 90}
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier), policy=POLICY)
    await approvals.claim(call(approval=identifier, arguments={"total": 90}), policy=POLICY)


@pytest.mark.covers("approvals:no-agent-decides")
async def test_an_agent_decides_nothing_and_other_tenants_see_nothing(approvals: Approvals) -> None:
    identifier = await opened(approvals)
    with pytest.raises(Forbidden):
        await approvals.decide("acme", identifier, "approve", by=AGENT, reason="", arguments=None)
    with pytest.raises(NotFound):
        await approvals.decide("globex", identifier, "approve", by=PERSON, reason="", arguments=None)
    assert await approvals.listed("globex", None) == ([], None)
    assert [one["id"] for one in (await approvals.listed("acme", "pending"))[0]] == [identifier]


@pytest.mark.covers("approvals:policy-version")
@pytest.mark.parametrize(
    "changed",
    [{"approval": "always"}, {"side_effect": "external"}, {"scopes": ["tenant:admin"]}, {"idempotent": True}],
)
async def test_a_grant_is_void_once_the_tools_policy_is_another(approvals: Approvals, changed: dict[str, Any]) -> None:
    identifier = await granted(approvals)
    other = policy_version(ToolPolicy.model_validate({"approval": "agents", **changed}))
    with pytest.raises(Forbidden, match="policy has changed"):
        await approvals.claim(call(approval=identifier), policy=other)
    asked_anew = await approvals.open(call(), policy=other)
    assert asked_anew is not None
    assert asked_anew.id != identifier
    await approvals.claim(call(approval=identifier), policy=POLICY)


@pytest.mark.covers("approvals:expiry")
async def test_what_has_expired_is_neither_decided_on_nor_used_and_says_so(tmp_path: Path) -> None:
    databases = TenantDatabases(SCHEMA, data=tmp_path, url=None)
    short, long = Approvals(databases, expires_after=timedelta(0)), Approvals(databases)
    identifier = await opened(short)
    assert [one["id"] for one in (await short.listed("acme", "expired"))[0]] == [identifier]
    assert await short.listed("acme", "pending") == ([], None)
    assert (await short.one("acme", identifier))["status"] == "expired"
    with pytest.raises(Conflict, match="expired"):
        await short.decide("acme", identifier, "approve", by=PERSON, reason="", arguments=None)
    with pytest.raises(Forbidden, match="expired"):
        await short.claim(call(approval=identifier), policy=POLICY)
    assert await opened(long) != identifier
    ((waiting,), _) = await long.listed("acme", "pending")
    await short.decide("acme", waiting["id"], "approve", by=PERSON, reason="", arguments=None)
    with pytest.raises(Forbidden, match="expired"):
        await long.claim(call(approval=waiting["id"]), policy=POLICY)
    await databases.aclose()


@pytest.mark.covers("approvals:pages")
async def test_approvals_come_in_pages(approvals: Approvals) -> None:
    for number in range(7):
        await approvals.open(call(key=f"k{number}"), policy=POLICY)
    whole, nothing = await approvals.listed("acme", None)
    assert (len(whole), nothing) == (7, None)
    for limit in (1, 3, 7):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page, cursor = await approvals.listed("acme", "pending", limit, cursor)
            assert len(page) <= limit
            assert "+" not in (cursor or "")  # in a query it would be a space
            seen += [one["id"] for one in page]
            if cursor is None:
                break
        assert seen == [one["id"] for one in whole]
    with pytest.raises(InvalidArguments):
        await approvals.listed("acme", None, 3, "nonsense")
