"""A tool call that waits for a person: its own client is asked, and the grant lets exactly that call through."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tausestack.contract import MCP_CAPABILITIES_META, META_APPROVAL, Principal
from tausestack.errors import ApprovalRequired
from tausestack_runtime.gateway.call import Call, Outcome
from tausestack_runtime.gateway.mcp.approving import Approving
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.sealing import Sealer

pytestmark = pytest.mark.anyio

PERSON = Principal("acme", "key:k2", frozenset({"tenant:admin", "tools:call"}), "admin")
PAY = {"total": 100}


class Decisions:
    """Stands for the pipeline, of which a decision asks nothing but to be run."""

    def __init__(self) -> None:
        self.taken: list[Call] = []

    async def run(self, call: Call) -> Outcome:
        self.taken.append(call)
        return Outcome({"structuredContent": {"status": "approved"}, "isError": False})

    async def asked_for(self, tenant: str, approval: str) -> dict[str, Any]:
        assert approval == "apr_1"
        return PAY


class Tool:
    """A tool whose calls wait for a person."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    async def call(self, ask: Ask) -> Outcome:
        if META_APPROVAL not in ask.meta:
            raise ApprovalRequired("bank/pay waits for a person's approval", approval="apr_1")
        self.calls.append((ask.meta[META_APPROVAL], ask.params))
        return Outcome({"structuredContent": {"paid": True}, "isError": False})


def ask(who: Principal = PERSON, /, **params: Any) -> Ask:
    """Return a call of a client that shows forms."""
    given = {"name": "bank__pay", "arguments": PAY, **params}
    return Ask(who, None, 1, "tools/call", given, {MCP_CAPABILITIES_META: {"elicitation": {}}})


@pytest.fixture
def decisions() -> Decisions:
    return Decisions()


@pytest.fixture
def approving(decisions: Decisions) -> Approving:
    return Approving(cast("Pipeline", decisions), Sealer(b"k" * 32))


async def asked(approving: Approving, tool: Tool) -> str:
    """Make the call and return the state that goes along with the answer."""
    outcome = await approving.through(ask(), tool.call)
    assert outcome.waits
    assert tool.calls == []
    return str(outcome.result["requestState"])


def accepted(state: str, **content: Any) -> dict[str, Any]:
    return {"requestState": state, "inputResponses": {"approval": {"action": "accept", "content": content}}}


@pytest.mark.covers("approvals:in-the-chat-client")
async def test_an_approved_call_is_made_once_with_its_grant(approving: Approving, decisions: Decisions) -> None:
    tool = Tool()
    state = await asked(approving, tool)
    outcome = await approving.through(ask(**accepted(state, decision="approve")), tool.call)
    assert outcome.result["structuredContent"] == {"paid": True}
    assert tool.calls == [("apr_1", {"name": "bank__pay", "arguments": PAY})]
    (decision,) = decisions.taken
    assert (decision.server, decision.tool, decision.principal) == ("platform", "decide_approval", PERSON)
    assert decision.arguments == {"id": "apr_1", "decision": "approve"}


@pytest.mark.covers("approvals:in-the-chat-client")
async def test_an_edited_call_is_made_as_it_was_edited_and_a_rejected_one_is_not(
    approving: Approving, decisions: Decisions
) -> None:
    tool = Tool()
    state = await asked(approving, tool)
    await approving.through(ask(**accepted(state, decision="approve", arguments='{"total": 90}')), tool.call)
    assert tool.calls[0][1]["arguments"] == {"total": 90}
    state = await asked(approving, Tool())
    refused = await approving.through(ask(**accepted(state, decision="reject", reason="too dear")), tool.call)
    assert refused.failed
    assert "too dear" in refused.text
    declined = {"requestState": state, "inputResponses": {"approval": {"action": "decline"}}}
    assert (await approving.through(ask(**declined), tool.call)).failed
    assert [call.arguments["decision"] for call in decisions.taken] == ["approve", "reject", "reject"]
    assert len(tool.calls) == 1


@pytest.mark.covers("approvals:who-is-asked")
@pytest.mark.parametrize(
    "who",
    [
        Principal("acme", "key:k3", frozenset({"tools:call"}), "agent"),
        Principal("acme", "key:k2", PERSON.scopes, "admin", agent="concierge", run="run_1"),
        Principal("acme", "key:k2", PERSON.scopes, "admin", bounds=frozenset({"tools:call"})),
    ],
)
async def test_whoever_may_not_decide_gets_the_error(approving: Approving, who: Principal) -> None:
    with pytest.raises(ApprovalRequired):
        await approving.through(ask(who), Tool().call)


@pytest.mark.covers("approvals:who-is-asked")
async def test_an_answer_is_bound_to_its_asker_and_its_call(approving: Approving, decisions: Decisions) -> None:
    tool = Tool()
    state = await asked(approving, tool)
    yes = accepted(state, decision="approve")
    with pytest.raises(Refused, match="another request"):
        await approving.through(ask(**yes, arguments={"total": 1}), tool.call)
    others = (
        Principal("acme", "key:k9", PERSON.scopes, "admin"),
        Principal("globex", "key:k2", PERSON.scopes, "admin"),
    )
    for other in others:
        assert (await approving.through(ask(other, **yes), tool.call)).waits
    assert (await approving.through(ask(**{**yes, "name": "bank__steal"}), tool.call)).waits
    assert decisions.taken == tool.calls == []
