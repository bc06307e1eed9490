"""A task as it is kept: whose it is, what it runs, how far it is, what it ended with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tausestack.mcp.digests import NONE, Digest

Ending = Literal["completed", "failed", "cancelled"]
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]


@dataclass(frozen=True)
class Owner:
    """Whose a task is: nobody else's request finds it."""

    tenant: str
    principal: str


@dataclass(frozen=True)
class TaskLimits:
    """What a server allows each tenant."""

    ttl_ms: int = 24 * 3600 * 1000
    """How long a task is kept, counted from its creation; one that still runs then is stopped."""
    poll_ms: int = 1000
    """How often a client should ask."""
    running: int = 50
    """Tasks that have not ended."""
    kept: int = 1000
    """Tasks in all, the ended ones included, until their time is over."""
    runs: int = 5
    """How often a task is begun anew because its process died."""
    silence_ms: int = 6000
    """So long unheard of, and a process counts as dead; it is to be heard of four times as often.

    One that only slept finds its tasks taken and lets go of them.
    """


@dataclass
class Task:
    """One task; times are UTC, ISO 8601."""

    id: str
    owner: Owner
    tool: str
    call: dict[str, Any]
    """What it takes to run it; emptied when it has ended."""
    process: str
    """The process that runs it."""
    ttl_ms: int
    poll_ms: int
    created_at: str
    updated_at: str
    expires_at: str
    key: str | None = None
    """The idempotency key of the call that made it."""
    digest: str = ""
    """What the key stands for, as it is kept."""
    told_by: Digest = NONE
    """The same of a call that is being made, by which one that is kept is told; kept with none."""
    ending: Ending | None = None
    message: str | None = None
    asked: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Every request for input, by key, in order."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    cancelling: bool = False
    runs: int = 1

    @property
    def outstanding(self) -> dict[str, dict[str, Any]]:
        """The requests for input that nobody has answered."""
        return {key: request for key, request in self.asked.items() if key not in self.answers}

    @property
    def status(self) -> Status:
        """Where the task is."""
        return self.ending or ("input_required" if self.outstanding else "working")

    def expired(self, now: str) -> bool:
        """Return whether its time is over."""
        return self.expires_at <= now


def moment(after_ms: int = 0) -> str:
    """Return the time in so many milliseconds, in the one form that sorts as text."""
    return (datetime.now(UTC) + timedelta(milliseconds=after_ms)).isoformat(timespec="milliseconds")
