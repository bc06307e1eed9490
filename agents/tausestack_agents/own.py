"""Running an agent of the operator's own code: under the run's journal, budget, rules and rights, like any other."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from datetime import date
from typing import Any, cast
from uuid import UUID

import structlog
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.runtime import get_runtime
from langgraph.types import interrupt
from pydantic_ai import Agent, RunContext
from pydantic_ai.exceptions import AgentRunError
from pydantic_ai.exceptions import ToolFailed as CallFailed
from pydantic_ai.models import Model
from pydantic_ai.toolsets import CombinedToolset, ToolsetTool, WrapperToolset
from pydantic_ai.usage import UsageLimits
from pydantic_core import to_jsonable_python

from tausestack.agents.own import MODULES, Registered, within
from tausestack.confidential import SHOWN, replaced
from tausestack.errors import NotFound, TauseError, ToolFailed
from tausestack_agents.domain import AgentFailed
from tausestack_agents.models.gathering import MAX_BYTES
from tausestack_agents.models.journaled import JournaledModel
from tausestack_agents.planner.text import Language
from tausestack_agents.spending import BudgetExceeded
from tausestack_agents.state import Answer, Planned, Result, StepInput
from tausestack_agents.store import Fenced, Paused
from tausestack_agents.thinkers import REQUESTS_PER_STEP, Equipment, Models
from tausestack_agents.threads import Turn
from tausestack_agents.toolset import GatewayToolset, Held, as_plain

logger = structlog.get_logger("agents")

_NOTE = "During task with name '{}'"
"""How LangGraph notes on an error which node raised it; an agent's functions do likewise."""
_RAISED_IN = re.compile(_NOTE.format("(.+?)"))
_TOLD_OTHERWISE = (Held, TauseError, BudgetExceeded, AgentRunError, GraphBubbleUp, GraphRecursionError, Fenced, Paused)
"""What comes up through own code and is none of its failures."""
_function: ContextVar[str | None] = ContextVar("tausestack_function", default=None)
"""The call of an agent's own function that this is in: a run that is taken up goes through those that are not done."""


class Apart(Exception):
    """The run has come to own code, which has a process to itself: not this one."""


class _Exited(Exception):
    """Own code would have ended the process, and every tenant's runs with it."""


