"""The fake gateway's way back to the agents service: what a run calls of it is called, under the run's delegation."""

from __future__ import annotations

import asyncio
from typing import Any

from tausestack.contract import Principal

AGENT_TOOLS = [
    {
        "address": f"agents/{name}",
        "name": name,
        "description": about,
        "inputSchema": {
            "type": "object",
            "properties": {each: {"type": "string"} for each in ("agent", "input")},
            "required": ["agent", "input"],
        },
        "_meta": {"pro.tause/tool": {"side_effect": "write", "keyed": True}},
    }
    for name, about in (("run", "Start a run of an agent and return it."), ("get_run", "Show a run."))
]


def nest(agents: Any) -> None:
    """Let runs of this service call the service itself; needs a running loop."""
    loop = asyncio.get_running_loop()
    gateway = agents.gateway
    gateway.tools += AGENT_TOOLS

    async def call(sent: Any) -> Any:
        given = next(each for each in reversed(gateway.delegations) if sent.credential.endswith(f":{each['run']}"))
        acting = Principal(
            sent.tenant,
            given["principal"],
            frozenset(given["scopes"]),
            agent=given["agent"],
            run=given["run"],
            bounds=frozenset(given["bounds"]),
        )
        caller = agents.caller(sent.tenant)
        return await type(caller)(agents.http, agents.signer, acting).call(
            sent.address.partition("/")[2], sent.arguments, key=sent.key
        )

    gateway.nested = lambda sent: asyncio.run_coroutine_threadsafe(call(sent), loop).result(60)
