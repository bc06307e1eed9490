"""What the head of a request over REST says of what it asks, read once."""

from __future__ import annotations

from dataclasses import dataclass

from tausestack_runtime.gateway.exchange import EVENT_STREAM
from tausestack_runtime.gateway.http.head import Head


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, and how."""

    path: str
    """What follows `/api/v2/`, such as `tenants/acme/tools`."""
    root: str
    """Its first part; the second is the tenant, and the rest is below it."""
    tenant: str
    below: str
    events: bool
    """Whether the caller takes an event stream."""
    key: str | None
    """The idempotency key."""
    approval: str | None
    """The grant that is claimed."""
    trace: str | None


def asked_of(head: Head) -> Asked:
    """Return what a request asks for whose path begins with `/api/v2/`."""
    path = head.path.removeprefix("/api/v2/").rstrip("/")
    root, _, rest = path.partition("/")
    tenant, _, below = rest.partition("/")
    return Asked(
        path=path,
        root=root,
        tenant=tenant,
        below=below,
        events=EVENT_STREAM in head.headers.get(b"accept", b""),
        key=head.text(b"idempotency-key"),
        approval=head.text(b"tausestack-approval"),
        trace=head.text(b"traceparent"),
    )
