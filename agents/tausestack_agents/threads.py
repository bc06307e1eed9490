"""Threads: the turns that a run goes on from, what they come to when they are many, and how they are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack.errors import Conflict, NotFound
from tausestack.raw import as_object, object_at, objects_in
from tausestack_agents.domain import ENDED
from tausestack_agents.planner.confirming import Question, questions_in, replied
from tausestack_agents.store import journal_of, now
from tausestack_agents.tables import events, journal, runs, threads

VERBATIM = 6
"""How many of a thread's last turns a run is told word for word."""
FOLDED_AT = 10
"""With more turns than this the earlier ones come to a summary."""
AT_MOST = 60
"""How many turns are read at once, and so folded at most."""
SUMMARY_CHARACTERS = 4000
SUMMARY = "earlier_in_this_conversation"
"""What an agent knows a summary by."""
PAGE_CHARACTERS = 1_000_000
"""Of answers in one page of a thread, the last of which may go beyond: one has a million at most."""
TURN_CHARACTERS = 240
_ORIGINS = 8
"""How many forks of forks are followed back."""


class Turn(TypedDict):
    """An earlier run of the thread."""

    input: str
    output: str
    asked: NotRequired[list[Question]]
    """What it asked, of the last one, where the run may answer that."""


@dataclass(frozen=True, slots=True)
class Past:
    """What came before a run in its thread: a summary, and the turns after it; the moments that those began at."""

    summary: str
    turns: list[Turn]
    begun: list[str]

    @property
    def foldable(self) -> int:
        """How many turns had better be folded into the summary."""
        return len(self.turns) - VERBATIM if len(self.turns) > FOLDED_AT else 0


async def past(db: Connection, run: Row) -> Past:
    """Return what came before a run; a fork's past is that of the run that it was forked from."""
    asking, thread, before = run, run.thread, run.created_at
    for _ in range(_ORIGINS):
        origin = as_object(run.origin) or {}
        if "fork" not in origin or await _first(db, thread) != run.id:
            break
        thread, before = origin["thread"], origin["before"]
        forked = await db.one(sa.select(runs).where(runs.c.id == origin["fork"]))
        if forked is None:
            break
        run = forked
    kept = await db.one(sa.select(threads).where(threads.c.id == thread))
    since = kept.covers if kept is not None and kept.covers < before else ""
    earlier = (
        sa.select(runs.c.input, runs.c.output, runs.c.created_at)
        .where(runs.c.thread == thread, runs.c.status == "success", runs.c.output.is_not(None))
        .where(runs.c.created_at < before, runs.c.created_at > since)
        .order_by(runs.c.created_at.desc())
        .limit(AT_MOST)
    )
    rows = list(reversed(await db.execute(earlier)))
    turns = [Turn(input=row.input, output=row.output) for row in rows]
    if turns and replied(asking.input) is not None and (asked := await _asked(db, asking, thread, before)):
        turns[-1]["asked"] = asked
    return Past(kept.summary if kept is not None and since else "", turns, [row.created_at for row in rows])


async def _asked(db: Connection, answer: Row, thread: str, at: str) -> list[Question]:
    """Return what the thread's last turn asked, where who answers is who was asked, and was shown it by then.

    A run that another run or a schedule started is nobody's own turn.
    """
    if answer.parent is not None or "schedule" in object_at(answer.origin):
        return []
    last = sa.select(runs).where(runs.c.thread == thread, runs.c.created_at < at).order_by(runs.c.created_at.desc())
    before = await db.one(last.limit(1))
    if before is None or before.status != "success" or before.principal != answer.principal or before.ended_at > at:
        return []
    said = [line for line in await journal_of(db, before.id) if line.kind == "model"]
    asked = questions_in([part for line in said for part in objects_in(object_at(line.result).get("parts"))])
    return [question for question in asked if question["text"] in before.output]  # an answer by a schema holds none


async def _first(db: Connection, thread: str) -> str | None:
    return await db.scalar(sa.select(runs.c.id).where(runs.c.thread == thread).order_by(runs.c.created_at).limit(1))


def extract(summary: str, turns: Sequence[Turn]) -> str:
    """Return a summary that holds these turns too: the beginning of each, the oldest dropped; it takes no model."""
    lines = [line for line in summary.splitlines() if line]
    for turn in turns:
        said, answered = (" ".join(turn[name].split()) for name in ("input", "output"))
        lines.append(f"- {said[:TURN_CHARACTERS]} → {answered[:TURN_CHARACTERS]}")
    while lines and sum(len(line) + 1 for line in lines) > SUMMARY_CHARACTERS:
        del lines[0]
    return "\n".join(lines)


