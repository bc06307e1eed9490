"""How a run's steps go on: side by side where they may, in order where they must, over to another agent, bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

NIT_AND_TIME = "Valida el NIT 900.123.456-8 y dime qué hora es en Bogotá"


@pytest.mark.covers("agents:parallel-steps")
async def test_steps_that_only_read_go_on_side_by_side(agents: Any) -> None:
    gates = [agents.gateway.hold(each) for each in ("colombia/validate_nit", "mcp-server-time/get_current_time")]
    started = await agents.acme.run(NIT_AND_TIME, wait=0)
    for each in ("colombia/validate_nit", "mcp-server-time/get_current_time"):
        await agents.gateway.reached(each)  # both are under way, and neither has ended
    for gate in gates:
        gate.set()
    reply = await agents.http.get(
        f"/http/runs/{started['id']}/events", headers={"authorization": f"Bearer {agents.acme.assertion}"}
    )
    assert '"status": "success"' in reply.text
    run = await agents.acme.call("get_run", {"run": started["id"]})
    assert [step["tool"] for step in run["steps"]] == ["validate_nit", "get_current_time"]
    assert run["output"].index("validate_nit") < run["output"].index("get_current_time")


@pytest.mark.covers("agents:ordered-steps")
async def test_a_step_that_writes_comes_after_all_before_it_and_before_all_after_it(agents: Any) -> None:
    request = (
        "Lee la clave ajustes/tema. Crea una factura para Ana por 10 USD de té. ¿Qué hora es en Tokio? ¿Qué hora es "
        "en Madrid?"
    )
    held = await agents.acme.run(request)
    assert held["status"] == "interrupted", held
    assert [(step["tool"], step["status"]) for step in held["steps"]] == [
        ("get_json", "done"),
        ("create_invoice", "waiting"),
    ]
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert [step["tool"] for step in ended["steps"]] == [
        "get_json",
        "create_invoice",
        "get_current_time",
        "get_current_time",
    ]
    addresses = [call.address for call in agents.gateway.calls]
    assert addresses[:3] == ["storage/get_json", "billing/create_invoice", "billing/create_invoice"]


@pytest.mark.covers("agents:several-held")
async def test_two_held_calls_are_decided_in_any_order_and_an_early_decision_is_kept(
    agents: Any, until: Callable[..., Any]
) -> None:
    for tool in agents.gateway.tools:
        if tool["address"] in {"storage/get_json", "mcp-server-time/get_current_time"}:
            tool["_meta"] = {"pro.tause/tool": {"side_effect": "read", "approval": "agents"}}
    held = await agents.acme.run("Lee la clave ajustes/tema y dime qué hora es en Bogotá")
    assert held["status"] == "interrupted"
    assert len(agents.gateway.approvals) == 2, "both wait for a person at once"
    first = held["interrupt"]["approval"]
    (other,) = agents.gateway.approvals.keys() - {first}
    for approval in (other, first):  # the one that it is not said to wait for comes first
        agents.gateway.approvals[approval]["status"] = "approved"
        await agents.system("acme").call("wake", {"run": held["id"], "approval": approval, "decision": "approve"})

    async def ended() -> Any:
        run = await agents.acme.call("get_run", {"run": held["id"]})
        return run["status"] == "success" and run

    run = await until(ended)
    assert [step["status"] for step in run["steps"]] == ["done", "done"]


@pytest.mark.covers("agents:state-by-reference")
async def test_what_a_tool_returned_is_kept_once_however_many_steps_follow(agents: Any) -> None:
    marker = "m4rk3r"
    agents.gateway.answers["storage/get_json"] = lambda _: {"value": marker + "x" * 50_000 + marker}
    run = await agents.acme.run(
        "Lee la clave ajustes/tema. ¿Qué hora es en Tokio? ¿Qué hora es en Madrid? ¿Qué hora es en Lima?"
    )
    assert run["status"] == "success"
    folder = agents.data / "tenants" / "acme"
    kept = b"".join(path.read_bytes() for path in folder.glob("agents-checkpoints.db*"))
    assert (marker + "x" * 400).encode() not in kept
    kept = b"".join(path.read_bytes() for path in folder.glob("agents.db*"))
    assert marker.encode() in kept


@pytest.mark.covers("agents:handoff")
async def test_an_agent_without_the_tools_hands_over_and_the_rules_of_both_hold(agents: Any) -> None:
    front = {"name": "front-desk", "instructions": "Route.", "tools": ["colombia/*"], "handoffs": ["till", "other"]}
    front["approvals"] = [{"tool": "billing/record_usage", "reason": "The front desk says so."}]
    till = {"name": "till", "instructions": "Bill.", "tools": ["billing/*"], "handoffs": ["front-desk"]}
    for spec in (front, till, {"name": "other", "instructions": "Else.", "tools": ["storage/*"]}):
        await agents.acme.call("save_agent", {"spec": spec})
    run = await agents.acme.run("¿Es válido el NIT 900.123.456-8?", agent="front-desk")
    assert [step["tool"] for step in run["steps"]] == ["validate_nit"]
    held = await agents.acme.run("Registra un consumo de 12 api_calls", agent="front-desk")
    assert held["status"] == "interrupted", held
    assert (held["interrupt"]["tool"], held["interrupt"]["reason"]) == ("record_usage", "The front desk says so.")
    assert agents.gateway.delegations[-1]["agent"] == "till"
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert ended["status"] == "success", ended
    reply = await agents.http.get(
        f"/http/runs/{held['id']}/events", headers={"authorization": f"Bearer {agents.acme.assertion}"}
    )
    assert reply.text.count("event: handoff") == 1
    assert '"from": "front-desk", "to": "till"' in reply.text
    assert agents.gateway.effects["billing/record_usage"] == 1


@pytest.mark.covers("agents:handoff")
async def test_a_run_is_never_handed_back(agents: Any) -> None:
    for name, other in (("ping", "pong"), ("pong", "ping")):
        spec = {"name": name, "instructions": "Pass it on.", "tools": ["colombia/*"], "handoffs": [other]}
        await agents.acme.call("save_agent", {"spec": spec})
    run = await agents.acme.run("Reserva un vuelo a París", agent="ping")
    assert run["status"] == "success"
    assert "no encontré ninguna herramienta" in run["output"]
