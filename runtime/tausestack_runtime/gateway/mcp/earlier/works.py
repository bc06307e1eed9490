"""What earlier clients asked for and is under way: it goes on while they are away, and is told when they are back.

A client of an earlier version that goes away has cancelled nothing, as its versions have it: it says so with
`notifications/cancelled`, or comes back for the rest. Nothing is left running for ever all the same: a call has its own
deadline, and so has each question to the client.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import orjson

from tausestack.errors import RateLimited, TauseError
from tausestack.raw import number_of
from tausestack_runtime.gateway.mcp.earlier.session import Session

MAX_AHEAD = 256
"""How many events may wait for a reader before whoever tells more waits too."""
MAX_EVENTS, MAX_BYTES = 2048, 4 * 1024 * 1024
"""What is kept of one stream; of more, the oldest go."""
MAX_WORKS = 512
"""How many requests of a tenant's earlier clients may be under way at this gateway."""
MAX_OVER, MAX_OVER_BYTES = 1024, 16 * 1024 * 1024
"""How much of what is over is kept for clients that come back for it; of more, the tenant's that has most goes."""

_NUMBER_DIGITS = 2


class Work:
    """One POST's requests, and what their client is told: notifications, questions, responses, numbered from 1."""

    def __init__(self, identifier: str, session: Session, *, streams: bool, batch: bool) -> None:
        self.id = identifier
        self.session = session
        self.streams = streams
        """Whether its client takes an event stream: others are told nothing but responses."""
        self.batch = batch
        self.responses: list[bytes] = []
        self.refusal: TauseError | None = None
        """What the only request was refused with, where HTTP has a status for that."""
        self.retry_ms = 0
        self.pauses = 0
        """How often its server has had the stream closed."""
        self._open = 0
        self._told: deque[bytes] = deque()
        self._size = 0
        self._last = 0
        self._reader: Reader | None = None
        self._taken = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether every request has been answered, or was cancelled."""
        return self._open == 0

    @property
    def silent(self) -> bool:
        """Whether nothing but responses was told."""
        return self._last == len(self.responses)

    @property
    def size(self) -> int:
        """The bytes that are kept."""
        return self._size

    async def tell(self, message: dict[str, Any]) -> None:
        """Tell the client something; waits where its reader lags behind."""
        self.note(message)
        while self._reader is not None and self._last - self._reader.position > MAX_AHEAD:
            self._taken.clear()
            await self._taken.wait()

    def note(self, message: dict[str, Any]) -> None:
        """Tell the client something, and wait for nobody."""
        if self.streams:
            self._append(orjson.dumps(message))

    def answer(self, response: bytes) -> None:
        """Give the response to one of the requests."""
        self.responses.append(response)
        self._append(response)

    def pause(self, retry_ms: int) -> None:
        """Have the client's stream closed, to be resumed after a while: its server did so with its own."""
        self.retry_ms = retry_ms
        self.pauses += 1
        self._wake()

    def opened(self) -> None:
        """Count one more request as unanswered."""
        self._open += 1

    def closed(self) -> None:
        """Count one less."""
        self._open -= 1
        self._wake()

    @contextmanager
    def reading(self, after: int = 0) -> Generator[Reader]:
        """Read what is told from a number on; whoever read before does no more."""
        self._wake()
        reader = self._reader = Reader(self, after)
        try:
            yield reader
        finally:
            if self._reader is reader:
                self._reader = None
            self._taken.set()

    def since(self, number: int) -> list[tuple[int, bytes]]:
        """Return what was told after a number, as far as it is kept."""
        first = self._last - len(self._told) + 1
        return [(first + place, event) for place, event in enumerate(self._told) if first + place > number]

    def is_read_by(self, reader: Reader) -> bool:
        """Whether a reader is the one that counts."""
        return self._reader is reader

    def took(self) -> None:
        """Let whoever waits for the reader go on."""
        self._taken.set()

    def _append(self, event: bytes) -> None:
        self._told.append(event)
        self._last += 1
        self._size += len(event)
        while len(self._told) > MAX_EVENTS or (self._size > MAX_BYTES and len(self._told) > 1):
            self._size -= len(self._told.popleft())
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.news.set()