async def keep_summary(db: Connection, thread: str, summary: str, covers: str) -> None:
    """Keep what a thread's turns up to one that began at a moment come to."""
    values = {"summary": summary, "covers": covers, "updated_at": now()}
    if not await db.change(sa.update(threads).where(threads.c.id == thread).values(**values)):
        await db.execute(sa.insert(threads).values(id=thread, **values))


async def listed(db: Connection, *, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Return threads, the one with the newest turn first; `before` is the last turn's time of the page before."""
    last = sa.func.max(runs.c.created_at).label("last")
    query = (
        sa.select(runs.c.thread, sa.func.count().label("turns"), sa.func.min(runs.c.created_at).label("first"), last)
        .group_by(runs.c.thread)
        .order_by(last.desc(), runs.c.thread)
        .limit(limit)
    )
    found = await db.execute(query if before is None else query.having(last < before))
    newest = {
        row.thread: row
        for row in await db.execute(
            sa.select(runs.c.thread, runs.c.agent, runs.c.status, runs.c.created_at).where(
                runs.c.thread.in_([row.thread for row in found]), runs.c.created_at.in_([row.last for row in found])
            )
        )
    }
    return [
        {
            "id": row.thread,
            "agent": newest[row.thread].agent,
            "status": newest[row.thread].status,
            "turns": row.turns,
            "created_at": row.first,
            "updated_at": row.last,
        }
        for row in found
    ]


async def history(db: Connection, thread: str, *, limit: int, before: str | None) -> dict[str, Any]:
    """Return a thread with its newest turns, in order, fewer where they are long; raises `NotFound`."""
    long = sa.func.coalesce(sa.func.length(runs.c.output), 0)
    so_far = sa.func.sum(long).over(order_by=(runs.c.created_at.desc(), runs.c.id))
    turns = sa.select(runs.c.id, (so_far - long).label("later")).where(runs.c.thread == thread)
    page = (turns if before is None else turns.where(runs.c.created_at < before)).cte()
    query = sa.select(runs).join(page, runs.c.id == page.c.id).where(page.c.later < PAGE_CHARACTERS)
    rows = await db.execute(query.order_by(runs.c.created_at.desc(), runs.c.id).limit(limit))
    if not rows and (before is None or await _first(db, thread) is None):
        raise _unknown()
    kept = await db.one(sa.select(threads).where(threads.c.id == thread))
    return {
        "id": thread,
        "summary": None if kept is None else kept.summary,
        "turns": [_turn(row) for row in reversed(rows)],
    }


async def forget(db: Connection, thread: str) -> list[str]:
    """Delete a thread with all that its runs left, and return those; `NotFound`, or `Conflict` while one goes on."""
    rows = await db.execute(sa.select(runs.c.id, runs.c.status).where(runs.c.thread == thread).with_for_update())
    if not rows:
        raise _unknown()
    if active := next((row.id for row in rows if row.status not in ENDED), None):
        raise Conflict(f"The thread has a run that has not ended: {active}", run=active)
    gone = [row.id for row in rows]
    for table in (events, journal):
        await db.execute(sa.delete(table).where(table.c.run.in_(gone)))
    await db.execute(sa.delete(runs).where(runs.c.id.in_(gone)))
    await db.execute(sa.delete(threads).where(threads.c.id == thread))
    return gone


async def idle(db: Connection, since: str, most: int) -> list[str]:
    """Return threads whose last turn began before a time and whose runs have all ended, the oldest first."""
    last = sa.func.max(runs.c.created_at)
    under_way = sa.func.sum(sa.case((runs.c.status.in_(sorted(ENDED)), 0), else_=1))
    query = sa.select(runs.c.thread).group_by(runs.c.thread).having(last < since, under_way == 0)
    return [row.thread for row in await db.execute(query.order_by(last).limit(most))]


def _turn(row: Row) -> dict[str, Any]:
    return {
        "run": row.id,
        "agent": row.agent,
        "message": (as_object(row.origin) or {}).get("message"),
        "input": row.input,
        "output": row.output,
        "status": row.status,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def _unknown() -> NotFound:
    return NotFound("There is no such thread, or it is not yours")
