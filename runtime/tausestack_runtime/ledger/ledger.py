"""The ledger's face: appending is waiting until it is on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from tausestack.errors import TauseError
from tausestack_runtime.ledger import erasing
from tausestack_runtime.ledger.chain import Row
from tausestack_runtime.ledger.earlier import migrate
from tausestack_runtime.ledger.line import Line, body
from tausestack_runtime.ledger.reading import audit, usage
from tausestack_runtime.ledger.verifying import Verification, verify
from tausestack_runtime.ledger.writing import Keys, Synchronous, Writer, reseal

MAX_GROUP = 1024
"""How many appends share a transaction at most, or little more."""

LONG_READS = 4
"""How many chains are read from end to end at once, each by a thread; of a tenant's own one."""

AGAIN_SECONDS = 1.0
"""How often a disk that took nothing is tried again, where nothing else is written."""

GATHER_SECONDS = 0.003
"""How long an append may wait for others of a crowd to share its transaction."""


_Append = tuple[str, list[Row], asyncio.Future[None]]
"""A tenant's lines that wait for the writer, none of them where its file is to be closed; and who waits for that."""


@functools.lru_cache(1024)
def _marking(seal: bytes, tenant: str) -> hashlib.blake2b:
    """Return what digests under a tenant's own key, of which a copy is fed."""
    key = hashlib.blake2b(b"digests\0" + tenant.encode(), key=seal[:64], digest_size=32).digest()
    return hashlib.blake2b(key=key, digest_size=32)


