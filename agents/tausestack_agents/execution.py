"""Taking one claimed run through the graph, to its end or to where a person has to decide."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import structlog
from langgraph.types import Command
from pydantic_ai.exceptions import AgentRunError

from tausestack.contract import Principal
from tausestack.database import Row, TenantDatabases
from tausestack.errors import TauseError
from tausestack_agents import store
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import Checkpoints, config
from tausestack_agents.domain import ENDED
from tausestack_agents.gateway import Delegation, GatewayClient
from tausestack_agents.graph import Thinker, build, initial
from tausestack_agents.journal import Journal
from tausestack_agents.models import OFFLINE, model_name
from tausestack_agents.specs import AgentSpec, agent
from tausestack_agents.store import Fenced
from tausestack_agents.thinkers import LanguageThinker, OfflineThinker
from tausestack_agents.tools import ToolBox

if TYPE_CHECKING:
    from tausestack_agents.models.language import LanguageModel

logger = structlog.get_logger("agents")


class Absent(Exception):
    """The run is not written yet."""


class Executor:
    """Executes runs; one for the process, any number of runs at a time."""

    def __init__(
        self, databases: TenantDatabases, gateway: GatewayClient, checkpoints: Checkpoints, bell: Bell
    ) -> None:
        self._databases = databases
        self._gateway = gateway
        self._checkpoints = checkpoints
        self._bell = bell

    async def execute(self, tenant: str, run: str) -> None:
        """Claim a run and take it as far as it goes. Raises `Absent` where there is no such run (yet)."""
        try:
            # More than once where the decision was there before the run came to wait for it.
            while (claimed := await self._claim(tenant, run)) is not None:
                self._bell.ring(tenant, run)
                await self._taken(tenant, claimed)
        except Fenced:
            logger.info("run was taken over or cancelled", tenant=tenant, run=run)
        finally:
            self._bell.ring(tenant, run)

    async def _claim(self, tenant: str, run: str) -> Row | None:
        async with self._databases.transaction(tenant) as db:
            row = await store.find_run(db, run)
            if row is None:
                raise Absent(run)
            waits = row.status == "interrupted" and not store.decided(row)
            return None if row.status in ENDED or waits else await store.claim_run(db, run)

    async def _taken(self, tenant: str, row: Row) -> None:
        log = logger.bind(tenant=tenant, run=row.id, agent=row.agent)
        try:
            spec = agent(row.agent)
            with anyio.fail_after(spec.seconds):
                await self._graph(tenant, row, spec)
        except TimeoutError:
            await self._end(tenant, row, "timeout", error={"code": "timeout", "message": "The run took too long"})
        except Fenced:
            raise
        except TauseError as error:
            log.warning("run failed", code=error.code, reason=error.message)
            await self._end(tenant, row, "error", error={"code": error.code, "message": error.message})
        except AgentRunError as error:
            log.warning("model failed", reason=str(error))
            await self._end(tenant, row, "error", error={"code": "model_error", "message": str(error)[:1000]})
        except Exception:
            log.exception("run broke")
            text = f"Something went wrong on our side; it is in the log under {row.id}"
            await self._end(tenant, row, "error", error={"code": "internal_error", "message": text})

    async def _end(self, tenant: str, row: Row, status: str, **values: Any) -> None:
        async with self._databases.transaction(tenant) as db:
            await store.end_run(db, row.id, row.fence, status, **values)

    async def _graph(self, tenant: str, row: Row, spec: AgentSpec) -> None:
        principal = Principal(
            tenant=tenant, id=row.principal, scopes=frozenset(row.scopes), agent=row.agent, run=row.id
        )
        delegation = Delegation(self._gateway, principal, spec.bounds)
        journal = Journal(self._databases, tenant, row.id, row.fence, on_write=lambda: self._bell.ring(tenant, row.id))
        tools = ToolBox(delegation, spec)
        graph = build(_thinker(spec, tools, journal, delegation), tools)
        place: Any = config(tenant, row.thread)
        async with self._checkpoints.saver(tenant) as saver:
            compiled = graph.compile(checkpointer=saver)
            state = await compiled.aget_state(place)
            given: Any = initial(row.id, row.input)
            if state.values.get("run") == row.id:
                given = None
                held = state.interrupts[0].value if state.interrupts else None
                if held is not None and (held != row.interrupt or not store.decided(row)):
                    await self._interrupted(tenant, row, held, used=None)
                    return
                if held is not None:
                    given = Command(resume=row.decision)
            # `state.next` says nothing here: it is empty too where a node's writes were kept but not its checkpoint.
            if given is not None or not state.values.get("answered"):
                await compiled.ainvoke(given, place, durability="sync")
                state = await compiled.aget_state(place)
        if state.values.get("answered"):
            await self._end(tenant, row, "success", output=state.values["answer"], interrupt=None)
        else:
            used = row.decision if isinstance(given, Command) else None
            await self._interrupted(tenant, row, state.interrupts[0].value, used=used)

    async def _interrupted(
        self, tenant: str, row: Row, interrupt: dict[str, Any], *, used: dict[str, Any] | None
    ) -> None:
        """Let the run wait; a decision on that very approval which came earlier, and was not used yet, is kept."""
        async with self._databases.transaction(tenant) as db:
            decision = (await store.get_run(db, row.id)).decision
            approval = interrupt.get("approval")
            early = decision is not None and approval is not None and decision.get("approval") == approval
            kept = decision if early and decision != used else None
            await store.end_run(db, row.id, row.fence, "interrupted", interrupt=interrupt, decision=kept)


def _thinker(spec: AgentSpec, tools: ToolBox, journal: Journal, delegation: Delegation) -> Thinker:
    name = model_name(os.environ)
    if name == OFFLINE:
        return OfflineThinker(spec, tools, journal, delegation)
    return LanguageThinker(spec, tools, journal, delegation, _language_model(name))


def _language_model(name: str) -> Callable[[], LanguageModel]:
    from tausestack_agents.models.language import LanguageModel  # its module is read only where a model is set

    return lambda: LanguageModel(name)
