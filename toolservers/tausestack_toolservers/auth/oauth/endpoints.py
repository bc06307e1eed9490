"""The endpoints of the authorization server: `http` bindings behind the gateway's door.

The door says in headers of its own where it is reached and what a client's metadata document holds; the assertion says
whose tenant a request was brought to (`_system` where it is nobody's) and which key the client proved to hold.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tausestack.contract import Principal
from tausestack.errors import RateLimited
from tausestack.mcp import Context, Server
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack.scopes import SYSTEM, within
from tausestack_toolservers.auth import domain
from tausestack_toolservers.auth.oauth import pages, requests
from tausestack_toolservers.auth.oauth.clients import Client
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.oauth.grants import Consent
from tausestack_toolservers.auth.oauth.requests import Asked, Refused
from tausestack_toolservers.auth.users import WrongPassword

BASE, DOCUMENT = "tausestack-base", "tausestack-client-document"
SUBJECT, REFUSAL = "tausestack-subject", "tausestack-refusal"
"""What a reply tells the door for the ledger, and no client: who it was about, and with which error it was refused."""
COOKIE = "tausestack-authorize"
MAX_USER = 128
_PLAIN = "@._+-"
_LATER = "60"
_FRESH = {"cache-control": "no-store", "pragma": "no-cache"}

Endpoint = Callable[[Request, Context], Awaitable[Response]]


def serve(server: Server) -> None:
    """Bind the endpoints to the auth service."""
    binding = {"scopes": [SYSTEM]}
    server.http("oauth/authorize", methods=["GET"], **binding)(_ask)
    server.http("oauth/authorize", methods=["POST"], **binding)(_decide)
    for name, endpoint in (
        ("token", _token), ("introspect", _introspect), ("revoke", _revoke), ("register", _register),
    ):  # fmt: skip
        server.http(f"oauth/{name}", methods=["POST"], **binding)(_in_json(endpoint))


async def _ask(request: Request, ctx: Context) -> Response:
    """Show the page that asks a person, or say what is wrong with the request."""
    base, language = _base(request), pages.language_of(None, request.headers.get("accept-language"))
    await ctx.state.take_keys()
    try:
        given = requests.fields(request.url.query)
        language = pages.language_of(given.get("ui_locales"), request.headers.get("accept-language"))
        client = _client(request, ctx, given.get("client_id", ""))
        redirect_uri = client.redirect(given.get("redirect_uri"))
        if redirect_uri is None:
            raise OAuthError("invalid_request", "redirect_uri is none of this client's")
        tenant = None if ctx.tenant == SYSTEM_TENANT else ctx.tenant
        asked = requests.read(given, client, redirect_uri, base, tenant, language)
    except OAuthError as error:
        return pages.refusal(language, error.description, error.status)
    except Refused as refused:
        return _back(refused.where)
    browser = request.cookies.get(_cookie(base)) or requests.new_browser()
    response = pages.consent(asked, ctx.state.waiting.seal(asked, browser))
    response.set_cookie(
        _cookie(base), browser, max_age=requests.WAITING_SECONDS, path="/", httponly=True,
        secure=base.startswith("https:"), samesite="strict",
    )  # fmt: skip
    return response


async def _decide(request: Request, ctx: Context) -> Response:
    """Take a person's answer."""
    base, language = _base(request), pages.language_of(None, request.headers.get("accept-language"))
    await ctx.state.take_keys()
    try:
        given = requests.fields(await request.body())
        sealed = given.get("request", "")
        asked = ctx.state.waiting.open(sealed, request.cookies.get(_cookie(base)), base)
    except OAuthError as error:
        return pages.refusal(language, error.description, error.status)
    if given.get("decision") != "allow":
        response = _back(asked.back(error="access_denied", error_description="The person said no"))
    else:
        response = await _allowed(ctx, asked, sealed, given.get("username", ""), given.get("password", ""))
    if response.status_code == 303:
        response.delete_cookie(_cookie(base), path="/", httponly=True, secure=base.startswith("https:"))
    return response


