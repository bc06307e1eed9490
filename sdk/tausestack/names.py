"""How tenants, servers and tools are named: the only module that knows.

`billing/create_invoice` is an address, for people and the SDK; `billing__create_invoice` is its wire name in a
tenant's merged list; `create_invoice` is its name on its own server.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from tausestack.errors import InvalidRequest

SYSTEM_TENANT = "_system"
"""Holds what belongs to no tenant; no credential but a service's own can name it."""

MAX_WIRE_NAME = 64
"""Characters of a wire name: the least that model vendors take."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_SERVER = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_WIRE = re.compile(r"[A-Za-z0-9_-]+")
_AS_FILLED = ":"
"""Begins what was filled from a template; what is quoted holds none."""


class Address(NamedTuple):
    """A tool's address: `server/tool`."""

    server: str
    tool: str

    def __str__(self) -> str:
        return f"{self.server}/{self.tool}"


def is_tenant(name: str) -> bool:
    """Return whether a name may be a tenant's id; the reserved `_system` may not."""
    return _TENANT.fullmatch(name) is not None and ".." not in name


def is_server(name: str) -> bool:
    """Return whether a name may be a server's."""
    return _SERVER.fullmatch(name) is not None


def is_tool(name: str) -> bool:
    """Return whether a name may be a tool's on its own server."""
    return _TOOL.fullmatch(name) is not None


def external_user(issuer: str, subject: str) -> str:
    """Return the id that a user has here of whom an OIDC issuer speaks."""
    return "oidc-" + hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:24]


def check_tenant(name: str) -> str:
    """Return a tenant's id, or raise `InvalidRequest` saying what one looks like."""
    if not is_tenant(name):
        raise InvalidRequest(
            f"'{name[:80]}' can't be a tenant: 2 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        )
    return name


def check_server(name: str) -> str:
    """Return a server's name, or raise `InvalidRequest` saying what one looks like."""
    if not is_server(name):
        raise InvalidRequest(
            f"'{name[:80]}' can't be a server's name: 1 to 40 of a-z, 0-9 and '-', starting with a letter or digit"
        )
    return name


def parse_address(text: str) -> Address:
    """Return the address in `server/tool`, or raise `InvalidRequest`."""
    server, slash, tool = text.partition("/")
    if not slash or not is_server(server) or not is_tool(tool):
        raise InvalidRequest(f"'{text[:120]}' is no tool's address: it is server/tool, such as billing/create_invoice")
    return Address(server, tool)


def wire_name(server: str, tool: str) -> str:
    """Return the name of a tool in a merged list, a pure function of server and tool.

    What a model vendor would refuse (over 64 characters, or one outside `[A-Za-z0-9_-]`) is replaced and made
    unique again by ten hexadecimal digits of a hash of the whole address.
    """
    plain = f"{server}__{tool}"
    if len(plain) <= MAX_WIRE_NAME and _WIRE.fullmatch(plain):
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:10]
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", plain)
    return f"{safe[: MAX_WIRE_NAME - 11]}_{digest}"


def resource_uri(server: str, uri: str) -> str:
    """Return the URI of a server's resource in a merged list; it can't collide with another server's."""
    return f"tausestack://{server}/{quote(uri, safe='')}"


def resource_template(server: str, template: str) -> str:
    """Return the template of a server's resources in a merged list: what it is filled to is marked as not quoted.

    Filling quotes variables alone, and quoted once more they could not be told from what stands around them.
    """
    return f"tausestack://{server}/{_AS_FILLED}{template}"


def task_id(server: str, task: str) -> str:
    """Return the id of a server's task on a merged endpoint."""
    return f"{server}:{task}"


def parse_resource_uri(uri: str) -> tuple[str, str]:
    """Return the server and the original URI of a merged list's resource or template, or raise `InvalidRequest`."""
    scheme, _, rest = uri.partition("://")
    server, slash, original = rest.partition("/")
    if scheme != "tausestack" or not slash or not is_server(server):
        raise InvalidRequest(f"'{uri[:120]}' is no resource of this endpoint")
    return server, original[1:] if original.startswith(_AS_FILLED) else unquote(original)
