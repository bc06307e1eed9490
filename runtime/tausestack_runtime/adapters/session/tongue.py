"""What a session speaks with its server: the modern protocol, or an earlier one that is translated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from tausestack_runtime.adapters.asked import Asked, Tell
from tausestack_runtime.adapters.session.catalogue import Catalogue


@dataclass
class Said:
    """What a server said of itself when it was greeted."""

    info: dict[str, Any] = field(default_factory=dict[str, Any])
    capabilities: dict[str, Any] = field(default_factory=dict[str, Any])
    """In modern words."""
    instructions: str | None = None
    protocols: list[str] = field(default_factory=list[str])
    """The versions that it speaks, newest first."""
    raw: dict[str, Any] = field(default_factory=dict[str, Any])
    """The result of its `initialize` or `server/discover`, as it came."""


class Tongue(Protocol):
    """One way of speaking."""

    said: Said
    catalogue: Catalogue

    @property
    def listeners(self) -> int:
        """How many callers listen to the server."""
        ...

    async def request(self, asked: Asked, tell: Tell) -> dict[str, Any]:
        """Have the server serve a request, and return its modern result.

        Raises `Answered` for an error of the server's, `Broken` where it broke off, and a `TauseError` where the
        request was not sent.
        """
        ...

    def end(self, *, gracefully: bool) -> None:
        """End every stream of notifications."""
        ...
