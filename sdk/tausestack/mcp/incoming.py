"""What a call comes with beside its arguments, as it arrives and as a task keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tausestack.contract import Principal
from tausestack.mcp.tasks import Owner


@dataclass(frozen=True)
class Incoming:
    """A call's caller and its terms."""

    principal: Principal
    assertion: str
    """Empty in a task that another process goes on with: credentials are not kept."""
    call_id: str
    key: str | None
    approval: str | None
    capabilities: dict[str, Any]
    """What the client declared of itself."""
    limits: dict[str, int] = field(default_factory=dict[str, int])
    """The tenant's limits that this server counts, as the gateway last told."""
    traceparent: str | None = None
    """The W3C context of the trace that the call belongs to."""

    @property
    def owner(self) -> Owner:
        """Whose a task is that this call makes."""
        return owner_of(self.principal)

    def kept(self) -> dict[str, Any]:
        """Return what is kept of it, as JSON: all but its credential."""
        who = self.principal
        bounds = None if who.bounds is None else sorted(who.bounds)
        principal = {**asdict(who), "scopes": sorted(who.scopes), "bounds": bounds}
        rest = {"call_id": self.call_id, "approval": self.approval, "capabilities": self.capabilities}
        rest["limits"] = self.limits
        return {"principal": principal, **rest}

    @classmethod
    def of(cls, kept: dict[str, Any], *, assertion: str, key: str) -> Incoming:
        """Return what was kept, under the key that its effect happens once by."""
        fields: dict[str, Any] = {**kept["principal"], "scopes": frozenset(kept["principal"]["scopes"])}
        if fields["bounds"] is not None:
            fields["bounds"] = frozenset(fields["bounds"])
        rest = {name: kept[name] for name in ("call_id", "approval", "capabilities")}
        limits = kept.get("limits", {})
        return cls(principal=Principal(**fields), assertion=assertion, key=key, limits=limits, **rest)


def owner_of(principal: Principal) -> Owner:
    """Return whose the tasks are that a principal makes: an agent's are not those of whom it acts for."""
    return Owner(principal.tenant, json.dumps([principal.id, principal.agent], ensure_ascii=False))
