"""The agents that come to work in one run: each under its own rights, all under the run's one journal and rules."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

from tausestack.agents import AgentSpec, ApprovalRule, TeamSpec
from tausestack.agents.own import registered
from tausestack.agents.team import TEAM
from tausestack.contract import Principal
from tausestack.database import Connection, Row, TenantDatabases
from tausestack_agents import specs
from tausestack_agents.domain import PERSON
from tausestack_agents.gateway import Delegation, GatewayClient
from tausestack_agents.graph import MAX_HANDOFFS
from tausestack_agents.journal import Journal
from tausestack_agents.models import Chosen, choose
from tausestack_agents.others import PersonThinker, TeamThinker
from tausestack_agents.own import Apart, OwnThinker
from tausestack_agents.specs.builtin import builtin, released
from tausestack_agents.spending import Month, Rate, Spending
from tausestack_agents.state import Duty, Member, RunPlan, Thinker
from tausestack_agents.thinkers import Equipment, LanguageThinker, OfflineThinker
from tausestack_agents.threads import SUMMARY, Past, extract
from tausestack_agents.tools import ToolBox

Known: TypeAlias = "tuple[AgentSpec, TeamSpec | None]"
"""An agent, and the team that it stands for."""


class Company:
    """The agents of one run under one claim."""

    def __init__(
        self,
        databases: TenantDatabases,
        gateway: GatewayClient,
        journal: Journal,
        principal: Principal,
        run: Row,
        spending: Spending,
        known: Known | None = None,
        *,
        own_code: bool = True,
    ) -> None:
        """`spending` is the run's; the budget of each agent that comes to work joins those that it holds.

        `known` is what was read already of the agent that the run began with, if anything was. Where no `own_code` is
        run, an agent of it raises `Apart`.
        """
        self._own_code = own_code
        self._databases = databases
        self._gateway = gateway
        self._journal = journal
        self._principal = principal
        self._run = run
        self._spending = spending
        self._rules: list[dict[str, Any]] | None = run.rules
        self._context: dict[str, Any] = dict(run.context or {})
        self._members: dict[tuple[str, int | None], Member] = {}
        self._known = {} if known is None else {(run.agent, run.version): known}

    def room(self) -> int:
        """Return how many steps the run's budgets surely have room for, and 1 where that is none."""
        return self._spending.steps_left()

    async def member(self, duty: Duty) -> Member:
        """Return an agent in the version that the run came to it in."""
        place = (duty["agent"], duty["version"])
        found = self._members.get(place)
        if found is None:
            known = self._known.get(place)
            if known is None:
                known = await self._databases.read(self._principal.tenant, lambda db: known_of(db, *place))
            found = self._members[place] = self._made(*known, duty)
        return found

    async def condense(self, past: Past, duty: Duty) -> str:
        """Return a summary of the turns that are to be folded: the model's where there is one."""
        thinker = (await self.member(duty)).thinker
        if isinstance(thinker, LanguageThinker):
            return await thinker.condense(past)
        return extract(past.summary, past.turns[: past.foldable])

    def remember(self, summary: str) -> None:
        """Have every agent of the run know what the thread's earlier turns come to."""
        if summary:
            self._context[SUMMARY] = summary

    async def offered(self, member: Member, path: Sequence[Duty]) -> Mapping[str, str]:
        """Return the agents that one may hand over to, with what they are for."""
        had = {duty["agent"] for duty in path}
        names = [name for name in member.spec.handoffs if name not in had]
        if not names or len(path) > MAX_HANDOFFS:
            return {}
        listed = await self._databases.read(self._principal.tenant, specs.listed)
        there = {each.spec.name: each.spec.description for each in listed}
        return {name: there[name] for name in names if name in there}

    async def routed(self, path: Sequence[Duty]) -> str | None:
        """Return whose the run was found to be before anything was planned, "" for nobody else's, None if unknown."""
        leg = len(path) - 1
        if await self._journal.plan(f"{leg}.plan" if leg else "plan") is not None:
            return ""
        known = await self._journal.handoff(len(path))
        return None if known is None else str(known["to"])

    async def planned(self, task: str, parts: Sequence[str]) -> RunPlan | None:
        """Return what was planned before for a request that is divided into these parts now."""
        return cast("RunPlan | None", await self._journal.plan(task))

    async def keep_plan(self, task: str, plan: RunPlan) -> None:
        """Keep what was planned."""
        await self._journal.keep_plan(task, dict(plan))

    async def hand_over(self, path: Sequence[Duty], to: str, reason: str) -> Duty:
        """Note that a run is handed over: the rules of who had it go on holding, beside those of who has it now."""
        if (known := await self._journal.handoff(len(path))) is not None:
            return Duty(agent=to, version=known.get("version"))
        async with self._databases.transaction(self._principal.tenant) as db:
            found = await specs.pin(db, to)
            rules = rules_of(found.spec, self._rules, await specs.allowed(db))
        about = {"from": path[-1]["agent"], "to": to, "reason": reason}
        await self._journal.hand_over(len(path), about, found.version, rules)
        self._rules = rules
        return Duty(agent=to, version=found.version)

    def _made(self, spec: AgentSpec, team: TeamSpec | None, duty: Duty) -> Member:
        delegation = self._delegation(spec, duty["agent"])
        tools = self._toolbox(delegation, spec)
        rules = [ApprovalRule.model_validate(each) for each in rules_of(spec, self._rules)]
        self._spending.hold(spec.budget)
        equipment = Equipment(
            spec, tools, self._journal, delegation, self._spending, rules, self._tools_of, self._context
        )
        if team is not None:
            thinker: Thinker = TeamThinker(equipment, team)
        else:
            thinker = PersonThinker(equipment) if self._run.kind == PERSON else self._thinker(equipment)
        return Member(spec, duty["version"], thinker, tools)

    def _thinker(self, equipment: Equipment) -> Thinker:
        spec = equipment.spec
        chosen = self._chosen(spec)
        own = registered().get(spec.name) if builtin().get(spec.name) == spec else None
        if own is not None and not self._own_code:
            raise Apart
        if chosen.offline:
            return OfflineThinker(equipment) if own is None else OwnThinker(equipment, own, None)
        from tausestack_agents.models.chain import chained  # litellm's module is read only where a model is asked

        models = chained(chosen)
        return LanguageThinker(equipment, models) if own is None else OwnThinker(equipment, own, models)

    def _chosen(self, spec: AgentSpec) -> Chosen:
        return choose(spec.model, spec.fallbacks, self._run.model, os.environ)

    def _toolbox(self, delegation: Delegation, spec: AgentSpec) -> ToolBox:
        return ToolBox(delegation, spec)

    def _delegation(self, spec: AgentSpec, name: str) -> Delegation:
        monthly = Month.of(spec.monthly, Rate.of(os.environ))
        return Delegation(self._gateway, replace(self._principal, agent=name), frozenset(spec.scopes), monthly)

    async def _tools_of(self, name: str) -> ToolBox:
        async with self._databases.reading(self._principal.tenant) as db:
            spec = (await specs.find(db, name)).spec
        return self._toolbox(self._delegation(spec, name), spec)


async def known_of(db: Connection, agent: str, version: int | None) -> Known:
    """Return an agent in a version, and the team that stands in its place, where one does."""
    team = None
    if agent.startswith(TEAM):
        team = TeamSpec.model_validate(await specs.load(db, agent, version or 0))
    return await specs.pinned(db, agent, version), team


def rules_of(
    spec: AgentSpec, inherited: Sequence[dict[str, Any]] | None, allowed: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the approvals that hold for an agent in a run: its own, and those that hold for the run already.

    `allowed` are the tools that the rules of this release's agents do not hold, where the tenant says so.
    """
    own = [rule.model_dump(mode="json", exclude_defaults=True) for rule in spec.approvals]
    if allowed and released().get(spec.name) == spec:
        own = [{**rule, "unless": sorted({*rule.get("unless", ()), *allowed})} for rule in own]
    held = list(inherited or ())
    known = [_but_for_allowed(rule) for rule in held]
    return [*held, *(rule for rule in own if _but_for_allowed(rule) not in known)]


def _but_for_allowed(rule: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if name != "unless"}
