"""An approval lets exactly one call through: the one that a person saw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tausestack.contract import Principal
from tausestack.database import TenantDatabases
from tausestack.errors import Conflict, Forbidden, NotFound
from tausestack_runtime.gateway.approvals import Approvals
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.tables import SCHEMA

pytestmark = pytest.mark.anyio

AGENT = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin", "concierge", "run_1", frozenset({"tools:call"}))
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
    identifier = await approvals.open(call())
    assert identifier is not None
    await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments=None)
    return identifier


@pytest.mark.covers("approvals:single-use")
async def test_a_grant_lets_a_call_through_once(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    await approvals.claim(call(approval=identifier, key=None))
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier, key=None))


@pytest.mark.covers("approvals:same-write-again")
async def test_the_same_keyed_write_may_use_its_grant_again(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    await approvals.claim(call(approval=identifier))
    await approvals.claim(call(approval=identifier))
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier, key="another"))
    assert await approvals.open(call()) is None


@pytest.mark.covers("approvals:no-second-effect")
async def test_a_tool_that_keeps_no_keys_gets_one_effect_for_one_grant(approvals: Approvals) -> None:
    identifier = await granted(approvals)
    assert await approvals.open(call(), repeatable=False) is None
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier), repeatable=False)
    assert await approvals.open(call(), repeatable=False) not in {None, identifier}


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
        await approvals.claim(call(approval=identifier, **changed))
    await approvals.claim(call(approval=identifier))


@pytest.mark.covers("approvals:pending-and-rejected")
async def test_what_is_pending_or_rejected_is_refused_with_the_reason(approvals: Approvals) -> None:
    identifier = await approvals.open(call())
    assert identifier is not None
    assert await approvals.open(call()) == identifier
    with pytest.raises(Forbidden, match="not been decided"):
        await approvals.claim(call(approval=identifier))
    await approvals.decide("acme", identifier, "reject", by=PERSON, reason="too dear", arguments=None)
    for attempt in (approvals.claim(call(approval=identifier)), approvals.open(call())):
        with pytest.raises(Forbidden, match="too dear"):
            await attempt
    with pytest.raises(Conflict):
        await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments=None)


@pytest.mark.covers("approvals:edited")
async def test_edited_arguments_are_what_is_granted(approvals: Approvals) -> None:
    identifier = await approvals.open(call())
    assert identifier is not None
    decided = await approvals.decide("acme", identifier, "approve", by=PERSON, reason="", arguments={"total": 90})
    assert decided["arguments"] == {"total": 90}
    with pytest.raises(Forbidden):
        await approvals.claim(call(approval=identifier))
    await approvals.claim(call(approval=identifier, arguments={"total": 90}))


@pytest.mark.covers("approvals:no-agent-decides")
async def test_an_agent_decides_nothing_and_other_tenants_see_nothing(approvals: Approvals) -> None:
    identifier = await approvals.open(call())
    assert identifier is not None
    with pytest.raises(Forbidden):
        await approvals.decide("acme", identifier, "approve", by=AGENT, reason="", arguments=None)
    with pytest.raises(NotFound):
        await approvals.decide("globex", identifier, "approve", by=PERSON, reason="", arguments=None)
    assert await approvals.listed("globex", None) == []
    assert [one["id"] for one in await approvals.listed("acme", "pending")] == [identifier]
