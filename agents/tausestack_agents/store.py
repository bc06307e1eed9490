"""Runs, their journal and their events in a tenant's database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from tausestack.confidential import shown
from tausestack.database import Connection, Row
from tausestack.errors import NotFound
from tausestack.raw import as_object, object_at, objects_in
from tausestack_agents import events as telling
from tausestack_agents.domain import ENDED, STEP_STATUSES, UNDER_WAY, WAITS_FOR_RUN, Decision, subject
from tausestack_agents.events import Event, Kind
from tausestack_agents.failpoints import passing
from tausestack_agents.lines import Line, of_row
from tausestack_agents.tables import decisions, events, journal, runs


class Fenced(Exception):
    """Another worker has claimed the run since, or it has ended: nothing more may be written for it."""


class Paused(Exception):
    """The run is to stop here, where none of its calls is under way."""


_NO_RUN = "There is no such run, or it is not yours"
SHOWN_BYTES = 4 * 1024 * 1024
"""Of what a run's calls were given and gave; a reply has it twice, as text and as JSON, and 16 MiB at most."""
TRACE = "traceparent"
"""In a run's origin: the W3C context of the trace that it goes on in, which is not shown."""
CUT_OFF = {
    "code": "cancelled",
    "message": "The run ended while this call was under way: nobody knows if it took effect",
}


_ADD_LINE, _ADD_EVENT = sa.insert(journal), sa.insert(events)
_LAST_EVENT = sa.select(sa.func.max(events.c.seq)).where(events.c.run == sa.bindparam("of_run"))
_OUTCOMES = frozenset({"done", "failed", "rejected"})
_UNENDED = ("intent", "waiting")
_CHANGING = ("arguments", "approval", "status", "result", "error")
_CHANGE_LINE = (
    sa.update(journal)
    .where(journal.c.run == sa.bindparam("of_run"), journal.c.task == sa.bindparam("of_task"))
    .where(journal.c.call == sa.bindparam("of_call"))
    .values({name: sa.bindparam(f"new_{name}", type_=journal.c[name].type) for name in _CHANGING})
)
_END_LINE = _CHANGE_LINE.values(ended_at=sa.bindparam("ended"))
_FIND = sa.select(runs).where(runs.c.id == sa.bindparam("of_run"))
_STATUS = sa.select(runs.c.status).where(runs.c.id == sa.bindparam("of_run"))
_SET_RUNNING = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("of_run"), runs.c.status.not_in(sorted(ENDED)))
    .values(
        fence=runs.c.fence + 1,
        status="running",
        started_at=sa.func.coalesce(runs.c.started_at, sa.bindparam("at", type_=sa.Text)),
    )
)
_CLAIM = (
    sa.select(runs.c.fence, runs.c.status, runs.c.pausing).where(runs.c.id == sa.bindparam("of_run")).with_for_update()
)


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()


async def add_run(db: Connection, values: dict[str, Any]) -> None:
    """Insert a run as pending, with its first event."""
    await db.execute(sa.insert(runs).values(status="pending", fence=0, created_at=now(), **values))
    await add_event(db, values["id"], *telling.started(values["agent"], values["input"]))


async def count_runs(db: Connection, since: str) -> int:
    """Return how many runs were started since a time (UTC, ISO 8601)."""
    query = sa.select(sa.func.count()).select_from(runs).where(runs.c.created_at >= since)
    return await db.scalar(query) or 0


async def find_run(db: Connection, run: str) -> Row | None:
    """Return a run's row, or None."""
    return await db.one(_FIND, {"of_run": run})


async def get_run(db: Connection, run: str) -> Row:
    """Return a run's row, or raise `NotFound`."""
    found = await find_run(db, run)
    if found is None:
        raise NotFound(_NO_RUN)
    return found


class Standing(NamedTuple):
    """How a run stands: its status, how many of its calls have ended, and the last of these, `server/tool: status`."""

    status: str
    ended: int = 0
    last: str | None = None


