"""A third party's tool that does not say that it only reads: built-in agents ask a person before they call it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from model_server import calls, plans

from tausestack.errors import Forbidden, InvalidArguments

pytestmark = pytest.mark.anyio

SAVE = 'Guarda {"modo": "oscuro"} en la clave ajustes/tema'
NOTES = "storage/put_json"
"""Stands for a third party's tool."""


def says(agents: Any, annotations: dict[str, Any] | None, address: str = NOTES) -> None:
    """Have a server say this of its tool, and nothing else."""
    agents.gateway.tools = copy.deepcopy(agents.gateway.tools)
    tool = next(tool for tool in agents.gateway.tools if tool["address"] == address)
    tool.pop("annotations", None)
    tool.get("_meta", {}).pop("pro.tause/tool", None)
    if annotations is not None:
        tool["annotations"] = annotations


@pytest.mark.covers("agents:silent-tools")
@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {},
        {"title": "Notes"},
        {"destructiveHint": False, "openWorldHint": False},
        {"readOnlyHint": False},
        {"readOnlyHint": "true"},
    ],
)
async def test_the_concierge_asks_unless_the_tool_says_that_it_only_reads(
    agents: Any, annotations: dict[str, Any] | None
) -> None:
    says(agents, annotations)
    run = await agents.acme.run(SAVE)
    assert (run["status"], run["interrupt"]["kind"]) == ("interrupted", "approval"), run
    assert run["interrupt"]["reason"] == "It acts outside, or its server does not say that it only reads."
    assert agents.gateway.effects[NOTES] == 0
    ended = await agents.acme.call("resume", {"run": run["id"], "decision": {"approve": True}})
    assert ended["status"] == "success", ended
    assert agents.gateway.effects[NOTES] == 1
    clock = "mcp-server-time/get_current_time"
    says(agents, {"readOnlyHint": True}, clock)
    assert (await agents.acme.run("¿Qué hora es en Tokio?"))["status"] == "success"
    assert agents.gateway.effects[clock] == 1


@pytest.mark.covers("agents:silent-tools")
async def test_a_language_model_is_held_by_it_before_anything_was_read(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ()
    agents = await process.start()
    says(agents, None, "mcp-server-time/get_current_time")
    model.script = [
        plans("¿Qué hora es en Lima?"),
        calls("mcp-server-time__get_current_time", {"timezone": "America/Lima"}),
    ]
    run = await agents.acme.run("¿Qué hora es en Lima?")
    assert (run["status"], run["interrupt"]["tool"]) == ("interrupted", "get_current_time"), run
    assert gateway.effects["mcp-server-time/get_current_time"] == 0


@pytest.mark.covers("agents:silent-tools")
async def test_a_tenant_names_the_tools_that_need_no_asking_and_takes_that_back(agents: Any) -> None:
    says(agents, None)
    assert await agents.acme.call("allow_tools", {"tools": ["storage/*"]}) == {"tools": ["storage/*"]}
    assert (await agents.acme.run(SAVE))["status"] == "success"
    assert (await agents.acme.call("list_agents"))["allowed_tools"] == ["storage/*"]
    assert (await agents.globex.run(SAVE))["status"] == "interrupted"
    held = await agents.acme.run("Crea una factura para Ana por 10 USD de té")
    assert held["status"] == "interrupted", "what the tool's own policy holds is held all the same"
    await agents.acme.call("allow_tools", {"tools": []})
    assert (await agents.acme.run(SAVE))["status"] == "interrupted"


@pytest.mark.covers("agents:silent-tools")
async def test_a_tenants_own_rules_hold_whatever_is_allowed_and_an_agent_without_any_is_warned_of(agents: Any) -> None:
    says(agents, None)
    await agents.acme.call("allow_tools", {"tools": ["storage/*"]})
    spec = {"name": "clock", "instructions": "Tell the time.", "servers": ["storage"]}
    saved = await agents.acme.call("save_agent", {"spec": spec})
    assert saved["warnings"] == [
        f"approvals: nobody is asked before {NOTES}: they act outside, or don't say that they only read"
    ]
    assert (await agents.acme.run(SAVE, agent="clock"))["status"] == "success"
    saved = await agents.acme.call("save_agent", {"spec": {**spec, "approvals": [{"side_effect": "external"}]}})
    assert saved["warnings"] == []
    assert (await agents.acme.run(SAVE, agent="clock"))["status"] == "interrupted"


@pytest.mark.covers("agents:silent-tools")
async def test_only_a_person_who_may_decide_names_such_tools(agents: Any) -> None:
    with pytest.raises(Forbidden):
        await agents.acting("acme", "concierge").call("allow_tools", {"tools": ["a/*"]})
    for wrong in ("!a/*", "a"):
        with pytest.raises(InvalidArguments, match="no pattern of addresses"):
            await agents.acme.call("allow_tools", {"tools": [wrong]})
