"""What a tenant has installed: its plan's services, its own choices, its third-party servers."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from typing_extensions import TypedDict

from tausestack.contract import tool_policy
from tausestack.database import Connection
from tausestack.raw import objects_in
from tausestack.scopes import OWN
from tausestack_registry import store
from tausestack_registry.catalogue import Catalogue
from tausestack_registry.offers import Offer, offered
from tausestack_registry.pins import Pin, plan_hash
from tausestack_registry.refs import shown_url

Kind = Literal["platform", "service", "adapter", "remote"]
OWN_KINDS = frozenset({"platform", "service"})
"""What is ours; everything else is a third party's."""
OFFERING = frozenset({"agents"})
"""Our services that have tools of a tenant's own: its agents."""
ADAPTER = "adapter"
"""The service that hosts third-party servers, and translates remote ones that need it."""


class Installation(TypedDict):
    """An installed server, its raw tools with their status among them.

    `url` is a remote server's; `protocols` (newest first) and `offer` are what a third party's said when it was
    planned; `hash` is what an approval of its tools as they are now refers to.
    """

    name: str
    kind: Kind
    service: str
    title: str
    description: str
    version: str
    default: bool
    status: str
    tools: list[dict[str, Any]]
    url: str | None
    protocols: list[str]
    offer: Offer
    hash: str | None


async def installations(db: Connection, catalogue: Catalogue, plan: str | None) -> list[Installation]:
    """Return what a tenant has installed, by name."""
    own = await own_services(db, catalogue, plan)
    others = [third_party(one, await store.pins_of(db, one.name)) for one in await store.installed(db)]
    return sorted([*own, *others], key=lambda one: one["name"])


async def own_services(db: Connection, catalogue: Catalogue, plan: str | None) -> list[Installation]:
    """Return our own services that a tenant has: those of its plan, but for what it chose otherwise."""
    chosen = await store.choices(db)
    added = {name for name, one in chosen.items() if one.state == "installed"}
    removed = {name for name, one in chosen.items() if one.state == "removed"} - catalogue.always
    found: list[Installation] = []
    for name in sorted((catalogue.always | catalogue.of_plan(plan) | added) - removed):
        entry = catalogue.get(name)
        if entry is None or not entry.own:
            continue
        more = await offered_by(db, name) if name in OFFERING else []
        found.append(
            Installation(
                name=name,
                kind="platform" if name == "platform" else "service",
                service=name,
                title=entry.title,
                description=entry.description,
                version=entry.version,
                default=name in chosen and chosen[name].is_default,
                status="active",
                tools=[{**tool, "status": "active"} for tool in (*entry.tools, *more)],
                url=None,
                protocols=[],
                offer=offered({}),
                hash=None,
            )
        )
    return found


async def offered_by(db: Connection, server: str) -> list[dict[str, Any]]:
    """Return the tools that one of our services has for this tenant alone, beside those that everybody has."""
    kept = await store.fact(db, store.OFFERED + server)
    return [] if kept is None else objects_in(orjson.loads(kept)["tools"])


def third_party(one: store.Installed, tools: list[Pin]) -> Installation:
    """Return a third-party server as it is listed; it is quarantined while any of its tools is."""
    url = one.url
    return Installation(
        name=one.name,
        kind="adapter" if url is None else "remote",
        service=ADAPTER,
        title=one.title,
        description=f"{one.registry_type}:{one.identifier} {one.version}" if url is None else shown_url(url),
        version=one.version,
        default=one.is_default,
        status="quarantined" if any(pin.status != "active" for pin in tools) else "active",
        tools=[pin.shown() for pin in tools],
        url=url,
        protocols=one.protocols,
        offer=offered(one.offer),
        hash=hash_of(one, tools),
    )


def hash_of(one: store.Installed, tools: list[Pin]) -> str:
    """Return what an approval of a third-party server's tools as they are now refers to."""
    said = offered(one.offer)["instructions"]
    return plan_hash(one.registry_type, one.identifier, one.version, one.argv, one.files, one.protocols, tools, said)


def visible(tool: dict[str, Any]) -> bool:
    """Return whether a tenant may know of a tool."""
    return OWN.isdisjoint(tool_policy(tool).scopes)
