"""What the registry's tools return."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from tausestack_registry.listing import Installation


class ToolState(TypedDict):
    """An installed server's tool: active, or quarantined until somebody approves it."""

    name: str
    status: str


class Listed(TypedDict):
    """An installed server."""

    name: str
    kind: str
    title: str
    description: str
    version: str
    default: bool
    status: str
    tools: list[ToolState]


class ListedServers(TypedDict):
    """The installed servers, by name."""

    servers: list[Listed]


class CatalogueServer(TypedDict):
    """A server that can be installed."""

    ref: str
    name: str
    title: str
    description: str
    version: str
    own: bool


class CatalogueServers(TypedDict):
    """What fits a search, best first."""

    servers: list[CatalogueServer]


class InstallationPlan(TypedDict):
    """What an installation would bring; `hash` stands for all of it and can be approved."""

    ref: str
    name: str
    kind: str
    title: str
    version: str
    command: list[str]
    sandbox: str | None
    environment: list[str]
    tools: list[dict[str, Any]]
    hash: str
    installed: bool


class Removed(TypedDict):
    """A server that was uninstalled."""

    name: str
    status: str


class Found(TypedDict):
    """A tool that fits a request."""

    address: str
    score: float


class FoundTools(TypedDict):
    """Tools that fit a request, best first."""

    tools: list[Found]


class Snapshot(TypedDict):
    """What a tenant has installed, with the raw tools, each with its status."""

    installations: list[Installation]


class LaunchSpec(TypedDict):
    """How a third-party server is started; `pins` are the hashes of its active tools."""

    registryType: str
    identifier: str
    version: str
    argv: list[str]
    env: dict[str, str]
    secrets: dict[str, str]
    store: str
    pins: NotRequired[dict[str, str]]


class Revealed(TypedDict):
    """The secrets that were asked for and are there."""

    secrets: dict[str, str]
