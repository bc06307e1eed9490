"""The tools for a tenant's agents: saved, listed, shown, deleted; and a question handed to a person."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from tausestack.agents import AgentSpec, parse_spec
from tausestack.agents.spec import NAME_PATTERN, Glob
from tausestack.errors import Forbidden, InvalidArguments, TauseError
from tausestack.mcp import Context, tool
from tausestack.schemas import compiled
from tausestack.scopes import RUNS_WRITE, SERVERS_MANAGE, TENANT_ADMIN, TOOLS_READ
from tausestack_agents import specs
from tausestack_agents.asking import publish
from tausestack_agents.domain import PERSON
from tausestack_agents.gateway import Delegation
from tausestack_agents.models import choose
from tausestack_agents.parameters import LINE, MAX_THREAD, TEXT, Wait
from tausestack_agents.specs.doubts import Seen, doubts
from tausestack_agents.spending import Rate
from tausestack_agents.starting import Asked, Run, start, state_of

AgentName = Annotated[str, Field(description="The agent's name.", pattern=NAME_PATTERN, examples=["concierge"])]


@tool("agents/save_agent", side_effect="write", idempotent=True, scopes=[SERVERS_MANAGE])
async def save_agent(
    ctx: Context,
    spec: Annotated[
        dict[str, Any],
        Field(
            description="The agent: name, instructions, and what else docs/agents.md tells of.",
            examples=[{"name": "collections", "instructions": "…", "tools": ["billing/*"]}],
        ),
    ],
) -> dict[str, Any]:
    """Save a new version of an agent of the tenant's own; the same again is the same version.

    It gives no right: the agent does what whoever runs it may do. Runs that are under way go on with their version.
    `warnings` say what is saved all the same and may not be meant, as a pattern that no tool matches.
    """
    check_person(ctx)
    parsed = parse_spec(spec)
    check_output(parsed)
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        version, new = await specs.save(db, parsed, by=ctx.principal.id)
        there = {each.spec.name for each in await specs.listed(db)}
    await publish(ctx)
    unknown = sorted(set(parsed.handoffs) - there)
    warnings = await _warnings(ctx, parsed, there)
    return {"name": parsed.name, "version": version, "new": new, "unknown_handoffs": unknown, "warnings": warnings}


@tool("agents/list_agents", side_effect="read", scopes=[TOOLS_READ])
async def list_agents(ctx: Context) -> dict[str, list[Any]]:
    """List the agents that can be run, with what they may use, and the tools that built-in ones need not ask about."""
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        listed = [_listed(each) for each in await specs.listed(db)]
        return {"agents": listed, "allowed_tools": await specs.allowed(db)}


@tool("agents/get_agent", side_effect="read", scopes=[TOOLS_READ])
async def get_agent(ctx: Context, agent: AgentName) -> dict[str, Any]:
    """Show an agent as it is now, all of it, and its versions."""
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        found = await specs.find(db, agent)
        versions = await specs.versions(db, agent) if found.own else []
    return {**_listed(found), "spec": found.spec.as_json(), "versions": versions}


@tool("agents/delete_agent", side_effect="write", idempotent=True, scopes=[SERVERS_MANAGE])
async def delete_agent(ctx: Context, agent: AgentName) -> dict[str, str]:
    """Delete an agent of the tenant's own; runs that are under way go on."""
    check_person(ctx)
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        await specs.delete(db, agent)
    await publish(ctx)
    return {"deleted": agent}


@tool("agents/allow_tools", side_effect="write", idempotent=True, scopes=[TENANT_ADMIN])
async def allow_tools(
    ctx: Context,
    tools: Annotated[
        list[Glob],
        Field(
            description="Patterns of addresses; they take the place of those that were there. Empty: ask about all.",
            max_length=100,
            examples=[["web-search/*"]],
        ),
    ],
) -> dict[str, list[str]]:
    """Name the tools that built-in agents call without asking a person, though they act outside or say nothing.

    What a tool's own policy holds, or an agent of the tenant's own asks for, is held all the same.
    """
    check_person(ctx)
    for pattern in tools:
        if pattern.startswith("!") or "/" not in pattern:
            raise InvalidArguments(
                f"'{pattern[:40]}' is no pattern of addresses, such as web-search/* or web-search/find"
            )
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        await specs.allow(db, tools, by=ctx.principal.id)
    return {"tools": sorted(set(tools))}


@tool("agents/escalate", side_effect="write", scopes=[RUNS_WRITE])
async def escalate(
    ctx: Context,
    question: Annotated[str, Field(description="What a person is asked.", min_length=1, max_length=4000, pattern=TEXT)],
    thread: Annotated[
        str | None,
        Field(description="The thread that waits for the answer.", max_length=MAX_THREAD, pattern=LINE),
    ] = None,
    agent: Annotated[str, Field(description="Whose thread it is.", pattern=NAME_PATTERN)] = "concierge",
    wait: Wait = 0,
) -> Run:
    """Hand a question to a person: the thread waits, and goes on with what whoever resumes the run answers."""
    return await start(ctx, Asked(agent, question, thread, PERSON), wait)


TOOLS = (save_agent, list_agents, get_agent, delete_agent, allow_tools, escalate)


def check_person(ctx: Context) -> None:
    """Raise `Forbidden` where an agent would change what agents there are: it could save itself without its rules."""
    if ctx.principal.agent is not None:
        raise Forbidden("An agent can't change what agents there are")


async def _warnings(ctx: Context, spec: AgentSpec, agents: set[str]) -> list[str]:
    """Return what had better be looked at in a spec, by the tools that whoever saves it may see."""
    gateway, acting = state_of(ctx).gateway, ctx.principal
    if gateway is None:
        return []
    delegation = Delegation(gateway, replace(acting, agent=spec.name), acting.scopes)
    try:
        listed = await delegation.list_tools()
    except TauseError as error:
        ctx.logger.warning("an agent's tools could not be looked at", code=error.code, reason=error.message)
        return [f"its tools could not be looked at now: {error.message}"]
    tools = {str(tool["address"]): Seen(tool.get("scopes") or (), tool["side_effect"]) for tool in listed}
    offline = choose(spec.model, spec.fallbacks, None, os.environ).offline
    return doubts(spec, tools, agents, offline=offline, rated=_rated())


def _rated() -> bool:
    """Return whether the deployment says what a dollar is in pesos."""
    try:
        return Rate.of(os.environ) is not None
    except InvalidArguments:
        return False  # what is said of it can't be read: a run that needs it is told why


def check_output(spec: AgentSpec) -> None:
    """Raise `InvalidArguments` where the schema of an agent's answers can't be used."""
    if spec.output is None:
        return
    try:
        compiled(spec.output)
    except TauseError as error:
        raise InvalidArguments(
            f"The agent is not right: output: {error.message.splitlines()[0]}",
            errors=[{"path": "output", "message": error.message}],
        ) from error


def _listed(found: specs.Pinned) -> dict[str, Any]:
    spec = found.spec
    return {
        "name": spec.name,
        "title": spec.title or spec.name,
        "description": spec.description,
        "languages": list(spec.languages),
        "servers": list(spec.servers),
        "tools": list(spec.tools),
        "scopes": sorted(spec.scopes),
        "handoffs": list(spec.handoffs),
        "own": found.own,
        "version": found.version or None,
    }
