"""The tools for a tenant's teams: saved, listed, deleted, run; and presets of teams with their agents."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field

from tausestack.agents import AgentSpec, TeamSpec, parse_spec, parse_team
from tausestack.agents.reading import read
from tausestack.agents.spec import NAME_PATTERN
from tausestack.agents.team import TEAM
from tausestack.errors import Conflict, InvalidArguments, NotFound
from tausestack.mcp import Context, tool
from tausestack.scopes import RUNS_WRITE, SERVERS_MANAGE, TOOLS_READ
from tausestack_agents import specs
from tausestack_agents.agent_tools import check_person
from tausestack_agents.asking import publish
from tausestack_agents.parameters import LINE, MAX_THREAD, TEXT, WAIT_SECONDS, Wait
from tausestack_agents.starting import Asked, Run, start, state_of

MAX_TEAMS = 100

TeamName = Annotated[str, Field(description="The team's name.", pattern=NAME_PATTERN, examples=["research"])]


@tool("agents/save_team", side_effect="write", idempotent=True, scopes=[SERVERS_MANAGE])
async def save_team(
    ctx: Context,
    team: Annotated[
        dict[str, Any],
        Field(
            description="The team: name, agents, and the tasks that they do, each with what it depends on.",
            examples=[{"name": "reports", "tasks": [{"id": "find", "agent": "researcher"}]}],
        ),
    ],
) -> dict[str, Any]:
    """Save a new version of a team; its agents have to be there. The same again is the same version."""
    check_person(ctx)
    parsed = parse_team(team)
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        there = {each.spec.name for each in await specs.listed(db)}
        for agent in (*parsed.agents, *(task.agent for task in parsed.tasks)):
            if agent not in there:
                wrong = [{"path": "agents", "message": f"there is no agent '{agent}'"}]
                raise InvalidArguments(f"The team is not right: agents: there is no agent '{agent}'", errors=wrong)
        known = await specs.names(db, TEAM)
        if TEAM + parsed.name not in known and len(known) >= MAX_TEAMS:
            raise Conflict(f"A tenant has at most {MAX_TEAMS} teams")
        version, new = await specs.save_under(db, TEAM + parsed.name, parsed.as_json(), by=ctx.principal.id)
    return {"name": parsed.name, "version": version, "new": new}


@tool("agents/list_teams", side_effect="read", scopes=[TOOLS_READ])
async def list_teams(ctx: Context) -> dict[str, Any]:
    """List the tenant's teams with their tasks, and the presets that there are."""
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        found = [await _team(db, name) for name in await specs.names(db, TEAM)]
    return {"teams": found, "presets": sorted(_presets())}


@tool("agents/delete_team", side_effect="write", idempotent=True, scopes=[SERVERS_MANAGE])
async def delete_team(ctx: Context, team: TeamName) -> dict[str, str]:
    """Delete a team; its agents stay, and runs that are under way go on."""
    check_person(ctx)
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        if await specs.head(db, TEAM + team) is None:
            raise NotFound(f"There is no team '{team}'")
        await specs.delete(db, TEAM + team)
    return {"deleted": team}


@tool("agents/save_preset", side_effect="write", idempotent=True, scopes=[SERVERS_MANAGE])
async def save_preset(
    ctx: Context,
    preset: Annotated[
        Literal["research", "content", "customer-support", "ecommerce"], Field(description="Which preset.")
    ],
) -> dict[str, Any]:
    """Save a team that comes ready, with its agents; agents of the tenant's own by those names stay as they are."""
    check_person(ctx)
    agents, team = _presets()[preset]
    async with state_of(ctx).databases.transaction(ctx.tenant) as db:
        for agent in agents:
            if await specs.head(db, agent.name) is None:
                await specs.save(db, agent, by=ctx.principal.id)
        version, new = await specs.save_under(db, TEAM + team.name, team.as_json(), by=ctx.principal.id)
    await publish(ctx)
    return {"name": team.name, "version": version, "new": new, "agents": [agent.name for agent in agents]}


@tool("agents/run_team", side_effect="write", scopes=[RUNS_WRITE])
async def run_team(
    ctx: Context,
    team: TeamName,
    input: Annotated[str, Field(description="What the team is asked.", max_length=15_000, pattern=TEXT)],
    thread: Annotated[
        str | None, Field(description="A conversation to go on with.", max_length=MAX_THREAD, pattern=LINE)
    ] = None,
    wait: Wait = WAIT_SECONDS,
) -> Run:
    """Start a run of a team: each task is a run of its agent, side by side where none depends on the other."""
    return await start(ctx, Asked(TEAM + team, input, thread), wait)


TOOLS = (save_team, list_teams, delete_team, save_preset, run_team)


async def _team(db: Any, name: str) -> dict[str, Any]:
    version = await specs.head(db, name)
    assert version is not None
    team = TeamSpec.model_validate(await specs.load(db, name, version))
    tasks = [task.model_dump(mode="json") for task in team.ordered()]
    return {**team.model_dump(mode="json", include={"name", "title", "description", "team_type"}), "version": version,
            "agents": sorted({task["agent"] for task in tasks}), "tasks": tasks}  # fmt: skip


@cache
def _presets() -> dict[str, tuple[list[AgentSpec], TeamSpec]]:
    """Return the presets by name: the agents, and the team that they make."""
    found: dict[str, tuple[list[AgentSpec], TeamSpec]] = {}
    for file in files("tausestack_agents").joinpath("presets").iterdir():
        raw = read(file.read_text("utf-8"), file.name)
        agents = [parse_spec(each) for each in raw["agents"]]
        found[file.name.removesuffix(".yaml")] = (agents, parse_team(raw["team"]))
    return found
