"""A tenant's chain on its way: its lines leave as they lie there, and go on elsewhere as the same chain.

Under another id it can't be the same, since each line names the tenant. It is written anew then, line by line, by a
rule that leaves no choice, so that whoever has the lines that left can do it again and come to the same hashes. Either
way a line of the kind `imported` follows, with the hash that the chain had.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tausestack.errors import Conflict, InvalidRequest
from tausestack.raw import as_object
from tausestack_runtime.ledger.chain import Chain, row
from tausestack_runtime.ledger.head import HEAD_BYTES, Head, pack
from tausestack_runtime.ledger.line import FIRST_HASH, Line, kept, link, parted
from tausestack_runtime.ledger.reading import Open
from tausestack_runtime.ledger.register import Register
from tausestack_runtime.ledger.scan import forwards
from tausestack_runtime.ledger.writing import Turn, file_of

IMPORTED = "imported"
_DAMAGED = "the ledger was damaged where it left: it can't go by another id, import it under its own"
NO_GATEWAY = 0


class Told(NamedTuple):
    """What is told of a chain that left: as its head does."""

    lines: int
    calls: int
    hash: str
    latest: str
    open: dict[str, int]

    @classmethod
    def of(cls, said: dict[str, Any]) -> Told:
        """Read it, or raise `InvalidRequest`."""
        lines, calls, last, latest, still_open = (said.get(name) for name in cls._fields)
        marks = as_object(still_open)
        good = isinstance(lines, int) and isinstance(calls, int) and isinstance(last, str) and isinstance(latest, str)
        if not good or marks is None or not all(name.isdecimal() and type(at) is int for name, at in marks.items()):
            raise InvalidRequest("the archive does not tell how far the ledger goes")
        return cls(lines, calls, last, latest, marks)  # pyright: ignore[reportArgumentType] looked at above


def told(chain: Open) -> dict[str, Any]:
    """Return what is told of an open chain."""
    head = chain.head
    return Told(head.lines, head.calls, head.hash.decode(), head.latest, dict(head.open))._asdict()


def leave(chain: Open) -> Generator[bytes]:
    """Yield a chain's lines as they lie there, without their ends, up to where it was when it was opened."""
    for _, raw in forwards(chain.file, HEAD_BYTES, min(chain.head.bytes, chain.size)):
        yield raw.removesuffix(b"\n")


def arrive(
    data: Path, keys: Sequence[bytes], tenant: str, lines: Iterable[list[bytes]], said: Told, before: str | None = None
) -> int:
    """Make a tenant's chain of lines that left elsewhere, and return how many lines it has.

    `before` is the id that it had there, where that was another. Calls that were under way end as in doubt.
    """
    target = file_of(data, tenant)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.arriving")
    unfinished.unlink(missing_ok=True)
    head = Head(tenant, said.lines, said.calls, HEAD_BYTES, said.hash.encode(), said.latest, dict(said.open))
    with unfinished.open("xb") as file:
        unfinished.chmod(0o600)
        file.write(b" " * HEAD_BYTES)
        for some in lines if before is None else _renamed(lines, tenant, before, head):
            head.bytes += file.write(b"".join(one + b"\n" for one in some))
        file.seek(0)
        file.write(pack(head, keys[0]))
    with closing(Chain(unfinished, tenant, keys, NO_GATEWAY)) as chain:
        _end(chain, tenant, said.hash, "" if before is None else "renamed")
    with closing(Turn(data)) as turn, turn:
        if target.exists():
            raise Conflict("a ledger of this name is there already")
        unfinished.rename(target)
        with closing(Register(data, keys, NO_GATEWAY)) as register:
            if not register.holds(tenant):
                register.note(tenant, begun=True)
            register.flush()
    return said.lines + 1


def _end(chain: Chain, tenant: str, last: str, rule: str) -> None:
    """End what was under way, and say where the chain comes from."""
    try:
        chain.settle(lambda _: True)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("the archive's ledger holds what is no line of one") from error
    now = datetime.now(UTC).isoformat()
    chain.write([row(Line(tenant=tenant, call="", kind=IMPORTED, at=now, result_digest=last, rule=rule))])
    chain.flush()


def _renamed(lines: Iterable[list[bytes]], tenant: str, before: str, head: Head) -> Generator[list[bytes]]:
    """Write lines anew under another id, having checked that they are a chain; its head follows."""
    was, now, number = FIRST_HASH, FIRST_HASH, 0
    moved: dict[int, int] = {}
    old_at = new_at = HEAD_BYTES
    marks = set(head.open.values())
    for some in lines:
        written: list[bytes] = []
        for raw in some:
            was, said = _checked(raw, was, before)
            number += 1
            text = orjson.dumps({**said, "tenant": tenant})[:-1]
            now = link(now, text)
            written.append(kept(text, now).removesuffix(b"\n"))
            if old_at in marks:
                moved[old_at] = new_at
            old_at, new_at = old_at + len(raw) + 1, new_at + len(written[-1]) + 1
        yield written
    if (number, was) != (head.lines, head.hash):
        raise InvalidRequest(_DAMAGED)
    head.hash = now
    head.open = {name: moved.get(at, HEAD_BYTES) for name, at in head.open.items()}


def _checked(raw: bytes, previous: bytes, tenant: str) -> tuple[bytes, dict[str, Any]]:
    """Return a line's hash and what it says, or raise `InvalidRequest` unless it follows the one before."""
    found = parted(raw + b"\n")
    if found is None or link(previous, found[0]) != found[1]:
        raise InvalidRequest(_DAMAGED)
    try:
        said = as_object(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(_DAMAGED) from error
    if said is None or said.get("tenant") != tenant:
        raise InvalidRequest(_DAMAGED)
    del said["hash"]
    return found[1], said
