"""The services of a stack, and where their sockets are.

Modules are named by strings: no room of the house imports another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service: a process of its own, started on the first connection to its socket."""

    name: str
    module: str
    """`package.module:attribute`, a kit `Server`."""
    idle_seconds: float | None = 300
    """How long it stays without a connection; None: for ever."""
    seals: str | None = None
    """What the keys are derived by that it seals its tenants' data keys with; None: it keeps no secrets."""
    signs: str | None = None
    """What the keys are derived by that it signs with, without keeping secrets; None: it signs nothing."""
    heavy: bool = False
    """Imports 50 MB that no other needs: its own process does, in a second, rather than the fork server for all."""
    vendors_keys: bool = False
    """Speaks to vendors with the operator's own credentials, which no other service is left with."""
    work: tuple[str, ...] = ()
    """The tables of `_system` in which a row stands for each thing that it is to do without being called."""
    template: bool = False
    """One process a tenant, made on demand, rather than one for all."""
    stateless: bool = False
    """Keeps nothing of a tenant; what others keep, `SCHEMA` in the module `tables` beside their server says."""

    travels: str | None = None
    """`package.module:class` of what takes what it keeps beside its tables out of an installation, and into one."""

    @property
    def worker(self) -> bool:
        """Whether it works uncalled: it comes back at once after a crash, and at the start where work is left."""
        return bool(self.work)

    @property
    def tables(self) -> str | None:
        """`package.module:attribute`, its `Schema`: less to import than its server. None: it has none."""
        return None if self.stateless else self.module.partition(":")[0].rpartition(".")[0] + ".tables:SCHEMA"


AUTH = ServiceSpec("auth", "tausestack_toolservers.auth.server:server", signs="auth")

SERVICES: tuple[ServiceSpec, ...] = (
    AUTH,
    ServiceSpec("registry", "tausestack_registry.server:server", seals="secrets"),
    ServiceSpec(
        "agents",
        "tausestack_agents.server:server",
        idle_seconds=None,
        heavy=True,
        work=("dispatch", "timers", "mcp_task_processes"),
        vendors_keys=True,
        travels="tausestack_agents.travelling:TravellingCheckpoints",
    ),
    ServiceSpec("billing", "tausestack_toolservers.billing.server:server"),
    ServiceSpec("colombia", "tausestack_toolservers.colombia.server:server", stateless=True),
    ServiceSpec("storage", "tausestack_toolservers.storage.server:server"),
)

# Idle for longer than a call waits in it for its caller to come back with answers.
ADAPTER = ServiceSpec("adapter", "tausestack_runtime.adapters.host:server", idle_seconds=900, template=True)
"""The host of a tenant's third-party servers."""


def instance_name(service: str, tenant: str | None = None, number: int = 1) -> str:
    """Return the name of a service's process: the service's, with a hash of the tenant where each has its own.

    Further processes of one service, which work and are not called, bear a number from 2 on.
    """
    if tenant is None:
        return service if number == 1 else f"{service}-{number}"
    return f"{service}-{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


INSTALLATION = "/installation"
"""Where the internal door says whose stack it is: the mark that its data folder bears."""


def socket_path(run: Path, service: str, tenant: str | None = None, number: int = 1) -> Path:
    """Return the path of a service's socket in the stack's folder of sockets."""
    return run / f"{instance_name(service, tenant, number)}.sock"


def gateway_socket(run: Path, number: int | None = None) -> Path:
    """Return the path of the internal door: that of all gateways, or that of the one with a number."""
    return run / ("gateway.sock" if number is None else f"gateway-{number}.sock")


def control_socket(run: Path) -> Path:
    """Return the path of the supervisor's control socket."""
    return run / "control.sock"
