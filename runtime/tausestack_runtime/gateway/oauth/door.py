"""The OAuth door: metadata that the gateway knows itself, and the endpoints of the auth service.

It finds out whose tenant a request is about and which key a client holds, and hands the rest on: the auth service sees
the request's fields, and no credential of a client's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import orjson

from tausestack.access_tokens import Resource, part
from tausestack.contract import Principal
from tausestack.errors import Cancelled, NotFound, TauseError, TenantSuspended, Unauthenticated
from tausestack.names import SYSTEM_TENANT
from tausestack.scopes import SYSTEM
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.crowd import Shares
from tausestack_runtime.gateway.exchange import JSON, Exchange
from tausestack_runtime.gateway.identity import Identity
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.oauth.bases import METADATA, Bases
from tausestack_runtime.gateway.oauth.documents import ClientDocuments
from tausestack_runtime.gateway.oauth.metadata import authorization_server, protected_resource
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.snapshots import Snapshots
from tausestack_runtime.gateway.upstreams.routes import Upstreams

SECONDS = 30.0
MAX_BODY = 64 * 1024
STRANGERS = 128
"""How many requests of clients that prove nothing may be under way about a tenant, or a name that is none."""
ENDPOINTS = {"authorize": ("GET", "POST"), "token": ("POST",), "introspect": ("POST",), "revoke": ("POST",),
             "register": ("POST",)}  # fmt: skip
_TAKEN = (b"accept-language", b"content-type", b"cookie")
_GIVEN = (
    b"cache-control", b"content-security-policy", b"location", b"pragma", b"referrer-policy", b"retry-after",
    b"set-cookie", b"www-authenticate", b"x-content-type-options", b"x-frame-options",
)  # fmt: skip
_HOUR = [(b"cache-control", b"public, max-age=3600")]
_ANONYMOUS = "client"


class _Refused(Exception):
    """A client that did not prove itself, in OAuth's words."""

    def __init__(self, error: str, description: str, status: int) -> None:
        super().__init__(description)
        self.status = status
        self.body = orjson.dumps({"error": error, "error_description": description})


