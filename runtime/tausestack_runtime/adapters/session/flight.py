"""One request in flight at a server: its answer, its news on the way, and what the server asks meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tausestack_runtime.adapters.asked import Asked, Tell

MAX_NEWS = 256
MAX_QUESTIONS = 16
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def numbered(identifier: Any) -> int | None:
    """Return which of our requests an id names; some servers give it back as text, which both SDKs' clients take."""
    if isinstance(identifier, str):
        return int(identifier) if _NUMBER.fullmatch(identifier) else None
    if isinstance(identifier, float):
        return int(identifier) if identifier.is_integer() else None
    return identifier if type(identifier) is int else None


@dataclass(frozen=True)
class Question:
    """A request of the server's that waits for the caller."""

    number: str | int
    """The server's own id of it."""
    method: str
    params: dict[str, Any]


@dataclass
class Flight:
    """A request from its sending to its answer; between two rounds nobody attends it."""

    number: int
    method: str
    asked: Asked | None
    """The caller's request that it serves, in its latest round; None: the host's own."""
    answer: asyncio.Future[dict[str, Any]]
    tool: dict[str, Any] | None = None
    """The definition of the tool that is called."""
    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    """What waits for the caller, by the key under which it is asked."""
    task: str | None = None
    """The task at the server whose result it waits for."""
    attended: bool = True
    round: int = 0
    _news: deque[dict[str, Any]] = field(default_factory=deque[dict[str, Any]])
    _stir: asyncio.Event = field(default_factory=asyncio.Event)
    _keys: int = 0

    @property
    def done(self) -> bool:
        """Whether the answer is there, or will never be."""
        return self.answer.done()

    def end(self, answer: dict[str, Any] | Exception) -> None:
        """Take the server's answer, or what came in its stead."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()  # seen, even where nobody waits any more
        else:
            self.answer.set_result(answer)
        self._stir.set()

    def tell(self, notification: dict[str, Any]) -> None:
        """Pass a notification on to the caller; news that nobody attends to, or keeps up with, is dropped."""
        if self.attended and len(self._news) < MAX_NEWS:
            self._news.append(notification)
            self._stir.set()

    def question(self, question: Question) -> bool:
        """Have the caller asked something; return whether there was room for it."""
        if len(self.questions) >= MAX_QUESTIONS:
            return False
        self._keys += 1
        self.questions[f"question-{self._keys}"] = question
        self._stir.set()
        return True

    def withdraw(self, number: Any) -> None:
        """Take back a question that the server does not ask any more."""
        self.questions = {key: one for key, one in self.questions.items() if one.number != number}

    async def follow(self, tell: Tell) -> dict[str, Any] | None:
        """Relay the news until there is an answer, which is returned or raised, or a question: None."""
        while True:
            while self._news:
                await tell(self._news.popleft())
            if self.answer.done():
                return self.answer.result()
            if self.questions:
                return None
            self._stir.clear()
            await self._stir.wait()
