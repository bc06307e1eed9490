"""Agents of the operator's own code: a graph and a pydantic-ai agent, under the same journal, rules and rights."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import tausestack as ts
from tausestack.errors import InvalidArguments, Unavailable
from tausestack_agents import own

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-agents.md"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test registers to the test."""
    monkeypatch.setattr("tausestack.agents.own._registered", {})


@pytest.mark.covers("agents:own-graph")
@pytest.mark.usefixtures("registry")
async def test_the_documents_graph_runs_is_held_by_its_rule_and_repeats_nothing(
    agents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "my_agents.py").write_text(found[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    own.load({"TAUSESTACK_AGENT_MODULES": "my_agents"})
    monkeypatch.delitem(sys.modules, "my_agents")
    agents.gateway.answers["storage/list_keys"] = lambda _: {"keys": ["invoices/1", "invoices/2"]}

    held = await agents.acme.run("Recuerda las facturas", agent="reminder")

    assert held["status"] == "interrupted", held
    assert (held["interrupt"]["kind"], held["interrupt"]["tool"]) == ("approval", "put_json")
    assert held["interrupt"]["arguments"] == {"key": "reminders/last", "value": "2"}
    assert agents.gateway.effects["storage/put_json"] == 0
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert (ended["status"], ended["output"]) == ("success", "2 invoices"), ended
    assert agents.gateway.effects == {"storage/list_keys": 1, "storage/put_json": 1}
    held = await agents.globex.run("Recuerda las facturas", agent="reminder")
    ended = await agents.globex.call("resume", {"run": held["id"], "decision": {"approve": False}, "wait": 25})
    assert ended["status"] == "error", ended
    assert agents.gateway.effects["storage/put_json"] == 1


@pytest.mark.covers("agents:own-agent")
@pytest.mark.usefixtures("registry")
async def test_a_pydantic_ai_agent_has_the_tenants_tools_and_its_functions_once(agents: Any) -> None:
    sent: list[str] = []
    asked: list[list[str]] = []

    def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(sorted(tool.name for tool in info.function_tools))
        turns = sum(isinstance(message, ModelResponse) for message in messages)
        script = [
            ToolCallPart("notify", {"whom": "Ana"}, "c1"),
            ToolCallPart("storage__put_json", {"key": "a", "value": 1}, "c2"),
            TextPart("Hecho."),
        ]
        return ModelResponse([script[turns]])

    functions: FunctionToolset[None] = FunctionToolset()

    @functions.tool_plain
    def notify(whom: str) -> str:
        """Tell somebody."""
        sent.append(whom)
        return "told"

    agent = Agent(FunctionModel(think), instructions="Remind.", toolsets=[functions])
    ts.agents.register("notifier", agent, tools=["storage/put_json"], approvals=[{"tool": "storage/*"}])

    held = await agents.acme.run("Avisa a Ana", agent="notifier")

    assert (held["status"], held["interrupt"]["tool"]) == ("interrupted", "put_json"), held
    assert asked[0] == ["notify", "storage__put_json"]
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert (ended["status"], ended["output"]) == ("success", "Hecho."), ended
    assert sent == ["Ana"]
    assert len(asked) == 3
    assert [(step["server"], step["tool"], step["status"]) for step in ended["steps"]] == [
        ("own", "notify", "done"),
        ("storage", "put_json", "done"),
    ]


@pytest.mark.covers("agents:own-agent")
@pytest.mark.usefixtures("registry")
async def test_a_function_that_breaks_midway_is_asked_about_each_time_it_does(agents: Any) -> None:
    tried: list[str] = []
    functions: FunctionToolset[None] = FunctionToolset()

    @functions.tool_plain
    def notify(whom: str) -> str:
        """Tell somebody."""
        tried.append(whom)
        if len(tried) < 3:
            raise Unavailable("the line broke")
        return "told"

    def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked = any(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse([TextPart("Hecho.") if asked else ToolCallPart("notify", {"whom": "Ana"}, "c1")])

    ts.agents.register("notifier", Agent(FunctionModel(think), toolsets=[functions]))
    run = await agents.acme.run("Avisa a Ana", agent="notifier")
    for times in (1, 2):
        assert (run["status"], run["interrupt"]["kind"]) == ("interrupted", "decision"), run
        assert len(tried) == times
        run = await agents.acme.call("resume", {"run": run["id"], "decision": {"approve": True}, "wait": 25})
    assert (run["status"], run["output"], len(tried)) == ("success", "Hecho.", 3), run


@pytest.mark.covers("agents:own-agent")
@pytest.mark.usefixtures("registry")
async def test_what_is_registered_is_checked_and_calls_belong_to_a_run(agents: Any) -> None:
    with pytest.raises(InvalidArguments, match="budget"):
        ts.agents.register("wrong", object(), budget={"tokens": 0})
    with pytest.raises(RuntimeError, match="no run"):
        await ts.agents.call("storage/get_json", {"key": "a"})
    ts.agents.register("mine", Agent(), tools=["storage/*"])
    assert [each["name"] for each in (await agents.acme.call("list_agents"))["agents"]] == [
        "billing",
        "concierge",
        "mine",
    ]
    run = await agents.acme.run("hola", agent="mine")
    assert (run["status"], run["error"]["code"]) == ("error", "not_found"), run


class Noted(TypedDict, total=False):
    """A graph's state."""

    input: str
    output: str


@pytest.mark.covers("agents:own-failures")
@pytest.mark.usefixtures("registry")
async def test_own_code_that_raises_ends_the_run_with_its_agent_and_its_step_and_none_of_its_data(agents: Any) -> None:
    async def charge(state: Noted) -> Noted:
        raise KeyError(f"card 4111 1111 1111 1111 of {state.get('input')}")

    graph = StateGraph(Noted)
    graph.add_node("charge", charge)
    graph.add_edge(START, "charge")
    graph.add_edge("charge", END)
    ts.agents.register("till", graph)

    functions: FunctionToolset[None] = FunctionToolset()

    @functions.tool_plain
    def notify(whom: str) -> str:
        """Tell somebody."""
        raise ConnectionResetError(f"{whom} 4111 1111 1111 1111")

    def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([ToolCallPart("notify", {"whom": "Ana"}, "c1")])

    ts.agents.register("notifier", Agent(FunctionModel(think), toolsets=[functions]))
    ts.agents.register("mute", StateGraph(Noted).add_node("silent", lambda _: {}).add_edge(START, "silent"))
    for name, step, kind in (("till", "charge", "KeyError"), ("notifier", "notify", "ConnectionResetError")):
        run = await agents.acme.run("Cobra a Ana", agent=name)
        assert run["status"] == "error"
        error = run["error"]
        assert (error["code"], error["agent"], error["step"]) == ("agent_failed", name, step)
        assert error["message"] == (
            f"The agent '{name}' failed in '{step}': its own code raised {kind}; the agents' log says more"
        )
        assert "4111" not in str(run["error"])
        assert "4111" not in str(await agents.events(run["id"]))
    run = await agents.acme.run("Cobra a Ana", agent="mute")
    assert run["error"]["message"].startswith("The agent 'mute' failed: its own code raised ValueError")
