"""Installing: planned first, approved against what was seen, then kept at once or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from tausestack.errors import Conflict, UpstreamError
from tausestack.raw import as_array, as_object, object_at, objects_in
from tausestack_registry.listing import visible
from tausestack_registry.pins import Pin, digest, pinned
from tausestack_registry.refs import Reference

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a tool of another service by its address."""


class LaunchSpec(TypedDict):
    """How a third-party server is started, as the adapter host takes it; `pins` are the hashes of its active tools."""

    registryType: str
    identifier: str
    version: str
    argv: list[str]
    env: dict[str, str]
    secrets: dict[str, str]
    store: str
    pins: NotRequired[dict[str, str]]


@dataclass(frozen=True)
class Plan:
    """What an installation would bring."""

    reference: Reference
    version: str
    argv: list[str]
    store: str
    sandbox: str | None
    tools: list[Pin]
    wheels: dict[str, str]

    @property
    def hash(self) -> str:
        """What an approval refers to: the package, its files and every tool as it was seen."""
        return digest(
            {
                "ref": self.reference.registry_type,
                "identifier": self.reference.identifier or self.reference.name,
                "version": self.version,
                "wheels": self.wheels,
                "tools": {pin.name: pin.sha256 for pin in self.tools},
            }
        )


def launch_of(
    reference: Reference,
    version: str,
    argv: list[str],
    store: str,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
) -> LaunchSpec:
    """Return how a server is started."""
    return {
        "registryType": reference.registry_type,
        "identifier": reference.identifier,
        "version": version,
        "argv": argv,
        "env": dict(env),
        "secrets": dict(secrets),
        "store": store,
    }


async def planned(call: Call, reference: Reference, env: Mapping[str, str], secrets: Mapping[str, str]) -> Plan:
    """Return what installing would bring; a third party's package is fetched and started once, in the sandbox.

    Raises `UpstreamError` where the server can't be installed as it is.
    """
    if reference.entry is not None and reference.entry.own:
        tools = [Pin(tool, digest(tool), "active") for tool in reference.entry.tools if visible(tool)]
        return Plan(reference, reference.entry.version, [], "", None, tools, {})
    wanted: dict[str, Any] = {"registry_type": reference.registry_type, "identifier": reference.identifier}
    if reference.version is not None:
        wanted["version"] = reference.version
    package = _object(await call("adapter/fetch", wanted))
    version, store = str(package["version"]), str(package["store"])
    argv = [str(word) for word in as_array(package["argv"]) or []]
    launch = launch_of(reference, version, argv, store, env, secrets)
    probe = _object(await call("adapter/probe", {"name": reference.name, "launch": launch}))
    tools = pinned(objects_in(probe["tools"]), "quarantined")
    wheels = {str(name): str(sha) for name, sha in object_at(package, "wheels").items()}
    return Plan(reference, version, argv, store, str(probe["sandbox"]), tools, wheels)


def approved(plan: Plan, approve: bool | str | None) -> list[Pin]:
    """Return the plan's tools with the status that an approval gives them.

    Raises `Conflict` where the approval is for another plan; without an approval they stay quarantined.
    """
    if isinstance(approve, str) and approve != plan.hash:
        raise Conflict(
            f"{plan.reference.name} is not what was approved: look at its plan again", plan=plan.hash, approved=approve
        )
    return [Pin(pin.raw, pin.sha256, "active" if approve else "quarantined") for pin in plan.tools]


def _object(value: Any) -> dict[str, Any]:
    found = as_object(value)
    if found is None:
        raise UpstreamError("the adapter host answered with something else than was asked")
    return found
