"""Who is at the door: as many connections as there is room for, and no tenant with more than its share of what is open.

None of this asks who somebody is before they have said it: a connection whose caller owes a request gives way to a new
one when the room is full, and a connection that we owe an answer never does.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from tausestack.errors import RateLimited

MOST_CONNECTIONS = 8192
RESERVED_FILES = 1024
"""Open files that are not callers': databases, and connections to servers."""

TENANT_BYTES = 128 * 1024 * 1024
"""How many bytes of large requests and answers are held for a tenant at once; read, a request takes ten times that."""

LIGHT = 256 * 1024
"""What has fewer bytes is not counted: what of that is open at once is bounded by its number."""

BYTE_SECONDS, VALUE_SECONDS = 10e-9, 0.5e-6
"""How long a tenant's large body keeps its next one waiting, by bytes and commas: about twice what reading takes."""

MOST_TURNS = 1000
"""How many tenants' turns are kept before those that have passed are forgotten."""

TENANT_STREAMS = 128
"""How many streams of one service a tenant may hold: a quarter of what there is for all."""


class Member(Protocol):
    """A caller's connection, as far as the crowd knows it."""

    among: dict[Member, None] | None
    """Where it stands, which is the crowd's to write."""

    def give_way(self) -> None:
        """Close, since another needs the room."""
        ...


class Crowd:
    """The callers' connections of a process, by what they wait for and in the order that they began to wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._new: dict[Member, None] = {}
        """Those that never sent a whole request."""
        self._idle: dict[Member, None] = {}
        """Those that did, and owe the next, which may never come."""
        self._busy: dict[Member, None] = {}
        """Those that are owed an answer."""

    def enter(self, connection: Member) -> bool:
        """Let a connection in, for which the one that owes a request for longest goes; return whether there is room.

        It goes from the larger side, so that neither strangers nor idlers drive out the others.
        """
        if len(self._new) + len(self._idle) + len(self._busy) >= self._most:
            side = max(self._new, self._idle, key=len)
            if not side:
                return False
            longest = next(iter(side))
            self.leave(longest)
            longest.give_way()
        connection.among = self._new
        self._new[connection] = None
        return True

    def requested(self, connection: Member) -> None:
        """Note that a whole request has come."""
        if connection.among is not None:
            del connection.among[connection]
            connection.among = self._busy
            self._busy[connection] = None

    def answered(self, connection: Member) -> None:
        """Note that the next request is the caller's to send."""
        if connection.among is not None:
            del connection.among[connection]
            connection.among = self._idle
            self._idle[connection] = None

    def leave(self, connection: Member) -> None:
        """Forget a connection that is closed."""
        if connection.among is not None:
            del connection.among[connection]
            connection.among = None


class Share(Protocol):
    """What each tenant may hold at once."""

    def take(self, tenant: str) -> None:
        """Count one more for a tenant, or raise `RateLimited`."""
        ...

    def give_back(self, tenant: str) -> None:
        """Count one less."""
        ...


class Shares:
    """How much of something each tenant holds, none of them more than its share."""

    def __init__(self, most: int, what: str) -> None:
        """`what` says in a refusal what there are too many of."""
        self._most, self._what = most, what
        self._held: dict[str, int] = {}

    @contextmanager
    def hold(self, tenant: str) -> Generator[None]:
        """Hold one more for a tenant, or raise `RateLimited`."""
        self.take(tenant)
        try:
            yield
        finally:
            self.give_back(tenant)

    def take(self, tenant: str, amount: int = 1) -> None:
        """Count so many more for a tenant, or raise `RateLimited`."""
        held = self._held.get(tenant, 0)
        if held + amount > self._most:
            raise RateLimited(
                f"{self._most} {self._what} of this tenant are open already", retry_after=1, quota=self._most
            )
        self._held[tenant] = held + amount

    def give_back(self, tenant: str, amount: int = 1) -> None:
        """Count so many less."""
        held = self._held.pop(tenant)
        if held > amount:
            self._held[tenant] = held - amount

    def held(self, tenant: str) -> int:
        """Return how much a tenant holds."""
        return self._held.get(tenant, 0)


class Turns:
    """When what is work to read is read: a tenant's large bodies one after the other, and others in between."""

    def __init__(self) -> None:
        self._free: dict[str, float] = {}

    async def next(self, tenant: str, body: bytes) -> None:
        """Wait until a tenant's last large body and a pause have passed, and keep its next one waiting for this one.

        Others have their turn in any case.
        """
        now = asyncio.get_running_loop().time()
        if len(self._free) > MOST_TURNS:
            self._free = {each: free for each, free in self._free.items() if free > now}
        at = max(now, self._free.get(tenant, now))
        self._free[tenant] = at + len(body) * BYTE_SECONDS + body.count(b",") * VALUE_SECONDS
        await asyncio.sleep(at - now)


def room() -> int:
    """Return how many connections this process has open files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(min(MOST_CONNECTIONS, files - RESERVED_FILES), files // 4)
