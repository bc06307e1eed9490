"""Each agent as a tool of its own: `ask-{name}`, so that hosts and other agents use it like any other."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from tausestack.agents import AgentSpec
from tausestack.mcp import Context, Server
from tausestack.mcp.tools import ToolOptions, make_tool
from tausestack_agents import specs
from tausestack_agents.parameters import MAX_INPUT, TEXT, WAIT_SECONDS, Facts, Thread, Wait
from tausestack_agents.specs.builtin import released
from tausestack_agents.starting import Asked, Run, start, state_of

ASK = "ask-"
MAX_DESCRIPTION = 800


async def ask(
    ctx: Context,
    input: Annotated[str, Field(description="What is asked for, in words.", max_length=MAX_INPUT, pattern=TEXT)],
    thread: Thread = None,
    context: Facts = None,
    wait: Wait = WAIT_SECONDS,
) -> Run:
    """Ask an agent; the run that is returned has the answer as its output, or says what it waits for."""
    return await start(ctx, Asked(ctx.tool.removeprefix(ASK), input, thread, context=context), wait)


def serve(server: Server) -> None:
    """Make the agents that everybody has tools of a server, and let it serve those of each tenant's own."""
    for spec in released().values():
        server.tool(f"agents/{ASK}{spec.name}", **_options(spec))(ask)
    server.tools(ASK, side_effect="write", description="Ask an agent.")(ask)


async def publish(ctx: Context) -> None:
    """Have the tenant's list of tools show its own agents as they are now."""
    if ctx.service.gateway is None:
        return
    at = time.time_ns()
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        own = [each.spec for each in await specs.listed(db) if each.own]
    tools = [_definition(spec) for spec in own]
    await ctx.call("registry/offer", {"server": "agents", "tools": tools, "at": at}, keyed=False)


def _about(spec: AgentSpec) -> str:
    about = f"{spec.title or spec.name}: {spec.description}".strip(": ")
    return f"Ask the agent {spec.name}. {about}"[:MAX_DESCRIPTION]


def _definition(spec: AgentSpec) -> dict[str, Any]:
    """Return an agent's tool: that of the agents which everybody has, under another name."""
    made = make_tool("agents", ASK + spec.name, ask, _options(spec), has_schema=True)
    return made.definition


def _options(spec: AgentSpec) -> ToolOptions:
    return {"side_effect": "write", "title": spec.title or spec.name, "description": _about(spec)}
