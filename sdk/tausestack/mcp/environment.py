"""What a server's process is given: its folders, keys and doors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tausestack.sealing import Masters
from tausestack.tokens import Jwks, JwksFile

DEFAULT_DATA = ".tausestack"


@dataclass(frozen=True)
class ServiceEnv:
    """The surroundings of one server process; nothing of them is read before it starts."""

    data: Path
    """The data folder; a tenant's files lie in `tenants/{tenant}`."""
    database_url: str | None = None
    """A PostgreSQL URL; None: SQLite files."""
    jwks: Jwks = field(default_factory=lambda: {"keys": []})
    """The gateway's public keys, or what returns those of now: what assertions are verified against."""
    gateway: str | None = None
    """Path of the gateway's internal Unix socket; None: this server can call no other."""
    process_credential: str | None = field(default=None, repr=False)
    """What proves to the gateway that this is a process of the stack's own."""
    tenant: str | None = None
    """The only tenant that is served here; None: any."""
    masters: Masters | None = field(default=None, repr=False)
    """Returns the keys that data keys are sealed with; None: this server keeps no secrets."""
    digest_keys: Masters | None = field(default=None, repr=False)
    """Returns the keys that what an idempotency key stands for is digested under; None: plain digests."""
    log_level: str = "info"
    otlp_endpoint: str | None = None
    """Where traces are sent; None: nowhere."""
    socket: str | None = None
    """Path of the Unix socket that is served; None: it is served in another way."""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> ServiceEnv:
        """Read `TAUSESTACK_*`: what a server that is started alone goes by.

        Without a key set no assertion is good: such a server lists its tools and refuses to run them. A new key set
        in the place of the old one is taken up at once.
        """
        data = Path(variables.get("TAUSESTACK_DATA") or DEFAULT_DATA)
        jwks = Path(variables.get("TAUSESTACK_JWKS") or data / "jwks.json")
        return cls(
            data=data,
            database_url=variables.get("TAUSESTACK_DATABASE_URL") or None,
            jwks=JwksFile(jwks),
            gateway=variables.get("TAUSESTACK_GATEWAY_SOCKET") or None,
            log_level=variables.get("TAUSESTACK_LOG_LEVEL") or "info",
            otlp_endpoint=variables.get("TAUSESTACK_OTLP_ENDPOINT") or None,
        )
