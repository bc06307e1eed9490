"""Agents of one's own code: a pydantic-ai agent or a LangGraph graph that runs like any other agent.

`register` is called by a module that the operator names in `TAUSESTACK_AGENT_MODULES`: the agents' process imports it,
and no other. Within a run `call` is the way to the tenant's tools and `once` to all else that has an effect: both
are journaled, so that a run which goes on after a crash repeats neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from tausestack.agents.spec import AgentSpec, parse_spec
from tausestack.raw import as_object

MODULES = "TAUSESTACK_AGENT_MODULES"
"""The variable that names the modules, separated by commas."""

Input = Callable[[str], Any]
Output = Callable[[Any], str]


class Running(Protocol):
    """A run, as its own code sees it."""

    async def call(self, address: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool of the tenant's."""
        ...

    async def once(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something with an effect of its own, and return its result."""
        ...


@dataclass(frozen=True, slots=True)
class Registered:
    """An agent of the operator's own code: `runnable` is a pydantic-ai agent or a LangGraph graph.

    `input` makes a graph's input of the request, and `output` the answer of its last state.
    """

    spec: AgentSpec
    runnable: Any
    input: Input
    output: Output


_registered: dict[str, Registered] = {}
_running: ContextVar[Running | None] = ContextVar("tausestack_run", default=None)


def register(
    name: str, runnable: Any, *, input: Input | None = None, output: Output | None = None, **fields: Any
) -> None:
    """Let every tenant run an agent of this code: a pydantic-ai `Agent`, a LangGraph `StateGraph` or a compiled one.

    `fields` are those of a spec (`tools`, `approvals`, `budget`, …) and hold as for any. Raises `InvalidArguments`.
    """
    spec = parse_spec({"instructions": "Its own code.", **fields, "name": name})
    _registered[name] = Registered(spec, runnable, input or _asked, output or _said)


def registered() -> Mapping[str, Registered]:
    """Return what is registered in this process, by name."""
    return _registered


@contextmanager
def within(running: Running) -> Generator[None]:
    """Let code that runs here see the run that it is in."""
    token = _running.set(running)
    try:
        yield
    finally:
        _running.reset(token)


async def call(address: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Call a tool of the tenant's (`server/tool`) under the run's rights, rules and budget; return its result.

    It is made once, however often the code comes here again. One that has to wait for a person interrupts the graph,
    which goes on here once there is a decision.
    """
    return await _current().call(address, arguments or {})


async def once(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do something that has an effect or costs, and return its result, which has to be plain JSON.

    Once it is done it is never done again; one that broke midway waits for a person to say whether to repeat it.
    """
    return await _current().once(name, work)


def _current() -> Running:
    running = _running.get()
    if running is None:
        raise RuntimeError("there is no run here: call this from within a registered agent")
    return running


def _asked(request: str) -> dict[str, Any]:
    return {"input": request, "messages": [{"role": "user", "content": request}]}


def _said(state: Any) -> str:
    found = as_object(state) or {}
    if "output" in found:
        return str(found["output"])
    if found.get("messages"):
        last: Any = found["messages"][-1]
        told = as_object(last)
        return str(last.content if told is None else told["content"])
    raise ValueError("the graph's last state has neither `output` nor `messages`: say by `output=` what its answer is")
