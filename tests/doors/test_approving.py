"""Approvals in the chat client: a person decides at their own client, in the round trip of the call."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult

from sessions import Earlier
from stack import Stack, Tenant

INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"
ASKING = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
Message = dict[str, Any]


def run(tenant: Tenant, *, capable: bool = True, key: str | None = None, **more: Any) -> Message:
    """Call `agents__run` as a chat client does, and return the response's result or error."""
    arguments = {"agent": "concierge", "input": INVOICE, "wait": 60, **more.pop("arguments", {})}
    params = {"name": "agents__run", "arguments": arguments, "_meta": ASKING if capable else {}, **more}
    asker = tenant if key is None else Tenant(tenant.name, key, tenant.url)
    said = asker.rpc("tools/call", params).json()
    return said["result"] if "result" in said else said["error"]


def answer(asked: Message, **content: Any) -> Message:
    """Return what goes along with the call when it is made again."""
    return {
        "requestState": asked["requestState"],
        "inputResponses": {"approval": {"action": "accept", "content": content}},
    }


def invoices(tenant: Tenant) -> list[Message]:
    return tenant.must("billing/list_invoices", {})["invoices"]


@pytest.mark.covers("approvals:in-the-chat-client")
def test_a_run_started_by_a_chat_client_is_approved_in_the_round_trip(tenant: Tenant) -> None:
    asked = run(tenant)
    assert asked["resultType"] == "input_required", asked
    form = asked["inputRequests"]["approval"]
    assert form["method"] == "elicitation/create"
    assert "billing/create_invoice" in form["params"]["message"]
    assert form["params"]["requestedSchema"]["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert invoices(tenant) == []
    ended = run(tenant, **answer(asked, decision="approve"))
    assert ended["structuredContent"]["status"] == "success", ended
    assert len(invoices(tenant)) == 1
    again = run(tenant, **answer(asked, decision="approve"))
    assert again["structuredContent"]["id"] == ended["structuredContent"]["id"]
    assert len(invoices(tenant)) == 1
    (approval,) = tenant.client.get("/approvals").json()["approvals"]
    assert (approval["status"], approval["decided_by"]) == ("used", approval["principal"])


@pytest.mark.covers("approvals:in-the-chat-client")
def test_a_chat_client_edits_and_rejects_with_a_reason(tenant: Tenant) -> None:
    asked = run(tenant)
    schema = asked["inputRequests"]["approval"]["params"]["requestedSchema"]
    edited = schema["properties"]["arguments"]["default"].replace("Café Andino", "Otra S.A.S.")
    run(tenant, **answer(asked, decision="approve", arguments=edited))
    assert [one["customer_id"] for one in invoices(tenant)] == ["Otra S.A.S."]
    refused = run(tenant, **answer(run(tenant), decision="reject", reason="muy caro"))
    assert refused["structuredContent"]["steps"][0]["status"] == "rejected"
    assert "muy caro" in refused["structuredContent"]["output"]
    assert len(invoices(tenant)) == 1


@pytest.mark.covers("approvals:in-the-chat-client")
def test_a_question_that_is_put_off_leaves_the_run_waiting(tenant: Tenant) -> None:
    asked = run(tenant)
    later = run(tenant, requestState=asked["requestState"], inputResponses={"approval": {"action": "cancel"}})
    assert later["structuredContent"]["status"] == "interrupted"
    assert run(tenant, **answer(asked, decision="approve"))["structuredContent"]["status"] == "success"


@pytest.mark.covers("approvals:who-is-asked")
def test_only_a_client_that_can_ask_somebody_who_decides_is_asked(stack: Stack, tenant: Tenant) -> None:
    plain = run(tenant, capable=False)
    assert plain["structuredContent"]["status"] == "interrupted"
    agent = tenant.client.post("/keys", json={"role": "agent"}).json()["api_key"]
    held = run(tenant, key=agent)
    assert held["structuredContent"]["status"] == "interrupted"
    asked = run(tenant)
    runs = [one["id"] for one in tenant.client.get("/runs").json()["runs"]]
    assert run(tenant, key=agent, **answer(asked, decision="approve"))["code"] == -32602
    other = stack.tenant()
    stranger = run(other, **answer(asked, decision="approve"))
    nobodys = run(other, **{**answer(asked, decision="approve"), "requestState": "nobody's"})
    assert stranger == nobodys
    assert stranger["code"] == -32602
    assert invoices(tenant) == invoices(other) == []
    assert [one["id"] for one in tenant.client.get("/runs").json()["runs"]] == runs
    assert other.client.get("/runs").json()["runs"] == []


@pytest.mark.covers("approvals:who-is-asked")
def test_an_answer_counts_for_what_was_asked_and_nothing_else(tenant: Tenant) -> None:
    asked = run(tenant)
    changed = run(tenant, arguments={"input": "otra cosa"}, **answer(asked, decision="approve"))
    assert changed["code"] == -32602
    state = asked["requestState"]
    forged = {
        **answer(asked, decision="approve"),
        "requestState": state[:-4] + ("AAAA" if state[-4:] != "AAAA" else "B"),
    }
    assert run(tenant, **forged)["code"] == -32602
    assert run(tenant, **answer(asked, decision="approve", arguments="[1]"))["code"] == -32602
    assert run(tenant, **answer(asked, decision="maybe"))["code"] == -32602
    assert invoices(tenant) == []
    assert len(tenant.client.get("/runs").json()["runs"]) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
@pytest.mark.covers("approvals:in-the-chat-client")
async def test_the_official_client_gets_what_comes_of_its_persons_answer(
    stack: Stack, tenant: Tenant, action: Literal["accept", "decline", "cancel"]
) -> None:
    asked: list[str] = []

    async def decide(_: Any, form: ElicitRequestParams) -> ElicitResult:
        asked.append(form.message)
        return ElicitResult(action=action, content={"decision": "approve"} if action == "accept" else None)

    url = f"{stack.url}/tenants/{tenant.name}/mcp"
    async with (
        httpx2.AsyncClient(headers=tenant.headers, timeout=60, trust_env=False, verify=False) as http,
        Client(streamable_http_client(url, http_client=http), elicitation_callback=decide) as client,
    ):
        with anyio.fail_after(50):
            ended = await client.call_tool("agents__run", {"agent": "concierge", "input": INVOICE, "wait": 30})
    assert ended.structured_content is not None
    came: dict[str, tuple[str, int]] = {
        "accept": ("success", 1), "decline": ("success", 0), "cancel": ("interrupted", 0),
    }  # fmt: skip
    assert (ended.structured_content["status"], len(invoices(tenant))) == came[action]
    assert len(asked) == 1


@pytest.mark.covers("approvals:in-the-chat-client")
def test_an_earlier_client_is_asked_by_an_elicitation(stack: Stack, tenant: Tenant) -> None:
    session = Earlier(f"{stack.url}/tenants/{tenant.name}/mcp", tenant.key, capabilities={"elicitation": {}})

    def decide(message: Message) -> None:
        if message["method"] == "elicitation/create":
            session.respond(message, {"action": "accept", "content": {"decision": "approve"}})

    ended = session.call("agents__run", {"agent": "concierge", "input": INVOICE, "wait": 60}, decide)
    assert ended["structuredContent"]["status"] == "success"
    assert len(invoices(tenant)) == 1
