"""Where we may connect to on a tenant's word: public addresses, and what the operator allows beside them.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address: a name that
is answered otherwise a moment later, or an address in disguise, leads nowhere.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from tausestack.errors import Forbidden, InvalidArguments

SETTING = "TAUSESTACK_ALLOWED_PRIVATE_HOSTS"
PORTS = {"http": 80, "https": 443}
MAX_URL = 2048

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a name, or raises `OSError`."""

_URL = re.compile(r"https?://[^\s\\/?#@\x00-\x20\x7f]+([/?#][!-\[\]-~]*)?", re.IGNORECASE)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# IANA's registries of special-purpose addresses, and what clouds keep for their own machines at a public address.
_CLOSED_4 = [
    IPv4Network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3", "168.63.129.16/32",
    )
]  # fmt: skip
_GLOBAL_6 = IPv6Network("2000::/3")
_CLOSED_6 = [
    # Protocol assignments with Teredo and ORCHID, documentation, 6to4, documentation.
    IPv6Network(net)
    for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


class Origin(NamedTuple):
    """Where a URL leads: a scheme, a host in lower-case ASCII without brackets or a final dot, and a port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The host as a `Host` header has it, with the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def read_url(url: str) -> tuple[Origin, str]:
    """Return a URL's origin and its target, the path with the query.

    Raises `InvalidArguments` for anything but an http or https URL in its usual form: no user, no odd way to write an
    address, nothing that two readers could read in two ways.
    """
    if len(url) > MAX_URL or _URL.fullmatch(url) is None:
        raise InvalidArguments(
            "The URL has to be http://host/path or https://host/path, without a user or spaces in it"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArguments(f"The URL is malformed: {error}") from error
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidArguments("The URL's port has to be a number from 1 to 65535")
    host = _host(parts.hostname or "", bracketed=parts.netloc.startswith("["))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, host, port or PORTS[parts.scheme]), target


def allowed_hosts(setting: str) -> frozenset[tuple[str, int]]:
    """Return the hosts and ports of a comma list of `host:port`, or raise `ValueError`."""
    found: set[tuple[str, int]] = set()
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        try:
            origin, _ = read_url(f"http://{entry}/")
        except InvalidArguments as error:
            raise ValueError(f"'{entry[:80]}' is not host:port") from error
        if not re.search(r":[0-9]+$", entry) or entry.endswith("]"):
            raise ValueError(f"'{entry[:80]}' is not host:port: the port is missing")
        found.add((origin.host, origin.port))
    return frozenset(found)


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the machine resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Egress:
    """The rule of where connections may go."""

    def __init__(self, allowed: frozenset[tuple[str, int]] = frozenset(), resolve: Resolve = resolve) -> None:
        """`allowed` are hosts and ports that need not be public, as URLs name them."""
        self._allowed = allowed
        self._resolve = resolve

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Egress:
        """Return the rule of a process's environment, for one that has no settings of its own."""
        return cls(allowed_hosts(environment.get(SETTING, "")))

    async def addresses(self, origin: Origin) -> list[str]:
        """Return the addresses that a connection to an origin may go to.

        Raises `Forbidden` where one of them is not public, and `OSError` for a name that does not resolve.
        """
        try:
            found = [str(ip_address(origin.host))]
        except ValueError:
            found = await self._resolve(origin.host, origin.port)
        if (origin.host, origin.port) not in self._allowed and not all(map(is_public, found)):
            raise Forbidden(
                f"{origin} is not at a public address: only hosts named in {SETTING} may be reached at others",
                scope="egress",
            )
        if not found:
            raise OSError(f"{origin.host} has no address")
        return found


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet's hosts, whatever it is dressed up as."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in net for net in _CLOSED_4)
    return _is_public_6(found)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _NAT64:  # a way to any IPv4 address, which networks without IPv4 need
        return is_public(str(IPv4Address(int(address) & 0xFFFFFFFF)))
    if address not in _GLOBAL_6 or any(address in net for net in _CLOSED_6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


def _host(host: str, *, bracketed: bool) -> str:
    """Return a host in the one form that it has here, or raise `InvalidArguments`."""
    try:
        if bracketed:
            address = IPv6Address(host)
            if address.scope_id is not None:
                raise InvalidArguments("An address in a URL has no zone")
            return str(address)
        plain = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise InvalidArguments("The URL's host is malformed") from error
    plain = plain.lower().removesuffix(".")
    if len(plain) > 253 or _NAME.fullmatch(plain) is None:
        raise InvalidArguments("The URL's host is malformed")
    if _NUMBER.fullmatch(plain.rpartition(".")[2]) is None:
        return plain
    try:
        return str(IPv4Address(plain))
    except ValueError as error:
        raise InvalidArguments("An address in a URL has four decimal numbers, as in 192.0.2.1") from error
