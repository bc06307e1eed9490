"""Questions to the client in the middle of a request: what 2026-07-28 answers with is what earlier versions ask."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tausestack.contract import Principal
from tausestack.errors import (
    INVALID_REQUEST,
    MISSING_CLIENT_CAPABILITY,
    DeadlineExceeded,
    TauseError,
    UpstreamError,
)
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.call import Outcome
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.translate import asked_of_client, lacking
from tausestack_runtime.gateway.mcp.earlier.works import Work
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.mcp.methods import Methods

MAX_ROUNDS = 16
MAX_QUESTIONS = 32
INPUT_SECONDS = 300.0
"""How long a client may take to answer one round of questions: there may be a person behind it."""
PAUSE_SECONDS = 0.25
"""Before a request goes again to a server that asked for nothing but that."""

_PREFIX = "g"
_NUMBER_DIGITS = 2

Renew = Callable[[], Awaitable[Principal]]
"""Returns who asks as of now, or raises that they may no more."""


class Questions:
    """What clients were asked and have not answered yet, by the ids that the questions bear."""

    def __init__(self, number: int) -> None:
        """Take the gateway's number, which the ids bear, so that every gateway knows where an answer belongs."""
        self._stem = f"{_PREFIX}{number:0{_NUMBER_DIGITS}x}-"
        self._waiting: dict[str, tuple[str, asyncio.Future[dict[str, Any]]]] = {}

    @contextmanager
    def asked(self, session: Session) -> Generator[tuple[str, asyncio.Future[dict[str, Any]]]]:
        """Give an id for a question, and what will be the whole response to it."""
        identifier = self._stem + secrets.token_hex(10)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = (session.id, future)
        try:
            yield identifier, future
        finally:
            del self._waiting[identifier]
            future.cancel()

    def answered(self, session: Session, response: dict[str, Any]) -> bool:
        """Take a client's response; returns whether its session was asked that here and waits."""
        known = self._waiting.get(str(response.get("id")))
        if known is None or known[0] != session.id or known[1].done():
            return False
        known[1].set_result(response)
        return True


def origin(identifier: object) -> int | None:
    """Return the number of the gateway that waits for the response with an id, or None for what is no id of ours."""
    if not isinstance(identifier, str) or not identifier.startswith(_PREFIX):
        return None
    try:
        return int(identifier[1 : 1 + _NUMBER_DIGITS], 16)
    except ValueError:
        return None


class Rounds:
    """Takes a request to its end, through every round of questions."""

    def __init__(self, methods: Methods, questions: Questions) -> None:
        self._methods = methods
        self._questions = questions

    async def answer(self, ask: Ask, work: Work, renew: Renew) -> Outcome:
        """Return the result of a request that is complete."""
        for _ in range(MAX_ROUNDS):
            outcome = await self._methods.answer(ask)
            if not outcome.waits:
                return outcome
            try:
                answers = await self._round(ask, work, object_at(outcome.result, "inputRequests"))
            except TauseError as error:
                error.noted = True  # the call that asked has its line, and there was none after it
                raise
            again: dict[str, Any] = {"inputResponses": answers} if answers else {}
            if "requestState" in outcome.result:
                again["requestState"] = outcome.result["requestState"]
            kept = {name: each for name, each in ask.params.items() if name not in {"inputResponses", "requestState"}}
            ask = replace(ask, principal=await renew(), params={**kept, **again})
        raise UpstreamError(f"The server still asked for input after {MAX_ROUNDS} rounds")

    async def _round(self, ask: Ask, work: Work, requests: dict[str, Any]) -> dict[str, Any]:
        """Return the client's answers to a round of questions, by the server's names for them."""
        if not requests:
            await asyncio.sleep(PAUSE_SECONDS)
            return {}
        if len(requests) > MAX_QUESTIONS:
            raise UpstreamError(f"The server asks more than {MAX_QUESTIONS} questions at once")
        for request in requests.values():
            missing = lacking(as_object(request) or {}, ask.capabilities())
            if missing is not None:
                raise Refused(
                    MISSING_CLIENT_CAPABILITY,
                    f"The server asks for what this client has not declared: {missing}",
                    ask.id,
                    capability=missing,
                )
        if not work.streams:
            raise Refused(INVALID_REQUEST, "The server has a question: accept text/event-stream to be asked", ask.id)
        try:
            async with asyncio.timeout(INPUT_SECONDS):
                return await self._answers(work, requests)
        except TimeoutError as error:
            raise DeadlineExceeded(f"The client left questions unanswered for {INPUT_SECONDS:.0f} s") from error

    async def _answers(self, work: Work, requests: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.TaskGroup() as group:
                asking = {
                    name: group.create_task(self._question(work, as_object(request) or {}))
                    for name, request in requests.items()
                }
        except* UpstreamError as errors:
            raise errors.exceptions[0] from None
        return {name: task.result() for name, task in asking.items()}

    async def _question(self, work: Work, request: dict[str, Any]) -> dict[str, Any]:
        with self._questions.asked(work.session) as (identifier, response):
            asked = asked_of_client(request, work.session.version)
            await work.tell({"jsonrpc": "2.0", "id": identifier, **asked})
            try:
                answer = await response
            except asyncio.CancelledError:
                taken_back = {"requestId": identifier, "reason": "the request that it belongs to has ended"}
                work.note({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": taken_back})
                raise
        result = as_object(answer.get("result"))
        if result is None:
            why = str(object_at(answer, "error").get("message") or "without a result")
            raise UpstreamError(f"The client answered {request.get('method')} with an error: {why[:400]}")
        return result
