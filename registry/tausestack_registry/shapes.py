"""What the registry's tools return."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from tausestack_registry.catalogue import Entry
from tausestack_registry.installer import Plan
from tausestack_registry.listing import Installation, visible
from tausestack_registry.pins import Difference, LeftOut
from tausestack_registry.refs import shown_url


class Offered(TypedDict):
    """Whether an offer was kept: not where a later one was there."""

    kept: bool


class ToolState(TypedDict):
    """An installed server's tool: active, or quarantined until somebody approves it."""

    name: str
    status: str


class Listed(TypedDict):
    """An installed server; `hash` is what an approval of its tools as they are now refers to.

    `left_out` are tools that it lists and that can't be taken, each with the reason.
    """

    name: str
    kind: str
    title: str
    description: str
    version: str
    default: bool
    status: str
    url: str | None
    protocols: list[str]
    hash: str | None
    tools: list[ToolState]
    left_out: list[LeftOut]


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
    """What an installation would bring; `hash` stands for all of it and can be approved.

    `left_out` are tools that the server lists and that can't be taken, each with the reason.
    """

    ref: str
    name: str
    kind: str
    title: str
    version: str
    url: str | None
    protocols: list[str]
    instructions: str | None
    command: list[str]
    sandbox: str | None
    environment: list[str]
    tools: list[dict[str, Any]]
    left_out: list[LeftOut]
    hash: str
    installed: bool


class Review(TypedDict):
    """A third-party server's tools that wait for approval, raw; `hash` stands for all its tools as they are now."""

    name: str
    hash: str
    tools: list[dict[str, Any]]


class Observed(TypedDict):
    """How a server's tools differ from those that were kept until now, by name."""

    added: list[str]
    changed: list[str]
    vanished: list[str]


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
        url=None if one["url"] is None else shown_url(one["url"]),
        protocols=one["protocols"],
        hash=one["hash"],
        tools=[ToolState(name=tool["name"], status=tool["status"]) for tool in one["tools"] if visible(tool)],
        left_out=one["offer"]["leftOut"],
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
        kind="service" if reference.own else "remote" if reference.remote else "adapter",
        title=reference.title,
        version=plan.version,
        url=shown_url(reference.identifier) if reference.remote else None,
        protocols=plan.protocols,
        instructions=plan.offer["instructions"],
        command=plan.argv,
        sandbox=plan.sandbox,
        environment=[] if reference.entry is None else reference.entry.variables,
        tools=[pin.raw for pin in plan.tools],
        left_out=plan.left_out,
        hash=plan.hash,
        installed=installed,
    )


def observed_shape(found: Difference) -> Observed:
    """Return what was observed as tools show it."""
    added, changed = ([pin.name for pin in pins] for pins in (found.added, found.changed))
    return Observed(added=added, changed=changed, vanished=found.vanished)
