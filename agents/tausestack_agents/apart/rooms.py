"""The processes apart of one agents' process: which there are, which run is in which, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import structlog

from tausestack.errors import TauseError, Unavailable, from_data
from tausestack_agents.apart.births import split_off
from tausestack_agents.domain import AgentFailed
from tausestack_agents.execution import Absent
from tausestack_agents.store import Fenced

logger = structlog.get_logger("agents")

ROOMS = 8
"""How many processes apart there are at once."""
OF_TENANT = 6
"""How many of them are in use for one tenant at once, so that there are some left for the others."""
IDLE = 2
"""How many stay when they have nothing to do."""
USES = 100
"""How many runs a process takes, one after the other."""
LET_GO_SECONDS = 2.0
"""How long a run's code may take to let go of it when it is cancelled."""
WITNESS_SECONDS = 5.0
LONGEST_ANSWER = 64 * 1024 * 1024
REPLAY_SECONDS = 20.0
"""What a replay, which waits for nothing, may take."""
_NAMES = {each.value: each.name for each in signal.Signals}

Live = Callable[[socket.socket], None]


class NoRoom(Exception):
    """All that may be used for the tenant are in use."""


class Died(Exception):
    """The process that a run had to itself ended under it, for the given reason: a signal's name, or an exit code."""

    def __init__(self, code: int) -> None:
        self.late = code == -signal.SIGALRM
        """Whether it was ended because the run's code kept it from ending in time."""
        super().__init__(_NAMES.get(-code, f"signal {-code}") if code < 0 else f"exit code {code}")


