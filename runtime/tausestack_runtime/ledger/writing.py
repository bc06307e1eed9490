"""Writing lines: one process at a time, and in it one thread, that has every tenant's chain."""

from __future__ import annotations

import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import structlog

from tausestack.errors import InDoubt, InvalidRequest, TauseError, Unavailable
from tausestack.names import SYSTEM_TENANT, is_tenant
from tausestack_runtime.ledger.chain import FILE, Chain, Row, in_doubt, put, row
from tausestack_runtime.ledger.head import HEAD_BYTES, BrokenHead, pack, unpack
from tausestack_runtime.ledger.line import ENDS, Line
from tausestack_runtime.ledger.register import Register, register_of

Synchronous = Literal["NORMAL", "FULL"]
Keys = Callable[[], Sequence[bytes]]
"""Tells the keys that hold now: what is written is sealed by the first, what is read may be by any."""
TURN = "ledger.turn"
MAX_OPEN = 256
"""How many tenants' files are kept open, beside those that have calls under way."""
FLUSHES = 16
"""How many tenants' files are flushed at once."""
MAX_SEEN = 4096
PAGE = 4096

logger = structlog.get_logger("ledger")


def file_of(data: Path, tenant: str) -> Path:
    """Return where a tenant's chain lies; raises `InvalidRequest` for what can't be a tenant."""
    if tenant != SYSTEM_TENANT and not is_tenant(tenant):
        raise InvalidRequest(f"'{tenant[:80]}' can't be a tenant")
    return data / "tenants" / tenant / FILE


def tenants(data: Path) -> list[str]:
    """Return the tenants that have a chain."""
    found = sorted(path.parent.name for path in data.glob(f"tenants/*/{FILE}"))
    return [tenant for tenant in found if tenant == SYSTEM_TENANT or is_tenant(tenant)]


def reseal(data: Path, keys: Sequence[bytes]) -> None:
    """Have every head sealed by the first key; one that is broken stays so."""
    found = [(tenant, file_of(data, tenant)) for tenant in tenants(data)]
    register = register_of(data)
    if register.exists():
        found.append((SYSTEM_TENANT, register))
    with closing(Turn(data)) as turn:
        for tenant, path in found:
            with turn, path.open("r+b", buffering=0) as file, suppress(BrokenHead):
                os.pwrite(file.fileno(), pack(unpack(file.read(HEAD_BYTES), tenant, keys), keys[0]), 0)


