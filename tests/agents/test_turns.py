"""What whoever starts a run, or writes to a thread, is answered: an outcome, or how to come back; and in turn."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tausestack.errors import Conflict, InvalidArguments

pytestmark = pytest.mark.anyio

INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"
TIME = "¿Qué hora es en Tokio?"


async def said(agents: Any, text: str, message: str | None, thread: str = "wa-1", **more: Any) -> dict[str, Any]:
    given = {"agent": "concierge", "input": text, "thread": thread, **more}
    return await agents.acme.call("run", given if message is None else {**given, "message": message})


@pytest.mark.covers("agents:run-waits")
async def test_a_caller_that_says_nothing_of_waiting_gets_the_outcome(agents: Any) -> None:
    run = await agents.acme.call("run", {"agent": "concierge", "input": TIME})
    assert (run["status"], "next" in run) == ("success", False)
    held = await agents.acme.call("run", {"agent": "concierge", "input": INVOICE})
    assert held["interrupt"]["kind"] == "approval"
    assert "agents/resume" in held["next"]
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}})
    assert ended["status"] == "success", ended


@pytest.mark.covers("agents:run-waits")
async def test_a_run_that_takes_longer_says_how_to_come_back_to_it(agents: Any) -> None:
    gate = agents.gateway.hold("mcp-server-time/get_current_time")
    run = await agents.acme.call("run", {"agent": "concierge", "input": TIME, "wait": 0.1})
    assert run["status"] in {"pending", "running"}
    assert "agents/get_run" in run["next"]
    await agents.gateway.reached("mcp-server-time/get_current_time")
    gate.set()
    ended = await agents.acme.call("get_run", {"run": run["id"], "wait": 60})
    assert (ended["status"], "next" in ended) == ("success", False)


@pytest.mark.covers("agents:thread-turns")
@pytest.mark.parametrize("agents", ["sqlite", "postgresql"], indirect=True)
async def test_messages_that_come_while_a_person_is_waited_for_are_served_in_turn_after_it(agents: Any) -> None:
    held = await said(agents, INVOICE, "m1")
    second = await said(agents, TIME, "m2", wait=0)
    third = await said(agents, "¿Qué hora es en Madrid?", "m3", wait=0)
    assert (held["status"], second["status"], third["status"]) == ("interrupted", "pending", "pending")
    assert (second["behind"], third["behind"]) == (held["id"], second["id"])
    assert (await said(agents, TIME, "m2", wait=0))["id"] == second["id"]
    assert agents.gateway.sent("mcp-server-time/get_current_time") == []

    await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}})
    ended = [await agents.acme.call("get_run", {"run": each["id"], "wait": 60}) for each in (second, third)]

    assert [each["status"] for each in ended] == ["success", "success"]
    asked = [call.arguments["timezone"] for call in agents.gateway.sent("mcp-server-time/get_current_time")]
    assert asked == ["Asia/Tokyo", "Europe/Madrid"]
    history = await agents.acme.call("get_thread", {"thread": "wa-1"})
    assert [(turn["message"], turn["status"]) for turn in history["turns"]] == [
        ("m1", "success"),
        ("m2", "success"),
        ("m3", "success"),
    ]


@pytest.mark.covers("agents:thread-turns")
async def test_a_turn_waits_behind_an_escalated_one_and_goes_on_where_that_is_cancelled(agents: Any) -> None:
    asked = await agents.acme.call("escalate", {"question": "¿Le damos el descuento?", "thread": "wa-1", "wait": 60})
    assert asked["interrupt"]["kind"] == "input"
    second = await said(agents, TIME, "m2", wait=0)
    third = await said(agents, TIME, "m3", wait=0)
    assert (await agents.acme.call("cancel", {"run": second["id"]}))["status"] == "cancelled"
    await agents.acme.call("cancel", {"run": asked["id"]})
    ended = await agents.acme.call("get_run", {"run": third["id"], "wait": 60})
    assert ended["status"] == "success"
    assert len(agents.gateway.sent("mcp-server-time/get_current_time")) == 1


@pytest.mark.covers("agents:thread-turns")
async def test_a_turn_without_a_message_is_refused_typed_and_so_is_one_too_many(agents: Any) -> None:
    held = await said(agents, INVOICE, None)
    with pytest.raises(Conflict, match="has not ended") as busy:
        await said(agents, TIME, None)
    assert busy.value.data["reason"] == "thread_busy"
    assert busy.value.data["run"] == held["id"]
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(lambda each: said(agents, TIME, f"m{each}", wait=0), number)
    with pytest.raises(Conflict) as full:
        await said(agents, TIME, "m20", wait=0)
    assert full.value.data["reason"] == "thread_full"
    listed = await agents.acme.call("list_runs", {"status": "pending"})
    assert len(listed["runs"]) == 20


@pytest.mark.covers("agents:run-waits-for-approval")
async def test_a_rejection_with_arguments_is_refused_and_decides_nothing(agents: Any) -> None:
    held = await agents.acme.run(INVOICE)
    decision = {"approve": False, "arguments": held["interrupt"]["arguments"]}
    with pytest.raises(InvalidArguments, match="leave out its `arguments`"):
        await agents.acme.call("resume", {"run": held["id"], "decision": decision})
    assert (await agents.acme.call("get_run", {"run": held["id"]}))["status"] == "interrupted"


@pytest.mark.covers("agents:events")
@pytest.mark.parametrize("last", ["1000", "99999999999", "9" * 40])
async def test_beyond_the_end_of_a_run_its_stream_has_nothing_more_and_closes(agents: Any, last: str) -> None:
    run = await agents.acme.run(TIME)
    headers = {"authorization": f"Bearer {agents.acme.assertion}", "last-event-id": last}
    reply = await agents.http.get(f"/http/runs/{run['id']}/events", headers=headers, timeout=60)
    assert (reply.status_code, reply.text) == (200, "")
