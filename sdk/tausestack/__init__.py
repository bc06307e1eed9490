"""TauseStack: write MCP servers, call them, run agents; each call for one tenant.

Names are imported when they are first used, so that a client loads no server and a server no client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tausestack import colombia, errors, mcp, names, testing
    from tausestack.client import Client, SyncClient, connect, connect_sync

__all__ = ["Client", "SyncClient", "colombia", "connect", "connect_sync", "errors", "mcp", "names", "testing"]

_CLIENT = {"Client", "SyncClient", "connect", "connect_sync"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tausestack' has no attribute {name!r}")
    if name in _CLIENT:
        return getattr(import_module("tausestack.client"), name)
    return import_module(f"tausestack.{name}")


def __dir__() -> list[str]:
    return __all__