class _Room:
    """One process apart, and the line to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.pid = 0
        self.born = anyio.Event()
        self.code: int | None = None
        """How it ended, once it did."""
        self.ended = anyio.Event()
        self.uses = 0

    def tell(self, **told: Any) -> None:
        """Say something to the process."""
        self._writer.write(json.dumps(told).encode() + b"\n")

    async def hear(self) -> dict[str, Any] | None:
        """Return what it says next, None where it is no more."""
        try:
            line = await self._reader.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        """Let it end."""
        self._writer.close()

    def kill(self) -> None:
        """End it."""
        self.close()
        if self.pid and self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Rooms:
    """Takes runs of own code in processes apart, each alone in its process."""

    def __init__(self, births: socket.socket, ring: Callable[[str, str, bool], None]) -> None:
        """`ring` is called with tenant, run and whether the run stops, whenever something happened in one."""
        self._births = births
        self._ring = ring
        self._free: list[_Room] = []
        self._used: Counter[str] = Counter()
        self._at: dict[tuple[str, str], _Room] = {}
        """Where a run is that is held; one may be replayed beside that."""
        self._unborn: dict[int, _Room] = {}
        self._living: dict[int, _Room] = {}
        self._asked_for = 0
        births.setblocking(False)
        asyncio.get_running_loop().add_reader(births.fileno(), self._hear_of_births)

    async def execute(self, tenant: str, run: str, until: float, *, fresh: bool) -> None:
        """Take a run as far as it goes, as an `Executor` does, and raise what that raises; `Died` where it couldn't.

        `until` is what it is held for, in `time.monotonic`'s seconds; a `fresh` process had no run before. Raises
        `NoRoom`.
        """
        await self._ask(tenant, run, {"do": "execute", "until": until}, fresh=fresh)

    async def replay(self, tenant: str, run: str) -> dict[str, Any]:
        """Replay a run; raises what that raises, `Unavailable` where there is no room."""
        try:
            return (await self._ask(tenant, run, {"do": "replay", "seconds": REPLAY_SECONDS}))["replayed"]
        except NoRoom as error:
            raise Unavailable("All processes for agents' own code are in use just now") from error
        except Died as died:
            raise AgentFailed(f"The agent's own code ended its process ({died})") from died

    def hold(self, tenant: str, run: str, until: float) -> None:
        """Let a run be held for longer."""
        if (room := self._at.get((tenant, run))) is not None:
            room.tell(until=until)

    def empty(self) -> None:
        """End those that have nothing to do, and with them what they still had open of anybody's."""
        idle, self._free = self._free, []
        for room in idle:
            room.kill()

    def close(self) -> None:
        """End all processes apart."""
        asyncio.get_running_loop().remove_reader(self._births.fileno())
        self._births.close()
        for room in list(self._living.values()):
            room.close()

    async def _ask(self, tenant: str, run: str, what: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]:
        if self._used.total() >= ROOMS or self._used[tenant] >= OF_TENANT:
            raise NoRoom
        self._used[tenant] += 1
        try:
            room = await self._room(fresh=fresh)
            if "until" in what:
                self._at[tenant, run] = room
            return await self._asked(room, tenant, run, what)
        finally:
            if "until" in what:
                self._at.pop((tenant, run), None)
            self._used[tenant] -= 1
            if not self._used[tenant]:
                del self._used[tenant]

    async def _asked(self, room: _Room, tenant: str, run: str, what: Mapping[str, Any]) -> dict[str, Any]:
        room.uses += 1
        ended: dict[str, Any] | None = None
        try:
            room.tell(**what, tenant=tenant, run=run)
            ended = await self._outcome(room, tenant, run)
        except asyncio.CancelledError:
            room.tell(cancel=True)
            with anyio.move_on_after(LET_GO_SECONDS, shield=True):
                await self._outcome(room, tenant, run)
            raise
        finally:
            if ended is not None and room.uses < USES and len(self._free) < IDLE:
                self._free.append(room)
            else:
                room.kill()
        if ended is None:
            raise Died(await self._code(room))
        _check(ended)
        return ended

    async def _outcome(self, room: _Room, tenant: str, run: str) -> dict[str, Any] | None:
        """Return how what was asked of a process ended, None where the process did."""
        while (said := await room.hear()) is not None:
            if "ring" in said:
                self._ring(tenant, run, said["ring"])
            if "ended" in said:
                return said
        return None

    async def _code(self, room: _Room) -> int:
        """Return how a process ended, as its witness tells; without one nothing is known of it."""
        with anyio.move_on_after(WITNESS_SECONDS):
            await room.ended.wait()
        if room.code is None:
            raise Unavailable("The process of an agent's own code was lost")
        return room.code

    async def _room(self, *, fresh: bool) -> _Room:
        while self._free and not fresh:
            room = self._free.pop()
            if room.code is None:
                return room
        ours, theirs = socket.socketpair()
        room = _Room(*await asyncio.open_unix_connection(sock=ours, limit=LONGEST_ANSWER))
        self._asked_for += 1
        self._unborn[self._asked_for] = room
        with theirs:
            socket.send_fds(self._births, [str(self._asked_for).encode()], [theirs.fileno()])
        with anyio.move_on_after(WITNESS_SECONDS):
            await room.born.wait()
        if not room.pid:
            room.close()
            raise Unavailable("No process could be had for an agent's own code")
        return room

    def _hear_of_births(self) -> None:
        while True:
            try:
                heard = self._births.recv(4096)
            except BlockingIOError:
                return
            if not heard:
                # Nothing can be forked from here any more: whoever supervises this process starts another.
                logger.error("the fork server of agents' own code is gone")
                asyncio.get_running_loop().remove_reader(self._births.fileno())
                os.kill(os.getpid(), signal.SIGTERM)
                return
            told = json.loads(heard)
            if "born" in told:
                room = self._unborn.pop(told["born"])
                room.pid = told["pid"]
                self._living[room.pid] = room
                room.born.set()
            elif (room := self._living.pop(told["pid"], None)) is not None:
                room.code = told["code"]
                room.ended.set()


def _check(ended: Mapping[str, Any]) -> None:
    """Raise what taking a run raised in its process."""
    how = ended["ended"]
    if how == "absent":
        raise Absent
    if how in {"fenced", "cancelled"}:
        raise Fenced
    if how == "unavailable":
        raise Unavailable(ended["message"])
    if how == "refused":
        raise _error(ended["message"], ended["data"])


def _error(message: str, data: dict[str, Any]) -> TauseError:
    if data.get("code") == AgentFailed.code:
        return AgentFailed(message, **{name: each for name, each in data.items() if name != "code"})
    return from_data(message, data)


@asynccontextmanager
async def rooms(load: Callable[[], None], live: Live, ring: Callable[[str, str, bool], None]) -> AsyncGenerator[Rooms]:
    """Give rooms for as long as the agents' process serves; called before it has begun anything else."""
    found = Rooms(split_off(load, live), ring)
    try:
        yield found
    finally:
        found.close()
