"""Who a client is: a metadata document at a URL, or a registration whose id holds all of it.

Nothing is kept of a client that is no key of a tenant's: a document is fetched by the gateway, and a registered
client's id is its registration, signed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tausestack.raw import as_array
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.oauth.registrations import Registrations

MAX_REDIRECTS = 10
MAX_URI = 1024
MAX_NAME = 100
MAX_CLIENT_ID = 4096
GRANTS = ("authorization_code", "refresh_token")
_CUSTOM_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Client:
    """A public client."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    site: str
    """The host that vouches for it; empty where nobody does."""

    def redirect(self, asked: str | None) -> str | None:
        """Return where to send the browser back, or None for a place that is not the client's.

        Exactly a registered URI; only a loopback address may have any port, as RFC 8252 has it.
        """
        if asked is None:
            return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None
        if not _is_redirect(asked):
            return None
        return asked if any(_same(asked, one) for one in self.redirect_uris) else None


class Clients:
    """Registers clients, and knows them again."""

    def __init__(self, registrations: Registrations) -> None:
        self._registrations = registrations

    def register(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return a registration as RFC 7591 has it, or raise `OAuthError`.

        A client that asks for a secret gets none, and is told so: a public one has PKCE.
        """
        redirects, name = _redirects(metadata, "invalid_redirect_uri"), _name(metadata)
        asked = as_array(metadata.get("grant_types")) or list(GRANTS)
        if "authorization_code" not in asked:
            raise OAuthError("invalid_client_metadata", "Only clients of the authorization code flow register here")
        client = self._registrations.text({"name": name, "redirect_uris": redirects})
        if len(client) > MAX_CLIENT_ID:
            raise OAuthError("invalid_client_metadata", "That is more than a registration may hold")
        return {
            "client_id": client,
            "client_name": name,
            "redirect_uris": redirects,
            "grant_types": list(GRANTS),
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    def find(self, client: str, document: dict[str, Any] | None) -> Client | None:
        """Return a client by its id and what its URL says of it, or None for one that is not good."""
        if document is not None or client.startswith("https://"):
            return _of_document(client, document or {})
        claims = self._registrations.read(client) if len(client) <= MAX_CLIENT_ID else None
        if claims is None:
            return None
        return Client(client, str(claims["name"]), tuple(claims["redirect_uris"]), "")


def _of_document(url: str, document: dict[str, Any]) -> Client | None:
    method = document.get("token_endpoint_auth_method", "none")
    if document.get("client_id") != url or method != "none" or "client_secret" in document:
        return None
    try:
        redirects = _redirects(document, "invalid_client")
    except OAuthError:
        return None
    return Client(url, _name(document), tuple(redirects), urlsplit(url).netloc)


def _redirects(metadata: dict[str, Any], error: str) -> list[str]:
    found = as_array(metadata.get("redirect_uris")) or []
    if not 0 < len(found) <= MAX_REDIRECTS or not all(isinstance(uri, str) and _is_redirect(uri) for uri in found):
        raise OAuthError(
            error,
            f"redirect_uris are 1 to {MAX_REDIRECTS}: https, http on a loopback address, or an app's own scheme "
            "with a dot in it; without a fragment",
        )
    return [str(uri) for uri in found]


def _name(metadata: dict[str, Any]) -> str:
    name = metadata.get("client_name")
    plain = "".join(char for char in name if char.isprintable()).strip() if isinstance(name, str) else ""
    return plain[:MAX_NAME] or "?"


def _is_redirect(uri: str) -> bool:
    parts = _split(uri)
    if parts is None or "#" in uri or "\\" in uri or _PRINTABLE.fullmatch(uri) is None or len(uri) > MAX_URI:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname) and "@" not in parts.netloc
    if parts.scheme == "http":
        return _is_loopback(parts.hostname or "") and "@" not in parts.netloc
    return _CUSTOM_SCHEME.fullmatch(parts.scheme) is not None


def _same(asked: str, registered: str) -> bool:
    if asked == registered:
        return True
    one, other = _split(asked), _split(registered)
    if one is None or other is None or one.scheme != "http" or not _is_loopback(one.hostname or ""):
        return False
    return (one.hostname, one.path, one.query) == (other.hostname, other.path, other.query) and other.scheme == "http"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts
