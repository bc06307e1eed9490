"""A request as the MCP doors hand it on, whichever era its client is of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tausestack.contract import MCP_CAPABILITIES_META, MCP_LOG_LEVEL_META, Principal
from tausestack.raw import object_in
from tausestack_runtime.gateway.call import Call, Notify, Send


@dataclass(slots=True)
class Ask:
    """One request of a known principal; `server` is None on the merged endpoint.

    `params` and `meta` are of 2026-07-28; `headers` are those that may mirror arguments, None where none have to.
    """

    principal: Principal
    server: str | None
    id: str | int
    method: str
    params: dict[str, Any]
    meta: dict[str, Any]
    size: int = 0
    task: asyncio.Task[Any] | None = None
    """Who answers it, where that is known."""
    notify: Notify | None = None
    parent: Call | None = None
    key: str | None = None
    headers: Mapping[bytes, bytes] | None = field(default=None, repr=False)
    send: Send | None = None

    def capabilities(self) -> dict[str, Any]:
        """What the client says that it can do."""
        return object_in(self.meta, MCP_CAPABILITIES_META)

    @property
    def log_level(self) -> str | None:
        """The least level of log messages that the client wants; None: it wants none."""
        level = self.meta.get(MCP_LOG_LEVEL_META)
        return level if isinstance(level, str) else None
