"""Runs: their states, ids and decisions, free of protocol and database."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from tausestack.errors import InvalidArguments, UpstreamError

PERSON = "person"
"""The kind of a run that is a question to a person, in an agent's thread."""
MAX_ANSWER = 20_000
"""Characters of what a person answers."""

RunStatus = Literal["pending", "running", "interrupted", "success", "error", "timeout", "cancelled"]
WAITS_FOR_RUN = "run"
"""The kind of interrupt of a run that waits for another one that it started; whoever looks at it sees it running."""
ENDED: frozenset[str] = frozenset({"success", "error", "timeout", "cancelled"})
"""Statuses that a run does not leave."""
UNDER_WAY: frozenset[str] = frozenset({"pending", "running"})
"""Statuses of runs that wait for nobody."""
PAUSE = "pause"
"""What a paused run waits for: to be resumed."""
STEP_STATUSES = {
    "intent": "running", "done": "done", "failed": "failed", "waiting": "waiting", "rejected": "rejected",
    "in_doubt": "in_doubt", "cancelled": "cancelled",
}  # fmt: skip
"""What a journal line's status is called in a run's steps."""


class AnswerInvalid(UpstreamError):
    """No answer was found that fits the schema which the agent's answers are to fit."""

    code, title = "answer_invalid", "The answer does not fit its schema"


class AgentFailed(UpstreamError):
    """The operator's own code of an agent raised something: it says where, and the log what."""

    code, title = "agent_failed", "The agent's own code failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided on what a run waits for; `arguments` replace those of the call that was held."""

    approve: bool
    reason: str = ""
    arguments: dict[str, Any] | None = None
    approval: str | None = None
    input: str | None = None
    """What a person answered where the run asked for it."""
    asks_again: bool = False
    """Nobody decided in time: the call is sent again, for the gateway to say what became of its approval."""

    def as_json(self) -> dict[str, Any]:
        """Return the decision as it is kept."""
        return {
            "approve": self.approve,
            "reason": self.reason,
            "arguments": self.arguments,
            "approval": self.approval,
            "input": self.input,
            "asks_again": self.asks_again,
        }


def parse_decision(given: dict[str, Any]) -> Decision:
    """Return the decision in `{"approve": bool, "reason"?, "arguments"?}`, `{"arguments": {…}}` or `{"input": "…"}`.

    Raises `InvalidArguments` saying what a decision looks like.
    """
    approve, reason, arguments = given.get("approve"), given.get("reason", ""), given.get("arguments")
    unknown = set(given) - {"approve", "reason", "arguments", "input"}
    said = given.get("input")
    if said is not None:
        if not isinstance(said, str) or not said.strip() or "\0" in said or len(said) > MAX_ANSWER or len(given) > 1:
            raise InvalidArguments(f'An answer is {{"input": "…"}} alone, with 1 to {MAX_ANSWER} characters')
        return Decision(approve=True, input=said)
    if approve is None and isinstance(arguments, dict):
        approve = True
    fits = isinstance(approve, bool) and isinstance(reason, str) and (arguments is None or isinstance(arguments, dict))
    if unknown or not fits:
        raise InvalidArguments(
            'A decision is {"approve": true}, {"approve": false, "reason": "…"}, {"arguments": {…}} to edit the call, '
            'or {"input": "…"} to answer'
        )
    if arguments is not None and not approve:
        raise InvalidArguments("A rejected call is not made: leave out its `arguments`, or approve it with them")
    return Decision(bool(approve), reason, arguments)  # pyright: ignore[reportUnknownArgumentType] raw JSON


def check_fits(decision: Decision, kind: str) -> None:
    """Raise `InvalidArguments` where a decision is none on what a run waits for."""
    if kind == "input" and decision.approve and decision.input is None:
        raise InvalidArguments('The run waits for an answer: {"input": "…"}, or {"approve": false} where there is none')
    if kind != "input" and decision.input is not None:
        raise InvalidArguments('The run waits for a decision, not for an answer: {"approve": true} or false')


def subject(interrupt: dict[str, Any]) -> str:
    """Return what a decision on an interrupt is kept under: its approval, else the call, or the doubt about it."""
    return str(interrupt.get("approval") or f"call:{interrupt.get('asked') or interrupt.get('call', '')}")


def run_id(tenant: str, principal: str, key: str | None) -> str:
    """Return a run's id: random, or the same each time for the same idempotency key of the same principal."""
    if key is None:
        return "run_" + secrets.token_hex(10)
    return "run_" + hashlib.sha256(json.dumps([tenant, principal, key]).encode()).hexdigest()[:20]


def message_run_id(tenant: str, thread: str, message: str) -> str:
    """Return the id of the run that a message in a thread begins: the same however often it comes in."""
    return "run_" + hashlib.sha256(json.dumps([tenant, "message", thread, message]).encode()).hexdigest()[:20]


def call_key(run: str, task: str, call: str) -> str:
    """Return the idempotency key of a run's tool call: the same however often it is sent."""
    return f"{run}:{hashlib.sha256(json.dumps([run, task, call]).encode()).hexdigest()[:24]}"
