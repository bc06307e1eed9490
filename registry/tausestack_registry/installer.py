"""Installing: planned first, approved against what was seen, then kept at once or not at all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NotRequired

from typing_extensions import TypedDict

from tausestack.errors import Conflict, UpstreamError
from tausestack.raw import as_array, as_object, given, object_at, objects_in
from tausestack_registry.listing import visible
from tausestack_registry.offers import Offer, offered, spoken
from tausestack_registry.pins import LeftOut, Pin, digest, pinned, plan_hash
from tausestack_registry.refs import REMOTE, Reference

_VERSION = re.compile(r"[!-~]{1,64}")

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a tool of another service by its address."""


class LaunchSpec(TypedDict):
    """How a third-party server is started or reached; `pins` are the hashes of its active tools, `files` those of what
    was installed.

    A package has identifier, version, argv, env, secrets and store; a remote server has url and headers.
    """

    registryType: str
    protocols: list[str]
    identifier: NotRequired[str]
    version: NotRequired[str]
    argv: NotRequired[list[str]]
    env: NotRequired[dict[str, str]]
    secrets: NotRequired[dict[str, str]]
    store: NotRequired[str]
    url: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    pins: NotRequired[dict[str, str]]
    files: NotRequired[dict[str, str]]


@dataclass(frozen=True)
class Plan:
    """What an installation would bring."""

    reference: Reference
    version: str
    argv: list[str]
    store: str
    settings: dict[str, str]
    """Variables, or headers where it is remote."""
    sandbox: str | None
    tools: list[Pin]
    files: dict[str, str]
    protocols: list[str]
    offer: Offer

    @property
    def left_out(self) -> list[LeftOut]:
        """The tools that it would not bring, since they can't be taken."""
        return self.offer["leftOut"]

    @property
    def hash(self) -> str:
        """What an approval refers to."""
        one = self.reference
        return plan_hash(
            one.registry_type,
            one.identifier or one.name,
            self.version,
            self.argv,
            self.files,
            self.protocols,
            self.tools,
            self.offer["instructions"],
        )


def launch_of(
    reference: Reference,
    version: str,
    argv: list[str],
    store: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    protocols: list[str],
) -> LaunchSpec:
    """Return how a server is started or reached."""
    if reference.remote:
        return {
            "registryType": REMOTE,
            "url": reference.identifier,
            "headers": {**settings, **secrets},
            "protocols": protocols,
        }
    return {
        "registryType": reference.registry_type,
        "identifier": reference.identifier,
        "version": version,
        "argv": argv,
        "env": dict(settings),
        "secrets": dict(secrets),
        "store": store,
        "protocols": protocols,
    }


async def planned(call: Call, reference: Reference, config: Mapping[str, str], secrets: Mapping[str, str]) -> Plan:
    """Return what installing would bring.

    A third party's package is fetched and started once, in the sandbox; a remote server is contacted once. Raises
    `UpstreamError` where the server can't be installed as it is.
    """
    if reference.entry is not None and reference.entry.own:
        tools = [Pin(tool, digest(tool), "active") for tool in reference.entry.tools if visible(tool)]
        return Plan(reference, reference.entry.version, [], "", {}, None, tools, {}, [], offered({}))
    version, argv, store = "", list[str](), ""
    files: dict[str, str] = {}
    if not reference.remote:
        wanted = {"registry_type": reference.registry_type, "identifier": reference.identifier}
        package = _object(await call("adapter/fetch", given({**wanted, "version": reference.version})))
        version, store = str(package["version"]), str(package["store"])
        argv = [str(word) for word in as_array(package["argv"]) or []] + list(reference.arguments)
        files = {str(name): str(sha) for name, sha in object_at(package, "wheels").items()}
    settings = {**reference.environment, **config}
    launch = launch_of(reference, version, argv, store, settings, secrets, [])
    probe = _object(await call("adapter/probe", {"name": reference.name, "launch": launch}))
    if reference.remote and probe.get("url"):
        reference = replace(reference, identifier=str(probe["url"]))  # where it says that it is
    tools, left_out = pinned(objects_in(probe["tools"]))
    said = object_at(probe, "server")
    known = {**(object_at(probe, "offer") or said), "leftOut": [*left_out, *objects_in(probe.get("left_out"))]}
    offer = offered(known)
    protocols = spoken(probe.get("protocols", [said.get("protocolVersion")]))
    return Plan(
        reference, version or _version(offer), argv, store, settings,
        str(probe["sandbox"]) or None, tools, files, protocols, offer,
    )  # fmt: skip


def approved(plan: Plan, approve: bool | str | None) -> list[Pin]:
    """Return the plan's tools with the status that an approval gives them.

    Raises `Conflict` where the approval is for another plan; without an approval they stay quarantined.
    """
    if isinstance(approve, str):
        check_hash(plan.reference.name, approve, plan.hash)
    return [Pin(pin.raw, pin.sha256, "active", pin.sha256) for pin in plan.tools] if approve else plan.tools


def check_hash(server: str, approve: str, now: str) -> None:
    """Raise `Conflict` where an approval is for something else than what is there now."""
    if approve != now:
        raise Conflict(
            f"{server} is not what was approved: look at it again, and approve that", plan=now, approved=approve
        )


def _version(offer: Offer) -> str:
    """Return the version that a remote server gives itself, or none where it is no version."""
    said = offer["serverInfo"].get("version")
    return said if isinstance(said, str) and _VERSION.fullmatch(said) else ""


def _object(value: Any) -> dict[str, Any]:
    found = as_object(value)
    if found is None:
        raise UpstreamError("the adapter host answered with something else than was asked")
    return found
