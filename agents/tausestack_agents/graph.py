"""The graph of a run: route → plan → steps, side by side where they may be ⇄ approve, hand over → answer.

All that is not told by the code alone is in the run's journal: gone through anew, the graph comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from pydantic_ai.exceptions import AgentRunError

from tausestack.errors import TauseError
from tausestack_agents.domain import Decision
from tausestack_agents.planner.confirming import acts_of
from tausestack_agents.planner.text import Language, language
from tausestack_agents.spending import BudgetExceeded
from tausestack_agents.state import Cast, Handoff, Member, Part, Planned, RunPlan, State, StepInput
from tausestack_agents.toolset import Held

MAX_HANDOFFS = 4
"""How often a run may be handed over; and never to an agent that had it before."""
MAX_PARTS = 12
"""How many parts a plan may have."""
SUPERSTEPS = 400
"""How many rounds of the graph one claim of a run may take: a bound on loops, far above what a plan can need."""
AT_ONCE = 4
"""How many steps of a run go on at once."""


_RUN = "__run__"
"""Where a run's nodes find it in LangGraph's configuration: a name that is never checkpointed."""


class RunGraph:
    """The graph at one run; what its nodes need beyond the state is the run's own and never checkpointed."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._seen: State | None = None
        self._failed: Exception | None = None

    def see(self, state: State) -> None:
        """Take the state that a run goes on from: a step is sent its number alone, lest each keep a copy."""
        self._seen = state

    def compiled(self, saver: BaseCheckpointSaver[Any]) -> Any:
        """Return the compiled graph with what keeps its checkpoints."""
        return _compiled().copy({"checkpointer": saver})

    def config(self, place: Mapping[str, Mapping[str, Any]]) -> Any:
        """Return LangGraph's configuration, given where the run's checkpoints are."""
        configurable = {**place["configurable"], _RUN: self}
        return {"configurable": configurable, "recursion_limit": SUPERSTEPS, "max_concurrency": AT_ONCE}

    def _routed(self, state: State) -> str:
        return "hand_over" if state.get("handoff") else "plan"

    def _next(self, state: State) -> str | list[Send]:
        """Send every step that can be done now; where none can, have what holds them decided, or answer."""
        self._seen = state
        if state.get("handoff"):
            return "hand_over"
        if ready := self._ready(state):
            return [Send("step", {"index": index, "alone": len(ready) == 1}) for index in ready]
        return "approve" if _held(state) else "answer"

    def _ready(self, state: State) -> list[int]:
        """Return the steps that can be done now."""
        done, held = state.get("results", {}), _held(state)
        ready = [
            index
            for index, part in enumerate(state.get("parts", []))
            if str(index) not in done and str(index) not in held and all(str(each) in done for each in part["after"])
        ]
        # Where a budget leaves room for fewer, the first have it, and not whichever is quickest.
        return ready[: self._cast.room()]

    async def _member(self, state: State) -> Member:
        return await self._cast.member(state["path"][-1])

    async def _route(self, state: State) -> dict[str, Any]:
        """Note the language of the request, and whose it had better be."""
        member, path, request = await self._member(state), state["path"], state.get("input", "")
        offered = await self._cast.offered(member, path)
        to = await self._cast.routed(path)
        if to is None:
            to = await member.thinker.route(request, state.get("turns", []), offered)
        handoff = Handoff(to=to, reason="") if to else None
        return {"language": language(request), "handoffs": offered, "handoff": handoff}

    async def _plan(self, state: State) -> dict[str, Any]:
        """Divide the request, and search the tools of each part; what was planned before holds."""
        member, task = await self._member(state), _task(state, "plan")
        turns, before = state.get("turns", []), state.get("before", [])
        planned = (await member.thinker.divide(task, state.get("input", ""), turns, before))[:MAX_PARTS]
        plan = await self._cast.planned(task, [each.text for each in planned])
        if plan is None:
            today = datetime.now(UTC).date().isoformat()
            plan = RunPlan(
                parts=await self._parts(member, planned),
                language=_spoken(planned, state.get("language", "en")),
                today=today,
                handoffs=dict(state.get("handoffs", {})),
            )
            await self._cast.keep_plan(task, plan)
        return {**plan, "results": None, "held": None}

    async def _parts(self, member: Member, planned: Sequence[Planned]) -> list[Part]:
        parts: list[Part] = []
        barrier: int | None = None
        for index, each in enumerate(planned):
            if each.reply is not None:
                tools = [act["tool"] for act in acts_of(each.reply)]
                parts.append(Part(text=each.text, tools=tools, after=[], reply=each.reply))
                continue
            tools = await member.tools.search(each.text)
            if each.after is not None:
                after = sorted({number for number in each.after if 0 <= number < index})
            elif len(planned) > 1 and await member.thinker.stands_alone(each.text, tools):
                after = [] if barrier is None else [barrier]
            else:
                after, barrier = list(range(index)), index
            parts.append(Part(text=each.text, tools=tools, after=after))
        return parts

    async def _step(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Serve a part; one whose call is held comes back here with the decision.

        One that was sent alone is followed here by those that come next alone: a round of the graph for each would
        cost more than the step.
        """
        state, index = self._seen, int(sent["index"])
        assert state is not None
        results: dict[str, Any] = {}
        while True:
            came = await self._served(state, index)
            results |= came.get("results", {})
            if not sent.get("alone") or came.get("handoff") or "results" not in came:
                return {**came, "results": results}
            done = {**state.get("results", {}), **came["results"]}
            state = state.copy()
            state["results"], state["held"] = done, {**state.get("held", {}), **came["held"]}
            following = self._ready(state)
            if len(following) != 1 or _held(state):
                return {"results": results, "held": came["held"]}
            (index,) = following

    async def _served(self, state: State, index: int) -> dict[str, Any]:
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
            today=_today(state),
            handoffs=state["handoffs"] if "handoffs" in state else await self._cast.offered(member, state["path"]),
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
        given: dict[str, Any] = interrupt(waiting)
        decision = {name: each for name, each in given.items() if name != "about"}
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
        task, spoken = _task(state, "answer"), state.get("language", "en")
        said = await member.thinker.word(task, request, results, spoken, _today(state))
        text = said.text.replace("\0", "")  # a tool may have returned one, and PostgreSQL's text can't hold it
        return {"answer": text, "structured": said.structured, "answered": True}


@cache
def _compiled() -> Any:
    """Return the graph of all runs, whose nodes are the run's own: to compile it costs as much as some steps."""
    graph: Any = StateGraph(State)  # its methods' types are partly unknown to a strict checker
    for name in ("route", "plan", "step", "gather", "approve", "hand_over", "answer"):
        graph.add_node(name, _node(f"_{name}"))
    onward = ["step", "approve", "hand_over", "answer"]
    graph.add_edge(START, "route")
    graph.add_conditional_edges("route", _edge("_routed"), ["hand_over", "plan"])
    for name in ("plan", "gather", "approve"):
        graph.add_conditional_edges(name, _edge("_next"), onward)
    graph.add_edge("step", "gather")
    graph.add_edge("hand_over", "route")
    graph.add_edge("answer", END)
    return graph.compile()


def _node(name: str) -> Callable[..., Any]:
    async def node(state: Any, config: RunnableConfig) -> Any:
        return await getattr(_run_of(config), name)(state)

    return node


def _edge(name: str) -> Callable[..., Any]:
    def edge(state: Any, config: RunnableConfig) -> Any:
        return getattr(_run_of(config), name)(state)

    return edge


def _run_of(config: RunnableConfig) -> RunGraph:
    return config.get("configurable", {})[_RUN]


def _needed(parts: Sequence[Part], index: int) -> list[int]:
    """Return the parts that have to come before one, those before them among them."""
    found: set[int] = set()
    above = list(parts[index]["after"])
    while above:
        each = above.pop()
        if each not in found:
            found.add(each)
            above += parts[each]["after"]
    return sorted(found)


def _held(state: State) -> dict[str, dict[str, Any]]:
    return {index: each for index, each in state.get("held", {}).items() if each is not None}


def _today(state: State) -> date:
    """Return the day that a run was planned on, which stays its today."""
    return date.fromisoformat(state["today"]) if "today" in state else datetime.now(UTC).date()


def _spoken(planned: Sequence[Planned], otherwise: Language) -> Language:
    """Return the language of what is answered, where a request is but an answer: `ok` has none of its own."""
    asked = [question for each in planned if each.reply is not None for question in each.reply["questions"]]
    return asked[0]["spoken"] if asked else otherwise


def _task(state: State, name: str) -> str:
    """Return the name of a task in the journal: that of an agent that took over begins with how many did."""
    leg = len(state["path"]) - 1
    return f"{leg}.{name}" if leg else name
