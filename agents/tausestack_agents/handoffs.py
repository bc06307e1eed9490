"""The tools by which an agent hands a run over to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from tausestack_agents.state import Handoff

_ANY = SchemaValidator(schema=core_schema.any_schema())
MAX_REASON = 500


class HandedOver(Exception):
    """The agent hands the run over: its step ends here."""

    def __init__(self, handoff: Handoff) -> None:
        super().__init__(handoff["to"])
        self.handoff = handoff


class Handoffs(AbstractToolset[None]):
    """One tool for each agent that may take over; calling it ends the step with `HandedOver`."""

    def __init__(self, agents: Mapping[str, str]) -> None:
        """`agents` are those that may take over, with what they are for."""
        self._agents = {f"hand_over_to_{name.replace('-', '_')}": (name, about) for name, about in agents.items()}

    @property
    def id(self) -> str:
        """The toolset's name."""
        return "handoffs"

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        """Return the tools."""
        reason = {"type": "string", "description": "Why, and what is left to do."}
        return {
            tool: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=tool,
                    description=f"Let the agent {name} take the request over, where that is its work. {about}".strip(),
                    parameters_json_schema={"type": "object", "properties": {"reason": reason}, "required": ["reason"]},
                    sequential=True,
                ),
                max_retries=1,
                args_validator=_ANY,
            )
            for tool, (name, about) in self._agents.items()
        }

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> Any:
        """End the step."""
        reason = str(tool_args.get("reason", "")).replace("\0", "")[:MAX_REASON]
        raise HandedOver(Handoff(to=self._agents[name][0], reason=reason))
