"""Where this stack is reached: what tokens name as their issuer, and what they are for."""

from __future__ import annotations

import re

from tausestack.access_tokens import LOCAL
from tausestack.errors import Forbidden, TauseError, Unauthenticated
from tausestack.scopes import OWN, is_grantable
from tausestack_runtime.gateway.exchange import Exchange

METADATA = "/.well-known/oauth-protected-resource"

_LOOPBACK = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class Bases:
    """The addresses that are ours: the one that the operator names, else this machine's loopback names.

    A name that only the request says is no base: whoever sends a request would choose who tokens are from.
    """

    def __init__(self, public_url: str | None) -> None:
        """`public_url` is an origin, such as `https://tools.acme.co`."""
        self._public = public_url

    def of(self, exchange: Exchange) -> str | None:
        """Return the base that a request came to, or None where nobody said what it is."""
        if self._public is not None:
            return self._public
        said = "http://" + exchange.headers.get(b"host", b"").decode("latin-1").lower()
        return said if _LOOPBACK.fullmatch(said) else None

    def owns(self, base: str) -> bool:
        """Whether tokens of an issuer are ours to judge."""
        if self._public is None:
            return base == LOCAL or _LOOPBACK.fullmatch(base) is not None
        return base in {LOCAL, self._public}

    def challenge(self, exchange: Exchange, error: TauseError) -> bytes | None:
        """Return what `WWW-Authenticate` says with an error, or None where it says nothing."""
        if isinstance(error, Unauthenticated):
            said = ['error="invalid_token"'] if b"authorization" in exchange.headers else []
        elif isinstance(error, Forbidden) and _can_be_had(error.data.get("scope")):
            said = ['error="insufficient_scope"', f'scope="{error.data["scope"]}"']
        else:
            return None
        base, path = self.of(exchange), _resource_path(exchange.path)
        said += [f'resource_metadata="{base}{METADATA}{path}"'] if base and path else []
        return ", ".join(['Bearer realm="tausestack"', *said]).encode()


def _can_be_had(scope: object) -> bool:
    return isinstance(scope, str) and is_grantable(scope) and scope not in OWN


def _resource_path(path: str) -> str:
    """Return the path of the resource that a door's path belongs to, empty where there is none that a header holds."""
    parts = path.removesuffix("/").split("/")
    if not path.isascii() or not path.isprintable() or '"' in path or "\\" in path:
        return ""
    if parts[1:2] == ["tenants"] and parts[-1] in {"mcp", "sse", "messages"}:
        return "/".join([*parts[:-1], "mcp"])
    if parts[1:4] == ["api", "v2", "tenants"] and any(parts[4:5]):
        return f"/tenants/{parts[4]}/mcp"
    return ""