async def standing(db: Connection, run: str, *, counted: bool) -> Standing:
    """Return how a run stands, its calls only where they are to be `counted`; raises `NotFound`."""
    status = await db.scalar(_STATUS, {"of_run": run})
    if status is None:
        raise NotFound(_NO_RUN)
    if not counted:
        return Standing(status)
    ended = sa.select(journal.c.server, journal.c.tool, journal.c.status).where(
        journal.c.run == run, journal.c.kind == "tool", journal.c.status.not_in(_UNENDED)
    )
    lines = await db.execute(ended.order_by(journal.c.position))
    return Standing(status, len(lines), f"{lines[-1].server}/{lines[-1].tool}: {lines[-1].status}" if lines else None)


async def active_run(db: Connection, thread: str) -> str | None:
    """Return the run of a thread that has not ended, or None."""
    query = sa.select(runs.c.id).where(runs.c.thread == thread, runs.c.status.not_in(sorted(ENDED)))
    return await db.scalar(query)


async def ahead(db: Connection, run: Row) -> str | None:
    """Return the run that one which has not begun has to wait for in its thread, or None.

    It is the last that was asked for before it, else one that has begun, whenever that was asked for.
    """
    earlier = sa.or_(
        runs.c.created_at < run.created_at, sa.and_(runs.c.created_at == run.created_at, runs.c.id < run.id)
    )
    query = sa.select(runs.c.id).where(runs.c.thread == run.thread, runs.c.id != run.id)
    open_ones = query.where(runs.c.status.not_in(sorted(ENDED)), sa.or_(runs.c.status != "pending", earlier))
    pending_first = sa.case((runs.c.status == "pending", 0), else_=1)
    return await db.scalar(open_ones.order_by(pending_first, runs.c.created_at.desc(), runs.c.id.desc()).limit(1))


async def turns_waiting(db: Connection, thread: str) -> list[str]:
    """Return the runs of a thread that have not begun, in the order in which they were asked for."""
    query = sa.select(runs.c.id).where(runs.c.thread == thread, runs.c.status == "pending")
    return [row.id for row in await db.execute(query.order_by(runs.c.created_at, runs.c.id))]


async def claim_run(db: Connection, run: str) -> Row | None:
    """Raise a run's fence and set it running; None where it has ended or was never written."""
    if not await db.change(_SET_RUNNING, {"of_run": run, "at": now()}):
        return None
    await add_event(db, run, "run", {"status": "running"})
    return await get_run(db, run)


async def handed_over_to(db: Connection, run: Row) -> list[str]:
    """Return the agents that have taken over in a run."""
    if not run.fence:
        return []
    query = sa.select(journal.c.arguments).where(journal.c.run == run.id, journal.c.kind == "handoff")
    return [str(row.arguments["to"]) for row in await db.execute(query)]


async def check_fence(db: Connection, run: str, fence: int) -> bool:
    """Raise `Fenced` unless a claim still holds; until the transaction ends nobody else writes for the run.

    Returns whether the run is to pause.
    """
    held = await db.one(_CLAIM, {"of_run": run})
    if held is None or held.fence != fence or held.status in ENDED:
        raise Fenced(run)
    return bool(held.pausing)


async def end_run(
    db: Connection,
    run: str,
    fence: int,
    status: str,
    *,
    lines: Sequence[Line] | None = None,
    after: int | None = None,
    **values: Any,
) -> None:
    """Write how a run ended, or that it waits (`interrupted`), with the event; raises `Fenced`.

    `lines` is its journal and `after` the number of its last event, where these are known.
    """
    await check_fence(db, run, fence)
    ended = now() if status in ENDED else None
    ending = sa.update(runs).where(runs.c.id == run)
    await db.execute(ending.values(status=status, ended_at=ended, pausing=False, **values))
    passing("end.within")
    told = telling.status(status, values)
    if ended is not None:
        if lines is None or any(line.kind == "tool" and line.status in _UNENDED for line in lines):
            await _close(db, run)
            lines, after = [of_row(row) for row in await journal_of(db, run)], None
        told.insert(0, ("cost", cost(lines)))
    await add_events(db, run, told, after=after)


