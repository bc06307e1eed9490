"""Agents as data: saved, versioned, kept apart by tenant, and never more than whoever runs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound

pytestmark = pytest.mark.anyio

CLOCK = {"name": "clock", "instructions": {"es": "Di la hora.", "en": "Tell the time."}, "servers": ["mcp-server-time"]}


async def save(caller: Any, **more: Any) -> dict[str, Any]:
    return await caller.call("save_agent", {"spec": {**CLOCK, **more}})


@pytest.mark.covers("agents:saved")
async def test_an_agent_is_saved_in_versions_and_the_same_again_is_no_new_one(agents: Any) -> None:
    first = await save(agents.acme)
    assert first == {"name": "clock", "version": 1, "new": True, "unknown_handoffs": [], "warnings": []}
    assert await save(agents.acme) == {**first, "new": False}
    second = await save(agents.acme, title="The clock", handoffs=["billing", "nobody"])
    assert (second["version"], second["unknown_handoffs"]) == (2, ["nobody"])
    assert second["warnings"] == ["handoffs: there is no agent 'nobody'"]
    shown = await agents.acme.call("get_agent", {"agent": "clock"})
    assert shown["spec"] == {**CLOCK, "title": "The clock", "handoffs": ["billing", "nobody"]}
    assert [each["version"] for each in shown["versions"]] == [2, 1]
    assert shown["versions"][0]["saved_by"] == "key:acme"
    listed = (await agents.acme.call("list_agents"))["agents"]
    assert [(each["name"], each["own"]) for each in listed] == [
        ("billing", False),
        ("clock", True),
        ("concierge", False),
    ]
    run = await agents.acme.run("¿Qué hora es en Tokio?", agent="clock")
    assert (run["status"], run["agent"], run["version"]) == ("success", "clock", 2)
    await agents.acme.call("delete_agent", {"agent": "clock"})
    with pytest.raises(NotFound, match="clock"):
        await agents.acme.run("¿Qué hora es en Tokio?", agent="clock")
    assert (await save(agents.acme))["version"] == 1


@pytest.mark.covers("agents:tools-of-the-spec")
async def test_an_agent_has_the_tools_of_its_spec_and_no_other(agents: Any) -> None:
    await save(agents.acme, servers=["mcp-server-time", "billing"], tools=["!billing/*invoice*"])
    asked = "¿Qué hora es en Tokio? Valida el NIT 900.123.456-8. Crea una factura para Ana por 10 USD de té"
    run = await agents.acme.run(asked, agent="clock")
    assert [step["tool"] for step in run["steps"]] == ["get_current_time"]
    assert {call.address for call in agents.gateway.calls} == {"mcp-server-time/get_current_time"}


@pytest.mark.covers("agents:version-of-the-run")
async def test_a_run_goes_on_with_the_version_that_it_began_with(agents: Any) -> None:
    await save(agents.acme, servers=["billing"])
    held = await agents.acme.run("Crea una factura para Ana por 10 USD de té", agent="clock")
    assert held["status"] == "interrupted", held
    await save(agents.acme, servers=["mcp-server-time"])
    await agents.acme.call("delete_agent", {"agent": "clock"})
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert (ended["status"], ended["version"]) == ("success", 1), ended
    assert agents.gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:another-tenants-agents")
async def test_another_tenants_agents_and_teams_are_not_there(agents: Any) -> None:
    await save(agents.acme)
    await agents.acme.call("save_team", {"team": {"name": "clocks", "agents": ["clock"]}})
    assert [each["name"] for each in (await agents.globex.call("list_agents"))["agents"]] == ["billing", "concierge"]
    assert (await agents.globex.call("list_teams"))["teams"] == []
    refused: list[str] = []
    for name in ("clock", "nobody"):
        for tool, given in (
            ("run", {"agent": name, "input": "hola"}),
            ("get_agent", {"agent": name}),
            ("delete_agent", {"agent": name}),
            ("escalate", {"question": "hola", "agent": name}),
            ("run_team", {"team": name + "s", "input": "hola"}),
        ):
            with pytest.raises(NotFound) as error:
                await agents.globex.call(tool, given)
            refused.append(error.value.message.replace(name, "…"))
    assert refused[:5] == refused[5:]
    assert (await save(agents.globex))["version"] == 1
    assert (await agents.globex.call("get_agent", {"agent": "clock"}))["versions"][0]["saved_by"] == "key:globex"


@pytest.mark.covers("agents:spec-is-checked")
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "Clock!"}, "name"),
        ({"instructions": ""}, "instructions"),
        ({"instructions": {}}, "instructions"),
        ({"colour": "red"}, "colour"),
        ({"tools": ["billing/* ; rm"]}, "tools.0"),
        ({"scopes": ["operator"]}, "scopes"),
        ({"scopes": ["system"]}, "scopes"),
        ({"budget": {"tokens": -1}}, "budget.tokens"),
        ({"budget": {"currency": "EUR"}}, "budget.currency"),
        ({"approvals": [{"when": "total >"}]}, "approvals.0.when"),
        ({"approvals": [{"when": "__import__('os')"}]}, "approvals.0.when"),
        ({"approvals": [{}]}, "approvals.0"),
        ({"memory": {"turns": 1000}}, "memory.turns"),
        ({"handoffs": ["clock"]}, "handoffs"),
        ({"output": {"type": "string"}}, "output"),
        ({"output": {"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}}, "output"),
        ({"output": {"type": "object", "pattern": "("}}, "output"),
        ({"instructions": "x" * 20_001}, "instructions"),
        ({"tools": ["a/b"] * 201}, "tools"),
    ],
)
async def test_a_wrong_spec_is_refused_with_the_field_that_is_wrong(
    agents: Any, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        await save(agents.acme, **wrong)
    assert named in refused.value.message
    assert any(each["path"].startswith(named) or named in each["message"] for each in refused.value.data["errors"])
    assert (await agents.acme.call("list_agents"))["agents"][0]["own"] is False


@pytest.mark.covers("agents:built-in-names")
async def test_a_built_in_name_is_nobodys_own(agents: Any) -> None:
    with pytest.raises(Conflict, match="built in"):
        await save(agents.acme, name="concierge")
    with pytest.raises(Conflict, match="built in"):
        await agents.acme.call("delete_agent", {"agent": "billing"})


@pytest.mark.covers("agents:saving-gives-no-right")
async def test_saving_gives_no_right_and_an_agent_saves_none(agents: Any) -> None:
    acme = agents.acme
    acting = replace(acme.principal, agent="clock", run="run_1")
    with pytest.raises(Forbidden, match="agent"):
        await save(type(acme)(agents.http, agents.signer, acting))
    everything = ["tools:call", "tools:read", "servers:manage", "runs:write", "tenant:admin"]
    await save(agents.acme, servers=["*"], scopes=everything)
    run = await agents.caller("acme", "agent").run("¿Qué hora es en Tokio?", agent="clock")
    assert run["status"] == "success"
    delegated = agents.gateway.delegations[-1]
    assert set(delegated["scopes"]) == {"tools:call", "runs:write"}  # what the role has: the gateway takes the two
    assert set(delegated["bounds"]) == set(everything)


@pytest.mark.covers("agents:structured-answer")
async def test_an_agent_with_a_schema_answers_with_what_fits_it_or_not_at_all(agents: Any) -> None:
    agents.gateway.answers["colombia/validate_nit"] = lambda given: {"nit": given["nit"], "valid": True}
    schema = {
        "type": "object",
        "properties": {"nit": {"type": "string"}},
        "required": ["nit"],
        "additionalProperties": False,
    }
    await save(agents.acme, servers=["colombia"], output=schema)
    run = await agents.acme.run("¿Es válido el NIT 900.123.456-8?", agent="clock")
    assert run["status"] == "success", run
    assert run["output"] == {"nit": "900.123.456-8"}
    schema["required"].append("colour")
    schema["properties"]["colour"] = {"type": "string", "enum": ["red"]}
    await save(agents.acme, servers=["colombia"], output=schema)
    run = await agents.acme.run("¿Es válido el NIT 900.123.456-8?", agent="clock")
    assert (run["status"], run["error"]["code"]) == ("error", "answer_invalid"), run


@pytest.mark.covers("agents:saved-with-warnings")
@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ({"tools": ["colombia/*"]}, []),
        ({"servers": ["bilding"]}, ["servers: 'bilding' matches no installed server"]),
        ({"tools": ["billing/pay_*", "!colombia/x*"]}, ["tools: '!colombia/x*' matches no tool of the installed"]),
        ({"tools": ["!*/*"]}, ["the agent has no tool"]),
        ({"approvals": [{"tool": "billing/refund*"}]}, ["approvals.0.tool: 'billing/refund*' matches no tool"]),
        ({"tools": ["auth/create_api_key"]}, ["scopes: 'auth/create_api_key' needs tenant:admin"]),
        ({"languages": ["fr"], "instructions": "Dis l'heure."}, ["languages: 'fr' is spoken by language models alone"]),
        ({"languages": ["es", "pt"]}, ["no instructions in 'pt': those in 'es'", "'pt' is spoken by language models"]),
        ({"languages": ["fr"], "instructions": "x", "model": "openai/gpt-5-mini"}, []),
        ({"budget": {"cost": "9000", "currency": "COP"}}, ["budget.cost: it is in COP, and TAUSESTACK_COP_PER_USD"]),
        ({"monthly": {"cost": "9000", "currency": "COP"}}, ["monthly.cost: it is in COP"]),
        ({"budget": {"cost": "9"}}, []),
    ],
)
async def test_what_may_not_be_meant_is_saved_and_said(agents: Any, more: dict[str, Any], warnings: list[str]) -> None:
    saved = await save(agents.acme, **more)
    assert saved["new"]
    assert len(saved["warnings"]) == len(warnings), saved
    for told, part in zip(saved["warnings"], warnings, strict=True):
        assert part in told


@pytest.mark.covers("agents:saved-with-warnings")
@pytest.mark.parametrize(("rate", "warned"), [("4100.50@2026-11-20", False), ("dear", True)])
async def test_a_budget_in_pesos_is_warned_of_unless_the_deployment_has_a_rate(
    agents: Any, monkeypatch: pytest.MonkeyPatch, rate: str, warned: bool
) -> None:
    monkeypatch.setenv("TAUSESTACK_COP_PER_USD", rate)
    saved = await save(agents.acme, budget={"cost": "9000", "currency": "COP"})
    assert bool(saved["warnings"]) == warned


@pytest.mark.covers("agents:saved-with-warnings")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tools": ["billing"]}, "tools.0: 'billing' is no address of a tool, which is server/tool: 'billing/*'?"),
        ({"servers": ["billing/pay_invoice"]}, "servers.0: 'billing/pay_invoice' can't be a server's name"),
        ({"approvals": [{"tool": "pay_invoice"}]}, "approvals.0.tool: 'pay_invoice' is no address"),
    ],
)
async def test_a_pattern_that_nothing_can_match_is_refused(agents: Any, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        await save(agents.acme, **more)
    assert told in refused.value.message
