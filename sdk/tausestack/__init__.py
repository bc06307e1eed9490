"""TauseStack: multi-tenant agents and services whose every capability is an MCP tool.

What stands here is loaded when it is first used: importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tausestack import agents, colombia, errors, mcp, names, testing
    from tausestack.client import connect, connect_sync

__all__ = ["agents", "colombia", "connect", "connect_sync", "errors", "mcp", "names", "testing"]

_FUNCTIONS = {"connect": "tausestack.client", "connect_sync": "tausestack.client"}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        found = getattr(importlib.import_module(_FUNCTIONS[name]), name)
    elif name in __all__:
        found = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