async def cancel_run(db: Connection, run: str) -> bool:
    """End a run as cancelled; False where it had ended. Its worker is fenced out from here on."""
    changed = await db.change(
        sa.update(runs)
        .where(runs.c.id == run, runs.c.status.not_in(sorted(ENDED)))
        .values(status="cancelled", fence=runs.c.fence + 1, ended_at=now(), interrupt=None)
    )
    if changed:
        await _close(db, run)
        await add_event(db, run, "cost", cost(await journal_of(db, run)))
        await add_event(db, run, "run", {"status": "cancelled"})
    return bool(changed)


async def _close(db: Connection, run: str) -> None:
    """Give every call of a run that ends without one an outcome: whoever reads its history later finds none open."""
    unended = sa.and_(journal.c.kind == "tool", journal.c.status.in_(_UNENDED))
    for line in await db.execute(sa.select(journal).where(journal.c.run == run, unended).order_by(journal.c.position)):
        held = line.status == "waiting" and line.approval is not None
        values: dict[str, Any] = {"status": "cancelled", "error": telling.WITHDRAWN if held else CUT_OFF}
        here = (journal.c.run == run, journal.c.task == line.task, journal.c.call == line.call)
        await db.execute(sa.update(journal).where(*here).values(ended_at=now(), **values))
        closed = await db.one(sa.select(journal).where(*here))
        assert closed is not None
        await add_events(db, run, telling.call(of_row(closed), edited=False))


async def ask_to_pause(db: Connection, run: str) -> bool:
    """Have a run stop before its next call; False where it does not go on anyway."""
    going_on = (runs.c.id == run, runs.c.status.in_(UNDER_WAY))
    return bool(await db.change(sa.update(runs).where(*going_on).values(pausing=True)))


async def unpause(db: Connection, run: str) -> None:
    """Let a paused run go on."""
    await db.execute(sa.update(runs).where(runs.c.id == run).values(status="pending", interrupt=None))
    await add_event(db, run, "run", {"status": "pending"})


async def cancel_all(db: Connection) -> int:
    """End every run that has not ended and waits for no person as cancelled, and return how many there were."""
    rows = await db.execute(sa.select(runs.c.id, runs.c.status, runs.c.interrupt).where(runs.c.status.not_in(ENDED)))
    under_way = [
        row.id for row in rows if row.status in UNDER_WAY or object_at(row.interrupt).get("kind") == WAITS_FOR_RUN
    ]
    return sum([await cancel_run(db, run) for run in under_way])


async def decide(db: Connection, run: str, subject: str, decision: dict[str, Any]) -> bool:
    """Keep a decision for a run; False where it has ended.

    One on an approval may come before the run has noted that it waits for it, and while it waits for another.
    """
    found = await find_run(db, run)
    if found is None or found.status in ENDED:
        return False
    await forget_decision(db, run, subject)
    await db.execute(sa.insert(decisions).values(run=run, subject=subject, decision=decision, at=now()))
    return True


async def decision_on(db: Connection, run: Row) -> dict[str, Any] | None:
    """Return the decision that a run waits for, where it is there: a person's, or that the run it waits for ended."""
    if run.interrupt is None:
        return None
    if run.interrupt.get("kind") == WAITS_FOR_RUN:
        other = await find_run(db, str(run.interrupt.get("run")))
        return Decision(approve=True).as_json() if other is None or other.status in ENDED else None
    query = sa.select(decisions.c.decision).where(decisions.c.run == run.id)
    return await db.scalar(query.where(decisions.c.subject == subject(run.interrupt)))


