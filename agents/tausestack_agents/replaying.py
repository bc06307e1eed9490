"""Replays: a run gone through again by its journal alone, with nothing called and nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from langgraph.checkpoint.memory import InMemorySaver

from tausestack.agents import AgentSpec
from tausestack.contract import Principal
from tausestack.database import Row, TenantDatabases
from tausestack.errors import Diverged
from tausestack.names import wire_name
from tausestack.raw import object_at, objects_in
from tausestack_agents import store, threads
from tausestack_agents.checkpoints import config
from tausestack_agents.company import Company
from tausestack_agents.events import Kind
from tausestack_agents.gateway import Delegation, GatewayClient
from tausestack_agents.graph import RunGraph
from tausestack_agents.journal import Journal, ToolCall
from tausestack_agents.lines import Line, of_row
from tausestack_agents.models import OFFLINE, Chosen
from tausestack_agents.planner.choice import Candidate
from tausestack_agents.spending import Spending
from tausestack_agents.state import Duty, RunPlan, initial
from tausestack_agents.tools import ToolBox

_OPEN = frozenset({"intent", "in_doubt", "cancelled"})
"""What calls are that never came to an outcome: there a run that did not succeed broke off."""


class _BrokeOff(Exception):
    """The journal ends here, and so did the run."""


class _Lines(Journal):
    """A journal that is only read; what it lacks is a call that the run did not make."""

    def __init__(self, run: Row, lines: Sequence[Row]) -> None:
        self.run, self.fence, self.tracing = run.id, run.fence, None
        self._succeeded = run.status == "success"
        self._lines = {(line.task, line.call): of_row(line) for line in lines}
        self.unseen = dict.fromkeys(self._lines)

    async def find(self, task: str, call: str) -> Line | None:
        line = self._lines.get((task, call))
        self.unseen.pop((task, call), None)
        if line is None or line.status in _OPEN:
            self._refuse(f"{task}/{call}", "asks for what the run never did")
        return line

    async def plan(self, task: str) -> dict[str, Any] | None:
        self.unseen.pop((task, "plan"), None)
        return await super().plan(task)

    async def keep_plan(self, task: str, plan: dict[str, Any]) -> None:
        """Keep nothing: the run is of a release that did not journal what it planned."""

    async def handoff(self, leg: int) -> dict[str, Any] | None:
        self.unseen.pop((f"{leg}.handoff", "handoff"), None)
        return await super().handoff(leg)

    async def hand_over(self, leg: int, about: dict[str, Any], version: int, rules: list[dict[str, Any]]) -> None:
        self._refuse(f"{leg}.handoff", f"would be handed over to {about['to']}")

    async def intend(self, call: ToolCall) -> None:
        self._refuse(f"{call.task}/{call.call}", f"would call {call.server}/{call.tool}")

    async def reserve_model(self, task: str, call: str, attempts: Any) -> None:
        self._refuse(f"{task}/{call}", "would ask a model")

    async def keep_model(
        self, task: str, call: str, response: dict[str, Any], attempts: Any = (), *, last: bool = False
    ) -> None:
        self._refuse(f"{task}/{call}", "would ask a model")

    async def settle(self, call: ToolCall, status: str, **outcome: Any) -> None:
        self._refuse(f"{call.task}/{call.call}", f"comes to another outcome: {status}")

    async def edit(self, call: ToolCall, *, approved: bool = True) -> None:
        self._refuse(f"{call.task}/{call.call}", "waits for a decision that was not taken")

    async def tell(self, kind: Kind, data: dict[str, Any]) -> None:
        """Nobody follows a replay."""

    def _refuse(self, at: str, why: str) -> NoReturn:
        if not self._succeeded:
            raise _BrokeOff(at)
        raise Diverged(f"The replay goes another way than the run at {at}: it {why}", at=at)


class _Nobody(GatewayClient):
    """Stands where the gateway would be asked: a replay asks for nothing."""

    def __init__(self) -> None:
        return

    async def call_tool(self, tenant: str, server: str, tool: str, *given: Any, **more: Any) -> dict[str, Any]:
        raise Diverged(f"The replay would call {server}/{tool}, which the run did not", at=f"{server}/{tool}")


class _Tools(ToolBox):
    """The tools that a run called, as far as its journal knows them; nothing is searched or listed."""

    def __init__(self, delegation: Delegation, spec: AgentSpec, lines: Sequence[Row]) -> None:
        super().__init__(delegation, spec)
        made = [f"{line.server}/{line.tool}" for line in lines if line.kind == "tool"]
        # What a model asked for is there too, lest it be told that there is no such tool, and the journal goes on.
        asked = [name.replace("__", "/", 1) for name in _asked_for(lines)]
        self._tools = {address: _candidate(address) for address in dict.fromkeys((*made, *asked))}

    async def search(self, part: str) -> list[str]:
        return sorted(await self.all())


class _Actors(Company):
    """The agents of a run, with the tools and the models that its journal knows."""

    def __init__(
        self,
        databases: TenantDatabases,
        tenant: str,
        row: Row,
        lines: Sequence[Row],
        journal: _Lines,
        *,
        own_code: bool,
    ) -> None:
        acting = Principal(tenant, row.principal, frozenset(), agent=row.agent, run=row.id)
        super().__init__(databases, _Nobody(), journal, acting, row, Spending([], None), own_code=own_code)
        self._lines = lines

    def _toolbox(self, delegation: Delegation, spec: AgentSpec) -> ToolBox:
        return _Tools(delegation, spec, self._lines)

    def _chosen(self, spec: AgentSpec) -> Chosen:
        return _chosen(self._lines)

    async def planned(self, task: str, parts: Sequence[str]) -> RunPlan | None:
        plan = await super().planned(task, parts)
        if plan is not None and [part["text"] for part in plan["parts"]] != list(parts):
            raise Diverged("The replay divides the request otherwise than the run", at=task)
        return plan


async def replay(databases: TenantDatabases, tenant: str, run: str, *, own_code: bool = True) -> dict[str, Any]:
    """Go through a run again and return `{"run", "status", "complete", "output", "steps"}`, as they were.

    One that did not succeed is gone through as far as its journal says. Raises `Diverged` where the code, as it is now,
    does anything else than the run did, and `Apart` where that comes to own code and none is run here.
    """
    async with databases.reading(tenant) as db:
        row = await store.get_run(db, run)
        lines, past = await store.journal_of(db, run), await threads.past(db, row)
    journal = _Lines(row, lines)
    company = _Actors(databases, tenant, row, lines, journal, own_code=own_code)
    company.remember(past.summary)
    graph = RunGraph(company)
    found: dict[str, Any] = {"run": run, "status": row.status, "complete": False, "output": None, "steps": []}
    begun = initial(run, row.input, Duty(agent=row.agent, version=row.version), past)
    state: dict[str, Any] = {}
    try:
        state = await graph.compiled(InMemorySaver()).ainvoke(begun, graph.config(config(tenant, run)))
    except _BrokeOff as broken:
        found["broke_off_at"] = str(broken)
    found["steps"] = [_step(line) for line in sorted(lines, key=store.place) if line.kind == "tool"]
    if not state.get("answered"):
        return found
    journal.unseen.pop(("summary", "model-0"), None)  # what is folded is not folded again
    if journal.unseen:
        at = "/".join(next(iter(journal.unseen)))
        raise Diverged(f"The replay ends without {at}, which the run did", at=at)
    if state["answer"] != row.output:
        raise Diverged("The replay comes to another answer than the run", at="answer")
    return {**found, "complete": True, "output": state["answer"]}


def _chosen(lines: Sequence[Row]) -> Chosen:
    """Return the model that a run thought with; where it asked none, it was offline."""
    names: list[Any] = [object_at(line.result).get("model_name") for line in lines if line.kind == "model"]
    return Chosen(tuple(dict.fromkeys(str(name) for name in names if name and name != OFFLINE)))


def _asked_for(lines: Sequence[Row]) -> list[str]:
    """Return the wire names of the tools that the responses of models call."""
    parts = [part for line in lines if line.kind == "model" for part in objects_in(object_at(line.result).get("parts"))]
    return [str(part["tool_name"]) for part in parts if "__" in str(part.get("tool_name", ""))]


def _candidate(address: str) -> Candidate:
    server, _, tool = address.partition("/")
    return Candidate(wire_name(server, tool), address, {"name": tool, "inputSchema": {"type": "object"}})


def _step(line: Row) -> dict[str, Any]:
    result: Any = object_at(line.result).get("structuredContent")
    return {
        "call": f"{line.task}/{line.call}",
        "address": f"{line.server}/{line.tool}",
        "arguments": line.arguments,
        "status": line.status,
        **({} if result is None else {"result": result}),
        **({} if line.error is None else {"error": line.error}),
    }
