"""The pipeline where a collector is set: each call a span, whose context goes along to its server."""

from __future__ import annotations

from typing import Any

from tausestack.errors import ToolFailed
from tausestack.tracing import Tracing
from tausestack_runtime.gateway.call import TOOLS_CALL, Call, Outcome
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.snapshots import TenantSnapshot


class TracedPipeline(Pipeline):
    """The pipeline, with spans by MCP's conventions; the plain one pays nothing for them."""

    def __init__(self, tracing: Tracing, **parts: Any) -> None:
        super().__init__(**parts)
        self._tracing = tracing

    async def run(self, call: Call, snapshot: TenantSnapshot | None = None) -> Outcome:
        """Take a call to its end, within its span."""
        given = call.meta.get("traceparent")
        parent = given if isinstance(given, str) else None
        if parent is None and call.parent is not None:
            parent = call.parent.meta.get("traceparent")
        with self._tracing.span(f"{call.method} {call.tool}".strip(), "server", parent) as span:
            who = call.principal
            span.set(
                mcp_method_name=call.method,
                tausestack_tenant=call.tenant,
                tausestack_call=call.id,
                tausestack_door=call.door,
                tausestack_server=call.server,
                tausestack_run=who.run,
                gen__ai_agent_name=who.agent,
            )
            if call.method == TOOLS_CALL:
                span.set(gen__ai_tool_name=call.tool, gen__ai_operation_name="execute_tool")
            call.meta = {**call.meta, **self._tracing.carrier()}
            outcome = await super().run(call, snapshot)
            if outcome.failed:
                span.fail(ToolFailed.code)
            return outcome
