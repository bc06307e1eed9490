"""The graph of a run: route → plan → steps, side by side where they may be ⇄ approve, hand over → answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from pydantic_ai.exceptions import AgentRunError

from tausestack.errors import TauseError
from tausestack_agents.domain import Decision
from tausestack_agents.planner.text import language
from tausestack_agents.spending import BudgetExceeded
from tausestack_agents.state import Cast, Handoff, Member, Part, State, StepInput
from tausestack_agents.toolset import Held

MAX_HANDOFFS = 4
"""How often a run may be handed over; and never to an agent that had it before."""
MAX_PARTS = 12
"""How many parts a plan may have."""
SUPERSTEPS = 400
"""How many rounds of the graph one claim of a run may take: a bound on loops, far above what a plan can need."""
AT_ONCE = 4
"""How many steps of a run go on at once."""


class RunGraph:
    """The graph of one run; what its nodes need beyond the state is the run's own and never checkpointed."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._seen: State | None = None
        self._failed: Exception | None = None

    def see(self, state: State) -> None:
        """Take the state that a run goes on from: a step is sent its number alone, lest each keep a copy."""
        self._seen = state

    def build(self) -> Any:
        """Return the `StateGraph`; compile it with the tenant's saver."""
        graph: Any = StateGraph(State)  # its methods' types are partly unknown to a strict checker
        for name in ("route", "plan", "step", "gather", "approve", "hand_over", "answer"):
            graph.add_node(name, getattr(self, f"_{name}"))
        onward = ["step", "approve", "hand_over", "answer"]
        graph.add_edge(START, "route")
        graph.add_conditional_edges("route", self._routed, ["hand_over", "plan"])
        graph.add_conditional_edges("plan", self._next, onward)
        graph.add_edge("step", "gather")
        graph.add_conditional_edges("gather", self._next, onward)
        graph.add_conditional_edges("approve", self._next, onward)
        graph.add_edge("hand_over", "route")
        graph.add_edge("answer", END)
        return graph

    def _routed(self, state: State) -> str:
        return "hand_over" if state.get("handoff") else "plan"

    def _next(self, state: State) -> str | list[Send]:
        """Send every step that can be done now; where none can, have what holds them decided, or answer."""
        self._seen = state
        if state.get("handoff"):
            return "hand_over"
        done, held = state.get("results", {}), _held(state)
        ready = [
            index
            for index, part in enumerate(state.get("parts", []))
            if str(index) not in done and str(index) not in held and all(str(each) in done for each in part["after"])
        ]
        if ready:
            # Where a budget leaves room for fewer, the first have it, and not whichever is quickest.
            return [Send("step", {"index": index}) for index in ready[: self._cast.room()]]
        return "approve" if held else "answer"

    async def _member(self, state: State) -> Member:
        return await self._cast.member(state["path"][-1])

    async def _route(self, state: State) -> dict[str, Any]:
        """Note the language of the request, and whose it had better be."""
        member, path, request = await self._member(state), state["path"], state.get("input", "")
        to = await member.thinker.route(request, await self._cast.offered(member, path))
        return {"language": language(request), "handoff": None if to is None else Handoff(to=to, reason="")}

    async def _plan(self, state: State) -> dict[str, Any]:
        """Divide the request, and search the tools of each part."""
        member = await self._member(state)
        turns, before = state.get("turns", []), state.get("before", [])
        planned = await member.thinker.divide(_task(state, "plan"), state.get("input", ""), turns, before)
        parts: list[Part] = []
        barrier: int | None = None
        for index, each in enumerate(planned[:MAX_PARTS]):
            tools = await member.tools.search(each.text)
            if each.after is not None:
                after = sorted({number for number in each.after if 0 <= number < index})
            elif len(planned) > 1 and await member.thinker.stands_alone(each.text, tools):
                after = [] if barrier is None else [barrier]
            else:
                after, barrier = list(range(index)), index
            parts.append(Part(text=each.text, tools=tools, after=after))
        return {"parts": parts, "results": None, "held": None}

    async def _step(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Serve a part; one whose call is held comes back here with the decision."""
        state, index = self._seen, int(sent["index"])
        assert state is not None
        member, done = await self._member(state), state.get("results", {})
        needed = _needed(state["parts"], index)
        step = StepInput(
            task=_task(state, f"step-{index}"),
            request=state.get("input", ""),
            part=state["parts"][index],
            # Nothing but what it comes after: what else is done by now depends on the clock.
            results=[*state.get("before", []), *(done[str(each)] for each in needed)],
            decisions={call: Decision(**each) for call, each in state.get("decisions", {}).items()},
            turns=state.get("turns", []),
            spoken=state.get("language", "en"),
            today=datetime.now(UTC).date(),
            handoffs=await self._cast.offered(member, state["path"]),
        )
        try:
            result = await member.thinker.serve(step)
        except Held as held:
            return {"held": {str(index): held.interrupt}}
        except (AgentRunError, BudgetExceeded, TauseError) as error:
            # Those beside it come to their ends first: what they did is what the run has.
            self._failed = self._failed or error
            return {"held": {str(index): None}}
        return {"results": {str(index): result}, "held": {str(index): None}, "handoff": result.get("handoff")}

    async def _gather(self, state: State) -> dict[str, Any]:
        """Wait until the steps that were sent at once have all come back; raises what one of them failed with."""
        if self._failed is not None:
            raise self._failed
        return {"run": state["run"]}

    async def _approve(self, state: State) -> dict[str, Any]:
        """Wait for the decision on what is held; other runs first, for those end by themselves."""
        held = sorted(_held(state).items(), key=lambda each: (each[1]["kind"] != "run", int(each[0])))
        index, waiting = held[0]
        decision: dict[str, Any] = interrupt(waiting)
        asked = waiting.get("asked") or waiting["call"]
        decisions = {**state.get("decisions", {}), asked: decision}
        return {"decisions": decisions, "held": {index: None}}

    async def _hand_over(self, state: State) -> dict[str, Any]:
        """Let another agent take over, which is told of what was done."""
        path, handoff = state["path"], state["handoff"]
        assert handoff is not None
        duty = await self._cast.hand_over(path, handoff["to"], handoff["reason"])
        done = [each for _, each in sorted(state.get("results", {}).items(), key=lambda each: int(each[0]))]
        before = [*state.get("before", []), *(each for each in done if each["calls"])]
        again: dict[str, Any] = {"parts": [], "results": None, "held": None, "handoff": None}
        return {**again, "path": [*path, duty], "before": before}

    async def _answer(self, state: State) -> dict[str, Any]:
        """Word the answer."""
        member, done = await self._member(state), state.get("results", {})
        results = [*state.get("before", []), *(done[key] for key in sorted(done, key=int))]
        request = state.get("input", "")
        said = await member.thinker.word(_task(state, "answer"), request, results, state.get("language", "en"))
        text = said.text.replace("\0", "")  # a tool may have returned one, and PostgreSQL's text can't hold it
        return {"answer": text, "structured": said.structured, "answered": True}


def _needed(parts: Sequence[Part], index: int) -> list[int]:
    """Return the parts that have to come before one, those before them among them."""
    found: set[int] = set()
    for each in parts[index]["after"]:
        found |= {each, *_needed(parts, each)}
    return sorted(found)


def _held(state: State) -> dict[str, dict[str, Any]]:
    return {index: each for index, each in state.get("held", {}).items() if each is not None}


def _task(state: State, name: str) -> str:
    """Return the name of a task in the journal: that of an agent that took over begins with how many did."""
    leg = len(state["path"]) - 1
    return f"{leg}.{name}" if leg else name
