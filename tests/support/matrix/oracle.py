"""What a tenant reads is what it wrote, through whichever door, whatever the others do meanwhile."""

from __future__ import annotations

import json
import random
from typing import Any

from matrix.lanes import Lane, Reply
from matrix.subjects import SHARED_KEYS, Subject
from matrix.ways import TOOL_DOORS, Tool, call


def step(lane: Lane, subject: Subject, seed: int) -> tuple[str, list[str]]:
    """Do one thing as a tenant through a door, and return the door and what was not as it has to be."""
    pick = random.Random(seed)
    door = pick.choices(TOOL_DOORS, [1.0 if door != "cli" else 0.02 for door in TOOL_DOORS])[0]
    return door, pick.choices(_STEPS, _WEIGHTS)[0](_Asked(lane, subject, door, pick))


class _Asked:
    """One thing to be done through one door."""

    def __init__(self, lane: Lane, subject: Subject, door: str, pick: random.Random) -> None:
        self.lane, self.subject, self.door, self.pick = lane, subject, door, pick

    def call(self, address: str, **arguments: Any) -> tuple[bool, Any]:
        """Return whether a call of the tenant's own succeeded, and what it gave."""
        server, _, name = address.partition("/")
        reply = call(self.door, self.lane, self.subject.name, Tool(server, name, {}, reads=True), arguments)
        return outcome(self.door, reply)

    def differs(self, what: str, found: Any, wanted: Any) -> list[str]:
        """Return what is wrong, if anything is."""
        return [] if found == wanted else [f"{self.subject.name} {self.door} {what}: {found!r}, not {wanted!r}"]


def outcome(door: str, reply: Reply) -> tuple[bool, Any]:
    """Return whether a tool succeeded and its structured result, or the text of its failure."""
    if door in {"rest", "sdk", "cli"}:
        good = reply.status == (0 if door == "cli" else 200)
        return good, json.loads(reply.body) if good else reply.body
    if door == "events":
        return "event: result" in reply.body, reply.json()
    message = reply.json()
    result = message.get("result")
    if result is None or result.get("isError"):
        return False, json.dumps(message)
    return True, result.get("structuredContent") or json.loads(result["content"][0]["text"])


def _put(asked: _Asked) -> list[str]:
    key, value = asked.pick.choice(SHARED_KEYS), {"of": asked.subject.canary, "n": asked.pick.randrange(10**6)}
    good, found = asked.call("storage/put_json", key=key, value=value)
    was = key in asked.subject.documents
    asked.subject.documents[key] = value
    return asked.differs(f"put {key}", (good, good and found["created"]), (True, not was))


def _get(asked: _Asked) -> list[str]:
    key = asked.pick.choice((*SHARED_KEYS, *asked.subject.ids["document"]))
    good, found = asked.call("storage/get_json", key=key)
    return asked.differs(f"get {key}", found["value"] if good else None, asked.subject.documents.get(key))


def _delete(asked: _Asked) -> list[str]:
    key = asked.pick.choice(SHARED_KEYS)
    good, found = asked.call("storage/delete_json", key=key)
    was = asked.subject.documents.pop(key, None) is not None
    return asked.differs(f"delete {key}", (good, good and found["deleted"]), (True, was))


def _keys(asked: _Asked) -> list[str]:
    prefix = asked.pick.choice(("shared/", "doc-"))
    good, found = asked.call("storage/list_keys", prefix=prefix, limit=500)
    wanted = sorted(key for key in asked.subject.documents if key.startswith(prefix))
    return asked.differs(f"keys {prefix}", (good, good and found["keys"]), (True, wanted))


def _invoice(asked: _Asked) -> list[str]:
    identifier = asked.pick.choice(sorted(asked.subject.invoices))
    good, found = asked.call("billing/get_invoice", invoice_id=identifier)
    seen = (good, good and (found["status"] == "paid", found["customer_id"]))
    return asked.differs(
        f"invoice {identifier}", seen, (True, (asked.subject.invoices[identifier], asked.subject.canary))
    )


def _pay(asked: _Asked) -> list[str]:
    identifier = asked.pick.choice(sorted(asked.subject.invoices))
    good, _ = asked.call("billing/pay_invoice", invoice_id=identifier)
    was, asked.subject.invoices[identifier] = asked.subject.invoices[identifier], True
    return asked.differs(f"pay {identifier}", good or was, True)


def _record(asked: _Asked) -> list[str]:
    metric, more = asked.subject.ids["metric"][0], asked.pick.randint(1, 9)
    good, _ = asked.call("billing/record_usage", metric=metric, quantity=more)
    asked.subject.usage[metric] += more
    return asked.differs(f"record {metric}", good, True)


def _usage(asked: _Asked) -> list[str]:
    metric = asked.subject.ids["metric"][0]
    good, found = asked.call("billing/get_usage", metric=metric)
    seen = {one["metric"]: one["quantity"] for one in found["usage"]} if good else found
    return asked.differs(f"usage {metric}", seen, {metric: asked.subject.usage[metric]})


def _whoami(asked: _Asked) -> list[str]:
    good, found = asked.call("auth/whoami")
    return asked.differs("whoami", (good, good and found["tenant"]), (True, asked.subject.name))


def _api_keys(asked: _Asked) -> list[str]:
    seen, page = set[str](), dict[str, Any]()
    while page.get("next_cursor") or not page:
        after = {"cursor": page["next_cursor"]} if page else {}
        good, page = asked.call("auth/list_api_keys", **after)
        if not good:
            return asked.differs("keys", page, "a page")
        seen |= {one["id"] for one in page["keys"] if one["revoked_at"] is None}
    return asked.differs("keys lost", asked.subject.keys - seen, set())


def _installed(asked: _Asked) -> list[str]:
    good, found = asked.call("registry/list_installed")
    names = {one["name"] for one in found["servers"]} if good else set[str]()
    wanted = ("colombia" in names, asked.subject.ids["server"][0] in names)
    return asked.differs("installed", wanted, (asked.subject.colombia, True))


def _uses(asked: _Asked) -> list[str]:
    good, _ = asked.call("colombia/validate_nit", nit="900123456-8")
    return asked.differs("colombia answers", good, asked.subject.colombia)


def _toggle(asked: _Asked) -> list[str]:
    wanted = not asked.subject.colombia
    address, arguments = (
        ("install", {"ref": "colombia", "approve": True}) if wanted else ("uninstall", {"name": "colombia"})
    )
    good, found = asked.call(f"registry/{address}", **arguments)
    asked.subject.colombia = wanted
    return asked.differs(f"{address} colombia ({found})", good, True)


_STEPS = (
    _put, _get, _delete, _keys, _invoice, _pay, _record, _usage, _whoami, _api_keys, _installed, _uses, _toggle,
)  # fmt: skip
_WEIGHTS = (3, 4, 2, 2, 2, 0.3, 1, 1, 1, 0.5, 1, 1, 0.15)
