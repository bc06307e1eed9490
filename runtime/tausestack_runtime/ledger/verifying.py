"""Whether a tenant's chain is whole: every byte of its file, every call's one end, and its head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.ledger.head import HEAD_BYTES
from tausestack_runtime.ledger.line import ENDS, FIRST_HASH, link, parted
from tausestack_runtime.ledger.reading import Open, gently, opened
from tausestack_runtime.ledger.register import name_of, register_of, take
from tausestack_runtime.ledger.scan import forwards
from tausestack_runtime.ledger.writing import tenants

MAX_ENDS = 2**17
"""Within how many of the last calls a second end of one is found."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a tenant's chain is whole: its lines, the calls that ended, those under way, and the last line's hash.

    Where it is not, the number of the first line that is wrong, and what is.
    """

    ok: bool
    lines: int
    calls: int = 0
    under_way: int = 0
    head: str = FIRST_HASH.decode()
    first_bad: int | None = None
    wrong: str | None = None


def verify(data: Path, keys: Sequence[bytes], tenant: str) -> Verification:
    """Follow a tenant's chain from its first line to its head; with the operator's own goes the register of all."""
    with opened(data, keys, tenant) as chain:
        found = None if chain is None else _Walk(tenant, chain).verification()
    if found is not None and (tenant != SYSTEM_TENANT or not found.ok):
        return found
    register, known = _register(data, keys)
    if found is None and name_of(tenant) in known:
        return Verification(False, 0, first_bad=1, wrong="the file is gone")
    if not register.ok and tenant == SYSTEM_TENANT:
        found = found or Verification(True, 0)
        return replace(found, ok=False, first_bad=register.first_bad, wrong=f"in the register, {register.wrong}")
    if not register.ok:
        wrong = f"there is no file, and the register can't say whether there was: {register.wrong}"
        return Verification(False, 0, first_bad=1, wrong=wrong)
    return found or Verification(True, 0)


def _register(data: Path, keys: Sequence[bytes]) -> tuple[Verification, set[str]]:
    """Return whether the register is whole, and who by it has a chain that began and was not dropped."""
    known: set[str] = set()
    with opened(data, keys, SYSTEM_TENANT, register_of(data)) as chain:
        if chain is None:
            gone = bool(tenants(data))
            return Verification(not gone, 0, first_bad=1 if gone else None, wrong="the file is gone"), known
        take(known, (raw for _, raw in gently(forwards(chain.file, HEAD_BYTES, min(chain.head.bytes, chain.size)))))
        return _Walk(SYSTEM_TENANT, chain).verification(), known


class _Walk:
    """One going over a chain."""

    def __init__(self, tenant: str, chain: Open) -> None:
        self._tenant, self._chain = tenant, chain
        self._lines = self._calls = 0
        self._previous = FIRST_HASH
        self._under_way: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def verification(self) -> Verification:
        chain, head = self._chain, self._chain.head
        wrong = None
        for _, raw in gently(forwards(chain.file, HEAD_BYTES, min(head.bytes, chain.size))):
            wrong = self._wrong(raw)
            if wrong is not None:
                return self._verification(wrong, self._lines)
        if chain.wrong is not None:
            return self._verification(chain.wrong, self._lines + 1)
        if self._lines < head.lines or chain.size < head.bytes:
            return self._verification("the last lines are missing", self._lines + 1)
        if chain.size > head.bytes:
            return self._verification("something follows the last line", self._lines + 1)
        if (self._lines, self._calls, self._previous) != (head.lines, head.calls, head.hash):
            return self._verification("the last line is not the one that was written", self._lines)
        return self._verification(None, None)

    def _wrong(self, raw: bytes) -> str | None:
        """Take in the next line, and return what is wrong with it."""
        self._lines += 1
        found = parted(raw)
        if found is None:
            return "the line is none"
        text, linked = found
        if link(self._previous, text) != linked:
            return "the line or the one before was changed"
        self._previous = linked
        said = orjson.loads(raw)
        if said["seq"] != self._lines or said["tenant"] != self._tenant:
            return "the line is not the one that belongs here"
        if said["kind"] == "gap":
            return f"the ledger was found damaged here: {said['error']}"
        return self._counted(said["kind"], said["call"]) if said.get("call") else None

    def _counted(self, kind: str, call: str) -> str | None:
        """Reconcile intents and ends: each call has one end."""
        if call in self._ended:
            return "the call has ended before"
        if kind == "intent":
            if call in self._under_way:
                return "the call was sent before"
            self._under_way.add(call)
        elif kind in ENDS:
            self._calls += 1
            self._under_way.discard(call)
            self._ended[call] = None
            if len(self._ended) > MAX_ENDS:
                self._ended.popitem(last=False)
        return None

    def _verification(self, wrong: str | None, first_bad: int | None) -> Verification:
        lines = max(self._lines, self._chain.head.lines) if first_bad else self._lines
        return Verification(
            wrong is None, lines, self._calls, len(self._under_way), self._previous.decode(), first_bad, wrong
        )
