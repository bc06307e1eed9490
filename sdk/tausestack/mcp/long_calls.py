"""Tool calls that are answered with a task: run here, and begun anew by the next process where that is safe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from tausestack.contract import META_PREFIX
from tausestack.mcp.calls import Calls
from tausestack.mcp.incoming import Incoming
from tausestack.mcp.tasks import Run, Task, lacking_for
from tausestack.mcp.tools import Tool


class LongCalls:
    """The work of a service's tasks: calls of its tools."""

    def __init__(self, calls: Calls, tools: Mapping[str, Tool]) -> None:
        self._calls = calls
        self._tools = tools

    def repeatable(self, task: Task) -> bool:
        """Return whether a call's effect happens once however often it is begun."""
        tool = self._tools.get(task.tool)
        return tool is not None and (tool.policy.retriable or tool.policy.keyed)

    async def run(self, task: Task, run: Run) -> dict[str, Any]:
        """Run a task's call and return its result."""
        # Without a key of the caller's the task has its own, so that one that is begun anew writes once.
        key = task.key or f"{META_PREFIX}task/{task.id}"
        incoming = Incoming.of(task.call["incoming"], assertion=run.local or "", key=key)

        async def report(progress: float, total: float | None, message: str | None) -> None:
            run.report(message or (f"{progress:g}" if total is None else f"{progress:g} of {total:g}"))

        async def ask(name: str, request: dict[str, Any], unless: anyio.Event | None = None) -> dict[str, Any]:
            lacking = lacking_for(request, incoming.capabilities)
            if lacking is not None:
                raise lacking
            return await run.ask(name, request, unless)

        return await self._calls.result(
            self._tools[task.tool], task.call["arguments"], incoming, report, ask, lambda: run.task.cancelling
        )
