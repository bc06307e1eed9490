"""A model's text as it comes, told in the run's event log: some tenths of a second at a time, not a token."""

from __future__ import annotations

import time

from tausestack_agents.journal import Journal

SECONDS = 0.25
"""How long text is gathered before it is told."""
CHARACTERS = 1000
"""How much of it is told at once at the latest."""


class Tokens:
    """The text of one attempt at a request to a model."""

    def __init__(self, journal: Journal, call: str, attempt: int) -> None:
        """`attempt` is counted from 1: text of an earlier one is void once a later one speaks."""
        self._journal = journal
        self._about = {"call": call, "attempt": attempt}
        self._pieces: list[str] = []
        self._size = 0
        self._told = time.monotonic()

    async def add(self, text: str) -> None:
        """Take a piece, and tell what has gathered if it is time."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size >= CHARACTERS or time.monotonic() - self._told >= SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Tell what has gathered."""
        text = "".join(self._pieces).replace("\0", "")
        self._pieces, self._size, self._told = [], 0, time.monotonic()
        if text:
            await self._journal.tell("token", {**self._about, "text": text})