async def forget_decision(db: Connection, run: str, subject: str) -> None:
    """Forget a decision: it was used, or another one takes its place."""
    await db.execute(sa.delete(decisions).where(decisions.c.run == run, decisions.c.subject == subject))


async def children(db: Connection, run: str) -> list[Row]:
    """Return the runs that a run started and that have not ended."""
    query = sa.select(runs).where(runs.c.parent == run, runs.c.status.not_in(sorted(ENDED)))
    return await db.execute(query.order_by(runs.c.id))


async def journals_below(db: Connection, run: str) -> list[Row]:
    """Return the journals of the runs that a run started, and of those that they started."""
    found: list[Row] = []
    above = [run]
    while above:
        below = [row.id for row in await db.execute(sa.select(runs.c.id).where(runs.c.parent.in_(above)))]
        if below:
            found += await db.execute(sa.select(journal).where(journal.c.run.in_(below)))
        above = below
    return found


async def count_below(db: Connection, root: str) -> int:
    """Return how many runs a run has started, and those that they started."""
    return await db.scalar(sa.select(sa.func.count()).select_from(runs).where(runs.c.root == root)) or 0


async def add_event(db: Connection, run: str, kind: Kind, data: dict[str, Any]) -> None:
    """Append an event to a run's log, in the transaction of what it tells, which holds the run's row."""
    await add_events(db, run, [(kind, data)])


async def add_events(db: Connection, run: str, told: Sequence[Event], *, after: int | None = None) -> None:
    """Append several events to a run's log, `after` the one of that number, where the last one's is known."""
    if not told:
        return
    passing("event.before")
    first, at = (await last_event(db, run) if after is None else after) + 1, now()
    numbered = enumerate(told, first)
    rows = [{"run": run, "seq": seq, "kind": kind, "data": data, "at": at} for seq, (kind, data) in numbered]
    await db.execute(_ADD_EVENT, rows)
    passing("event.after")


async def last_event(db: Connection, run: str) -> int:
    """Return the number of a run's last event, 0 for none."""
    return await db.scalar(_LAST_EVENT, {"of_run": run}) or 0


async def events_after(db: Connection, run: str, seq: int) -> list[Row]:
    """Return a run's events after one, at most 200."""
    query = sa.select(events).where(events.c.run == run, events.c.seq > seq).order_by(events.c.seq).limit(200)
    return await db.execute(query)


async def events_of(db: Connection, run: str, kind: str) -> list[Row]:
    """Return a run's events of one kind, and its last event, in order."""
    last = sa.select(sa.func.max(events.c.seq)).where(events.c.run == run).scalar_subquery()
    query = sa.select(events).where(events.c.run == run, sa.or_(events.c.kind == kind, events.c.seq == last))
    return await db.execute(query.order_by(events.c.seq))


async def insert_lines(db: Connection, run: str, lines: Sequence[Line]) -> None:
    """Insert lines into a run's journal."""
    if lines:
        at = now()
        await db.execute(_ADD_LINE, [{"run": run, "at": at, **line.values()} for line in lines])


async def change_line(db: Connection, run: str, line: Line) -> None:
    """Write what a line of a run's journal is now."""
    ended = {"ended": now()} if line.kind == "tool" and line.status in _OUTCOMES else {}
    here = {"of_run": run, "of_task": line.task, "of_call": line.call}
    changed = {f"new_{name}": getattr(line, name) for name in _CHANGING}
    await db.execute(_END_LINE if ended else _CHANGE_LINE, {**here, **changed, **ended})


async def journal_of(db: Connection, run: str) -> list[Row]:
    """Return a run's journal in order."""
    return await db.execute(sa.select(journal).where(journal.c.run == run).order_by(journal.c.position))


