"""The operations of the control socket."""

from __future__ import annotations

import os
from typing import Any

from tausestack.errors import InvalidRequest, NotFound
from tausestack.names import check_tenant
from tausestack.tenancy import credential_hash
from tausestack_runtime.keys import Masters, worker_credential
from tausestack_runtime.services import ServiceSpec
from tausestack_runtime.settings import Settings
from tausestack_runtime.signing import SigningKeys
from tausestack_runtime.supervisor.desk import Answer
from tausestack_runtime.supervisor.forks import Nurseries
from tausestack_runtime.supervisor.gateway import GatewayProcess, Gateways
from tausestack_runtime.supervisor.instances import Instance, Instances
from tausestack_runtime.supervisor.key_desk import KeyDesk
from tausestack_runtime.supervisor.linux import descendants, resident_bytes
from tausestack_runtime.supervisor.ready import ReadyProbe


class Operations:
    """Answers the gateway and the operator's tools."""

    def __init__(
        self,
        settings: Settings,
        adapter: ServiceSpec,
        instances: Instances,
        gateways: Gateways,
        ready: ReadyProbe,
        nurseries: Nurseries,
    ) -> None:
        self._settings = settings
        self._adapter = adapter
        self._instances = instances
        self._gateways = gateways
        self._ready = ready
        self._nurseries = nurseries
        self._masters: Masters | None = None
        self._operations: dict[str, Answer] = {
            "services": self._figures,
            "ensure": self._ensure,
            "identify": self._identify,
            "restart": self._restart,
            "stop": self._stop,
        }

    def keep_keys(self, masters: Masters, signing: SigningKeys) -> None:
        """Answer for the stack's keys as well."""
        self._masters = masters
        desk = KeyDesk(masters, signing, self._instances)
        self._operations |= {
            "keys": desk.keys,
            "sealing_keys": desk.sealing_keys,
            "digest_keys": desk.digest_keys,
            "begin_master": desk.begin_master,
            "retire_master": desk.retire_master,
            "rotate_signing": desk.rotate_signing,
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request, or raise a `TauseError` that says what is wrong with it."""
        operation = self._operations.get(str(request.get("op")))
        if operation is None:
            raise InvalidRequest(f"there is no such operation: it is one of {', '.join(self._operations)}")
        return operation(request)

    def _figures(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Return every process with its memory.

        `{services, gateways, gateway, supervisor, fork_servers, pss_bytes}`; `gateway` is the first of the gateways.
        """
        own = os.getpid()
        gateways = [self._of_gateway(one) for one in self._gateways]
        return {
            "services": [_service(instance) for instance in self._instances],
            "gateways": gateways,
            "gateway": gateways[0],
            "supervisor": {
                **_process("supervisor", own),
                "started_at": self._settings.started_at,
                "run": str(self._settings.run),
                "port": self._settings.port,
            },
            "fork_servers": [_process(each.name, each.pid) for each in self._nurseries if each.pid is not None],
            "pss_bytes": sum(resident_bytes(pid) or 0 for pid in [own, *descendants(own)]),
        }

    def _of_gateway(self, one: GatewayProcess) -> dict[str, Any]:
        return {
            **_process("gateway", one.pid),
            "number": one.number,
            "connections": self._gateways.connections(one),
            "restarts": one.restarts,
            "ready_seconds": self._ready.seconds,
            "started_at": one.started_at,
        }

    def _ensure(self, request: dict[str, Any]) -> dict[str, Any]:
        service, tenant = self._named(request)
        if service == self._adapter.name:
            if tenant is None:
                raise InvalidRequest(f"{service} needs a tenant: each has its own")
            return {"socket": str(self._instances.open(self._adapter, tenant).path)}
        return {"socket": str(self._instance(service, None).path)}

    def _identify(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("credential_hash")
        for instance in self._instances:
            if instance.credential is not None and instance.credential == wanted:
                return {"service": instance.spec.name, "tenant": instance.tenant}
        masters = None if self._settings.database_url is None else self._masters
        if masters is not None and wanted in {credential_hash(worker_credential(each)) for each in masters.live()}:
            return {"service": next(each.spec.name for each in self._instances if each.spec.worker), "tenant": None}
        return {"service": None, "tenant": None}

    def _restart(self, request: dict[str, Any]) -> dict[str, Any]:
        self._instances.restart(self._instance(*self._named(request)))
        return {"done": True}

    def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        service, tenant = self._named(request)
        if service != self._adapter.name or tenant is None:
            raise InvalidRequest(
                f"only a tenant's {self._adapter.name} can be stopped: a service starts again when called"
            )
        instance = self._instances.get(service, tenant)
        if instance is not None:
            self._instances.remove(instance)
        return {"done": instance is not None}

    def _instance(self, service: str, tenant: str | None) -> Instance:
        instance = self._instances.get(service, tenant)
        if instance is None:
            raise NotFound(f"no service is called {service[:80]}")
        return instance

    def _named(self, request: dict[str, Any]) -> tuple[str, str | None]:
        """Return the service and the tenant that a request names; `name` is taken for `service` too."""
        service, tenant = request.get("service", request.get("name")), request.get("tenant")
        if not isinstance(service, str):
            raise InvalidRequest("the request names no service")
        if tenant is None:
            return service, None
        return service, check_tenant(str(tenant))


def _process(name: str, pid: int | None) -> dict[str, Any]:
    return {"name": name, "pid": pid, "pss_bytes": None if pid is None else resident_bytes(pid)}


def _service(instance: Instance) -> dict[str, Any]:
    return {
        **_process(instance.spec.name, instance.pid),
        "tenant": instance.tenant,
        "number": instance.number,
        "state": instance.state,
        "restarts": instance.restarts,
        "started_at": instance.started_at,
        "start_seconds": instance.start_seconds,
    }
