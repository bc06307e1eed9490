"""The worker goes on, whatever becomes of one run."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from tausestack.database import TenantDatabases
from tausestack_agents.dispatch import Dispatch, Due
from tausestack_agents.execution import Absent, Executor
from tausestack_agents.store import Fenced
from tausestack_agents.tables import SCHEMA
from tausestack_agents.worker import Worker, working

pytestmark = pytest.mark.anyio


class Flaky(Dispatch):
    """A dispatch table whose database is away when the first run is struck off."""

    def __init__(self, databases: TenantDatabases) -> None:
        super().__init__(databases)
        self.struck: list[str] = []
        self.away = True
        self.looked = anyio.Event()

    async def claim(self, most: int) -> list[Due]:
        claimed = await super().claim(most)
        self.looked.set()
        return claimed

    async def done(self, due: Due) -> None:
        if self.away:
            self.away = False
            raise OSError("the disk is away")
        await super().done(due)
        self.struck.append(due.run)


class Runs:
    """An executor that knows only some runs, and from the second look on."""

    def __init__(self) -> None:
        self.looks: list[str] = []

    async def execute(self, tenant: str, run: str, holds: Callable[[], bool]) -> None:
        self.looks.append(run)
        if run == "late" and self.looks.count("late") == 1:
            raise Absent(run)


@pytest.fixture
async def dispatch(tmp_path: Path) -> AsyncGenerator[Flaky]:
    databases = TenantDatabases(SCHEMA, data=tmp_path)
    yield Flaky(databases)
    await databases.aclose()


@pytest.mark.covers("agents:worker-goes-on")
async def test_a_run_that_cannot_be_struck_off_does_not_stop_the_others(
    dispatch: Flaky, until: Callable[..., Any]
) -> None:
    runs = Runs()
    worker = Worker(dispatch, cast("Executor", runs))

    async def first_failed() -> bool:
        return not dispatch.away

    async def second_struck() -> bool:
        return dispatch.struck == ["second"]

    async with working(worker):
        await dispatch.add("acme", "first")
        worker.wake()
        await until(first_failed)
        await dispatch.add("acme", "second")
        worker.wake()
        await until(second_struck)


@pytest.mark.covers("agents:worker-goes-on")
async def test_a_run_that_is_not_written_yet_is_looked_at_again(dispatch: Flaky, until: Callable[..., Any]) -> None:
    dispatch.away = False
    runs = Runs()
    worker = Worker(dispatch, cast("Executor", runs))

    async def struck() -> bool:
        return dispatch.struck == ["late"]

    async with working(worker):
        await dispatch.add("acme", "late")
        worker.wake()
        await until(struck)
    assert runs.looks == ["late", "late"]
    assert await dispatch.next_due() is None


class Fencing(Runs):
    """An executor that is told at its first look that the claim is over."""

    async def execute(self, tenant: str, run: str, holds: Callable[[], bool]) -> None:
        await super().execute(tenant, run, holds)
        if len(self.looks) == 1:
            raise Fenced(run)


@pytest.mark.covers("agents:worker-goes-on")
async def test_a_run_that_was_let_go_of_is_looked_at_again_where_nobody_took_it(
    dispatch: Flaky, until: Callable[..., Any]
) -> None:
    dispatch.away = False
    runs = Fencing()
    worker = Worker(dispatch, cast("Executor", runs))

    async def struck() -> bool:
        return dispatch.struck == ["first"]

    await dispatch.add("acme", "first")
    async with working(worker):
        await until(struck)
    assert runs.looks == ["first", "first"]


class Held(Runs):
    """An executor that holds the whole process up past its lease, and goes on once due runs were looked up."""

    def __init__(self, dispatch: Flaky) -> None:
        super().__init__()
        self._dispatch = dispatch

    async def execute(self, tenant: str, run: str, holds: Callable[[], bool]) -> None:
        await super().execute(tenant, run, holds)
        self._dispatch.looked = anyio.Event()
        until = time.monotonic() + self._dispatch.lease * 1.2
        while time.monotonic() < until:
            pass
        await self._dispatch.looked.wait()


@pytest.mark.covers("agents:worker-goes-on")
async def test_a_process_that_was_held_up_past_its_leases_goes_on_with_what_nobody_took(
    dispatch: Flaky, until: Callable[..., Any]
) -> None:
    dispatch.away, dispatch.lease = False, 2.0
    runs = Held(dispatch)
    worker = Worker(dispatch, cast("Executor", runs))

    async def nothing_left() -> bool:
        return await dispatch.next_due() is None

    await dispatch.add("acme", "first")
    async with working(worker):
        await until(nothing_left)
    assert runs.looks == ["first"]
