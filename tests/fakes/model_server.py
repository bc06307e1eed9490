"""A language model on loopback, in OpenAI's and Anthropic's wire formats, that says or misdoes what a test wrote."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from typing import Any

from tausestack_agents.loopback import anthropic, openai
from tausestack_agents.loopback.answers import Answer, Asked, Call
from tausestack_agents.loopback.server import Reply, each, serving
from tausestack_agents.loopback.traffic import Recorded

Turn = Callable[[Asked], Answer | Reply | Recorded]
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


class FakeModel:
    """Answers each request by the next of `script`, and once that is used up by `always`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: list[Turn] = []
        self.always: Turn = lambda _: Answer("The script is used up", status=500)
        self.by_model: dict[str, Turn] = {}
        self.gate = threading.Event()
        """What `slow` waits for."""
        self._stack = ExitStack()
        self.root = self._stack.enter_context(serving(self._respond))
        self.url = f"{self.root}/v1"

    def close(self) -> None:
        """Let what waits go on, and stop serving."""
        self.gate.set()
        self._stack.close()

    def of(self, model: str) -> list[Asked]:
        """Return what one model was asked."""
        return [asked for asked in self.asked if asked.model == model]

    def environ(self, name: str = "openai/gpt-4o-mini", **more: str) -> dict[str, str]:
        """Return what makes a service use it: under a model's name, with keys that no log may show."""
        addresses = {"OPENAI_BASE_URL": self.url, "ANTHROPIC_BASE_URL": self.root, "ANTHROPIC_API_BASE": self.root}
        keys = {"OPENAI_API_KEY": "sk-secret-openai", "ANTHROPIC_API_KEY": "sk-ant-secret"}
        return {"TAUSESTACK_MODEL": name, **addresses, **keys, **more}

    async def _respond(self, asked: Asked) -> Answer | Reply | Recorded:
        self.asked.append(asked)
        if asked.model in self.by_model:
            return self.by_model[asked.model](asked)
        return self.script.pop(0)(asked) if self.script else self.always(asked)

    def slow(self, answer: Answer) -> Turn:
        """Begin an answer, and go on with it only once `gate` is set."""

        async def body(asked: Asked) -> AsyncIterator[bytes]:
            first, *rest = _vendor(asked).frames(answer, asked)
            yield first
            while not self.gate.is_set():  # noqa: ASYNC110 another thread sets it
                await asyncio.sleep(0.02)  # the poll of a condition; a client that leaves ends it
            for frame in rest:
                yield frame

        return lambda asked: Reply(200, STREAM, body(asked))


def says(text: str, **more: Any) -> Turn:
    """Answer with a text."""
    return lambda _: Answer(text, **more)


def calls(name: str, arguments: Any, identifier: str = "call_1") -> Turn:
    """Answer with a tool call; arguments that are a text are sent as they stand."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return lambda _: Answer(calls=[Call(name, written, identifier)])


def plans(*parts: str) -> Turn:
    """Answer by the one tool that it is given, with the parts of a request."""
    return lambda asked: Answer(calls=[Call(asked.tools[0], json.dumps({"parts": parts}), "plan")])


def fails(status: int, message: str = "It did not work", *, retry_after: str | None = None) -> Turn:
    """Refuse with the vendor's error for a status."""
    return lambda _: Answer(message, status=status, retry_after=retry_after)


def cut(text: str = "Son las cinco y media de la tarde", after: int = 2) -> Turn:
    """Begin an answer and drop the connection."""

    async def body(asked: Asked) -> AsyncIterator[bytes]:
        for frame in list(_vendor(asked).frames(Answer(text), asked))[:after]:
            yield frame
        raise ConnectionAbortedError("as the test wants it")

    return lambda asked: Reply(200, STREAM, body(asked))


def ends_early(text: str = "Son las cinco y media de la tarde", after: int = 2) -> Turn:
    """Begin an answer and end it in good order, without the end that the wire format has."""
    return lambda asked: Reply(200, STREAM, each(list(_vendor(asked).frames(Answer(text), asked))[:after]))


def huge(megabytes: int, *, at_once: bool = False) -> Turn:
    """Answer with so many megabytes of text, in pieces of 16 kB or in one."""
    size = megabytes * 1_000_000 if at_once else 16_000
    pieces = ["x" * size] * (megabytes * 1_000_000 // size)

    def frames(asked: Asked) -> Iterable[bytes]:
        whole = list(_vendor(asked).frames(Answer("x"), asked))
        middle = next(at for at, frame in enumerate(whole) if b'"x"' in frame)
        yield from whole[:middle]
        yield from _vendor(asked).texts(pieces, asked)
        yield from whole[middle + 1 :]

    return lambda asked: Reply(200, STREAM, each(frames(asked)))


def raw(status: int, body: bytes, kind: str = "text/html") -> Turn:
    """Answer with bytes of no vendor's format."""
    return lambda _: Reply(status, {"content-type": kind}, each([body]))


def _vendor(asked: Asked) -> Any:
    return openai if asked.wire == "openai" else anthropic
