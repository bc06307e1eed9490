"""What can be named for installation, and what settings and secrets may be given along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tausestack.errors import InvalidArguments, InvalidRequest, NotFound
from tausestack.names import check_server
from tausestack_registry.catalogue import Catalogue, Entry

FORMS = "a catalogue name (colombia, mcp-server-time) or a package of the Python index (pypi:NAME, pypi:NAME==1.2)"

_PYPI = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)(?:==([0-9A-Za-z][0-9A-Za-z.!+_-]{0,62}))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = re.compile(r"(?:LD_|DYLD_|PYTHON|GLIBC_|MALLOC_)\w*|PATH|HOME|TMPDIR|LANG|TZ|NODE_OPTIONS|BASH_ENV|ENV|IFS")


@dataclass(frozen=True)
class Reference:
    """What is to be installed, and as what."""

    ref: str
    name: str
    title: str
    entry: Entry | None
    registry_type: str = ""
    identifier: str = ""
    version: str | None = None

    @property
    def own(self) -> bool:
        """Whether it is one of our services."""
        return self.entry is not None and self.entry.own


def resolve(catalogue: Catalogue, ref: str, name: str | None) -> Reference:
    """Return what a reference means, or raise `InvalidArguments` or `NotFound`."""
    ref = ref.strip()
    packaged = _PYPI.fullmatch(ref)
    if packaged is not None:
        identifier = re.sub(r"[-_.]+", "-", packaged[1]).lower()
        return Reference(ref, _named(name or identifier), identifier, None, "pypi", identifier, packaged[2])
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*(?:/[A-Za-z0-9._-]+)?", ref) or ref.endswith((".json", ".mcpb")):
        raise InvalidArguments(f"'{ref[:80]}' can't be installed: a reference is {FORMS}")
    entry = catalogue.get(ref)
    if entry is None:
        raise NotFound(f"the catalogue has no '{ref[:80]}': a reference is {FORMS}")
    if entry.own:
        if name not in {None, entry.name}:
            raise InvalidArguments(f"{entry.name} is one of our own services: it keeps its name")
        return Reference(ref, entry.name, entry.title, entry)
    package = entry.package
    if package is None or package["registryType"] != "pypi":
        raise InvalidArguments(f"{entry.name} has no package that can be installed here")
    return Reference(
        ref, _named(name or entry.name), entry.title, entry, "pypi", str(package["identifier"]), str(package["version"])
    )


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as variables: text as it is, everything else as JSON."""
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in config.items()}


def check_variables(config: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raise `InvalidArguments` where a setting or secret can't be a variable of a server's environment."""
    for name in (*config, *secrets):
        if _VARIABLE.fullmatch(name) is None or _RESERVED.fullmatch(name.upper()):
            raise InvalidArguments(f"'{name[:80]}' can't be set: it is no plain name of a variable, or it is reserved")
    for value in (*config.values(), *secrets.values()):
        if "\0" in value or len(value) > 32_768:
            raise InvalidArguments("a setting or secret is too long, or holds a zero byte")
    both = config.keys() & secrets.keys()
    if both:
        raise InvalidArguments(f"{min(both)} is given both as a setting and as a secret")


def _named(name: str) -> str:
    try:
        return check_server(name)
    except InvalidRequest as error:
        raise InvalidArguments(f"{error}; choose one with `name`") from error
