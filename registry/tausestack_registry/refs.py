"""What can be named for installation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tausestack.errors import InvalidArguments, InvalidRequest, NotFound
from tausestack.names import check_server
from tausestack_registry.catalogue import Catalogue, Entry

REMOTE = "remote"
"""The registry type of a server at a URL."""

PACKAGES = ("pypi", "npm")
"""The registry types of packages that can be installed here."""

FORMS = (
    "a catalogue name (colombia, mcp-server-time), a package of the Python index (pypi:NAME, pypi:NAME==1.2), one of "
    "npm (npm:NAME, npm:@SCOPE/NAME@1.2.0), or a remote server's URL (https://HOST/PATH)"
)

MAX_URL = 2048
_PYPI = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)(?:==([0-9A-Za-z][0-9A-Za-z.!+_-]{0,62}))?")
_NPM_WORD = r"[a-z0-9~-][a-z0-9._~-]{0,98}"
_NPM = re.compile(rf"npm:((?:@{_NPM_WORD}/)?{_NPM_WORD})(?:@([0-9][0-9A-Za-z.+-]{{0,62}}))?")
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_SAYS_NOTHING = frozenset({"mcp", "server", "mcp-server"})
"""Names of packages that are told apart by their scope alone: `@playwright/mcp` is called `playwright-mcp`."""
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:.]+")


@dataclass(frozen=True)
class Reference:
    """What is to be installed, and as what."""

    ref: str
    name: str
    title: str
    entry: Entry | None
    registry_type: str = ""
    identifier: str = ""
    """The package's name, or a remote server's URL."""
    version: str | None = None
    arguments: tuple[str, ...] = ()
    """What a package's command is given."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """The variables that are set for it where the tenant sets no others."""

    @property
    def own(self) -> bool:
        """Whether it is one of our services."""
        return self.entry is not None and self.entry.own

    @property
    def remote(self) -> bool:
        """Whether it runs elsewhere, at a URL."""
        return self.registry_type == REMOTE


def resolve(catalogue: Catalogue, ref: str, name: str | None) -> Reference:
    """Return what a reference means, or raise `InvalidArguments` or `NotFound`."""
    ref = ref.strip()
    if ref.lower().startswith(("http://", "https://")):
        return _remote(ref, name)
    pypi, npm = _PYPI.fullmatch(ref), _NPM.fullmatch(ref)
    if pypi is not None:
        return _package(catalogue, ref, name, "pypi", re.sub(r"[-_.]+", "-", pypi[1]).lower(), pypi[2])
    if npm is not None:
        return _package(catalogue, ref, name, "npm", npm[1], npm[2])
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
    if package is None or package["registryType"] not in PACKAGES:
        raise InvalidArguments(f"{entry.name} has no package that can be installed here")
    registry_type, identifier, version = (str(package[key]) for key in ("registryType", "identifier", "version"))
    named = _named(name or entry.name)
    return Reference(
        ref, named, entry.title, entry, registry_type, identifier, version, entry.arguments, entry.environment
    )


def shown_url(url: str) -> str:
    """Return a URL as it is shown: without its query, which may hold a key."""
    stem, question, _ = url.partition("?")
    return f"{stem}?…" if question else stem


def _package(
    catalogue: Catalogue, ref: str, name: str | None, registry_type: str, identifier: str, version: str | None
) -> Reference:
    """A package that the catalogue knows too is started as it says there."""
    known = catalogue.of_package(registry_type, identifier)
    own = identifier.rpartition("/")[2]
    named = _named(name or _word(identifier if own in _SAYS_NOTHING else own))
    arguments, environment = (known.arguments, known.environment) if known else ((), {})
    return Reference(ref, named, identifier, known, registry_type, identifier, version, arguments, environment)


def _remote(ref: str, name: str | None) -> Reference:
    url, host, port = _checked_url(ref)
    place = host if port is None else f"{host}:{port}"
    return Reference(ref, _named(name or _word(place)), place, None, REMOTE, url)


def _checked_url(ref: str) -> tuple[str, str, int | None]:
    """Return a server's URL in its normal form, its host, and its port where it isn't the scheme's own."""
    if _URL.fullmatch(ref) is None or "\\" in ref or len(ref) > MAX_URL:
        raise InvalidArguments(f"a server's URL is printable ASCII of {MAX_URL} characters at most")
    try:
        parts = urlsplit(ref)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidArguments(f"this is no server's URL: {error}") from error
    if "@" in parts.netloc:
        raise InvalidArguments("a URL may bear no credentials: give them as headers (secrets), such as Authorization")
    if _HOST.fullmatch(host) is None or port == 0:
        raise InvalidArguments("a server's URL needs a host, in ASCII, such as https://example.com/mcp")
    if "#" in ref:
        raise InvalidArguments("a server's URL has no fragment: leave out what follows '#'")
    if port == {"http": 80, "https": 443}[parts.scheme]:
        port = None
    place = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    return f"{parts.scheme}://{place}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else ""), host, port


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _named(name: str) -> str:
    try:
        return check_server(name)
    except InvalidRequest as error:
        raise InvalidArguments(f"{error}; choose one with `name`") from error
