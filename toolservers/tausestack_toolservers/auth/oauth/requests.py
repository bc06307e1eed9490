"""What a client asks for at the authorization endpoint, and how that waits for a person's answer.

A request waits in its own page, signed and bound to the browser that it was shown in: nothing is kept of one that
nobody answers.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tausestack.access_tokens import Resource
from tausestack.scopes import MAX_SCOPES, RUNS_WRITE, TOOLS_CALL, TOOLS_READ, is_grantable
from tausestack.tenancy import credential_hash
from tausestack_toolservers.auth.oauth.clients import Client
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.oauth.signed import Signed

WAITING_SECONDS = 600
"""How long a page may be looked at before it is answered."""
USUAL_SCOPES = (TOOLS_READ, TOOLS_CALL, RUNS_WRITE)
"""What a client gets that names none."""
IDENTITY_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
"""What clients of other servers ask for out of habit; it changes nothing here."""
MAX_FIELDS = 32
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Asked:
    """An authorization request that is good as far as it goes."""

    client: str
    client_name: str
    site: str
    redirect_uri: str
    base: str
    path: str
    """Its resource's."""
    scopes: tuple[str, ...]
    state: str | None
    challenge: str
    language: str

    @property
    def resource(self) -> Resource:
        """What it is for."""
        found = Resource.of(self.path)
        assert found is not None
        return found

    def back(self, **answer: str) -> str:
        """Return the address that the browser goes back to with an answer: RFC 9207 has it say whose that is."""
        fields = {**answer, **({} if self.state is None else {"state": self.state}), "iss": self.base}
        parts = urlsplit(self.redirect_uri)
        query = "&".join(filter(None, (parts.query, urlencode(fields))))
        return urlunsplit(parts._replace(query=query))


class Refused(Exception):
    """A request that is refused at the client's own address."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def fields(raw: str | bytes) -> dict[str, str]:
    """Return the fields of a query or a form, or raise `OAuthError`: each comes once; an empty one counts as absent."""
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise OAuthError("invalid_request", "The parameters are malformed, or too many") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is repeated")
    return {name: value for name, value in found.items() if value}


def read(
    given: dict[str, str], client: Client, redirect_uri: str, base: str, tenant: str | None, language: str
) -> Asked:
    """Return an authorization request, or raise `Refused` with the address that says what is wrong with it.

    `tenant` is who the request was brought to; None: to nobody, as there is no such tenant, which does not show here.
    """
    asked = Asked(
        client.id, client.name, client.site, redirect_uri, base, "", (), given.get("state"),
        given.get("code_challenge", ""), language,
    )  # fmt: skip
    if given.get("response_type") != "code":
        raise Refused(asked.back(error="unsupported_response_type", error_description="Only response_type=code"))
    # A missing method means "plain", which is worth nothing.
    if given.get("code_challenge_method") != "S256" or _CHALLENGE.fullmatch(asked.challenge) is None:
        raise Refused(
            asked.back(error="invalid_request", error_description="PKCE with code_challenge_method=S256 is required")
        )
    if "request" in given or "request_uri" in given:
        raise Refused(asked.back(error="request_not_supported", error_description="No request objects are taken"))
    try:
        resource = resource_of(given.get("resource"), base, tenant)
        scopes = scopes_of(given.get("scope"))
    except OAuthError as error:
        raise Refused(asked.back(error=error.error, error_description=error.description)) from error
    return replace(asked, path=resource.path, scopes=scopes)


def resource_of(given: str | None, base: str, tenant: str | None) -> Resource:
    """Return the resource of a request that was brought to a tenant, or raise `OAuthError`."""
    found = Resource.of((given or "").removeprefix(base)) if (given or "").startswith(base) else None
    if found is None or (tenant is not None and found.tenant != tenant):
        raise OAuthError("invalid_target", "resource has to be the URL of a tenant's MCP endpoint here")
    return found


def scopes_of(scope: str | None) -> tuple[str, ...]:
    """Return the scopes that are asked for, or raise `OAuthError`."""
    asked = dict.fromkeys(each for each in (scope or "").split() if each not in IDENTITY_SCOPES)
    if len(asked) > MAX_SCOPES or not all(map(is_grantable, asked)):
        raise OAuthError("invalid_scope", "A scope is not known here")
    return tuple(asked) or USUAL_SCOPES


class Waiting:
    """Requests that wait in their page."""

    def __init__(self, signed: Signed, clock: Callable[[], float]) -> None:
        """`signed` is how they are signed."""
        self._signed = signed
        self._clock = clock

    def seal(self, asked: Asked, browser: str) -> str:
        """Return a request as its page holds it, for one browser."""
        until = int(self._clock()) + WAITING_SECONDS
        return self._signed.text({**asdict(asked), "browser": credential_hash(browser), "exp": until})

    def open(self, sealed: str, browser: str | None, base: str) -> Asked:
        """Return the request of a page, or raise `OAuthError` where it is another browser's, or too old."""
        refused = OAuthError("access_denied", "This page is not from this browser, or it has waited too long", 403)
        claims = self._signed.read(sealed)
        if claims is None or browser is None or claims.pop("exp") <= self._clock() or claims["base"] != base:
            raise refused
        if not hmac.compare_digest(claims.pop("browser"), credential_hash(browser)):
            raise refused
        scopes = tuple(claims.pop("scopes"))
        return Asked(**claims, scopes=scopes)


def new_browser() -> str:
    """Return what a browser is known by while its page waits."""
    return secrets.token_urlsafe(24)
