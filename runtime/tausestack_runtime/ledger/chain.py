"""The file of one tenant's chain, as its writer has it; all of this is done in the writer's turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import structlog

from tausestack.errors import InDoubt
from tausestack_runtime.ledger.head import HEAD_BYTES, BrokenHead, Head, pack, unpack
from tausestack_runtime.ledger.line import ENDS, FIELDS, Line, body, is_end, kept, link, moment, parted
from tausestack_runtime.ledger.scan import backwards, forwards

FILE = "ledger.jsonl"

Row = tuple[Line, bytes]
"""A line and its values' JSON."""

_OF_OUTCOME = frozenset({"amount_minor", "bytes_out", "result_digest"})

logger = structlog.get_logger("ledger")


def row(line: Line) -> Row:
    """Return a line as it is written; raises `TypeError` for values that JSON has no word for."""
    return line, body(line)


class Chain:
    """An open file: a head, then lines, each of which bears the hash of itself and the one before.

    What lies beyond what the head tells of was acknowledged to nobody, and is cut off. Where the head, or what it
    tells of, is not there as it was, the chain goes on after a line of the kind `gap`, which no check forgives.
    """

    def __init__(self, path: Path, tenant: str, keys: Sequence[bytes], gateway: int) -> None:
        self._path, self._tenant, self._keys = path, tenant, keys
        self._gateway = str(gateway)
        self._first = b'{"seq":%%d,"gateway":%d,' % gateway
        self._dated = self._first + b'"latest":"%s",'
        self.open: dict[str, int] = {}
        """The calls of this gateway that were told of and have not ended, by where their intents lie."""
        self._file = -1
        self._head, self._raw = Head(tenant), b""
        self.made = self._appear()

    @property
    def lines(self) -> int:
        """How many lines there were when this was last written or refreshed."""
        return self._head.lines

    def refresh(self) -> None:
        """Take in what others did to the file since the turn before."""
        found = os.fstat(self._file)
        if found.st_nlink == 0:
            os.close(self._file)
            self.open, self._head = {}, Head(self._tenant)
            self.made = self._appear()
        elif found.st_size != self._head.bytes:
            self._load()
        elif (raw := os.pread(self._file, HEAD_BYTES, 0)) != self._raw:
            self._reload(raw)

    def write(self, rows: Sequence[Row]) -> None:
        """Add lines after a `refresh` in the same turn: all of them are kept on return, or none when it raises."""
        head, before = self._head, dict(self.open)
        lines, calls, at, previous, latest = head.lines, head.calls, head.bytes, head.hash, head.latest
        parts: list[bytes] = []
        for line, values in rows:
            lines += 1
            if line["at"] >= latest:
                latest = line["at"]
                text = self._first % lines + values
            else:  # by the latest time so far a period's first line is found
                text = self._dated % (lines, latest.encode()) + values
            previous = link(previous, text)
            whole = kept(text, previous)
            parts.append(whole)
            if line["kind"] == "intent":
                self.open[line["call"]] = at
            elif line["kind"] in ENDS:
                calls += 1
                self.open.pop(line["call"], None)
            at += len(whole)
        marks = {name: mark for name, mark in head.open.items() if name != self._gateway} if head.open else {}
        if self.open:
            marks[self._gateway] = next(iter(self.open.values()))
        new = Head(self._tenant, lines, calls, at, previous, latest, marks)
        raw = pack(new, self._keys[0])
        try:
            put(self._file, b"".join(parts), head.bytes)
            put(self._file, raw, 0)
        except BaseException:
            self.open = before
            os.ftruncate(self._file, head.bytes)
            raise
        self._head, self._raw = new, raw

    def settle(self, dead: Callable[[int], bool]) -> int:
        """End the calls whose gateways died before they did, as in doubt, and return how many those were."""
        self.refresh()
        gone = [mark for name, mark in self._head.open.items() if dead(int(name))]
        if not gone:
            return 0
        left: dict[str, dict[str, Any]] = {}
        for _, raw in forwards(self._file, min(gone), self._head.bytes):
            try:
                found = orjson.loads(raw)
            except orjson.JSONDecodeError:
                continue  # damage is for the check to tell
            if found["kind"] == "intent" and dead(found["gateway"]):
                left[found["call"]] = found
            elif found["kind"] in ENDS:
                left.pop(found["call"], None)
        self._head.open = {name: mark for name, mark in self._head.open.items() if not dead(int(name))}
        self.write([row(in_doubt(found)) for found in left.values()])
        return len(left)

    def since(self, start: int) -> tuple[int, list[tuple[int, bytes]]]:
        """Return where the chain ends, and its lines from a byte on, which is 0 or where it ended before."""
        self.refresh()
        return self._head.bytes, list(forwards(self._file, max(start, HEAD_BYTES), self._head.bytes))

    def damaged(self, why: str) -> None:
        """Note that something of the chain is gone."""
        logger.error("the ledger is damaged", tenant=self._tenant, path=str(self._path), why=why)
        now = moment()
        self.write([row(Line(tenant=self._tenant, call="", kind="gap", at=now, error=why))])

    def flush(self) -> None:
        """Have the file on the disk, and not only in the kernel's hands."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _appear(self) -> bool:
        """Open the file, and return whether it had to be made."""
        made = not self._path.exists()
        if made:
            _make(self._path, pack(Head(self._tenant), self._keys[0]))
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._load()
        if self._head.bytes > HEAD_BYTES and not self._ends_with(self._head):
            self._mend(self._head, "the last line is not the one that was written")
        return made

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        raw = os.pread(self._file, HEAD_BYTES, 0)
        try:
            head = unpack(raw, self._tenant, self._keys)
        except BrokenHead as error:
            self._mend(None, str(error))
            return
        if head.lines < self._head.lines:
            self._mend(head, "an earlier head was put back")
            return
        if size < head.bytes:
            self._mend(head, "the last lines are missing")
            return
        if size > head.bytes:
            logger.warning("what nobody was told of is cut off", tenant=self._tenant, bytes=size - head.bytes)
            os.ftruncate(self._file, head.bytes)
        self._head, self._raw = head, raw

    def _reload(self, raw: bytes) -> None:
        """Take in a head that is another than the one that was written last, though the chain grew by nothing.

        It may be sealed by another key, and tell of other gateways' calls; all else is what was written.
        """
        known = self._head
        try:
            head = unpack(raw, self._tenant, self._keys)
        except BrokenHead as error:
            self._mend(known, str(error))
            return
        if replace(head, open=known.open) != known:
            self._mend(known, "the head is not the one that was written")
            return
        self._head, self._raw = head, raw

    def _ends_with(self, head: Head) -> bool:
        last = next(backwards(self._file, HEAD_BYTES, head.bytes))
        found = parted(last)
        return found is not None and found[1] == head.hash

    def _mend(self, known: Head | None, why: str) -> None:
        """Go on after damage: with what the head says, else with the last line that is one."""
        size = os.fstat(self._file).st_size
        if size < HEAD_BYTES:
            put(self._file, b" " * (HEAD_BYTES - 1 - size) + b"\n", size)
        head, end = known or Head(self._tenant), HEAD_BYTES
        for at, raw in forwards(self._file, HEAD_BYTES, size):
            if not raw.endswith(b"\n"):
                break
            end = at + len(raw)
            if known is None:
                found = parted(raw)
                head.hash = head.hash if found is None else found[1]
                head.lines += 1
                head.calls += is_end(raw)
        os.ftruncate(self._file, end)
        head.bytes = end
        self._head = head
        self.damaged(why)


def in_doubt(known: Mapping[str, Any]) -> Line:
    """Return the end, as in doubt, of a call of which a line is known: of what came of it nothing is said."""
    ended = {"kind": "result", "at": moment(), "outcome": InDoubt.code, "error": InDoubt.code}
    said = {name: known[name] for name in FIELDS if name in known and name not in _OF_OUTCOME}
    return cast("Line", said | ended)


def _make(path: Path, head: bytes) -> None:
    """Make a file whole and at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        put(file, head, 0)
        os.fsync(file)
    finally:
        os.close(file)
    fresh.rename(path)


def put(file: int, data: bytes, at: int) -> None:
    """Write all of something; what the disk refuses is raised."""
    written = os.pwrite(file, data, at)
    if written == len(data):
        return
    at, view = at + written, memoryview(data)[written:]
    while view:
        written = os.pwrite(file, view, at)
        at, view = at + written, view[written:]