class Reader:
    """Where a client's stream has come to in what it is told."""

    def __init__(self, work: Work, after: int) -> None:
        self._work = work
        self.position = after
        self.news = asyncio.Event()
        self._pauses = work.pauses

    @property
    def current(self) -> bool:
        """Whether no other stream has taken over."""
        return self._work.is_read_by(self)

    @property
    def paused(self) -> bool:
        """Whether the stream should be closed, for the client to come back."""
        return self._work.pauses > self._pauses

    async def waited(self, seconds: float | None) -> bool:
        """Wait until something was told or changed, or for so long; returns whether something did."""
        try:
            await asyncio.wait_for(self.news.wait(), seconds)
        except TimeoutError:
            return False
        self.news.clear()
        return True

    def take(self) -> list[tuple[int, bytes]]:
        """Return what is new."""
        found = self._work.since(self.position)
        if found:
            self.position = found[-1][0]
            self._work.took()
        return found


class Works:
    """The works of this gateway."""

    def __init__(self, number: int) -> None:
        """Take the gateway's number, which every id of an event bears."""
        self._number = number
        self._kept: OrderedDict[str, Work] = OrderedDict()
        self._over: dict[str, OrderedDict[str, int]] = {}
        """By tenant: the works that are over, the oldest first, with their sizes."""
        self._over_count = self._over_bytes = 0
        self._tasks: dict[tuple[str, str | int], asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._running: Counter[str] = Counter()

    def begin(self, session: Session, *, streams: bool, batch: bool = False) -> Work:
        """Return a new work, of which nothing runs yet."""
        if self._running[session.tenant] >= MAX_WORKS:
            raise RateLimited(f"{MAX_WORKS} requests of this tenant are under way already", retry_after=1)
        identifier = f"{self._number:0{_NUMBER_DIGITS}x}{secrets.token_hex(8)}"
        work = self._kept[identifier] = Work(identifier, session, streams=streams, batch=batch)
        return work

    def run(self, work: Work, request_id: str | int, answering: Coroutine[Any, Any, None]) -> None:
        """Have one of a work's requests answered, in a task of its own."""
        session = work.session
        work.opened()
        task = asyncio.create_task(answering)
        key = (session.id, request_id)
        self._running[session.tenant] += 1
        self._tasks[key] = task
        self._all.add(task)
        task.add_done_callback(lambda _: self._ended(work, key, task))

    def cancel(self, session: Session, request_id: str | int) -> bool:
        """Cancel a request of a session; returns whether it is under way here."""
        task = self._tasks.get((session.id, request_id))
        return task is not None and task.cancel()

    def cancel_all(self, session: Session) -> None:
        """Cancel all requests of a session, which has ended."""
        for (session_id, _), task in list(self._tasks.items()):
            if session_id == session.id:
                task.cancel()

    def find(self, event_id: str, session: Session) -> tuple[Work, int] | None:
        """Return the work of an event, and the event's number; None where that is not known, or another session's."""
        identifier, _, written = event_id.partition("-")
        work, number = self._kept.get(identifier), number_of(written)
        if work is None or work.session.id != session.id or number is None:
            return None
        return work, number

    async def aclose(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._all)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, work: Work, key: tuple[str, str | int], task: asyncio.Task[None]) -> None:
        work.closed()
        self._all.discard(task)
        if self._tasks.get(key) is task:
            del self._tasks[key]
        self._running[work.session.tenant] -= 1
        if not self._running[work.session.tenant]:
            del self._running[work.session.tenant]
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "a request broke", "exception": error})
        if not work.over:
            return
        self._over.setdefault(work.session.tenant, OrderedDict())[work.id] = work.size
        self._over_count += 1
        self._over_bytes += work.size
        while self._over_count > MAX_OVER:
            self._forget(max(self._over, key=lambda tenant: len(self._over[tenant])))
        while self._over_bytes > MAX_OVER_BYTES:
            self._forget(max(self._over, key=lambda tenant: sum(self._over[tenant].values())))

    def _forget(self, tenant: str) -> None:
        """Forget the oldest of a tenant's works that are over."""
        works = self._over[tenant]
        oldest, size = works.popitem(last=False)
        self._over_count -= 1
        self._over_bytes -= size
        self._kept.pop(oldest, None)
        if not works:
            del self._over[tenant]


def origin(event_id: str) -> int | None:
    """Return the number of the gateway that an event's id names, or None for what is no such id."""
    try:
        return int(event_id[:_NUMBER_DIGITS], 16)
    except ValueError:
        return None
