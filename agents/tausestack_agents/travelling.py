"""The graph's checkpoints on their way between installations, read and written by LangGraph's own savers.

A record is a checkpoint with what was written after it: `{"thread", "ns", "parent", "type", "checkpoint", "metadata",
"writes": [[task, channel, type, value]]}`; what is msgpack stands in base64. The thread is without the tenant.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from tausestack.database import TenantDatabases
from tausestack.errors import InvalidRequest
from tausestack.raw import as_array, as_object
from tausestack_agents.checkpoints import Checkpoints, config
from tausestack_agents.tables import SCHEMA

AT_ONCE = 8
_FIELDS = {"thread", "ns", "parent", "type", "checkpoint", "metadata", "writes"}

Record = dict[str, Any]


class TravellingCheckpoints:
    """Gives out a tenant's checkpoints and takes them in."""

    def __init__(self, data: Path, url: str | None) -> None:
        self._databases = TenantDatabases(SCHEMA, data=data, url=url)
        self._checkpoints = Checkpoints(self._databases, data, url)

    async def leave(self, tenant: str) -> AsyncGenerator[Record]:
        """Yield every checkpoint of a tenant, the newest of each thread first."""
        for whole in await self._checkpoints.threads(tenant):
            thread = whole.removeprefix(f"{tenant}:")
            configured: Any = config(tenant, thread)
            async with self._checkpoints.saver(tenant) as saver:
                before: Any = None
                more = True
                while more:
                    found = [one async for one in saver.alist(configured, before=before, limit=AT_ONCE)]
                    for one in found:
                        yield _record(saver, thread, one)
                    more = len(found) == AT_ONCE
                    before = found[-1].config if found else None

    async def arrive(self, tenant: str, records: Iterable[list[Record]]) -> int:
        """Take checkpoints in, which come some at a time, and return how many; `InvalidRequest` for what is none."""
        taken = 0
        for some in records:
            async with self._checkpoints.saver(tenant) as saver:
                for record in some:
                    await _put(saver, tenant, record)
            taken += len(some)
        return taken

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints a tenant has."""
        return await self._checkpoints.count(tenant)

    async def erase(self, tenant: str) -> None:
        """Delete a tenant's checkpoints."""
        await self._checkpoints.erase(tenant)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._checkpoints.aclose()
        await self._databases.aclose()


def _record(saver: BaseCheckpointSaver[Any], thread: str, found: CheckpointTuple) -> Record:
    kind, packed = saver.serde.dumps_typed(found.checkpoint)
    writes: list[list[str]] = []
    for task, channel, value in found.pending_writes or []:
        type_, raw = saver.serde.dumps_typed(value)
        writes.append([task, channel, type_, b64encode(raw).decode()])
    return {
        "thread": thread,
        "ns": _at(found.config, "checkpoint_ns"),
        "parent": None if found.parent_config is None else _at(found.parent_config, "checkpoint_id"),
        "type": kind,
        "checkpoint": b64encode(packed).decode(),
        "metadata": dict(found.metadata),
        "writes": writes,
    }


async def _put(saver: BaseCheckpointSaver[Any], tenant: str, record: Record) -> None:
    thread, space, parent, metadata = (record.get(name) for name in ("thread", "ns", "parent", "metadata"))
    if (
        record.keys() != _FIELDS
        or not isinstance(thread, str)
        or not isinstance(space, str)
        or not isinstance(parent, str | None)
    ):
        raise InvalidRequest("a record is no checkpoint")
    checkpoint = _loaded(saver, record["type"], record["checkpoint"])
    if as_object(checkpoint) is None or not isinstance(checkpoint.get("id"), str) or as_object(metadata) is None:
        raise InvalidRequest("a record is no checkpoint")
    try:
        configured: Any = config(tenant, thread)
        configured["configurable"] |= {"checkpoint_ns": space}
        above: Any = {"configurable": {**configured["configurable"], "checkpoint_id": parent}}
        kept = await saver.aput(above, checkpoint, metadata, checkpoint["channel_versions"])  # pyright: ignore[reportArgumentType] LangGraph's own, read strictly
        for task, some in groupby(as_array(record["writes"]) or [], lambda write: write[0]):
            writes = [(str(channel), _loaded(saver, type_, raw)) for _, channel, type_, raw in some]
            await saver.aput_writes(kept, writes, str(task))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest("a record is no checkpoint") from error


def _loaded(saver: BaseCheckpointSaver[Any], kind: Any, packed: Any) -> Any:
    try:
        return saver.serde.loads_typed((str(kind), b64decode(str(packed), validate=True)))
    except Exception as error:  # msgpack, LangGraph and base64 each raise their own
        raise InvalidRequest("a checkpoint can't be read") from error


def _at(configured: Any, name: str) -> str:
    return str(configured["configurable"][name])
