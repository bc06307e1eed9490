"""What the event log of a run tells: its kinds, and the shape of each.

Every event is an object; over a stream `run` and `at` (UTC, ISO 8601) stand beside what is here.
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

from tausestack.confidential import shown
from tausestack.raw import as_object, object_at
from tausestack_agents.domain import ENDED
from tausestack_agents.lines import Line

Kind = Literal["run", "step", "token", "tool_call", "tool_result", "approval", "cost", "handoff", "error"]
KINDS: frozenset[str] = frozenset(get_args(Kind))
MAX_RESULT = 4000
"""Characters of a result's JSON that an event repeats; a longer one stands in the run alone."""

Event = tuple[Kind, dict[str, Any]]

_TOLD = ("output", "interrupt", "error")


def started(agent: str, request: str) -> Event:
    """Return that a run was accepted."""
    return "run", {"status": "pending", "agent": agent, "input": request}


def status(now: str, values: dict[str, Any]) -> list[Event]:
    """Return what a run's new status is to be told by: where it failed an `error` first, and `run` last."""
    told = {name: values[name] for name in _TOLD if values.get(name)}
    events: list[Event] = [("run", {"status": now, **told})]
    if now in ENDED and told.get("error"):
        events.insert(0, ("error", dict(told["error"])))
    return events


def step(task: str, now: Literal["running", "done"]) -> Event:
    """Return that a task of the graph began, or has said all it had to say."""
    return "step", {"task": task, "status": now}


def call(line: Line, *, edited: bool) -> list[Event]:
    """Return what a line of the journal tells, once it was written: a call begun, held, decided on, or ended."""
    about: dict[str, Any] = {"call": f"{line.task}/{line.call}", "server": line.server, "tool": line.tool}
    asked = shown(line.arguments)
    if line.status == "intent":
        if edited:
            return [("approval", {**about, **_approval(line), "status": "approved", "arguments": asked})]
        return [("tool_call", {**about, "arguments": asked})]
    if line.status == "waiting" and line.approval is None:
        return []  # for a person's answer, or for another run: the run's own event tells it
    if line.status == "waiting":
        return [("approval", {**about, **_approval(line), "status": "pending", "arguments": asked})]
    ended: Event = ("tool_result", {**about, "status": line.status, **_outcome(line)})
    said = as_object(line.error) or {}
    refusal = _REFUSED.get(str(said.get("code", "")), "rejected" if line.status == "rejected" else None)
    if refusal is not None and line.approval is not None:
        refused = {"status": refusal}
        return [("approval", {**about, **_approval(line), **refused, "reason": said.get("message", "")}), ended]
    return [ended]


def model_cost(call: str, response: dict[str, Any]) -> Event | None:
    """Return what one request to a model cost, or None where it cost nothing."""
    usage, details = object_at(response, "usage"), object_at(response, "provider_details")
    spent = {
        "input_tokens": int(usage.get("input_tokens") or 0),
        "output_tokens": int(usage.get("output_tokens") or 0),
        "usd": float(details.get("usd") or 0),
    }
    return ("cost", {"call": call, "model": response.get("model_name"), **spent}) if any(spent.values()) else None


WITHDRAWN = {"code": "withdrawn", "message": "The run ended before anybody decided on this call: it was not made"}
"""The error of a call that waited for a person when its run was ended."""
_REFUSED = {"approval_expired": "expired", "withdrawn": "withdrawn"}
"""What became of an approval that was not given, by the code of the error that its call ended with."""


def _approval(line: Line) -> dict[str, Any]:
    return {} if line.approval is None else {"approval": line.approval}


def _outcome(line: Line) -> dict[str, Any]:
    if line.error is not None:
        return {"error": line.error}
    found = (as_object(line.result) or {}).get("structuredContent")
    if found is None:
        return {}
    return {"result": found} if len(json.dumps(found)) <= MAX_RESULT else {"truncated": True}
