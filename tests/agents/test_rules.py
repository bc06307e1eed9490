"""Approvals by an agent's own rules: below the model, on the exact call, and never fewer than the tools' own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from nested_agents import nest

from tausestack.errors import Forbidden, InvalidArguments

pytestmark = pytest.mark.anyio

RECORD = "Registra un consumo de {} api_calls"


async def save(agents: Any, *approvals: dict[str, Any], **more: Any) -> None:
    spec = {"name": "till", "instructions": "Bill.", "servers": ["billing", "colombia"], "approvals": list(approvals)}
    await agents.acme.call("save_agent", {"spec": {**spec, **more}})


async def run(agents: Any, request: str, **more: Any) -> dict[str, Any]:
    return await agents.acme.run(request, agent="till", **more)


@pytest.mark.covers("agents:rules")
@pytest.mark.parametrize(
    ("rule", "asks"),
    [
        ({"side_effect": "write"}, True),
        ({"side_effect": "external"}, False),
        ({"tool": "billing/record_*"}, True),
        ({"tool": "billing/pay_*"}, False),
        ({"when": "quantity > 10"}, True),
        ({"when": "quantity > 12"}, False),
        ({"when": "nothing.of.that > 12"}, True),
        ({"tool": "billing/*", "side_effect": "write", "when": 'metric == "api_calls"'}, True),
        ({"tool": "billing/*", "when": 'metric in ["users", "events"]'}, False),
    ],
)
async def test_a_call_waits_where_a_rule_says_so_and_only_there(agents: Any, rule: dict[str, Any], asks: bool) -> None:
    await save(agents, rule)
    found = await run(agents, RECORD.format(12))
    assert found["status"] == ("interrupted" if asks else "success"), found
    assert agents.gateway.effects["billing/record_usage"] == (0 if asks else 1)


@pytest.mark.covers("agents:rules")
async def test_a_held_call_is_made_once_as_approved_and_an_edited_one_claims_its_grant_too(agents: Any) -> None:
    await save(agents, {"when": "quantity > 10", "reason": "It is a lot."})
    held = await run(agents, RECORD.format(12))
    assert (held["interrupt"]["kind"], held["interrupt"]["reason"]) == ("approval", "It is a lot.")
    edited = {**held["interrupt"]["arguments"], "quantity": 2}
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"arguments": edited}, "wait": 25})
    assert ended["status"] == "success", ended
    last = agents.gateway.sent("billing/record_usage")[-1]
    assert (last.hold, last.approval, last.arguments["quantity"]) == (True, "apr_0", 2)
    assert agents.gateway.effects["billing/record_usage"] == 1
    held = await run(agents, RECORD.format(13))
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": False}, "wait": 25})
    assert [step["status"] for step in ended["steps"]] == ["rejected"]
    assert agents.gateway.effects["billing/record_usage"] == 1


@pytest.mark.covers("agents:rules")
async def test_no_rule_takes_away_what_the_gateway_holds_by_itself(agents: Any) -> None:
    await save(agents, {"when": "false"})
    held = await run(agents, "Crea una factura para Ana por 10 USD de té")
    assert held["status"] == "interrupted"
    assert agents.gateway.effects["billing/create_invoice"] == 0


@pytest.mark.covers("agents:escalate")
@pytest.mark.parametrize("request_", ["Quiero hablar con una persona", "I want to talk to a human, please"])
async def test_who_asks_for_a_person_waits_for_one_and_goes_on_with_the_answer(agents: Any, request_: str) -> None:
    waiting = await agents.acme.run(request_, thread="t1")
    assert (waiting["status"], waiting["interrupt"]["kind"]) == ("interrupted", "input"), waiting
    assert waiting["interrupt"]["message"] == request_
    for wrong in ({"approve": True}, {"input": ""}, {"input": "x", "approve": True}, {"input": 3}):
        with pytest.raises(InvalidArguments):
            await agents.acme.call("resume", {"run": waiting["id"], "decision": wrong})
    answer = {"run": waiting["id"], "decision": {"input": "Soy Ana, ¿en qué ayudo?"}, "wait": 25}
    ended = await agents.acme.call("resume", answer)
    assert ended["status"] == "success", ended
    assert "Soy Ana, ¿en qué ayudo?" in ended["output"]
    assert (await agents.acme.run("¿Qué hora es en Tokio?", thread="t1"))["status"] == "success"


@pytest.mark.covers("agents:escalate")
async def test_who_wants_no_person_is_served_without_one(agents: Any) -> None:
    run = await agents.acme.run("No quiero hablar con un asesor, dime qué hora es en Tokio")
    assert run["status"] == "success", run


@pytest.mark.covers("agents:escalate")
async def test_a_question_from_outside_makes_the_thread_wait_for_a_person(agents: Any) -> None:
    waiting = await agents.acme.call("escalate", {"question": "¿Pagamos?", "thread": "t1", "wait": 25})
    assert (waiting["status"], waiting["interrupt"]["message"]) == ("interrupted", "¿Pagamos?")
    ended = await agents.acme.call("resume", {"run": waiting["id"], "decision": {"input": "Sí."}, "wait": 25})
    assert (ended["status"], ended["output"]) == ("success", "Sí.")
    waiting = await agents.acme.call("escalate", {"question": "¿Pagamos?", "thread": "t1", "wait": 25})
    nobody = {"run": waiting["id"], "decision": {"approve": False, "reason": "vacaciones"}, "wait": 25}
    ended = await agents.acme.call("resume", nobody)
    assert (ended["status"], ended["error"]["message"]) == ("error", "Nobody answered: vacaciones")


@pytest.mark.covers("agents:decided-by-people")
async def test_an_agent_decides_on_nothing_that_a_person_is_asked(agents: Any) -> None:
    held = await agents.acme.run("Quiero hablar con una persona")
    acting = replace(agents.acme.principal, agent="concierge", run=held["id"])
    agent = type(agents.acme)(agents.http, agents.signer, acting)
    with pytest.raises(Forbidden, match="person"):
        await agent.call("resume", {"run": held["id"], "decision": {"input": "yes"}})


@pytest.mark.covers("agents:teams")
async def test_a_team_has_its_tasks_done_by_its_agents_in_the_order_that_they_depend_on(agents: Any) -> None:
    nest(agents)
    agents.gateway.answers["colombia/validate_nit"] = lambda given: {"nit": given["nit"], "valid": True}
    await save(agents)
    await agents.acme.call(
        "save_agent", {"spec": {"name": "clock", "instructions": "Time.", "servers": ["mcp-server-time"]}}
    )
    team = {
        "name": "office",
        "tasks": [
            {"id": "last", "agent": "till", "task": "Valida el NIT 900.123.456-8", "depends_on": ["one", "two"]},
            {"id": "one", "agent": "clock", "task": "¿Qué hora es en Tokio?"},
            {"id": "two", "agent": "till", "task": "{input}"},
        ],
    }
    assert (await agents.acme.call("save_team", {"team": team}))["version"] == 1
    (listed,) = (await agents.acme.call("list_teams"))["teams"]
    assert [task["id"] for task in listed["tasks"]] == ["one", "two", "last"]
    held = await agents.acme.call(
        "run_team", {"team": "office", "input": "Crea una factura para Ana por 10 USD de té", "wait": 60}
    )
    assert (held["agent"], held["status"]) == ("team:office", "interrupted"), held
    assert held["interrupt"]["tool"] == "create_invoice"
    below = held["interrupt"]["run"]
    child = await agents.acme.call("get_run", {"run": below})
    assert (child["parent"], child["agent"]) == (held["id"], "till")
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 60})
    assert ended["status"] == "success", ended
    assert agents.gateway.effects["billing/create_invoice"] == 1
    assert [step["status"] for step in ended["steps"]] == ["done", "done", "done"]
    assert "validate_nit" in ended["output"]
    assert "get_current_time" not in ended["output"]


@pytest.mark.covers("agents:teams")
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "at least one agent"),
        ({"agents": ["nobody"]}, "nobody"),
        ({"tasks": [{"id": "a", "agent": "billing", "depends_on": ["a"]}]}, "wait for each other"),
        ({"tasks": [{"id": "a", "agent": "billing", "depends_on": ["b"]}]}, "no task"),
        ({"tasks": [{"id": "a", "agent": "billing"}] * 2}, "twice"),
        ({"agents": ["concierge"], "tasks": [{"id": "a", "agent": "billing"}]}, "not of the team"),
        ({"agents": ["billing"], "team_type": "army"}, "team_type"),
    ],
)
async def test_a_team_that_can_not_work_is_refused(agents: Any, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArguments, match=named):
        await agents.acme.call("save_team", {"team": {"name": "team", **wrong}})


@pytest.mark.covers("agents:teams")
async def test_every_preset_makes_a_team_with_its_agents(agents: Any) -> None:
    for preset in (await agents.acme.call("list_teams"))["presets"]:
        made = await agents.acme.call("save_preset", {"preset": preset})
        assert made["new"], made
        assert await agents.acme.call("save_preset", {"preset": preset}) == {**made, "new": False}
    teams = (await agents.acme.call("list_teams"))["teams"]
    there = {each["name"] for each in (await agents.acme.call("list_agents"))["agents"]}
    assert {agent for team in teams for agent in team["agents"]} <= there
    for team in teams:
        await agents.acme.call("delete_team", {"team": team["name"]})
    assert (await agents.acme.call("list_teams"))["teams"] == []


@pytest.mark.covers("agents:runs-start-runs")
async def test_what_an_agent_starts_has_its_rules_and_no_more_than_its_rights(agents: Any) -> None:
    nest(agents)
    await save(agents)
    asked = {"name": "outer", "agents": ["till"], "approvals": [{"tool": "billing/record_usage"}]}
    await agents.acme.call("save_team", {"team": asked})
    held = await agents.acme.call("run_team", {"team": "outer", "input": RECORD.format(3), "wait": 60})
    assert (held["status"], held["interrupt"]["tool"]) == ("interrupted", "record_usage"), held
    inner = agents.gateway.delegations[-1]
    assert set(inner["scopes"]) == {"tools:call", "tools:read", "runs:write"}, "what the team is held to"
    await agents.acme.call("cancel", {"run": held["id"]})
    assert (await agents.acme.call("get_run", {"run": held["interrupt"]["run"]}))["status"] == "cancelled"


@pytest.mark.covers("agents:runs-start-runs")
async def test_a_run_whose_part_is_cancelled_ends_and_says_so(agents: Any) -> None:
    nest(agents)
    await save(agents, {"side_effect": "write"})
    await agents.acme.call("save_team", {"team": {"name": "outer", "agents": ["till"]}})
    held = await agents.acme.call("run_team", {"team": "outer", "input": RECORD.format(3), "wait": 60})
    await agents.acme.call("cancel", {"run": held["interrupt"]["run"]})
    text = (
        await agents.http.get(
            f"/http/runs/{held['id']}/events", headers={"authorization": f"Bearer {agents.acme.assertion}"}
        )
    ).text
    ended = await agents.acme.call("get_run", {"run": held["id"]})
    assert ended["status"] == "error", text
    assert "cancelled" in ended["error"]["message"]
