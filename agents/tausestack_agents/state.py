"""What a run's graph works on: its state, which is plain JSON, and who does the work.

What tools returned is not in the state: a step's result names the calls in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, NotRequired, Protocol, Required, TypedDict

from tausestack.agents import AgentSpec
from tausestack_agents.domain import Decision
from tausestack_agents.planner.confirming import Reply
from tausestack_agents.planner.text import Language
from tausestack_agents.threads import Past, Turn
from tausestack_agents.tools import ToolBox


class Part(TypedDict):
    """One thing that is asked for, the addresses of the tools found for it, and the parts that have to come first."""

    text: str
    tools: list[str]
    after: list[int]
    reply: NotRequired[Reply]
    """Where it is nothing but an answer to what the turn before asked."""


class Handoff(TypedDict):
    """An agent that a run is to be handed over to, and why."""

    to: str
    reason: str


class RunPlan(TypedDict):
    """What is planned for a request, once: a run that is begun anew, on whatever day, plans nothing else."""

    parts: list[Part]
    language: Language
    today: str
    """ISO 8601."""
    handoffs: dict[str, str]
    """The agents that may take over, with what they are for."""


class Result(TypedDict):
    """What came of a part: a text, and the calls, whose results are in the journal under the task."""

    part: str
    text: str
    task: str
    calls: list[dict[str, Any]]
    handoff: NotRequired[Handoff | None]


class Duty(TypedDict):
    """Whose turn it is: an agent, in the version that it had when the run came to it."""

    agent: str
    version: int | None


def _merged(old: Any, new: Any) -> dict[str, Any]:
    """Add to what there is; None begins anew."""
    return {} if new is None else {**(old if isinstance(old, dict) else {}), **new}


def _first(old: Any, new: Any) -> Any:
    """Keep the first; None begins anew."""
    return new if new is None or old is None else old


class State(TypedDict, total=False):
    """What is checkpointed where a run stops; one that was checkpointed by 0.1.0 has no `today` and no `handoffs`."""

    run: Required[str]
    input: str
    language: Language
    path: Required[list[Duty]]
    parts: Required[list[Part]]
    today: str
    handoffs: Mapping[str, str]
    results: Annotated[dict[str, Result], _merged]
    held: Annotated[dict[str, dict[str, Any] | None], _merged]
    handoff: Required[Annotated[Handoff | None, _first]]
    before: list[Result]
    decisions: dict[str, dict[str, Any]]
    answer: str
    structured: Any
    answered: bool
    summary: str
    turns: list[Turn]


@dataclass(frozen=True, slots=True)
class StepInput:
    """What a thinker is given for one step."""

    task: str
    request: str
    part: Part
    results: list[Result]
    decisions: dict[str, Decision]
    turns: list[Turn]
    spoken: Language
    today: date
    handoffs: Mapping[str, str]
    """The agents that it may hand over to, with what they are for."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A part of a request, and those that have to be done before it; None: whoever serves it tells if it needs any."""

    text: str
    after: tuple[int, ...] | None = None
    reply: Reply | None = None
    """Where it is nothing but an answer to what the turn before asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request; `structured` is what an agent with an output schema says."""

    text: str
    structured: Any = None


class Thinker(Protocol):
    """Divides a request, serves its parts, and words the answer: a language model, or the offline planner."""

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Return the agent that had better serve a request, before anything is planned, or None."""
        ...

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Return the parts of a request, of which an agent before this one may have done some."""
        ...

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """Return whether a part needs nothing of the others and changes nothing: then it may be done beside them."""
        ...

    async def serve(self, step: StepInput) -> Result:
        """Serve a part; raises `Held`."""
        ...

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Return the answer to the whole request, which was planned on a day."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """An agent at work in a run."""

    spec: AgentSpec
    version: int | None
    thinker: Thinker
    tools: ToolBox


class Cast(Protocol):
    """The agents that may come to work in a run."""

    def room(self) -> int:
        """Return how many steps the run's budgets surely have room for, and 1 where that is none."""
        ...

    async def member(self, duty: Duty) -> Member:
        """Return an agent in a version."""
        ...

    async def offered(self, member: Member, path: Sequence[Duty]) -> Mapping[str, str]:
        """Return the agents that one may hand over to, and what for: there are such, and none had the run before."""
        ...

    async def routed(self, path: Sequence[Duty]) -> str | None:
        """Return whose the run was found to be before anything was planned, "" for nobody else's, None if unknown."""
        ...

    async def planned(self, task: str, parts: Sequence[str]) -> RunPlan | None:
        """Return what was planned before for a request that is divided into these parts now."""
        ...

    async def keep_plan(self, task: str, plan: RunPlan) -> None:
        """Keep what was planned."""
        ...

    async def hand_over(self, path: Sequence[Duty], to: str, reason: str) -> Duty:
        """Note that a run is handed over, and return whose turn it is."""
        ...


def initial(run: str, request: str, duty: Duty, past: Past) -> dict[str, Any]:
    """Return the state that a run starts with."""
    return {
        "summary": past.summary, "turns": past.turns,
        "run": run, "input": request, "path": [duty], "parts": [], "results": None, "held": None, "handoff": None,
        "before": [], "decisions": {}, "answer": "", "structured": None, "answered": False,
    }  # fmt: skip
