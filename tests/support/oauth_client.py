"""An OAuth client and its user's browser, by hand: each step can be taken, left out, or taken wrongly."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from stack import Stack, Tenant

REDIRECT = "http://127.0.0.1:7777/callback"
PASSWORD = "correct horse battery"


def http(method: str, url: str, **more: Any) -> httpx2.Response:
    """Send one request, without cookies and without following a redirect."""
    return httpx2.request(method, url, timeout=60, trust_env=False, follow_redirects=False, **more)


def answered(reply: httpx2.Response) -> dict[str, str]:
    """Return the fields that a redirect brings back to the client."""
    assert reply.status_code == 303, (reply.status_code, reply.text)
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query))


def check_noted(stack: Stack, tenant: Tenant, user: str, error: str, *, rule: str = "replay", times: int = 1) -> None:
    """Check that a tenant's chain tells of a theft once: whose grant, what was tried, by which rule it ended."""
    entries = tenant.client.get("/audit?limit=500").json()["entries"]
    told = [entry for entry in entries if entry["error"] == error]
    fields = ("principal", "door", "server", "tool", "decision", "rule", "outcome")
    assert [tuple(entry[name] for name in fields) for entry in told] == [
        (f"user:{user}", "oauth", "auth", "oauth/token", "deny", rule, "denied")
    ] * times
    assert error in stack.cli("audit", "list", "--tenant", tenant.name, "--denied", key=tenant.key).stdout
    assert tenant.client.get("/audit/verify").json()["ok"] is True


@dataclass
class OAuthClient:
    """A public client that registered itself, for one tenant's endpoint."""

    tenant: Tenant
    server: str | None = None
    redirect: str = REDIRECT
    name: str = "Test client"
    id: str = field(init=False)
    verifier: str = field(init=False)
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = http(
            "POST",
            f"{self.tenant.url}/oauth/register",
            json={"redirect_uris": [self.redirect], "client_name": self.name},
        )
        assert made.status_code == 201, made.text
        self.id = made.json()["client_id"]
        self.verifier = secrets.token_urlsafe(48)

    @property
    def resource(self) -> str:
        path = f"/servers/{self.server}" if self.server else ""
        return f"{self.tenant.url}/tenants/{self.tenant.name}{path}/mcp"

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def asked(self, **changed: str | None) -> dict[str, str]:
        """Return the authorization request's parameters; None leaves one out."""
        usual: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "resource": self.resource,
            "state": "a-state",
            **changed,
        }
        return {name: value for name, value in usual.items() if value is not None}

    def open(self, **changed: str | None) -> httpx2.Response:
        """Open the authorization page, as the browser does."""
        reply = http("GET", f"{self.tenant.url}/oauth/authorize", params=self.asked(**changed), cookies=self.cookies)
        self.cookies.update(reply.cookies)
        return reply

    def answer(self, page: httpx2.Response, user: str, password: str, **more: Any) -> httpx2.Response:
        """Fill in the page and send it."""
        sealed = re.search(r'name="request" value="([^"]+)"', page.text)
        assert sealed is not None, page.text
        form = {"request": unescape(sealed[1]), "username": user, "password": password, "decision": "allow"}
        form |= more.pop("form", {})
        sent = {"cookies": self.cookies, **more}
        return http("POST", f"{self.tenant.url}/oauth/authorize", data=form, **sent)

    def code(self, user: str, password: str = PASSWORD, **changed: str | None) -> str:
        """Sign in, consent, and return the code."""
        back = answered(self.answer(self.open(**changed), user, password))
        assert back["state"] == "a-state"
        assert back["iss"] == self.tenant.url
        return back["code"]

    def token(self, **changed: str | None) -> httpx2.Response:
        """Ask the token endpoint."""
        usual: dict[str, str | None] = {"client_id": self.id, **changed}
        form = {name: value for name, value in usual.items() if value is not None}
        return http("POST", f"{self.tenant.url}/oauth/token", data=form)

    def redeem(self, code: str, /, **changed: str | None) -> httpx2.Response:
        """Exchange a code for tokens."""
        usual: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect,
            "code_verifier": self.verifier,
            "resource": self.resource,
        }
        return self.token(**{**usual, **changed})

    def refresh(self, token: str, /, **changed: str | None) -> httpx2.Response:
        """Exchange a refresh token for new ones."""
        return self.token(**{"grant_type": "refresh_token", "refresh_token": token, **changed})

    def signed_in(self, user: str, password: str = PASSWORD, **changed: str | None) -> dict[str, Any]:
        """Take every step and return the token response."""
        reply = self.redeem(self.code(user, password, **changed))
        assert reply.status_code == 200, reply.text
        return reply.json()
