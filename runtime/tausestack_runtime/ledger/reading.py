"""Reading a tenant's chain: what was used, and its entries."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tausestack.errors import InvalidArguments
from tausestack_runtime.ledger.head import HEAD_BYTES, BrokenHead, Head, unpack
from tausestack_runtime.ledger.line import FIELDS, INTEGERS, is_end
from tausestack_runtime.ledger.scan import backwards, beginning, forwards
from tausestack_runtime.ledger.writing import Turn, file_of

LINES_AT_ONCE = 64
"""How many lines are read before other threads have their turn: the gateway's loop is one of them."""

_END_OF_TIME = "\U0010ffff"
_OUTCOMES = ("failed", "in_doubt", "cancelled")
_SUMMED = ("bytes_in", "bytes_out", "duration_us")
_ABSENT: dict[str, Any] = {name: 0 if name in INTEGERS else "" for name in FIELDS}


class Open(NamedTuple):
    """A chain's file, opened to read: its descriptor, its head or what is wrong with that, and its size."""

    file: int
    head: Head
    size: int
    wrong: str | None


@contextmanager
def opened(data: Path, keys: Sequence[bytes], tenant: str, path: Path | None = None) -> Generator[Open | None]:
    """Open a chain as it stands between two writes; None where there is none. `path`: where it is not the tenant's."""
    try:
        file = os.open(path or file_of(data, tenant), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        with closing(Turn(data, shared=True)) as turn, turn:
            size, raw = os.fstat(file).st_size, os.pread(file, HEAD_BYTES, 0)
        try:
            yield Open(file, unpack(raw, tenant, keys), size, None)
        except BrokenHead as error:
            yield Open(file, Head(tenant, bytes=size), size, str(error))
    finally:
        os.close(file)


def usage(data: Path, keys: Sequence[bytes], tenant: str, since: str | None, until: str | None) -> dict[str, Any]:
    """Sum up a tenant's calls from `since` (inclusive) to `until` (exclusive), with what they cost by currency."""
    first, last = _moment(since, "since") or "", _moment(until, "until") or _END_OF_TIME
    sums: dict[tuple[str, ...], list[int]] = {}
    refused = 0
    with opened(data, keys, tenant) as chain:
        for line in _ends(chain, first):
            at = line["at"]
            if not first <= at < last:
                continue
            if line["kind"] == "denied":
                refused += 1
                continue
            key = (
                *(line.get(name, "") for name in ("server", "tool", "principal", "agent")),
                at[:10],
                *(line.get(name, "") for name in ("price", "currency", "outcome")),
            )
            found = sums.get(key)
            if found is None:
                found = sums[key] = [0] * (2 + len(_SUMMED))
            found[0] += 1
            found[1] += line.get("amount_minor", 0)
            for place, name in enumerate(_SUMMED, 2):
                found[place] += line.get(name, 0)
    return {
        "since": since,
        "until": until,
        "lines": sum(found[0] for found in sums.values()),
        "refused": refused,
        "amounts": _amounts(sums.items()),
        "prices": {row["price"]: row["calls"] for row in _grouped(sums, {"price": 5})},
        "tools": _grouped(sums, {"server": 0, "tool": 1}),
        "principals": _grouped(sums, {"principal": 2}),
        "agents": [row for row in _grouped(sums, {"agent": 3}) if row["agent"]],
        "days": _grouped(sums, {"day": 4}),
    }


def audit(data: Path, keys: Sequence[bytes], tenant: str, limit: int, before: int | None) -> list[dict[str, Any]]:
    """Return a tenant's lines, newest first, with their number and hash."""
    entries: list[dict[str, Any]] = []
    with opened(data, keys, tenant) as chain:
        if chain is None:
            return []
        end = min(chain.head.bytes, chain.size)
        if before is not None:
            end = beginning(chain.file, HEAD_BYTES, end, lambda raw: (_loaded(raw) or {}).get("seq", 0) >= before)
        for raw in backwards(chain.file, HEAD_BYTES, end):
            if len(entries) >= limit:
                break
            found = _loaded(raw)
            if found is not None:
                entries.append({"seq": found["seq"], "hash": found["hash"], **_ABSENT, **found})
    return entries


def gently(lines: Iterable[tuple[int, bytes]]) -> Generator[tuple[int, bytes]]:
    """Yield lines, and let other threads go on in between."""
    for number, one in enumerate(lines):
        if number % LINES_AT_ONCE == 0:
            time.sleep(0)
        yield one


def _ends(chain: Open | None, since: str) -> Generator[dict[str, Any]]:
    """Yield the lines with which calls ended, from the first that may be as late as a time."""
    if chain is None:
        return
    end = min(chain.head.bytes, chain.size)

    def reached(raw: bytes) -> bool:
        found = _loaded(raw) or {}
        return found.get("latest", found.get("at", "")) >= since

    start = beginning(chain.file, HEAD_BYTES, end, reached) if since else HEAD_BYTES
    for _, raw in gently(forwards(chain.file, start, end)):
        found = _loaded(raw) if is_end(raw) else None
        if found is not None:
            yield found


def _loaded(raw: bytes) -> dict[str, Any] | None:
    """Return a line's values, None for what is damaged: finding that is the check's work."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _grouped(sums: dict[tuple[str, ...], list[int]], by: dict[str, int]) -> list[dict[str, Any]]:
    """Return the sums by some parts of their key, sorted by these."""
    groups: dict[tuple[str, ...], list[tuple[tuple[str, ...], list[int]]]] = {}
    for key, found in sums.items():
        groups.setdefault(tuple(key[place] for place in by.values()), []).append((key, found))
    return [
        {
            **dict(zip(by, named, strict=True)),
            "calls": sum(found[0] for _, found in group),
            **{one: sum(found[0] for key, found in group if key[-1] == one) for one in _OUTCOMES},
            **{name: sum(found[place] for _, found in group) for place, name in enumerate(_SUMMED, 2)},
            "amounts": _amounts(group),
        }
        for named, group in sorted(groups.items())
    ]


def _amounts(group: Iterable[tuple[tuple[str, ...], list[int]]]) -> dict[str, int]:
    """Return what calls cost, in minor units by currency."""
    amounts: dict[str, int] = {}
    for key, found in group:
        if key[-2]:
            amounts[key[-2]] = amounts.get(key[-2], 0) + found[1]
    return amounts


def _moment(text: str | None, name: str) -> str | None:
    """Return a time as lines have it: UTC, ISO 8601; one without an offset is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArguments(
            f"{name} is not a time in ISO 8601: {text}", errors=[{"path": name, "message": "not a time in ISO 8601"}]
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
