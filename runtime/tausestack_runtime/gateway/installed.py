"""What a tenant has installed, as the gateway needs it: servers, their tools, and the names these go by here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from tausestack.confidential import has_secrets
from tausestack.contract import META_STALE, PROTOCOL_VERSION, ToolPolicy, tool_policy
from tausestack.errors import NotFound
from tausestack.names import wire_name
from tausestack.raw import as_array, as_object, object_at, objects_in
from tausestack.schemas import Validator, compiled
from tausestack.scopes import SYSTEM, needed
from tausestack_runtime.gateway import readable
from tausestack_runtime.gateway.mirrors import Mirror, mirrors_of
from tausestack_runtime.gateway.once import once

Kind = Literal["service", "platform", "adapter", "remote"]


def not_found() -> NotFound:
    """Return the one answer for whatever is not there or not yours."""
    return NotFound("There is no such tenant, server or tool, or it is not yours")


@dataclass(frozen=True)
class Tool:
    """A tool as its server defines it, with the names it goes by here."""

    server: str
    raw: dict[str, Any]
    status: str

    @once
    def name(self) -> str:
        """Its name on its own server."""
        return str(self.raw["name"])

    @once
    def wire(self) -> str:
        """Its name in the tenant's merged list."""
        return wire_name(self.server, self.name)

    @once
    def policy(self) -> ToolPolicy:
        """Its side effects, scopes and approval."""
        return tool_policy(self.raw)

    @once
    def needs(self) -> tuple[str, ...]:
        """The scopes that a caller has to hold."""
        return needed(self.server, self.name, self.policy.scopes)

    @once
    def mirrors(self) -> tuple[Mirror, ...]:
        """The parameters that headers mirror."""
        return mirrors_of(object_at(self.raw, "inputSchema"))

    @once
    def secrets(self) -> dict[str, Any]:
        """Its input schema, where that marks arguments as secrets; else nothing."""
        schema = object_at(self.raw, "inputSchema")
        return schema if has_secrets(schema) else {}

    @once
    def hidden(self) -> bool:
        """Whether only our own processes may know of it."""
        return SYSTEM in self.policy.scopes

    def definition(self, name: str, stale: str | None = None) -> bytes:
        """Return the definition under a name that it goes by; `stale` says why its server is not there to confirm it.

        A missing description is filled in, as hosts expect one.
        """
        shown = {**readable.tool(self.raw), "name": name}
        if not shown.get("description"):
            shown["description"] = f"{self.name} of {self.server}"
        if stale is not None:
            shown["_meta"] = {**object_at(self.raw, "_meta"), META_STALE: stale}
        return orjson.dumps(shown)

    @once
    def validator(self) -> Validator:
        """The compiled input schema; raises `UpstreamError` where it can't be used."""
        return compiled(self.raw.get("inputSchema") or {"type": "object"})


def waits(tool: Tool) -> NotFound:
    """Return what somebody is told who may call a tool that nobody has approved as it is now."""
    return NotFound(
        f"{tool.server}/{tool.name} waits for approval: its server added or changed it. registry/review shows it"
    )


@dataclass(frozen=True)
class Offer:
    """What a third party's server said of itself when its installation was planned; raw objects."""

    server: dict[str, Any] = field(default_factory=dict[str, Any])
    capabilities: dict[str, Any] = field(default_factory=dict[str, Any])
    instructions: str | None = None
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    """`prompts`, `resources` and `resourceTemplates`."""


@dataclass(slots=True)
class Installation:
    """A server that a tenant has installed; nobody changes it."""

    name: str
    kind: Kind
    service: str
    """The process of ours that serves it: a service's own, the adapter host, or this one."""
    title: str = ""
    version: str = ""
    default: bool = False
    status: str = "active"
    tools: dict[str, Tool] = field(default_factory=dict[str, Tool])
    url: str = ""
    protocols: tuple[str, ...] = ()
    """The versions that a third party was seen to speak, newest first."""
    offer: Offer = field(default_factory=Offer)
    foreign: bool = field(init=False)
    """Whether it is a third party's: nothing that it says is taken for ours, and it may be away."""
    direct: bool = field(init=False)
    """Whether the gateway itself speaks to its URL, rather than the tenant's adapter host."""
    approved: bool = field(init=False)
    """Whether anything of it was: a tool that it adds or changes later waits alone."""

    def __post_init__(self) -> None:
        self.foreign = self.kind in {"adapter", "remote"}
        self.direct = self.kind == "remote" and PROTOCOL_VERSION in self.protocols
        self.approved = self.status == "active" or any(tool.status == "active" for tool in self.tools.values())

    @property
    def earlier(self) -> str | None:
        """The newest earlier version that a remote server speaks over HTTP, if it does."""
        versions = (version for version in self.protocols if version < PROTOCOL_VERSION)
        return next(versions, None) if self.kind == "remote" else None


def installation_of(raw: dict[str, Any], platform_tools: Sequence[dict[str, Any]]) -> Installation:
    """Return an installation from the registry's words; the gateway's own tools are its own to say."""
    name, kind = str(raw["name"]), raw["kind"]
    definitions = platform_tools if kind == "platform" else raw["tools"]
    tools = [Tool(name, _without_status(tool), str(tool.get("status", "active"))) for tool in definitions]
    installation = Installation(
        name=name,
        kind=kind,
        service=str(raw.get("service") or name),
        title=str(raw.get("title") or name),
        version=str(raw.get("version") or ""),
        default=bool(raw.get("default")),
        status=str(raw.get("status", "active")),
        tools={tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)},
        url=str(raw.get("url") or ""),
        protocols=tuple(str(version) for version in as_array(raw.get("protocols")) or []),
        offer=_offer(as_object(raw.get("offer")) or {}),
    )
    # What nobody has approved says nothing to anybody, its instructions least of all.
    return installation if installation.approved else replace(installation, offer=Offer())


def _offer(raw: dict[str, Any]) -> Offer:
    said = raw.get("instructions")
    return Offer(
        server=object_at(raw, "serverInfo"),
        capabilities=object_at(raw, "capabilities"),
        instructions=said if isinstance(said, str) else None,
        lists={name: objects_in(raw.get(name)) for name in ("prompts", "resources", "resourceTemplates")},
    )


def _without_status(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "status"}
