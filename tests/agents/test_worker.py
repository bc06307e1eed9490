"""The worker goes on, whatever becomes of one run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tausestack.database import TenantDatabases
from tausestack_agents.dispatch import Dispatch, Due
from tausestack_agents.execution import Absent, Executor
from tausestack_agents.tables import SCHEMA
from tausestack_agents.worker import Worker, working

pytestmark = pytest.mark.anyio


class Flaky(Dispatch):
    """A dispatch table whose database is away when the first run is struck off."""

    def __init__(self, databases: TenantDatabases) -> None:
        super().__init__(databases)
        self.struck: list[str] = []
        self.away = True

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
