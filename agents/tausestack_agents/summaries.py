"""Runs as they are listed: what each is about and how it stands, and of what can be long the beginning."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack.raw import as_object, object_at
from tausestack_agents.domain import ENDED, STEP_STATUSES
from tausestack_agents.store import TRACE, cost, place
from tausestack_agents.tables import events, journal, runs

PREVIEW = 500
"""Characters of an input, an output, an error's message and what is asked of a person."""
STEPS = 20
"""Calls of one run."""

_LONG = ("input", "output", "structured", "scopes", "rules", "context", "decision", "budget")
_ROWS = sa.select(
    *(column for column in runs.c if column.name not in _LONG),
    sa.func.substr(runs.c.input, 1, PREVIEW + 1).label("input"),
    sa.func.substr(runs.c.output, 1, PREVIEW + 1).label("output"),
    sa.func.substr(sa.cast(runs.c.structured, sa.Text), 1, PREVIEW + 1).label("structured"),
)
_CALLS = sa.select(
    *(journal.c[name] for name in ("run", "task", "position", "kind", "server", "tool", "status", "approval", "error"))
).where(journal.c.kind == "tool")


async def listed(db: Connection, *, limit: int, status: str | None) -> list[dict[str, Any]]:
    """Return runs, newest first; `truncated` names the fields of which `get_run` shows more."""
    query = _ROWS.order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    rows = await db.execute(query if status is None else query.where(runs.c.status == status))
    found = [row.id for row in rows]
    calls: defaultdict[str, list[Row]] = defaultdict(list)
    for line in await db.execute(_CALLS.where(journal.c.run.in_(found))):
        calls[line.run].append(line)
    costs = await _costs(db, [row.id for row in rows if row.status in ENDED])
    for row in rows:
        if row.id not in costs:
            lines = await db.execute(sa.select(journal).where(journal.c.run == row.id, journal.c.kind == "model"))
            made = sum(line.status in {"done", "failed"} for line in calls[row.id])
            costs[row.id] = {**cost(lines), "tool_calls": made}
    return [_summary(row, calls[row.id], costs[row.id]) for row in rows]


async def _costs(db: Connection, ended: Sequence[str]) -> dict[str, Any]:
    """Return what runs that have ended cost, as their last events tell."""
    told = sa.select(events.c.run, events.c.data).where(events.c.run.in_(ended), events.c.kind == "cost")
    rows = await db.execute(told.order_by(events.c.seq))
    return {row.run: row.data for row in rows if "tool_calls" in row.data}


def _summary(row: Row, calls: list[Row], costs: dict[str, Any]) -> dict[str, Any]:
    """Return a run under the names by which `get_run` shows it."""
    cut: set[str] = set()
    steps = [_step(line) for line in sorted(calls, key=place)]
    if steps:
        cut.add("steps")
    shown: dict[str, Any] = {
        "id": row.id,
        "agent": row.agent,
        "thread": row.thread,
        "status": row.status,
        "input": _cut("input", row.input, cut),
        "output": _output(row, cut),
        "steps": steps[:STEPS],
        "cost": costs,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
    }
    if origin := {name: each for name, each in (as_object(row.origin) or {}).items() if name != TRACE}:
        shown["origin"] = origin
    if row.interrupt is not None and row.status == "interrupted":
        shown["interrupt"] = _interrupt(row.interrupt, cut)
    if row.parent is not None:
        shown["parent"] = row.parent
    if row.version:
        shown["version"] = row.version
    if row.error is not None:
        shown["error"] = _error(row.error, cut)
    return {**shown, "truncated": sorted(cut)} if cut else shown


def _cut(name: str, text: str | None, cut: set[str]) -> str | None:
    if text is None or len(text) <= PREVIEW:
        return text
    cut.add(name)
    return text[:PREVIEW]


def _output(row: Row, cut: set[str]) -> Any:
    """Return an answer; of one that fits a schema, where it is long, the beginning of its JSON."""
    if row.structured is None:
        return _cut("output", row.output, cut)
    return json.loads(row.structured) if len(row.structured) <= PREVIEW else _cut("output", row.structured, cut)


def _interrupt(interrupt: dict[str, Any], cut: set[str]) -> dict[str, Any]:
    """Return what a run waits for, its call's arguments only where they are short."""
    found = dict(interrupt)
    if isinstance(found.get("message"), str):
        found["message"] = _cut("interrupt", found["message"], cut)
    if len(json.dumps(found.get("arguments"))) > PREVIEW:
        del found["arguments"]
        cut.add("interrupt")
    return found


def _error(error: Any, cut: set[str]) -> dict[str, Any]:
    """Return what is short of an error, and the beginning of its message."""
    found = object_at(error)
    kept = {name: each for name, each in found.items() if len(json.dumps(each)) <= PREVIEW}
    if isinstance(found.get("message"), str):
        kept["message"] = _cut("error", found["message"], cut)
    if kept.keys() != found.keys():
        cut.add("error")
    return kept


def _step(line: Row) -> dict[str, Any]:
    """Return a call without what it was given and what it gave."""
    step = {"server": line.server, "tool": line.tool, "status": STEP_STATUSES.get(line.status, line.status)}
    if line.approval is not None:
        step["approval"] = line.approval
    if line.error is not None:
        step["error"] = _error(line.error, set())
    return step
