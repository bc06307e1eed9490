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
    """Its first name; the second is the tenant, and the rest is below it."""
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
    parts = head.parts
    if parts[1:3] != ["api", "v2"]:
        parts = []  # a slash of it is escaped: it is another path
    while parts and not parts[-1]:
        parts.pop()
    # Names below the tenant may have slashes, escaped or not; the tenant's own has none.
    path = "/".join(parts[3:])
    root, tenant, below = "/".join(parts[3:4]), "/".join(parts[4:5]), "/".join(parts[5:])
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
