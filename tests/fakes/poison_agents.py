"""Agents of own code that end, or hold up, the process that they run in, and one that does neither."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any, TypedDict

import anyio
from langgraph.graph import END, START, StateGraph
from pydantic_ai import Agent, FunctionToolset

import tausestack as ts


class Asked(TypedDict, total=False):
    """A graph's state."""

    input: str
    output: str


ENDS = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill the group": lambda: os.kill(0, signal.SIGKILL),
    "exit": lambda: os._exit(0),
    "block": lambda: time.sleep(600),
}


async def poison(state: Asked) -> Asked:
    """Record a visit, and do to the process what was asked for."""
    how = state["input"]
    await ts.agents.call("ledger/record_visit", {"patient": f"of {how}"})
    ENDS[how]()
    return {"output": "it lived"}


async def gentle(state: Asked) -> Asked:
    """Make eight calls."""
    for number in range(8):
        await ts.agents.call("ledger/record_visit", {"patient": f"{state['input']} {number}"})
    return {"output": "done"}


async def stumble() -> str:
    """Look at the till, and fall over it the first time."""
    fallen = anyio.Path(os.environ["POISON_FALLEN"])
    if not await fallen.exists():
        await fallen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "the till is closed"


def register(name: str, node: Any, **more: Any) -> None:
    """Register a graph of one node."""
    graph = StateGraph(Asked)
    graph.add_node("work", node)
    graph.add_edge(START, "work")
    graph.add_edge("work", END)
    ts.agents.register(name, graph, tools=["ledger/*"], **more)


ts.agents.register("thinker", Agent(toolsets=[FunctionToolset([stumble])]))
register("poison", poison)
register("hasty", poison, budget={"seconds": 1})
register("gentle", gentle)
register("held", gentle, approvals=[{"tool": "ledger/*"}])