class Ledger:
    """A hash chain of lines for each tenant, written by one thread that takes all that waits at once.

    A tenant's chain is a file in its folder. `keys` tells what seals it: the first, and all are accepted. `synchronous`
    "NORMAL" survives the death of the process, "FULL" also that of the machine. `gateway` is this process's number
    among `gateways`. `crowd` tells how many appends are about to come: they are waited for, a moment, while they are
    more than twice those that are here; where none of them comes in it, they are waited for no more. It is used on the
    event loop that starts it.
    """

    def __init__(
        self,
        data: Path,
        keys: Keys,
        *,
        gateway: int = 1,
        gateways: int = 1,
        synchronous: Synchronous = "NORMAL",
        crowd: Callable[[], int] | None = None,
    ) -> None:
        self._data, self._keys = data, keys
        self._gateway, self._gateways = gateway, gateways
        self._synchronous: Synchronous = synchronous
        self._waiting: queue.SimpleQueue[list[_Append] | None] = queue.SimpleQueue()
        self._crowd = crowd or (lambda: 0)
        self._gathering: list[_Append] = []
        self._until: asyncio.TimerHandle | None = None
        self._late = 0
        """How many of the crowd are slow: they were waited for, and none came."""
        self._thread: threading.Thread | None = None
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Whose it is while it is open."""
        self._long = anyio.CapacityLimiter(LONG_READS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.groups = 0
        """How many times what waited was written."""
        self.away = ""
        """Why the disk takes nothing just now, where it does not."""
        self._seal = b""
        """What sealed the ledger when something was written last."""

    def mark(self, tenant: str, content: bytes) -> str:
        """Return a digest under a key of the tenant's own: who reads lines can't try what may have been digested.

        The key comes from the one that seals the ledger; who has that can tell what a line was about.
        """
        marking = _marking(self._seal, tenant).copy()
        marking.update(content)
        return marking.hexdigest()

    async def start(self) -> None:
        """Start the writer, after the calls that its predecessor left open have ended, as in doubt."""
        self._writer = writer = await anyio.to_thread.run_sync(self._ready)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, args=(writer, self._loop), name="ledger", daemon=True)
        self._thread.start()

    def append(self, *lines: Line) -> asyncio.Future[None]:
        """Write lines of one tenant, together or not at all; what is returned is done when they are durable.

        It raises what the disk says. A cancelled append may still be written.
        """
        loop, tenant = self._loop, lines[0]["tenant"]
        if loop is None:
            raise RuntimeError("the ledger is not open")
        rows: list[Row] = []
        for line in lines:
            if line["tenant"] != tenant:
                raise ValueError("lines of several tenants are never written together")
            rows.append((line, body(line)))
        done = loop.create_future()
        self._gathering.append((tenant, rows, done))
        crowd = self._crowd()
        if crowd < self._late:
            self._late = crowd
        if crowd - self._late <= 2 * len(self._gathering):
            self._pass_on()
        elif self._until is None:
            self._until = loop.call_later(GATHER_SECONDS, self._wait_no_longer)
        return done

    async def close(self) -> None:
        """Write what waits, then close the file."""
        if self._thread is None:
            return
        self._loop = None
        self._pass_on()
        self._waiting.put(None)
        await anyio.to_thread.run_sync(self._thread.join)
        self._thread = self._writer = None

    async def usage(self, tenant: str, *, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        """Sum up a tenant's calls by tool, principal, agent and day: how many, what became of them, bytes, time, cost.

        `since` is inclusive, `until` exclusive (UTC, ISO 8601). Raises `InvalidArguments` for other forms.
        """
        return await self._read_long(usage, tenant, since, until)

    async def audit(self, tenant: str, *, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """Return a tenant's lines with a number below `before`, newest first."""
        return await self._read(audit, tenant, limit, before)

    async def verify(self, tenant: str) -> Verification:
        """Follow a tenant's chain from its first line to its last, which is not before what this ledger wrote."""
        written = 0 if self._writer is None else self._writer.written(tenant)
        found: Verification = await self._read_long(verify, tenant)
        if found.ok and found.lines < written:
            gone = "an earlier head was put back: the lines after it are gone"
            return replace(found, ok=False, lines=written, first_bad=found.lines + 1, wrong=gone)
        return found

    async def reseal(self) -> None:
        """Have every head sealed by the first of the keys, which then are enough."""
        await anyio.to_thread.run_sync(reseal, self._data, self._keys())

    async def count(self, tenant: str) -> int:
        """Return how many lines a tenant has."""
        return await self._read(erasing.count, tenant)

    async def let_go(self, tenant: str) -> None:
        """Hold nothing of a tenant's chain open, in the writer's turn: the tenant is to be deleted."""
        if self._loop is None:
            raise RuntimeError("the ledger is not open")
        done = self._loop.create_future()
        self._gathering.append((tenant, [], done))
        self._pass_on()
        await done

    async def erase(self, tenant: str) -> int:
        """Delete a tenant's chain without a trace, and return how many lines it had."""
        return await self._read(erasing.erase, tenant, self._gateway)

    def _wait_no_longer(self) -> None:
        if len(self._gathering) == 1:
            self._late = self._crowd()
        self._pass_on()

    def _pass_on(self) -> None:
        """Give what has gathered to the writer."""
        if self._until is not None:
            self._until.cancel()
            self._until = None
        if self._gathering:
            self._waiting.put(self._gathering)
            self._gathering = []

    async def _read(self, read: Any, *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(functools.partial(read, self._data, self._keys(), *arguments))

    async def _read_long(self, read: Any, tenant: str, *more: Any) -> Any:
        """Read all of a chain, which may take seconds: who has many of its reads wait keeps nobody else's waiting."""
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        async with turn:
            reading = functools.partial(read, self._data, self._keys(), tenant, *more)
            return await anyio.to_thread.run_sync(reading, limiter=self._long)

    def _ready(self) -> Writer:
        writer = Writer(self._data, self._keys, self._gateway, self._synchronous)
        with writer.turn:
            migrate(self._data, self._keys(), self._gateway)
        self._seal = writer.rekey()
        writer.settle(self._gateways)
        self.away = writer.refused()
        return writer

    def _write(self, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        """Be the writer thread, until the ledger is closed."""
        more = True
        while more:
            try:
                first = self._waiting.get(timeout=AGAIN_SECONDS if writer.owes or self.away else None)
            except queue.Empty:
                first = []
            more = first is not None
            if not more and not writer.owes:
                break
            group = list(first or [])
            settled: list[tuple[_Append, Exception | None]] = []
            try:
                with writer.turn:
                    self._seal = writer.rekey()
                    writer.pay()
                    if group:
                        more = self._gather(group)
                        self.groups += 1
                    for tenant, appends in _by_tenant(group).items():
                        settled += self._kept(writer, tenant, appends)
                    writer.flush()
            except (OSError, TauseError) as error:  # no turn is given out, the disk takes nothing, the key is gone
                settled = [(append, error) for append in group]
            for (tenant, rows, _), error in settled:
                if error is not None:
                    writer.owe(tenant, rows)
            if self.away or any(error is not None for _, error in settled):
                self.away = writer.refused()
            # A loop that was closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_wake, settled)
        writer.close()

    def _gather(self, group: list[_Append]) -> bool:
        """Add what else waits to a group, and return False where the ledger is to be closed after it."""
        while len(group) < MAX_GROUP:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return False
            group += following
        return True

    def _kept(self, writer: Writer, tenant: str, appends: list[_Append]) -> list[tuple[_Append, Exception | None]]:
        """Write a tenant's appends at once; where that fails, each alone, so that a fault is one's own."""
        try:
            writer.write(tenant, [one for _, rows, _ in appends for one in rows])
            if not all(rows for _, rows, _ in appends):
                writer.let_go(tenant)
        except Exception as error:  # noqa: BLE001 it is raised to whoever waits for the lines
            if len(appends) == 1:
                return [(appends[0], error)]
            return [settled for append in appends for settled in self._kept(writer, tenant, [append])]
        return [(append, None) for append in appends]


def _by_tenant(group: list[_Append]) -> dict[str, list[_Append]]:
    found: dict[str, list[_Append]] = {}
    for append in group:
        found.setdefault(append[0], []).append(append)
    return found


def _wake(settled: list[tuple[_Append, Exception | None]]) -> None:
    for (_, _, done), error in settled:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
