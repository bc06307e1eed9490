"""The tenants of the matrix: what each has, what it alone may ever see, and what is known of it by heart."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from oauth_client import PASSWORD, OAuthClient
from remotes import Party
from stack import Stack, Tenant

CANARY = re.compile(r"canary[0-9a-f]{20}")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{8,}")
SHARED_KEYS = tuple(f"shared/{number}" for number in range(8))
"""Documents that every tenant has under the same keys, each with its own value."""


@dataclass
class Subject:
    """A tenant, its objects, and an oracle: what its own reads have to give, whatever the others do."""

    tenant: Tenant
    canary: str = field(default_factory=lambda: f"canary{secrets.token_hex(10)}")
    secret: str = field(default_factory=lambda: f"canary{secrets.token_hex(10)}")
    """A canary too, but one that nobody may be shown: it is the value of a secret."""
    ids: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Ids and names by kind; whoever they are not of may guess them, and has to learn nothing."""
    hidden: set[str] = field(default_factory=set[str])
    """Ids that are never guessed: whoever has one was told it."""
    own_words: set[str] = field(default_factory=set[str])
    """Ids of others that became this tenant's own words, since it stored them."""
    said: set[str] = field(default_factory=set[str])
    """Ids of others that this tenant asked about: its own ledger may say that it did."""
    documents: dict[str, Any] = field(default_factory=dict[str, Any])
    invoices: dict[str, bool] = field(default_factory=dict[str, bool])
    """Whether each was paid."""
    usage: Counter[str] = field(default_factory=Counter[str])
    keys: set[str] = field(default_factory=set[str])
    colombia: bool = False
    """Whether it is installed."""

    def __post_init__(self) -> None:
        self.absent = absent_like(self.name)
        """The name of a tenant that there is none of."""

    @property
    def name(self) -> str:
        return self.tenant.name

    def known(self) -> set[str]:
        """Return all that is this tenant's alone."""
        return {self.name, self.tenant.key, *self.hidden, *(one for some in self.ids.values() for one in some)}


@dataclass
class World:
    """The running stack and the tenants in it."""

    stack: Stack
    subjects: list[Subject]
    foreign: dict[str | None, set[str]] = field(default_factory=dict[str | None, set[str]])
    """By tenant: what is others' alone; None: whoever has no credential."""
    log_read: int = 0

    def learn(self) -> None:
        """Take note of what is whose, after something was made."""
        for who in (*self.subjects, None):
            others = [one for one in self.subjects if one is not who]
            self.foreign[who.name if who else None] = set[str]().union(*(one.known() for one in others))

    def leaks(self, text: str, who: Subject | None, sent: str = "") -> list[str]:
        """Return what a text tells somebody that is another tenant's and that they did not say themselves."""
        found = [one for one in CANARY.findall(text) if who is None or one != who.canary]
        words = {token.strip(".-") for token in _TOKEN.findall(text)} & self.foreign[who.name if who else None]
        said = who.own_words if who else set[str]()
        return found + sorted(word for word in words if word not in said and word not in sent)

    def logged(self) -> list[str]:
        """Return the lines that the stack logged since it was asked last and that hold a tenant's data."""
        with self.stack.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self.log_read)
            lines = log.readlines()
            self.log_read = log.tell()
        return [line for line in lines if CANARY.search(line)]


def absent_like(name: str) -> str:
    """Return a name of the same shape and length that nothing has."""
    kept = len(name) - 6
    return name[:kept] + "".join(_other(sign) for sign in name[kept:])


def _other(sign: str) -> str:
    if sign.isdigit():
        return secrets.choice("0123456789")
    return secrets.choice("abcdef") if sign.isalpha() else sign


def world(stack: Stack, party: Party) -> World:
    """Make three tenants whose names begin alike, with one of everything each."""
    base = f"m{secrets.token_hex(5)}"
    subjects = [Subject(stack.tenant(name)) for name in (base, f"{base}_", f"{base}.b")]
    made = World(stack, subjects)
    with ThreadPoolExecutor(len(subjects)) as threads:
        list(threads.map(lambda subject: _furnish(subject, party), subjects))
    made.learn()
    return made


def _furnish(subject: Subject, party: Party) -> None:
    tenant, canary = subject.tenant, subject.canary
    ids = subject.ids
    server = f"p-{secrets.token_hex(6)}"
    tenant.install(party.url, name=server, config={"X-Canary": canary}, secrets={"X-Secret": subject.secret})
    ids["server"] = [server]
    private = [f"doc-{secrets.token_hex(8)}" for _ in range(3)]
    for key in (*SHARED_KEYS, *private):
        tenant.must("storage/put_json", {"key": key, "value": {"of": canary, "key": key}})
        subject.documents[key] = {"of": canary, "key": key}
    ids["document"], subject.hidden = private[:2], {private[2]}
    lines = [{"description": canary, "quantity": 1, "unit_price_minor": 1000}]
    made = [
        tenant.must("billing/create_invoice", {"customer_id": canary, "items": lines, "notes": canary})["id"]
        for _ in range(3)
    ]
    subject.invoices = dict.fromkeys(made, False)
    ids["invoice"], subject.hidden = made[:2], {*subject.hidden, made[2]}
    metric = f"metric-{secrets.token_hex(6)}"
    tenant.must("billing/record_usage", {"metric": metric, "quantity": 3})
    subject.usage[metric] = 3
    ids["metric"] = [metric]
    keys = [tenant.client.post("/keys", json={"role": "viewer", "name": canary}).json()["id"] for _ in range(2)]
    subject.keys = {one["id"] for one in tenant.client.get("/keys").json()["keys"]}
    ids["key"], subject.hidden = keys[:1], {*subject.hidden, keys[1]}
    user = f"u-{secrets.token_hex(6)}"
    tenant.must("auth/create_user", {"id": user, "name": canary, "roles": ["viewer"], "password": PASSWORD})
    given = OAuthClient(tenant, name=canary).signed_in(user)
    ids["user"], ids["token"] = [user], [given["access_token"], given["refresh_token"]]
    ended = _run(tenant, f"{canary}: ¿es válido el NIT 900.123.456-8?")
    held = _run(tenant, f"crea una factura para {canary} por 50.000 COP de clases")
    assert held["status"] == "interrupted", held
    ids["run"], ids["thread"] = [ended["id"], held["id"]], [ended["thread"], held["thread"]]
    ids["approval"] = [tenant.client.get("/approvals").json()["approvals"][0]["id"]]


def _run(tenant: Tenant, asked: str) -> dict[str, Any]:
    reply = tenant.client.post("/runs", json={"agent": "concierge", "input": asked, "wait": 40})
    assert reply.status_code in {200, 202}, reply.text
    return reply.json()
