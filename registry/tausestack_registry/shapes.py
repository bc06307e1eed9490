"""What the registry's tools return."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from tausestack_registry.catalogue import Entry
from tausestack_registry.installer import Plan
from tausestack_registry.listing import Installation, visible


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


class Revealed(TypedDict):
    """The secrets that were asked for and are there."""

    secrets: dict[str, str]


def server_shape(one: Installation) -> Listed:
    """Return an installed server as tools show it, with the tools that a tenant may know of."""
    return Listed(
        name=one["name"],
        kind=one["kind"],
        title=one["title"],
        description=one["description"],
        version=one["version"],
        default=one["default"],
        status=one["status"],
        tools=[ToolState(name=tool["name"], status=tool["status"]) for tool in one["tools"] if visible(tool)],
    )


def entry_shape(entry: Entry) -> CatalogueServer:
    """Return a server of the catalogue as tools show it."""
    return CatalogueServer(
        ref=entry.name,
        name=str(entry.document["name"]),
        title=entry.title,
        description=entry.description,
        version=entry.version,
        own=entry.own,
    )


def plan_shape(plan: Plan, *, installed: bool) -> InstallationPlan:
    """Return what an installation would bring as tools show it."""
    reference = plan.reference
    return InstallationPlan(
        ref=reference.ref,
        name=reference.name,
        kind="service" if reference.own else "adapter",
        title=reference.title,
        version=plan.version,
        command=plan.argv,
        sandbox=plan.sandbox,
        environment=[] if reference.entry is None else reference.entry.variables,
        tools=[pin.raw for pin in plan.tools],
        hash=plan.hash,
        installed=installed,
    )
