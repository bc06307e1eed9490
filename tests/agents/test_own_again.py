"""Own code that is taken up again, tried again, or answers oddly: each call once, each decision for its own."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import tausestack as ts
from tausestack.errors import Unavailable

pytestmark = pytest.mark.anyio

PUT = "storage/put_json"


class Noted(TypedDict, total=False):
    """A graph's state."""

    input: str
    output: str


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test registers to the test."""
    monkeypatch.setattr("tausestack.agents.own._registered", {})


def graph_of(node: Any, **more: Any) -> Any:
    graph = StateGraph(Noted)
    graph.add_node("charge", node, **more)
    graph.add_edge(START, "charge")
    graph.add_edge("charge", END)
    return graph


async def decided(agents: Any, run: dict[str, Any], *, approve: bool = True) -> dict[str, Any]:
    """Decide on what a run waits for, and return it once it ended or waits again."""
    return await agents.acme.call("resume", {"run": run["id"], "decision": {"approve": approve}, "wait": 60})


@pytest.mark.covers("agents:own-graph")
@pytest.mark.parametrize("approve", [True, False])
async def test_a_doubt_within_a_graph_is_decided_and_the_next_one_is_asked_about_anew(
    agents: Any, approve: bool
) -> None:
    tried: list[int] = []

    async def work() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise Unavailable("the line broke")
        return "charged"

    async def charge(state: Noted) -> Noted:
        return {"output": str(await ts.agents.once("charge", work))}

    ts.agents.register("till", graph_of(charge))
    run = await agents.acme.run("Cobra", agent="till")
    assert (run["status"], run["interrupt"]["kind"], len(tried)) == ("interrupted", "decision", 1), run
    run = await decided(agents, run, approve=approve)
    if not approve:
        assert (run["status"], len(tried)) == ("error", 1), run
        return
    assert (run["status"], run["interrupt"]["kind"], len(tried)) == ("interrupted", "decision", 2), run
    run = await decided(agents, run)
    assert (run["status"], run["output"], len(tried)) == ("success", "charged", 3), run


@pytest.mark.covers("agents:own-graph")
async def test_a_node_that_its_graph_tries_again_makes_its_calls_once(agents: Any) -> None:
    tried: list[int] = []

    async def charge(state: Noted) -> Noted:
        for _ in range(2):
            await ts.agents.call(PUT, {"key": "paid", "value": 1})
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError("later")
        return {"output": "ok"}

    ts.agents.register("till", graph_of(charge, retry_policy=RetryPolicy(initial_interval=0.01)), tools=["storage/*"])
    run = await agents.acme.run("Cobra", agent="till")
    assert (run["status"], len(tried), agents.gateway.effects[PUT]) == ("success", 3, 2), run


@pytest.mark.covers("agents:own-graph")
async def test_equal_calls_of_a_part_that_its_graph_loops_through_are_each_made(agents: Any) -> None:
    class Counted(TypedDict, total=False):
        input: str
        output: str
        rounds: int

    async def charge(state: Counted) -> Counted:
        await ts.agents.call(PUT, {"key": "paid", "value": 1})
        return {"output": "ok", "rounds": state.get("rounds", 0) + 1}

    inner = StateGraph(Counted)
    inner.add_node("charge", charge)
    inner.add_edge(START, "charge")
    inner.add_edge("charge", END)
    outer = StateGraph(Counted)
    outer.add_node("till", inner.compile())
    outer.add_edge(START, "till")
    outer.add_conditional_edges("till", lambda state: END if state["rounds"] > 2 else "till")
    ts.agents.register("till", outer, tools=["storage/*"], approvals=[{"tool": PUT}])
    run = await agents.acme.run("Cobra tres veces", agent="till")
    held = 0
    while run["status"] == "interrupted":
        held += 1
        run = await decided(agents, run)
    assert (run["status"], held, agents.gateway.effects[PUT]) == ("success", 3, 3), run


@pytest.mark.covers("agents:own-graph")
async def test_of_calls_held_at_once_in_a_node_each_gets_its_own_decision(agents: Any) -> None:
    async def charge(state: Noted) -> Noted:
        calls = [ts.agents.call(PUT, {"key": key, "value": 1}) for key in "ab"]
        return {"output": json.dumps(await asyncio.gather(*calls))}

    ts.agents.register("till", graph_of(charge), tools=["storage/*"], approvals=[{"tool": PUT}])
    run = await agents.acme.run("Cobra", agent="till")
    while run["status"] == "interrupted":
        run = await decided(agents, run)
    assert (run["status"], agents.gateway.effects[PUT]) == ("success", 2), run


@pytest.mark.covers("agents:own-agent")
async def test_the_same_call_of_two_functions_is_two_calls_also_after_a_stop(agents: Any) -> None:
    functions: FunctionToolset[None] = FunctionToolset()

    @functions.tool_plain
    async def count() -> str:
        """Count one."""
        await ts.agents.call(PUT, {"key": "n", "value": 1})
        return "counted"

    def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turns = sum(isinstance(message, ModelResponse) for message in messages)
        script = [ToolCallPart("count", {}, "c1"), ToolCallPart("count", {}, "c2"), TextPart("Hecho.")]
        return ModelResponse([script[turns]])

    counter = Agent(FunctionModel(think), toolsets=[functions])
    ts.agents.register("counter", counter, tools=[PUT], approvals=[{"tool": PUT}])
    run = await agents.acme.run("Cuenta dos veces", agent="counter")
    held = 0
    while run["status"] == "interrupted":
        held += 1
        run = await decided(agents, run)
    assert (run["status"], held, agents.gateway.effects[PUT]) == ("success", 2, 2), run


@pytest.mark.covers("agents:own-failures")
async def test_code_that_catches_what_stops_it_ends_as_failed_and_its_call_is_not_made(agents: Any) -> None:
    async def charge(state: Noted) -> Noted:
        try:
            await ts.agents.call(PUT, {"key": "a", "value": 1})
        except Exception:  # noqa: BLE001 as such code is written, and what it must not do
            return {"output": "it failed"}
        return {"output": "ok"}

    ts.agents.register("till", graph_of(charge), tools=["storage/*"], approvals=[{"tool": PUT}])
    run = await agents.acme.run("Cobra", agent="till")
    assert (run["status"], run["error"]["code"]) == ("error", "agent_failed"), run
    assert "waits for a person" in run["error"]["message"]
    assert agents.gateway.effects[PUT] == 0


@pytest.mark.covers("agents:own-failures")
async def test_what_is_no_text_and_no_json_is_answered_as_json_or_ends_as_the_codes_failure(agents: Any) -> None:
    async def charge(state: Noted) -> Noted:
        async def odd() -> Any:
            return {"nan": float("nan"), "half": "\ud800"}

        await ts.agents.once("odd", odd)
        return {"output": "x"}

    answers: list[tuple[Any, str | None]] = [
        ({"total": 3}, '{"total": 3}'),
        (None, "null"),
        ("\ud800", "?"),
        (float("nan"), "null"),
        (object(), None),
        ("x" * 10_000_000, None),
    ]
    for number, (said, expected) in enumerate(answers):
        ts.agents.register(f"odd-{number}", graph_of(charge), output=lambda _, said=said: said)
        run = await agents.acme.run("x", agent=f"odd-{number}")
        assert run["output"] == expected, run
        if expected is None:
            assert run["error"]["code"] == "agent_failed", run
        assert run["steps"][0]["result"] == {"result": {"nan": None, "half": "?"}}
    json.dumps(await agents.acme.call("list_runs"), allow_nan=False)


@pytest.mark.covers("agents:own-failures")
async def test_code_that_would_end_the_process_ends_its_run_alone(agents: Any) -> None:
    async def leaves(state: Noted) -> Noted:
        sys.exit(3)

    ts.agents.register("till", graph_of(leaves))
    run = await agents.acme.run("Cobra", agent="till")
    assert (run["status"], run["error"]["code"], run["error"]["step"]) == ("error", "agent_failed", "charge"), run
    assert "SystemExit" in run["error"]["message"]
    assert (await agents.globex.run("¿Qué hora es en Tokio?"))["status"] == "success"
