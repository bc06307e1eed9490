"""An agent's run, as the gateway tells of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RunStatus = Literal["pending", "running", "interrupted", "success", "error", "timeout", "cancelled"]
"""LangGraph's words."""

ENDED: frozenset[str] = frozenset({"success", "error", "timeout", "cancelled"})


class _Told(BaseModel):
    """What a newer gateway adds is kept, not refused."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Interrupt(_Told):
    """What an interrupted run waits for; `approval` is the approval's id where it waits for one."""

    kind: str
    approval: str | None = None
    server: str | None = None
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    message: str = ""
    """What is asked, where it waits for an answer."""
    run: str | None = None
    """The run that waits, where that is one that this one started."""


class Step(_Told):
    """One tool call of a run; `result` is the tool's own, once it is there."""

    server: str
    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    status: str
    result: Any = None

    @property
    def address(self) -> str:
        """The tool's address, `server/tool`."""
        return f"{self.server}/{self.tool}"


class Run(_Told):
    """One run of an agent."""

    id: str
    agent: str
    thread: str | None = None
    status: RunStatus
    interrupt: Interrupt | None = None
    output: Any = None
    steps: list[Step] = Field(default_factory=list[Step])
    cost: dict[str, Any] = Field(default_factory=dict)
    error: Any = None
    truncated: list[str] = Field(default_factory=list[str])
    """Fields of which `get` shows more: in a list a run is a summary."""

    @property
    def ended(self) -> bool:
        """Whether it is over, well or not."""
        return self.status in ENDED

    @property
    def settled(self) -> bool:
        """Whether it goes no further by itself: it ended, or waits for a person."""
        return self.ended or self.status == "interrupted"