class Turn:
    """The right to write, of one process at a time: the kernel ends a dead one's.

    Waiting for it keeps a thread. A shared one only keeps writers waiting.
    """

    def __init__(self, data: Path, *, shared: bool = False) -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(data / TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

    def __enter__(self) -> None:
        fcntl.flock(self._file, self._how)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def try_disk(self) -> None:
        """Raise `OSError` where the disk takes nothing: a page is written into the file, in which nothing else is."""
        try:
            put(self._file, bytes(PAGE), 0)
        finally:
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close the file whose lock is the turn."""
        os.close(self._file)


class Writer:
    """Every tenant's chain, as far as they are in use."""

    def __init__(self, data: Path, keys: Keys, gateway: int, synchronous: Synchronous) -> None:
        self._data, self._live, self._gateway = data, keys, gateway
        self._keys = list(keys())
        self._flushes = ThreadPoolExecutor(FLUSHES, "ledger-flush") if synchronous == "FULL" else None
        self._written: list[Chain | Register] = []
        self.turn = Turn(data)
        with self.turn:
            self._register = Register(data, self._keys, gateway)
        self._chains: OrderedDict[str, Chain] = OrderedDict()
        self._seen: tuple[set[tuple[str, str]], set[tuple[str, str]]] = set(), set()
        self._owed: dict[str, dict[str, Line]] = {}
        """By tenant the calls that were sent and whose ends were not taken, with the lines that were to end them."""

    def rekey(self) -> bytes:
        """Take the keys that hold now, for every chain, and return the one that seals."""
        self._keys[:] = self._live()
        return self._keys[0]

    def write(self, tenant: str, rows: Sequence[Row]) -> None:
        """Add lines of one tenant, all or none; a second end of a call is dropped: a call is counted once.

        Where the disk takes nothing more it raises `InDoubt` for the end of a call that was sent, else `Unavailable`.
        """
        older, newer = self._seen
        ended: set[tuple[str, str]] = set()
        new: list[Row] = []
        for one in rows:
            if one[0]["kind"] in ENDS:
                call = (tenant, one[0]["call"])
                if call in newer or call in older or call in ended:
                    continue
                ended.add(call)
            new.append(one)
        if new:
            try:
                self._add(tenant, new)
            except OSError as error:
                raise self._unwritten(tenant, ended, error) from error
            self._note(tenant, ended)

    def refused(self) -> str:
        """Return why the disk takes nothing, nothing where it does."""
        try:
            self.turn.try_disk()
        except OSError as error:
            return f"the ledger can't be written ({error.strerror or error})"
        return ""

    @property
    def owes(self) -> bool:
        """Whether calls that were sent are without an end, which their callers were told is in doubt."""
        return bool(self._owed)

    def owe(self, tenant: str, rows: Sequence[Row]) -> None:
        """Take down which calls under way the lines that were not taken would have ended."""
        chain = self._chains.get(tenant)
        for line, _ in rows:
            if chain is not None and line["kind"] in ENDS and line["call"] in chain.open:
                self._owed.setdefault(tenant, {})[line["call"]] = line

    def pay(self) -> None:
        """End, as in doubt, the calls that are without an end, as far as the disk takes that."""
        for tenant, lines in list(self._owed.items()):
            if not file_of(self._data, tenant).exists():
                del self._owed[tenant]
                continue
            rows = [row(in_doubt(line)) for call, line in lines.items() if call in self._chain(tenant).open]
            try:
                if rows:
                    self._add(tenant, rows)
            except OSError:
                continue  # told of when they were not taken first; they stay owed
            logger.warning("calls whose ends the disk did not take are in doubt", tenant=tenant, calls=len(rows))
            self._note(tenant, {(tenant, call) for call in lines})

    def written(self, tenant: str) -> int:
        """Return how many lines a tenant's chain had when this writer last had its turn; 0 where it is not open."""
        chain = self._chains.get(tenant)
        return 0 if chain is None else chain.lines

    def let_go(self, tenant: str) -> None:
        """Close a tenant's file, and forget its calls."""
        chain = self._chains.pop(tenant, None)
        if chain is not None:
            if chain in self._written:
                chain.flush()
                self._written.remove(chain)
            chain.close()
        self._owed.pop(tenant, None)
        for seen in self._seen:
            seen.difference_update([call for call in seen if call[0] == tenant])

    def flush(self) -> None:
        """Have what was written on the disk, where that is asked for: all at once, as the disk makes one of many."""
        if self._flushes is not None and self._written:
            written, self._written = self._written, []
            for flushed in [self._flushes.submit(file.flush) for file in written]:
                flushed.result()

    def settle(self, gateways: int) -> None:
        """End, as in doubt, the calls that this gateway's predecessor left, and those of gateways that are no more."""

        def dead(number: int) -> bool:
            return number == self._gateway or number > gateways

        for tenant in tenants(self._data):
            with self.turn:
                left = self._chain(tenant).settle(dead)
            if left:
                logger.warning("calls were cut short", tenant=tenant, calls=left)

    def close(self) -> None:
        """Close every file."""
        for chain in self._chains.values():
            chain.close()
        self._register.close()
        if self._flushes is not None:
            self._flushes.shutdown()
        self.turn.close()

    def _note(self, tenant: str, ended: set[tuple[str, str]]) -> None:
        """Note calls of a tenant that have their end."""
        _, newer = self._seen
        newer |= ended
        if len(newer) > MAX_SEEN:
            self._seen = newer, set()
        if (owed := self._owed.get(tenant)) is not None:
            for _, call in ended:
                owed.pop(call, None)
            if not owed:
                del self._owed[tenant]

    def _add(self, tenant: str, rows: Sequence[Row]) -> None:
        chain = self._chain(tenant)
        chain.refresh()
        if chain.made:
            self._register_made(tenant, chain)
        chain.write(rows)
        if self._flushes is not None:
            self._written.append(chain)

    def _unwritten(self, tenant: str, ended: set[tuple[str, str]], error: OSError) -> TauseError:
        """Return what a caller is told whose lines the disk does not take."""
        why = f"the ledger can't be written ({error.strerror or error})"
        logger.error("the ledger can't be written", tenant=tenant, error=str(error))
        chain = self._chains.get(tenant)
        if chain is not None and any(call in chain.open for _, call in ended):
            return InDoubt(f"{why}: the call was sent, and may have taken effect")
        return Unavailable(f"{why}: without it nothing is done, try again once that is mended")

    def _chain(self, tenant: str) -> Chain:
        chain = self._chains.get(tenant)
        if chain is not None:
            self._chains.move_to_end(tenant)
            return chain
        path = file_of(self._data, tenant)
        chain = Chain(path, tenant, self._keys, self._gateway)
        self._chains[tenant] = chain
        if len(self._chains) > MAX_OPEN:
            self._let_go()
        return chain

    def _register_made(self, tenant: str, chain: Chain) -> None:
        if self._register.holds(tenant):
            chain.damaged("the file was gone")
        else:
            self._register.note(tenant, begun=True)
            if self._flushes is not None:
                self._written.append(self._register)
        chain.made = False

    def _let_go(self) -> None:
        """Close the file that was unused for longest and has no calls under way."""
        for tenant, chain in self._chains.items():
            if not chain.open and chain not in self._written:
                chain.close()
                del self._chains[tenant]
                return
