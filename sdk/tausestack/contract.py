"""The shapes that more than one room speaks: `_meta` keys, a tool's policy, a principal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tausestack.raw import as_object, object_at

VERSION = "0.1.0"
"""This release."""

PROTOCOL_VERSION = "2026-07-28"
"""The MCP version that is spoken everywhere inside."""

META_PREFIX = "pro.tause/"
"""What keys of `_meta` begin with that speak for the house: nobody else's are taken for ours."""
META_TOOL = "pro.tause/tool"
"""In a tool's `_meta`: its `ToolPolicy`."""
META_ASSERTION = "pro.tause/assertion"
"""In a call's `_meta`, over stdio alone: the assertion that HTTP carries as a bearer token."""
META_CALL = "pro.tause/call"
"""In a call's `_meta`: the gateway's id of the call. In a result's `_meta`: `{"id", "state"}`."""
META_KEY = "pro.tause/idempotency-key"
"""In a call's `_meta`: the idempotency key of a write; `Idempotency-Key` over HTTP."""
META_APPROVAL = "pro.tause/approval"
"""In a call's `_meta`: the approval that the call was waiting for."""
META_HOLD = "pro.tause/hold"
"""In an agent's call's `_meta`: true has the gateway hold it for a person, whatever the tool's policy says."""
META_ERROR = "pro.tause/error"
"""In a failed result's `_meta`: the failure's `{code, …}`."""
META_STALE = "pro.tause/stale"
"""In a definition's `_meta`: why its server is not there to confirm it."""
META_LIMITS = "pro.tause/limits"
"""In a call's `_meta`, from the gateway alone: the tenant's limits that the called service counts, by name."""
META_PARENT = "pro.tause/parent"
"""In a nested call's `_meta`: the id of the call in whose course it is made."""

EARLIER_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The versions with an `initialize` that are spoken at the edges, newest first."""

MCP_VERSION_META = "io.modelcontextprotocol/protocolVersion"
MCP_CAPABILITIES_META = "io.modelcontextprotocol/clientCapabilities"
MCP_LOG_LEVEL_META = "io.modelcontextprotocol/logLevel"
MCP_SUBSCRIPTION_META = "io.modelcontextprotocol/subscriptionId"
MCP_CLIENT_META = "io.modelcontextprotocol/clientInfo"
MCP_SERVER_META = "io.modelcontextprotocol/serverInfo"

SideEffect = Literal["read", "write", "external"]
Approval = Literal["never", "agents", "always"]
BillingPlan = Literal["basic", "premium", "enterprise"]
"""What each costs is billing's to say, and which services it brings is the registry's."""


class ToolPolicy(BaseModel):
    """What the gateway needs to know of a tool beyond MCP's own fields; stands under `pro.tause/tool` in `_meta`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    side_effect: SideEffect = Field(
        default="write",
        description="read: changes nothing; write: changes tenant data; external: acts on the world outside",
    )
    idempotent: bool = Field(default=False, description="calling it twice with the same arguments is calling it once")
    keyed: bool = Field(
        default=False, description="the server keeps the idempotency key with the effect, so that a retry is safe"
    )
    scopes: list[str] = Field(
        default_factory=list, description="scopes a caller needs; empty: tools:call:{server}/{tool}"
    )
    price: str = Field(default="standard", description="price class of one call")
    approval: Approval = Field(
        default="never", description="whose calls wait for a person: nobody's, agents', everybody's"
    )

    @property
    def retriable(self) -> bool:
        """Whether a call that broke midway may be sent again, if it bears its idempotency key where that matters."""
        return self.side_effect == "read" or self.idempotent


def tool_policy_schema() -> dict[str, Any]:
    """Return the JSON Schema of what stands under `pro.tause/tool`."""
    return ToolPolicy.model_json_schema()


def tool_policy(tool: dict[str, Any]) -> ToolPolicy:
    """Return the policy of a raw tool object.

    Without our own entry the standard annotations count only where they make the tool more dangerous or say that it
    only reads; an unknown tool is a write that is not idempotent.
    """
    own = as_object(object_at(tool, "_meta").get(META_TOOL))
    if own is not None:
        return ToolPolicy.model_validate(own)
    reads = object_at(tool, "annotations").get("readOnlyHint") is True
    return ToolPolicy(side_effect="read" if reads else "external")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, for which tenant, and within which bounds.

    `id` is `key:<id>`, `operator`, `service:<name>` or `gateway`. An agent acts as the person or key that started its
    run: `id` stays theirs, `agent` and `run` name it, and `bounds` holds the agent's own scopes beside theirs.
    `incarnation` is which of the tenants that have had this id, one after the other; empty where nobody asked.
    """

    tenant: str
    id: str
    scopes: frozenset[str]
    role: str = ""
    agent: str | None = None
    run: str | None = None
    bounds: frozenset[str] | None = None
    incarnation: str = ""

    @property
    def limits(self) -> tuple[frozenset[str], ...]:
        """The sets of scopes, every one of which has to cover what is asked."""
        return (self.scopes,) if self.bounds is None else (self.scopes, self.bounds)