async def _allowed(ctx: Context, asked: Asked, sealed: str, name: str, password: str) -> Response:
    tenant = asked.resource.tenant
    # A name is what a stranger typed: quoted, it ends no header.
    about = {SUBJECT: f"user:{quote(name[:MAX_USER], safe=_PLAIN)}"}
    try:
        # Brought to no tenant, or to another than the page was for: nobody is a user there.
        user = await ctx.state.users.check(tenant, name, password, there=ctx.tenant == tenant)
    except WrongPassword as error:
        told = {**about, REFUSAL: "access_denied"} if error.known else {}
        return _told(pages.consent(asked, sealed, user=name, wrong="wrong"), told)
    except RateLimited as error:
        page = pages.consent(asked, sealed, user=name, wrong="wait")
        page.status_code = 429
        return _told(page, {"retry-after": str(error.data["retry_after"]), REFUSAL: RateLimited.code})
    scopes = within([frozenset(asked.scopes), domain.scopes_of(user["roles"], user["scopes"])])
    if not scopes:
        return _told(pages.consent(asked, sealed, user=name, wrong="nothing"), {**about, REFUSAL: "invalid_scope"})
    consent = Consent(
        user["id"], asked.client, asked.client_name, asked.redirect_uri, asked.challenge, scopes, asked.resource
    )
    code = await ctx.state.grants.begin(tenant, consent)
    return _told(_back(asked.back(code=code)), about)


async def _token(request: Request, ctx: Context) -> Response:
    given = requests.fields(await request.body())
    issued = await ctx.state.tokens.answer(ctx.tenant, given, _key(ctx.principal), _base(request))
    return JSONResponse(issued.body, headers={SUBJECT: issued.subject})


async def _introspect(request: Request, ctx: Context) -> Response:
    if _key(ctx.principal) is None:
        raise OAuthError("invalid_client", "The client has to prove itself by an API key", 401)
    given = requests.fields(await request.body())
    return JSONResponse(await ctx.state.tokens.introspect(ctx.tenant, given.get("token", ""), _base(request)))


async def _revoke(request: Request, ctx: Context) -> Response:
    given = requests.fields(await request.body())
    key = _key(ctx.principal)
    client = given.get("client_id") if key is None else key.id.removeprefix("key:")
    if not client:
        raise OAuthError("invalid_client", "client_id is missing", 401)
    if "token" not in given:
        raise OAuthError("invalid_request", "token is missing")
    subject = await ctx.state.tokens.revoke(ctx.tenant, given["token"], client, _base(request))
    # What is unknown and what is another's look alike, and as RFC 7009 has it.
    return Response(status_code=200, headers={} if subject is None else {SUBJECT: subject})


async def _register(request: Request, ctx: Context) -> Response:
    try:
        metadata = as_object(json.loads(await request.body()))
    except (ValueError, RecursionError) as error:
        raise OAuthError("invalid_client_metadata", "The body is not JSON") from error
    if metadata is None:
        raise OAuthError("invalid_client_metadata", "The body has to be an object")
    return JSONResponse(ctx.state.clients.register(metadata), 201)


def _in_json(endpoint: Endpoint) -> Endpoint:
    async def answered(request: Request, ctx: Context) -> Response:
        await ctx.state.take_keys()
        try:
            response = await endpoint(request, ctx)
        except OAuthError as error:
            body = {"error": error.error, "error_description": error.description}
            about = {SUBJECT: error.subject} if error.subject else {}
            response = JSONResponse(body, error.status, {REFUSAL: error.noted, **about})
            if error.status == 401:
                response.headers["www-authenticate"] = 'Basic realm="tausestack"'
            elif error.status == 503:
                response.headers["retry-after"] = _LATER
        return _told(response, _FRESH)

    return answered


def _client(request: Request, ctx: Context, client_id: str) -> Client:
    document: dict[str, Any] | None = None
    raw = request.headers.get(DOCUMENT)
    if raw is not None:
        document = as_object(json.loads(base64.urlsafe_b64decode(raw)))
    client = ctx.state.clients.find(client_id, document)
    if client is None:
        raise OAuthError("invalid_client", "The client is not known: its document can't be had, or says something else")
    return client


def _key(principal: Principal) -> Principal | None:
    return principal if principal.id.startswith("key:") else None


def _base(request: Request) -> str:
    return request.headers[BASE]


def _cookie(base: str) -> str:
    # The prefix binds a cookie to this host; browsers take it over TLS alone.
    return f"__Host-{COOKIE}" if base.startswith("https:") else COOKIE


def _back(where: str) -> Response:
    return _told(RedirectResponse(where, 303), _FRESH)


def _told(response: Response, headers: dict[str, str]) -> Response:
    response.headers.update(headers)
    return response
