"""The graph of a run: route → plan → steps ⇄ approve → answer. Its state is plain JSON."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Protocol, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from tausestack_agents.domain import Decision
from tausestack_agents.planner.text import Language, language
from tausestack_agents.tools import ToolBox
from tausestack_agents.toolset import Held


class Part(TypedDict):
    """One thing that is asked for, and the addresses of the tools found for it."""

    text: str
    tools: list[str]


class Turn(TypedDict):
    """An earlier run of the thread."""

    input: str
    output: str


class State(TypedDict, total=False):
    """What is checkpointed. `turns` grows with the thread; the rest begins anew with each run."""

    run: str
    input: str
    language: Language
    parts: list[Part]
    results: list[dict[str, Any]]
    held: dict[str, Any] | None
    decisions: dict[str, dict[str, Any]]
    answer: str
    answered: bool
    turns: Annotated[list[Turn], operator.add]


@dataclass(frozen=True, slots=True)
class StepInput:
    """What a thinker is given for one step."""

    task: str
    request: str
    part: Part
    results: list[dict[str, Any]]
    decisions: dict[str, Decision]
    turns: list[Turn]
    spoken: Language
    today: date


class Thinker(Protocol):
    """Divides a request, serves its parts, and words the answer: a language model, or the offline planner."""

    async def divide(self, request: str, turns: list[Turn]) -> list[str]:
        """Return the parts of a request."""
        ...

    async def serve(self, step: StepInput) -> dict[str, Any]:
        """Serve a part: `{"text", "calls": [{"address", "arguments", "status", "result"}]}`; raises `Held`."""
        ...

    async def word(self, request: str, results: list[dict[str, Any]], spoken: Language) -> str:
        """Return the answer to the whole request."""
        ...


def initial(run: str, request: str) -> State:
    """Return the state that a run starts with."""
    return State(run=run, input=request, parts=[], results=[], held=None, decisions={}, answer="", answered=False)


def build(thinker: Thinker, tools: ToolBox) -> Any:
    """Return the `StateGraph` of one run; compile it with the tenant's saver."""
    nodes = _Nodes(thinker, tools)
    graph: Any = StateGraph(State)  # its methods' types are partly unknown to a strict checker
    graph.add_node("route", nodes.route)
    graph.add_node("plan", nodes.plan)
    graph.add_node("steps", nodes.steps)
    graph.add_node("approve", nodes.approve)
    graph.add_node("answer", nodes.answer)
    graph.add_edge(START, "route")
    graph.add_edge("route", "plan")
    graph.add_conditional_edges("plan", _next, ["steps", "approve", "answer"])
    graph.add_conditional_edges("steps", _next, ["steps", "approve", "answer"])
    graph.add_edge("approve", "steps")
    graph.add_edge("answer", END)
    return graph


def _next(state: State) -> str:
    if state.get("held"):
        return "approve"
    return "steps" if len(state.get("results", [])) < len(state.get("parts", [])) else "answer"


class _Nodes:
    """The graph's nodes: what they need beyond the state is the run's own and never checkpointed."""

    def __init__(self, thinker: Thinker, tools: ToolBox) -> None:
        self._thinker = thinker
        self._tools = tools

    async def route(self, state: State) -> dict[str, Any]:
        """Note the language of the request."""
        return {"language": language(state.get("input", ""))}

    async def plan(self, state: State) -> dict[str, Any]:
        """Divide the request, and search the tools of each part."""
        texts = await self._thinker.divide(state.get("input", ""), state.get("turns", []))
        return {"parts": [Part(text=text, tools=await self._tools.search(text)) for text in texts]}

    async def steps(self, state: State) -> dict[str, Any]:
        """Serve the next part; one whose call is held comes back here with the decision."""
        done, parts = state.get("results", []), state.get("parts", [])
        step = StepInput(
            task=f"step-{len(done)}",
            request=state.get("input", ""),
            part=parts[len(done)],
            results=done,
            decisions={call: Decision(**each) for call, each in state.get("decisions", {}).items()},
            turns=state.get("turns", []),
            spoken=state.get("language", "en"),
            today=datetime.now(UTC).date(),
        )
        try:
            result = await self._thinker.serve(step)
        except Held as held:
            return {"held": held.interrupt}
        return {"results": [*done, result], "held": None}

    async def approve(self, state: State) -> dict[str, Any]:
        """Wait for the decision on what is held."""
        held = state.get("held")
        assert held is not None
        decision: dict[str, Any] = interrupt(held)
        return {"decisions": {**state.get("decisions", {}), held["call"]: decision}, "held": None}

    async def answer(self, state: State) -> dict[str, Any]:
        """Word the answer, and note the turn in the thread."""
        text = await self._thinker.word(state.get("input", ""), state.get("results", []), state.get("language", "en"))
        text = text.replace("\0", "")  # a tool may have returned one, and PostgreSQL's text can't hold it
        return {"answer": text, "answered": True, "turns": [Turn(input=state.get("input", ""), output=text)]}
