"""How a hosted server is started or reached, as the registry says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tausestack.contract import PROTOCOL_VERSION
from tausestack.errors import InvalidRequest
from tausestack.raw import as_array, as_object

PACKAGES = ("pypi", "npm")
REMOTE = "remote"


@dataclass(frozen=True)
class Launch:
    """A server that is a package in the store."""

    registry_type: str
    identifier: str
    version: str
    argv: tuple[str, ...]
    """What is started, then the arguments: a Python package's entry point (`module:function`) or program
    (`bin/program`), or the path of an npm package's script in its folder."""
    store: str
    """The package's folder, relative to the store."""
    env: Mapping[str, str]
    """What is set in its environment: configuration and secrets."""
    pins: Mapping[str, str] | None = None
    """Hashes of the approved tools by name; None: nothing is pinned yet."""
    protocols: tuple[str, ...] = ()
    """The versions that it was seen to speak, newest first; empty: nobody has asked it yet."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """The hashes of what was installed, by file; empty where nothing is yet."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """The values in `env` that no log may show."""


@dataclass(frozen=True)
class Remote:
    """A server at a URL."""

    url: str
    headers: Mapping[str, str]
    """What every request to it carries: credentials among them."""
    pins: Mapping[str, str] | None = None
    protocols: tuple[str, ...] = ()


def parse_launch(spec: Any) -> Launch | Remote:
    """Return how a server is started or reached, from the registry's words, or raise `InvalidRequest`."""
    raw = as_object(spec) or {}
    pins = as_object(raw.get("pins"))
    pinned = None if pins is None else {name: str(sha256) for name, sha256 in pins.items()}
    protocols = tuple(str(version) for version in as_array(raw.get("protocols")) or [])
    kind = raw.get("registryType")
    if kind == REMOTE and isinstance(raw.get("url"), str):
        headers = {name: str(value) for name, value in (as_object(raw.get("headers")) or {}).items()}
        return Remote(str(raw["url"]), headers, pinned, protocols)
    if kind not in PACKAGES or not as_array(raw.get("argv")):
        raise InvalidRequest("a server is started from a package of an index, by its entry, or reached at a URL")
    secrets = as_object(raw.get("secrets")) or {}
    variables: dict[str, Any] = {**(as_object(raw.get("env")) or {}), **secrets}
    return Launch(
        registry_type=str(kind),
        identifier=str(raw.get("identifier", "")),
        version=str(raw.get("version", "")),
        argv=tuple(str(word) for word in raw["argv"]),
        store=str(raw.get("store", "")),
        env={name: str(value) for name, value in variables.items()},
        secrets=frozenset(str(value) for value in secrets.values()),
        pins=pinned,
        protocols=protocols,
        files={name: str(digest) for name, digest in (as_object(raw.get("files")) or {}).items()},
    )


def is_modern(launch: Launch | Remote) -> bool | None:
    """Return whether a server speaks the modern protocol, or None where nobody has asked it yet."""
    return PROTOCOL_VERSION in launch.protocols if launch.protocols else None
