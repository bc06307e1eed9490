"""What the matrix says where something is asked for: arguments by their schema, parameters by their name.

A parameter of a name that is not here fails: what is new at a door has to be told what it is to be called with.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from matrix.subjects import Subject

HOSTILE = (
    "a", "ab", "a_", "a%", "a.b", "../a", "a'--", "' OR '1'='1", '"; DROP TABLE runs; --', "%", "_", "*", "\\", "$1",
    "%(tenant)s", ":tenant", "{}", "а1", "ａ１", "a\u200b1", "A1", "a1\u0000b", "a\r\nX-Injected: 1", "x" * 3000,
    "nullif(current_setting('app.tenant'))", "/tenants/_system", "_system", "..", "%2e%2e", "a;b", "?", "#", "\ud7ff",
)  # fmt: skip
"""Quotes, wildcards, confusables and bounds, for wherever a text fits."""


class Picker:
    """Picks arguments for one request: the same ones again for the same seed, but for what is planted."""

    def __init__(
        self,
        who: Subject | None,
        tenant: str,
        seed: int,
        plant: str | None = None,
        session: str | None = None,
        *,
        reads: bool,
    ) -> None:
        """`plant` is an id to be said wherever a text fits, `session` one of an earlier version to be spoken in.

        What only reads may name the tenant's own things too.
        """
        self.who, self.tenant, self.plant, self.session, self.reads = who, tenant, plant, session, reads
        self.random = random.Random(seed)

    def arguments(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments for an input schema; one call in twenty breaks it."""
        found = self._object(schema, schema)
        if self.random.random() < 0.05:
            found[self.random.choice(("extra", *found))] = self.random.choice((None, [], self.text(), -1))
        return found

    def parameter(self, name: str) -> Any:
        """Return a value for a parameter, by its name."""
        return PARAMETERS[name](self)

    def id(self, kind: str) -> str:
        """Return an id of a kind: the planted one, the tenant's own, or one that nothing has."""
        planted, own = self.random.random() < 0.8, self.who.ids.get(kind, []) if self.who and self.reads else []
        other = self.random.choice((*own, *own, self.text()))
        return self.plant if self.plant is not None and planted else other

    def text(self) -> str:
        """Return a text: the tenant's canary, something hostile, or what is planted."""
        hostile, planted, choice = self.random.choice(HOSTILE), self.random.random() < 0.5, self.random.random()
        if self.plant is not None and planted:
            return self.plant
        return hostile if self.who is None or choice < 0.4 else self.who.canary

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        found: dict[str, Any] = {}
        for name, each in schema.get("properties", {}).items():
            wanted = self.random.random() < 0.4
            if name in required or wanted:
                found[name] = self._value(name, each, root)
        return found

    def _value(self, name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            return self._value(name, _at(root, schema["$ref"]), root)
        if "anyOf" in schema:
            return self._value(name, self.random.choice(schema["anyOf"]), root)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "string":
            return self._string(name, schema)
        if kind == "integer":
            low = schema.get("minimum", 0)
            return self.random.randint(low, min(schema.get("maximum", low + 20), low + 20))
        if kind == "number":
            return schema.get("minimum", 0)
        if kind == "boolean":
            return name != "purge" and self.random.random() < 0.5
        if kind == "array":
            return [self._value(name, schema.get("items", {}), root) for _ in range(max(schema.get("minItems", 1), 1))]
        if kind == "object":
            made = self._object(schema, root)
            return made if "properties" in schema else {"note": self.text()}
        return None if kind == "null" else {"note": self.text()}

    def _string(self, name: str, schema: Mapping[str, Any]) -> str:
        if "format" in schema:
            return "2026-01-01" if schema["format"] == "date" else "2026-01-01T00:00:00Z"
        said = str(PARAMETERS[name](self)) if name in PARAMETERS else self.text()
        broken, shaped = self.random.random() < 0.2, str(schema.get("examples", [""])[0])
        if broken or _fits(said, schema):
            return said
        return shaped if name not in {"ref", "agent"} and _fits(shaped, schema) else said


PARAMETERS: dict[str, Callable[[Picker], Any]] = {
    **{name: (lambda picker: picker.id("run")) for name in ("run", "run_id")},
    **{name: (lambda picker: picker.id("approval")) for name in ("id", "approval")},
    **{name: (lambda picker: picker.id("server")) for name in ("name", "server", "ref")},
    **dict.fromkeys(("team", "question", "preset", "file"), Picker.text),
    **dict.fromkeys(
        ("agent", "input", "message", "query", "search", "reason", "reviewed", "taskId", "customer_id"), Picker.text
    ),
    "user": lambda picker: picker.id("user"),
    "token": lambda picker: picker.id("token"),
    "invoice_id": lambda picker: picker.id("invoice"),
    "key_id": lambda picker: picker.id("key"),
    "metric": lambda picker: picker.id("metric"),
    "thread": lambda picker: picker.id("thread"),
    "checkpoint": lambda picker: picker.random.choice(("step-0/model-0", picker.text())),
    "call": lambda picker: picker.random.choice(("step-0/model-0", picker.text())),
    "cron": lambda picker: picker.random.choice(("0 9 1 1 *", picker.text())),
    "timezone": lambda picker: picker.random.choice(("America/Bogota", picker.text())),
    "missed": lambda picker: picker.random.choice(("once", "skip")),
    "enabled": lambda picker: picker.random.random() < 0.5,
    "days": lambda _: 3650.0,
    "message_id": Picker.text,
    "key": lambda picker: picker.id("document") if picker.reads else f"any/{picker.random.randrange(20)}",
    "tool": lambda picker: picker.random.choice(("get_json", "echo", "validate_nit", picker.text())),
    "address": lambda picker: f"{picker.id('server')}/{picker.parameter('tool')}",
    "tenant": lambda picker: picker.tenant,
    "arguments": lambda picker: {"text": picker.text()},
    "arg": Picker.text,
    "args": lambda picker: json.dumps({"text": picker.text()}),
    "decision": lambda picker: picker.random.choice(({"approve": True}, {"approve": False, "reason": picker.text()})),
    "config": lambda picker: {"note": picker.text()},
    "context": lambda picker: {"note": picker.text()},
    "spec": lambda picker: {"name": f"agent-{picker.random.randrange(5)}", "instructions": picker.text()},
    "tools": lambda picker: [f"{picker.parameter('tool')}/*"],
    "secrets": lambda picker: {"note": picker.text()},
    "file": Picker.text,
    "least": lambda _: 0.5,
    "budget": lambda _: {"tokens": 1000},
    "model": lambda picker: picker.random.choice(("offline", picker.text())),
    "settings": lambda picker: f"note={picker.text()}",
    "status": lambda picker: picker.random.choice(("success", "pending", picker.text())),
    "role": lambda picker: picker.random.choice(("viewer", "agent")),
    "plan": lambda _: "basic",
    "approve": lambda _: True,
    "default": lambda _: False,
    "purge": lambda _: False,
    "review": lambda picker: picker.random.random() < 0.5,
    "yes": lambda _: True,
    "limit": lambda picker: picker.random.randint(1, 30),
    "before": lambda picker: picker.random.randint(1, 1000),
    "after": lambda picker: str(picker.random.randint(0, 3)),
    "since": lambda _: "2026-01-01T00:00:00Z",
    "until": lambda _: "2027-01-01T00:00:00Z",
    "renew": lambda _: True,
    "denied": lambda _: True,
    "at_once": lambda _: True,
    "retire": Picker.text,
    "legacy_anonymous": lambda _: True,
    "limits": lambda _: {"calls_per_minute": 1},
    "which": lambda picker: picker.random.choice(("master", "data", "signing")),
    "remove": Picker.text,
    "wait": lambda _: 0.0,
    "timeout": lambda _: 30.0,
    "expires": lambda _: 1,
    "expires_days": lambda _: 1,
    "idempotency_key": lambda picker: f"k{picker.random.randrange(10**9)}",
    "cursor": lambda picker: str(picker.random.randint(0, 3)),
}
"""By name, what a parameter of a route, an SDK's method or a command is given."""


def _fits(text: str, schema: Mapping[str, Any]) -> bool:
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 10_000):
        return False
    return re.search(schema.get("pattern", ""), text) is not None


def _at(root: Mapping[str, Any], ref: str) -> Mapping[str, Any]:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found