async def _staying(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise _Exited from error


def _task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    return asyncio.Task(_staying(work), loop=loop, **more)


def _survive_exits() -> None:
    """Have what own code raises to leave the process (`sys.exit`) fail its task alone.

    asyncio lets it out of its loop, whoever waits for the task: the run would be taken up, and end the process, again.
    """
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(_task)


def load(environment: Mapping[str, str]) -> None:
    """Import the modules that register agents; a module that can't be imported keeps the process from starting."""
    for name in named(environment):
        importlib.import_module(name)


def named(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the modules that register agents."""
    return [name.strip() for name in environment.get(MODULES, "").split(",") if name.strip()]


class OwnThinker:
    """Has the whole request served by code of the operator's."""

    def __init__(self, equipment: Equipment, own: Registered, models: Models | None) -> None:
        """`models` makes a model for a pydantic-ai agent that has none of its own."""
        self._has = equipment
        self._own = own
        self._models = models

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Leave it to the code."""
        return None

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Leave the request whole."""
        return [Planned(request, ())]

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """There is but one part."""
        return False

    async def serve(self, step: StepInput) -> Result:
        """Run the code; raises `Held`, and `ToolFailed` where a call's failure was not caught."""
        self._has.spending.step(step.task)
        tools = list((await self._has.tools.all()).values())
        run = _Run(self._has, self._has.toolset(step, tools), step.task)
        _survive_exits()
        with within(run):
            try:
                text = await (self._agent(step, run) if isinstance(self._own.runnable, Agent) else self._graph(step))
            except CallFailed as error:
                raise ToolFailed(str(error)) from error
            except _TOLD_OTHERWISE:
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                raise self._failed(error) from error
        calls = await self._has.made(step.task)
        if waiting := next((call["address"] for call in calls if call["status"] == "waiting"), None):
            name = self._own.spec.name
            # What `ts.agents.call` raises there is the run's, and was taken for a failure: nobody else could tell.
            raise AgentFailed(
                f"The agent '{name}' went on while {waiting} waits for a person: its code catches what stops it there",
                agent=name,
            )
        return Result(part=step.part["text"], text=text, task=step.task, calls=calls)

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Return what the code said."""
        return Answer(results[-1]["text"])

    async def _agent(self, step: StepInput, run: _Run) -> str:
        agent: Agent[Any, Any] = self._own.runnable
        own: Any = agent.model
        if own is None and self._models is not None:
            model: Model = self._models(step.task, self._has.journal, self._has.delegation, self._has.spending)
        elif isinstance(own, Model):
            has = self._has
            model = JournaledModel(cast("Model", own), journal=has.journal, task=step.task, delegation=has.delegation)
        else:
            raise NotFound("The agent has no model: give it one, or start the stack with TAUSESTACK_MODEL")
        toolsets = [run.toolset, _Once(CombinedToolset(list(agent.toolsets)), run)]
        with agent.override(model=model, toolsets=toolsets, tools=[]):
            ran = await agent.run(step.request, usage_limits=UsageLimits(request_limit=REQUESTS_PER_STEP))
        return _text(ran.output)

    def _failed(self, error: BaseException) -> AgentFailed:
        """Return what a run says of an error in the operator's code: where it was, and no word of what it said.

        That may hold anybody's data; it is in the log.
        """
        name, where = self._own.spec.name, _where(error)
        kind = type(error.__cause__ if isinstance(error, _Exited) else error).__name__
        logger.exception("an agent's own code failed", agent=name, step=where or None)
        place = f" in '{where}'" if where else ""
        return AgentFailed(
            f"The agent '{name}' failed{place}: its own code raised {kind}; the agents' log says more",
            agent=name,
            **({"step": where} if where else {}),
        )

    async def _graph(self, step: StepInput) -> str:
        graph: Any = self._own.runnable
        # Without a saver of its own it keeps its state in this run's, below the step: interrupts come up through it.
        compiled: Any = graph if hasattr(graph, "ainvoke") else graph.compile()
        said: Any = self._own.output(await compiled.ainvoke(self._own.input(step.request)))
        return _text(said)


class _Run:
    """The run that own code is in."""

    def __init__(self, equipment: Equipment, toolset: GatewayToolset, task: str) -> None:
        self._has = equipment
        self.toolset = toolset
        self._task = task
        self._made: Counter[tuple[int, str]] = Counter()

    async def call(self, address: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool of the tenant's, in a graph as well as in an agent's own function."""
        known = await self._has.tools.all()
        if address not in known:
            raise NotFound(f"The agent has no tool '{address[:120]}'")
        # By what is no secret of them: a name that was made of all could be tried.
        named = replaced(known[address].schema, dict(arguments), lambda _: SHOWN)
        identifier = self._identifier(address, named)
        return await self._waited(lambda: self.toolset.call(known[address].name, dict(arguments), identifier))

    async def once(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something with an effect of its own, once."""
        identifier = self._identifier(f"own/{name}", {})
        return await self._waited(lambda: self.toolset.own(name, {}, identifier, work))

    async def _waited(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what some work comes to; in a graph one that is held interrupts it, and is tried again as decided."""
        while True:
            try:
                return await work()
            except Held as held:
                if not _in_own_graph():
                    raise
                given: dict[str, Any] = dict(interrupt(held.interrupt))
                about = given.pop("about", None) or held.interrupt["call"]
                self.toolset.decide(about, given)

    def _identifier(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Return a name for a call that is the same when the code comes here again: by where it is, not by when."""
        function = _function.get()
        within_it = [] if function is None else [function]
        place = json.dumps([_place(), *within_it, name, arguments], sort_keys=True, default=str)
        # A node that its graph tries again comes to the calls that it has made: counted anew, they are the same.
        attempt = (_attempt(), place)
        self._made[attempt] += 1
        return f"own-{hashlib.sha256(place.encode()).hexdigest()[:12]}-{self._made[attempt]}"


class _Once(WrapperToolset[Any]):
    """An agent's own functions, each call of which is made once."""

    def __init__(self, wrapped: Any, run: _Run) -> None:
        super().__init__(wrapped)
        self._run = run

    async def for_run(self, ctx: RunContext[Any]) -> _Once:
        """Go with one run."""
        return _Once(await self.wrapped.for_run(ctx), self._run)

    async def for_run_step(self, ctx: RunContext[Any]) -> _Once:
        """Go with one step of it."""
        return _Once(await self.wrapped.for_run_step(ctx), self._run)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """Call a function, or return what it returned before."""

        async def work() -> Any:
            token = _function.set(ctx.tool_call_id or name)
            try:
                return await self.wrapped.call_tool(name, tool_args, ctx, tool)
            except Exception as error:
                error.add_note(_NOTE.format(name))
                raise
            finally:
                _function.reset(token)

        return await self._run.toolset.own(name, to_jsonable_python(tool_args), ctx.tool_call_id or name, work)


def _text(said: Any) -> str:
    """Return an answer as text: what is none as JSON."""
    plain = as_plain(said)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"its answer is longer than {MAX_BYTES:,} bytes")
    return text


def _where(error: BaseException) -> str:
    """Return the node of a graph, or the function of an agent, that raised an error; "" where that is not known."""
    for note in reversed(getattr(error, "__notes__", ())):
        if (found := _RAISED_IN.match(note)) is not None:
            return found[1][:120]
    return ""


def _attempt() -> int:
    """Return how often the node of a graph that this is in was begun, by its own policy of trying again."""
    try:
        info = get_runtime().execution_info
    except RuntimeError:
        return 1
    return 1 if info is None else info.node_attempt


def _in_own_graph() -> bool:
    return bool(_place())


def _place() -> list[Any]:
    """Return where in a graph of the operator's own this is, [] for nowhere in one."""
    try:
        config = get_config()
    except RuntimeError:
        return []
    metadata: dict[str, Any] = dict(config.get("metadata") or {})
    if metadata.get("langgraph_node") in {None, "step"} and "|" not in str(metadata.get("langgraph_checkpoint_ns", "")):
        return []
    within_it = _rounds_above(dict(config.get("configurable") or {}))
    here = [metadata.get("langgraph_node"), metadata.get("langgraph_step"), list(metadata.get("langgraph_path") or ())]
    return [*here, within_it] if within_it else here


def _rounds_above(configurable: Mapping[str, Any]) -> list[int]:
    """Return in which round each graph is that this one is a part of, the run's own left out: a loop comes here anew.

    LangGraph says it of the innermost alone; of the others it tells the checkpoint, whose id bears its round.
    """
    checkpoints: dict[str, str] = configurable.get("checkpoint_map") or {}
    above = sorted((each for each in checkpoints if each), key=len)[:-1]
    return [UUID(checkpoints[each]).clock_seq for each in above]
