"""Runs: their states, ids and decisions, free of protocol and database."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from tausestack.errors import InvalidArguments

RunStatus = Literal["pending", "running", "interrupted", "success", "error", "timeout", "cancelled"]
ENDED: frozenset[str] = frozenset({"success", "error", "timeout", "cancelled"})
"""Statuses that a run does not leave."""
UNDER_WAY: frozenset[str] = frozenset({"pending", "running"})
"""Statuses of runs that wait for nobody."""
STEP_STATUSES = {
    "intent": "running", "done": "done", "failed": "failed", "waiting": "waiting", "rejected": "rejected",
    "in_doubt": "in_doubt",
}  # fmt: skip
"""What a journal line's status is called in a run's steps."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided on what a run waits for; `arguments` replace those of the call that was held."""

    approve: bool
    reason: str = ""
    arguments: dict[str, Any] | None = None
    approval: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the decision as it is kept."""
        return {
            "approve": self.approve,
            "reason": self.reason,
            "arguments": self.arguments,
            "approval": self.approval,
        }


def parse_decision(given: dict[str, Any]) -> Decision:
    """Return the decision in `{"approve": bool, "reason"?, "arguments"?}` or `{"arguments": {…}}`.

    Raises `InvalidArguments` saying what a decision looks like.
    """
    approve, reason, arguments = given.get("approve"), given.get("reason", ""), given.get("arguments")
    unknown = set(given) - {"approve", "reason", "arguments"}
    if approve is None and isinstance(arguments, dict):
        approve = True
    fits = isinstance(approve, bool) and isinstance(reason, str) and (arguments is None or isinstance(arguments, dict))
    if unknown or not fits:
        raise InvalidArguments(
            'A decision is {"approve": true}, {"approve": false, "reason": "…"} or {"arguments": {…}} to edit the call'
        )
    return Decision(bool(approve), reason, arguments)  # pyright: ignore[reportUnknownArgumentType] raw JSON


def run_id(tenant: str, principal: str, key: str | None) -> str:
    """Return a run's id: random, or the same each time for the same idempotency key of the same principal."""
    if key is None:
        return "run_" + secrets.token_hex(10)
    return "run_" + hashlib.sha256(json.dumps([tenant, principal, key]).encode()).hexdigest()[:20]


def call_key(run: str, task: str, call: str) -> str:
    """Return the idempotency key of a run's tool call: the same however often it is sent."""
    return f"{run}:{hashlib.sha256(json.dumps([run, task, call]).encode()).hexdigest()[:24]}"
