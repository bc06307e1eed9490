"""Stopping a run, and whatever hangs on it, wherever it is worked on."""

from __future__ import annotations

from tausestack.database import Connection
from tausestack_agents import store
from tausestack_agents.keeping import DECIDE_SECONDS, State


async def stop(state: State, tenant: str, run: str, by: str) -> None:
    """Stop a run and those that it started, for a principal; one that it was started by goes on, and is told."""
    next_turns = await state.databases.read(tenant, lambda db: _next_turns(db, run))
    for each in next_turns:
        # First the work, as when a run is started; looked at too early it is looked at again below.
        await state.dispatch.add(tenant, each, after=DECIDE_SECONDS)
    async with state.databases.transaction(tenant) as db:
        found = await store.get_run(db, run)
        ended = await store.cancel_run(db, run)
        below = await store.children(db, run)
    if state.worker is not None:
        state.worker.cancel(tenant, run)
    await state.dispatch.cut(tenant, run)
    state.bell.ring(tenant, run)
    if ended:
        await state.checkpoints.forget(tenant, run)
    waited = found.interrupt is not None and found.interrupt.get("approval") is not None
    if waited and state.gateway is not None:
        await state.gateway.withdraw(tenant, run, by)
    for each in below:
        await stop(state, tenant, each.id, by)
    if found.parent is not None:
        await state.make_due(tenant, found.parent)
    for each in next_turns:
        await state.make_due(tenant, each)


async def _next_turns(db: Connection, run: str) -> list[str]:
    """Return the turns that come after a run in its thread and have not begun."""
    found = await store.get_run(db, run)
    return [each for each in await store.turns_waiting(db, found.thread) if each != run]
