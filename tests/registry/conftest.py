"""The registry in memory, with an adapter host that is played by the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest

import tausestack as ts
from tausestack.errors import NotFound
from tausestack_registry.server import server

TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_current_time",
        "description": "Get current time in a specific timezone",
        "inputSchema": {"type": "object", "properties": {"timezone": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
        "x-unknown": {"kept": True},
        "_meta": {"pro.tause/tool": {"side_effect": "read", "scopes": []}, "theirs": 1},
    },
    {"name": "convert_time", "inputSchema": {"type": "object"}},
]


@dataclass
class Adapter:
    """The adapter host as the registry sees it."""

    tools: list[dict[str, Any]] = field(default_factory=lambda: [dict(tool) for tool in TOOLS])
    probed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stopped: list[str] = field(default_factory=list[str])
    failure: Exception | None = None

    def fetch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["identifier"] == "missing":
            raise NotFound("the package index has no wheel of missing")
        version = arguments.get("version", "3.0")
        store = f"pypi/{arguments['identifier']}/{version}"
        return {"version": version, "argv": ["server:main"], "store": store, "wheels": {"a.whl": "00"}}

    def probe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.probed.append(arguments)
        if self.failure is not None:
            raise self.failure
        return {"server": {}, "tools": self.tools, "sandbox": "bwrap"}

    def stop(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.stopped.append(arguments["name"])
        return {"stopped": True}


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


@pytest.fixture
async def stack(adapter: Adapter) -> AsyncGenerator[ts.testing.Stack]:
    async with ts.testing.stack(server, keys={"secrets": b"k" * 32}) as made:
        made.answer("adapter/fetch", adapter.fetch)
        made.answer("adapter/probe", adapter.probe)
        made.answer("adapter/stop", adapter.stop)
        yield made
