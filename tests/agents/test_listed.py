"""Lists of runs: summaries, however much the runs have come to."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

import tausestack as ts
from tausestack_agents.summaries import PREVIEW, STEPS

pytestmark = pytest.mark.anyio
BIG = 900_000
"""Characters of an answer: some seventeen of them are more than the gateway takes of one reply."""
RUNS = 18


class Told(TypedDict, total=False):
    """A graph's state."""

    input: str
    output: str


def register(tell: Callable[[Told], Awaitable[Told]]) -> None:
    """Register the agent `teller`: a graph of this one node."""
    graph = StateGraph(Told)
    graph.add_node("tell", tell)
    graph.add_edge(START, "tell")
    graph.add_edge("tell", END)
    ts.agents.register("teller", graph, tools=["storage/*"])


@pytest.mark.covers("agents:runs-listed")
@pytest.mark.parametrize("agents", ["sqlite", "postgresql"], indirect=True)
async def test_a_list_of_runs_that_came_to_much_says_what_it_leaves_out(
    agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tausestack.agents.own._registered", {})

    async def tell(state: Told) -> Told:
        for number in range(STEPS + 2 if "calls" in state["input"] else 1):
            await ts.agents.call("storage/put_json", {"key": f"k{number}", "value": "x" * 10_000})
        return {"output": "y" * BIG}

    register(tell)
    for number in range(RUNS):
        assert (await agents.acme.run(f"{number} " + "z" * 2000, agent="teller"))["status"] == "success"
    many = await agents.acme.run("many calls", agent="teller")
    listed = await agents.acme.call("list_runs", {"limit": 200})
    assert len(json.dumps(listed)) < (RUNS + 1) * 10_000
    found = listed["runs"][0]
    whole = await agents.acme.call("get_run", {"run": found["id"]})
    assert (found["id"], len(whole["output"]), len(whole["steps"])) == (many["id"], BIG, STEPS + 2)
    assert (found["output"], len(found["steps"])) == (whole["output"][:PREVIEW], STEPS)
    assert found["truncated"] == ["output", "steps"]
    assert listed["runs"][1]["truncated"] == ["input", "output", "steps"]
    for name in ("id", "agent", "thread", "status", "cost", "created_at", "ended_at", "version"):
        assert found[name] == whole[name], name
    assert found["steps"][0] == {"server": "storage", "tool": "put_json", "status": "done"}
    assert found.keys() - whole.keys() == {"truncated", "started_at"}
    assert whole.keys() - found.keys() == set()


@pytest.mark.covers("agents:runs-listed")
async def test_a_run_or_a_thread_that_came_to_more_than_a_reply_may_hold_is_shown_as_far_as_it_does(
    agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tausestack.agents.own._registered", {})
    agents.gateway.answers["storage/get_json"] = lambda asked: {"of": asked["key"], "value": "x" * 1_500_000}

    async def tell(state: Told) -> Told:
        for number in range(4):
            await ts.agents.call("storage/get_json", {"key": f"k{number}"})
        return {"output": "y" * BIG}

    register(tell)
    for number in range(3):
        run = await agents.acme.run(f"turn {number}", agent="teller", thread="t1")
    assert (run["status"], run["truncated"]) == ("success", ["steps"])
    assert [step.get("truncated", False) for step in run["steps"]] == [False, False, True, True]
    assert run["steps"][1]["result"]["of"] == "k1"
    assert len(run["output"]) == BIG
    turns = (await agents.acme.call("get_thread", {"thread": "t1"}))["turns"]
    assert [turn["input"] for turn in turns] == ["turn 1", "turn 2"]
    earlier = {"thread": "t1", "before": turns[0]["created_at"]}
    assert [turn["input"] for turn in (await agents.acme.call("get_thread", earlier))["turns"]] == ["turn 0"]


@pytest.mark.covers("agents:runs-listed")
async def test_a_listed_run_that_is_short_is_whole_and_says_what_it_waits_for_and_failed_with(agents: Any) -> None:
    plain = await agents.acme.run("¿Qué hora es en Tokio y en Lima y qué hago?")
    spec = {"name": "asks", "instructions": "Ask.", "tools": ["storage/*"], "approvals": [{"side_effect": "write"}]}
    await agents.acme.call("save_agent", {"spec": spec})
    held = await agents.acme.run(f"Guarda {json.dumps({'n': 'x' * 600})} en la clave a/b", agent="asks")
    assert held["status"] == "interrupted", held
    waiting, first = (await agents.acme.call("list_runs"))["runs"]
    assert waiting["interrupt"] == {name: each for name, each in held["interrupt"].items() if name != "arguments"}
    assert "interrupt" in waiting["truncated"]
    assert (first["output"], first["cost"], first["input"]) == (plain["output"], plain["cost"], plain["input"])
    cancelled = await agents.acme.call("cancel", {"run": held["id"]})
    assert (await agents.acme.call("list_runs", {"status": "cancelled"}))["runs"][0]["cost"] == cancelled["cost"]