def shape(run: Row, lines: list[Row]) -> dict[str, Any]:
    """Return a run as the doors show it; what its calls gave as far as that is no more than a reply may hold."""
    steps = [_step(line) for line in sorted(lines, key=place) if line.kind == "tool"]
    shown: dict[str, Any] = {
        "id": run.id,
        "agent": run.agent,
        "thread": run.thread,
        "status": run.status,
        "input": run.input,
        "output": run.output if run.structured is None else run.structured,
        "steps": steps,
        "cost": cost(lines),
        "created_at": run.created_at,
        "ended_at": run.ended_at,
    }
    if origin := {name: each for name, each in (as_object(run.origin) or {}).items() if name != TRACE}:
        shown["origin"] = origin
    if run.interrupt is not None and run.status == "interrupted":
        shown["interrupt"] = run.interrupt
    if run.parent is not None:
        shown["parent"] = run.parent
    if run.version:
        shown["version"] = run.version
    if run.error is not None:
        shown["error"] = run.error
    if _left_out(steps):
        shown["truncated"] = ["steps"]
    return shown


def _left_out(steps: list[dict[str, Any]]) -> bool:
    """Take away what the last calls gave and were given, where all together is too much; return whether it was."""
    left, cut = SHOWN_BYTES, False
    for step in steps:
        size = len(json.dumps([step["arguments"], step.get("result")]))
        if size > left:
            step.pop("result", None)
            step["arguments"], step["truncated"], cut = {}, True, True
        else:
            left -= size
    return cut


def cost(lines: Sequence[Row | Line]) -> dict[str, Any]:
    """Return what a run's calls cost: how many, tokens of models, and their price in US dollars where it is known."""
    models = [line for line in lines if line.kind == "model" and line.result is not None]
    usage = [as_object(line.result.get("usage")) or {} for line in models]
    names = sorted({str(line.result.get("model_name") or "") for line in models} - {""})
    prices = [as_object(line.result.get("provider_details")) or {} for line in models]
    return {
        "tool_calls": sum(line.kind == "tool" and line.status in {"done", "failed"} for line in lines),
        "model_calls": len(models),
        "models": names,
        "input_tokens": sum(int(each.get("input_tokens") or 0) for each in usage),
        "output_tokens": sum(int(each.get("output_tokens") or 0) for each in usage),
        "usd": round(sum(float(each.get("usd") or 0) for each in prices), 6),
        **_pesos(prices),
        **_unanswered(lines),
    }


def _unanswered(lines: Sequence[Row | Line]) -> dict[str, Any]:
    """What attempts at models used, or may have used, that brought no answer; nothing where there were none."""
    asked = [object_at(line.arguments).get("attempts") for line in lines if line.kind == "model"]
    found = [each for attempts in asked for each in objects_in(attempts)]
    if not found:
        return {}
    tokens = sum(int(each.get("tokens") or 0) for each in found)
    usd = round(sum(float(each.get("usd") or 0) for each in found), 6)
    return {"unanswered": {"attempts": len(found), "tokens": tokens, "usd": usd}}


def _pesos(prices: list[dict[str, Any]]) -> dict[str, Any]:
    """The same in pesos, and the dated rates that this was reckoned with, where there was one."""
    rates = sorted({str(each["rate"]) for each in prices if each.get("rate")})
    return {"cop": round(sum(float(each.get("cop") or 0) for each in prices), 2), "cop_rates": rates} if rates else {}


def place(line: Row) -> tuple[int, int, int]:
    """Return where a call stands: by its step's number, not by when it began, since steps may go on at once."""
    leg, dot, task = line.task.partition(".")
    number = (task if dot else line.task).rpartition("-")[2]
    return int(leg) if dot else 0, int(number) if number.isdigit() else 0, line.position


def _step(line: Row) -> dict[str, Any]:
    step: dict[str, Any] = {
        "server": line.server,
        "tool": line.tool,
        "arguments": shown(line.arguments),
        "status": STEP_STATUSES.get(line.status, line.status),
    }
    if line.result is not None and "structuredContent" in line.result:
        step["result"] = line.result["structuredContent"]
    if line.approval is not None:
        step["approval"] = line.approval
    if line.error is not None:
        step["error"] = line.error
    return step
