"""Runs, their journal and their events in a tenant's database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack.errors import NotFound
from tausestack.raw import as_object
from tausestack_agents import events as telling
from tausestack_agents.domain import ENDED, STEP_STATUSES, UNDER_WAY
from tausestack_agents.events import Event, Kind
from tausestack_agents.tables import events, journal, runs


class Fenced(Exception):
    """Another worker has claimed the run since, or it has ended: nothing more may be written for it."""


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
    return await db.one(sa.select(runs).where(runs.c.id == run))


async def get_run(db: Connection, run: str) -> Row:
    """Return a run's row, or raise `NotFound`."""
    found = await find_run(db, run)
    if found is None:
        raise NotFound("There is no such run, or it is not yours")
    return found


async def active_run(db: Connection, thread: str) -> str | None:
    """Return the run of a thread that has not ended, or None."""
    query = sa.select(runs.c.id).where(runs.c.thread == thread, runs.c.status.not_in(sorted(ENDED)))
    return await db.scalar(query)


async def list_runs(db: Connection, *, limit: int, status: str | None) -> list[Row]:
    """Return runs, newest first."""
    query = sa.select(runs).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    return await db.execute(query if status is None else query.where(runs.c.status == status))


async def claim_run(db: Connection, run: str) -> Row | None:
    """Raise a run's fence and set it running; None where it has ended or was never written."""
    changed = await db.change(
        sa.update(runs)
        .where(runs.c.id == run, runs.c.status.not_in(sorted(ENDED)))
        .values(fence=runs.c.fence + 1, status="running", started_at=sa.func.coalesce(runs.c.started_at, now()))
    )
    if not changed:
        return None
    await add_event(db, run, "run", {"status": "running"})
    return await get_run(db, run)


async def check_fence(db: Connection, run: str, fence: int) -> None:
    """Raise `Fenced` unless a claim still holds; until the transaction ends nobody else writes for the run."""
    held = await db.one(sa.select(runs.c.fence, runs.c.status).where(runs.c.id == run).with_for_update())
    if held is None or held.fence != fence or held.status in ENDED:
        raise Fenced(run)


async def end_run(db: Connection, run: str, fence: int, status: str, **values: Any) -> None:
    """Write how a run ended, or that it waits (`interrupted`), with the event; raises `Fenced`."""
    await check_fence(db, run, fence)
    ended = now() if status in ENDED else None
    await db.execute(sa.update(runs).where(runs.c.id == run).values(status=status, ended_at=ended, **values))
    if ended is not None:
        await add_event(db, run, "cost", cost(await journal_of(db, run)))
    await add_events(db, run, telling.status(status, values))


async def cancel_run(db: Connection, run: str) -> bool:
    """End a run as cancelled; False where it had ended. Its worker is fenced out from here on."""
    changed = await db.change(
        sa.update(runs)
        .where(runs.c.id == run, runs.c.status.not_in(sorted(ENDED)))
        .values(status="cancelled", fence=runs.c.fence + 1, ended_at=now(), interrupt=None)
    )
    if changed:
        await db.execute(
            sa.update(journal)
            .where(journal.c.run == run, journal.c.status == "waiting")
            .values(status="rejected", ended_at=now())
        )
        await add_event(db, run, "cost", cost(await journal_of(db, run)))
        await add_event(db, run, "run", {"status": "cancelled"})
    return bool(changed)


async def cancel_all(db: Connection) -> int:
    """End every run that has not ended and waits for nobody as cancelled, and return how many there were."""
    under_way = [row.id for row in await db.execute(sa.select(runs.c.id).where(runs.c.status.in_(UNDER_WAY)))]
    return sum([await cancel_run(db, run) for run in under_way])


async def decide(db: Connection, run: str, decision: dict[str, Any]) -> bool:
    """Keep a decision for a run; False where it has ended.

    One that names an approval may come before the run has noted that it waits for it.
    """
    changed = await db.change(
        sa.update(runs).where(runs.c.id == run, runs.c.status.not_in(sorted(ENDED))).values(decision=decision)
    )
    return bool(changed)


def decided(run: Row) -> bool:
    """Return whether the decision that a run waits for is there."""
    if run.decision is None or run.interrupt is None:
        return False
    return run.decision.get("approval") == run.interrupt.get("approval")


async def add_event(db: Connection, run: str, kind: Kind, data: dict[str, Any]) -> None:
    """Append an event to a run's log, in the transaction of what it tells, which holds the run's row."""
    last = await db.scalar(sa.select(sa.func.max(events.c.seq)).where(events.c.run == run))
    await db.execute(sa.insert(events).values(run=run, seq=(last or 0) + 1, kind=kind, data=data, at=now()))


async def add_events(db: Connection, run: str, told: list[Event]) -> None:
    """Append several events to a run's log."""
    for kind, data in told:
        await add_event(db, run, kind, data)


async def events_after(db: Connection, run: str, seq: int) -> list[Row]:
    """Return a run's events after one, at most 200."""
    query = sa.select(events).where(events.c.run == run, events.c.seq > seq).order_by(events.c.seq).limit(200)
    return await db.execute(query)


async def events_of(db: Connection, run: str, kind: str) -> list[Row]:
    """Return a run's events of one kind, and its last event, in order."""
    last = sa.select(sa.func.max(events.c.seq)).where(events.c.run == run).scalar_subquery()
    query = sa.select(events).where(events.c.run == run, sa.or_(events.c.kind == kind, events.c.seq == last))
    return await db.execute(query.order_by(events.c.seq))


async def journal_of(db: Connection, run: str) -> list[Row]:
    """Return a run's journal in order."""
    return await db.execute(sa.select(journal).where(journal.c.run == run).order_by(journal.c.position))


def shape(run: Row, lines: list[Row]) -> dict[str, Any]:
    """Return a run as the doors show it."""
    shown: dict[str, Any] = {
        "id": run.id,
        "agent": run.agent,
        "thread": run.thread,
        "status": run.status,
        "input": run.input,
        "output": run.output,
        "steps": [_step(line) for line in lines if line.kind == "tool"],
        "cost": cost(lines),
        "created_at": run.created_at,
        "ended_at": run.ended_at,
    }
    if run.interrupt is not None and run.status == "interrupted":
        shown["interrupt"] = run.interrupt
    if run.error is not None:
        shown["error"] = run.error
    return shown


def cost(lines: list[Row]) -> dict[str, Any]:
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
    }


def _pesos(prices: list[dict[str, Any]]) -> dict[str, Any]:
    """The same in pesos, and the dated rates that this was reckoned with, where there was one."""
    rates = sorted({str(each["rate"]) for each in prices if each.get("rate")})
    return {"cop": round(sum(float(each.get("cop") or 0) for each in prices), 2), "cop_rates": rates} if rates else {}


def _step(line: Row) -> dict[str, Any]:
    step: dict[str, Any] = {
        "server": line.server,
        "tool": line.tool,
        "arguments": line.arguments,
        "status": STEP_STATUSES.get(line.status, line.status),
    }
    if line.result is not None and "structuredContent" in line.result:
        step["result"] = line.result["structuredContent"]
    if line.approval is not None:
        step["approval"] = line.approval
    if line.error is not None:
        step["error"] = line.error
    return step
