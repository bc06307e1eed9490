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


OFFER: dict[str, Any] = {
    "serverInfo": {"name": "other", "version": "7.1"},
    "capabilities": {"tools": {"listChanged": True}, "prompts": {}},
    "instructions": "Be kind.",
    "prompts": [{"name": "greet", "_meta": {"pro.tause/tool": {}, "theirs": 1}}],
    "resources": [{"uri": "file:///a", "name": "a"}],
    "resourceTemplates": [{"uriTemplate": "file:///{path}", "name": "files"}],
}


@dataclass
class Adapter:
    """The adapter host as the registry sees it."""

    tools: list[dict[str, Any]] = field(default_factory=lambda: [dict(tool) for tool in TOOLS])
    probed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stopped: list[str] = field(default_factory=list[str])
    failure: Exception | None = None
    protocols: list[str] = field(default_factory=lambda: ["2025-06-18", "2026-07-28"])
    offer: dict[str, Any] = field(default_factory=lambda: dict(OFFER))
    left_out: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    url: str = ""

    def fetch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        kind, name = arguments["registry_type"], arguments["identifier"]
        if name == "missing":
            raise NotFound("the package index has no wheel of missing")
        version = arguments.get("version", "3.0")
        argv = ["server:main"] if kind == "pypi" else [f"node_modules/{name}/dist/index.js"]
        return {"version": version, "argv": argv, "store": f"{kind}/{name}/{version}", "wheels": {"a.whl": "00"}}

    def probe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.probed.append(arguments)
        if self.failure is not None:
            raise self.failure
        sandbox = "" if arguments["launch"]["registryType"] == "remote" else "bwrap"
        said = {"server": {}, "tools": self.tools, "sandbox": sandbox}
        return {**said, "protocols": self.protocols, "offer": self.offer, "left_out": self.left_out, "url": self.url}

    def stop(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.stopped.append(arguments["name"])
        return {"stopped": True}


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


@pytest.fixture
async def stack(adapter: Adapter, request: pytest.FixtureRequest) -> AsyncGenerator[ts.testing.Stack]:
    """The registry on SQLite, or on the database that a test parametrizes it with (`BOTH`)."""
    url = request.getfixturevalue("postgres_url") if getattr(request, "param", None) == "postgresql" else None
    async with ts.testing.stack(server, database_url=url, masters=lambda: {"one": b"k" * 32}) as made:
        made.answer("adapter/fetch", adapter.fetch)
        made.answer("adapter/probe", adapter.probe)
        made.answer("adapter/stop", adapter.stop)
        yield made