class OAuthDoor:
    """Answers `/oauth/…` and OAuth's documents under `/.well-known/`."""

    def __init__(
        self, *, bases: Bases, identity: Identity, snapshots: Snapshots, pipeline: Pipeline, upstreams: Upstreams,
        documents: ClientDocuments, jwks: Callable[[], dict[str, Any]], issuer: str | None,
    ) -> None:  # fmt: skip
        """`jwks` returns the keys of access tokens; `issuer` is an external one that stands in for the embedded."""
        self._bases = bases
        self._identity = identity
        self._snapshots = snapshots
        self._pipeline = pipeline
        self._upstreams = upstreams
        self._documents = documents
        self._jwks = jwks
        self._issuer = issuer
        self._strangers = Shares(STRANGERS, "sign-ins")

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        try:
            base = self._bases.of(exchange)
            if base is None:
                raise NotFound("OAuth is served once TAUSESTACK_PUBLIC_URL says where this stack is reached")
            if exchange.path.startswith("/.well-known/"):
                await self._document(exchange, base)
            else:
                await self._endpoint(exchange, base)
        except Cancelled:
            return
        except _Refused as refused:
            headers = [(b"www-authenticate", b'Basic realm="tausestack"')] if refused.status == 401 else []
            await exchange.reply(refused.status, refused.body, JSON, [*headers, (b"cache-control", b"no-store")])
        except TauseError as error:
            await exchange.problem(error)

    async def _document(self, exchange: Exchange, base: str) -> None:
        path = exchange.path
        resource = Resource.of(path.removeprefix(METADATA).removesuffix("/")) if path.startswith(METADATA) else None
        if exchange.method not in {"GET", "HEAD"}:
            raise not_found()
        if path == "/.well-known/oauth-authorization-server":
            await exchange.reply_json(200, authorization_server(base), _HOUR)
        elif path == "/.well-known/jwks.json":
            await exchange.reply_json(200, self._jwks(), [(b"cache-control", b"public, max-age=300")])
        elif resource is not None:
            await exchange.reply_json(200, protected_resource(base, resource, self._issuer or base), _HOUR)
        else:
            raise not_found()

    async def _endpoint(self, exchange: Exchange, base: str) -> None:
        name = exchange.path.removeprefix("/oauth/")
        if exchange.method not in ENDPOINTS.get(name, ()):
            raise not_found()
        body = await exchange.body()
        if len(body) > MAX_BODY:
            raise _Refused("invalid_request", "The request is too large", 413)
        pairs = _pairs(exchange.query if exchange.method == "GET" else body)
        fields = dict(reversed(pairs))  # the first of each: whose it is; what is wrong with them the service says
        client = None if name in {"authorize", "register"} else await self._client(exchange, fields)
        if "client_secret" in fields:
            body = urlencode([pair for pair in pairs if pair[0] != "client_secret"]).encode()
        tenant = named = _tenant_of(fields, base) if client is None else client.tenant
        if exchange.method == "GET":
            tenant = None  # the page is the same for every name, and takes as long for one that is no tenant's
        epoch = ""
        try:
            epoch = "" if tenant is None else (await self._snapshots.tenant(tenant)).epoch
        except (NotFound, TenantSuspended) as error:
            # Whose client it is was not proven: then one that is suspended is one that is not there.
            if client is not None and isinstance(error, TenantSuspended):
                raise _Refused("unauthorized_client", error.message, 400) from error
            tenant = None
        call = _call(name, tenant or SYSTEM_TENANT, client, len(body))
        headers = [(key, exchange.headers[key]) for key in _TAKEN if key in exchange.headers]
        headers.append((b"tausestack-base", base.encode()))
        if client is None and exchange.method == "POST":
            # A stranger's takes nothing of the tenant that it names, nor is told how much of that is taken.
            with self._strangers.hold(named or SYSTEM_TENANT):
                await exchange.while_connected(self._relay(exchange, call, headers, body, epoch))
            return
        exchange.belong(tenant or SYSTEM_TENANT)
        if client is not None:
            await self._pipeline.count(call)
        document = await self._documents.of(fields.get("client_id", "")) if name == "authorize" else None
        if document is not None:
            headers.append((b"tausestack-client-document", base64.urlsafe_b64encode(orjson.dumps(document))))
        await exchange.while_connected(self._relay(exchange, call, headers, body, epoch))

    async def _relay(
        self, exchange: Exchange, call: Call, headers: list[tuple[bytes, bytes]], body: bytes, epoch: str
    ) -> None:
        query = f"?{exchange.query.decode('latin-1')}" if exchange.query else ""
        target = f"/oauth/{call.tool.removeprefix('oauth/')}{query}"
        try:
            async with self._upstreams.stream(
                call, "auth", target, headers, epoch, method=exchange.method, body=body
            ) as reply:
                answer = await reply.read()
        except ValueError as error:
            raise _Refused("invalid_request", "The request is malformed", 400) from error
        subject = await self._note(call, reply.headers)
        if subject and exchange.method == "POST":
            self._snapshots.expire()
        given = [(name, reply.headers[name]) for name in _GIVEN if name in reply.headers]
        await exchange.reply(reply.status, answer, reply.headers.get(b"content-type", b"text/plain"), given)

    async def _note(self, call: Call, headers: dict[bytes, bytes]) -> str:
        """Leave a line of what was about somebody, or asked by a client that proved itself, and return who that is.

        Strangers' requests are nobody's history.
        """
        subject, refusal = (headers.get(name, b"").decode("latin-1") for name in (_SUBJECT, _REFUSAL))
        if call.tenant == SYSTEM_TENANT or not (subject or call.principal.id != _ANONYMOUS):
            return ""
        if subject:
            call.principal = Principal(call.tenant, subject, frozenset(), role=call.principal.role)
        await self._pipeline.meter.note(call, refusal)
        return subject

    async def _client(self, exchange: Exchange, fields: dict[str, str]) -> Principal | None:
        """Return the key that a client proves to hold, or None where it does not try."""
        name, secret = fields.get("client_id"), fields.get("client_secret")
        scheme, _, said = (exchange.header(b"authorization") or "").partition(" ")
        if scheme:
            if secret is not None:
                raise _Refused("invalid_request", "A client proves itself in one way", 400)
            name, secret = _basic(said) if scheme.lower() == "basic" else (name, said.strip())
            if scheme.lower() not in {"basic", "bearer"}:
                raise _Refused("invalid_client", "A client proves itself by Basic or Bearer", 401)
        if secret is None:
            return None
        try:
            return await self._identity.client(name, secret)
        except Unauthenticated as error:
            raise _Refused("invalid_client", error.message, 401) from error


_SUBJECT, _REFUSAL = b"tausestack-subject", b"tausestack-refusal"


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    return parse_qsl(raw.decode("latin-1"), keep_blank_values=True)


def _tenant_of(fields: dict[str, str], base: str) -> str | None:
    """Return the tenant that a request is about, by its resource, else by the token or the page that it brings."""
    found = Resource.of(fields.get("resource", "").removeprefix(base))
    if found is not None:
        return found.tenant
    for name in ("code", "refresh_token", "token", "request"):
        text = fields.get(name, "")
        if text.startswith(("tsc_", "tsr_")):
            return text.partition(".")[2] or None
        if text.count(".") == 2:
            return _tenant_in(text)
    return None


def _tenant_in(token: str) -> str | None:
    try:
        claims = part(token, 1, MAX_BODY)
    except Unauthenticated:
        return None
    said = str(claims.get("aud") or claims.get("path") or "")
    found = Resource.of(said[said.find("/tenants/") :] if "/tenants/" in said else "")
    return None if found is None else found.tenant


def _basic(said: str) -> tuple[str, str]:
    try:
        name, _, secret = base64.b64decode(said.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise _Refused("invalid_client", "The Basic credentials are malformed", 401) from error
    return unquote_plus(name), unquote_plus(secret)


def _call(name: str, tenant: str, client: Principal | None, size: int) -> Call:
    scopes = frozenset({SYSTEM}) if client is None else client.scopes | {SYSTEM}
    principal = Principal(
        tenant, _ANONYMOUS if client is None else client.id, scopes, role="" if client is None else client.role
    )
    return Call(
        tenant=tenant,
        principal=principal,
        server="auth",
        tool=f"oauth/{name}",
        arguments={},
        door="oauth",
        deadline=asyncio.get_running_loop().time() + SECONDS,
        bytes_in=size,
        service="auth",
    )
