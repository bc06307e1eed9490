"""The tasks of a server: made, run, asked after, answered, cancelled."""

from __future__ import annotations

import copy
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import structlog
from mcp.shared.exceptions import MCPError

from tausestack.errors import InDoubt, InternalError, TauseError, Unavailable, to_jsonrpc
from tausestack.mcp.digests import NONE, Digest
from tausestack.mcp.tasks.record import Owner, Task, TaskLimits, moment
from tausestack.mcp.tasks.runs import Run, Work
from tausestack.mcp.tasks.shapes import unknown_task
from tausestack.mcp.tasks.store import MemoryTasks, TaskStore

if TYPE_CHECKING:
    from tausestack.database import TenantDatabases

_ACKNOWLEDGE_SECONDS = 2.0
"""How long the answer to a wish to cancel waits for the task's end."""
_KEEP_SECONDS = 0.5
"""How often a task that reports progress is kept at most."""


class Tasks:
    """Runs tasks and keeps them: in the tenant's own database, or in memory, where they end with the process.

    `awake` is the Unix socket that the process serves: a connection to it says that the process is not idle.
    """

    def __init__(
        self, work: Work, limits: TaskLimits | None = None, databases: TenantDatabases | None = None,
        awake: str | None = None,
    ) -> None:  # fmt: skip
        self.process = secrets.token_hex(8)
        self.limits = limits or TaskLimits()
        self._work = work
        self._awake = awake
        self._live: dict[tuple[str, str], Run] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._change = anyio.Event()
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("tasks")
        self._store: TaskStore = MemoryTasks()
        self._recovery = None
        if databases is not None:
            # A server without a schema never needs SQLAlchemy, and may not have it.
            from tausestack.mcp.tasks.durable import DurableTasks
            from tausestack.mcp.tasks.recovery import Recovery

            self._store = durable = DurableTasks(databases)
            self._recovery = Recovery(self, durable)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Tasks]:
        """Run tasks until this is left; those that are at work then stay unfinished for the next process."""
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                if self._recovery is not None:
                    group.start_soon(self._recovery.watch)
                if self._awake is not None:
                    group.start_soon(self._stay_awake, self._awake)
                try:
                    yield self
                finally:
                    self._group = None
                    group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            # No task of ours raises: what is in it is what was raised around the `yield`.
            if len(errors.exceptions) == 1:
                raise errors.exceptions[0] from None
            raise
        finally:
            if self._recovery is not None:
                await self._recovery.leave()

    async def create(
        self, owner: Owner, tool: str, call: dict[str, Any], *, key: str | None = None, digest: Digest = NONE,
        local: Any = None,
    ) -> Task:  # fmt: skip
        """Make a task and begin it; return the one that the same keyed call made before, where there is one.

        `call` is JSON that is kept with the task; `local` is given to its run in this process, and kept nowhere.
        """
        if not self._takes:
            raise Unavailable("this process takes no tasks now: nothing was done, try again")
        now, limits = moment(), self.limits
        task = Task(
            id=secrets.token_urlsafe(24),
            owner=owner,
            tool=tool,
            call=call,
            process=self.process,
            ttl_ms=limits.ttl_ms,
            poll_ms=limits.poll_ms,
            created_at=now,
            updated_at=now,
            expires_at=moment(limits.ttl_ms),
            key=key,
            digest=digest.kept,
            told_by=digest,
        )
        enlisted = nullcontext() if self._recovery is None else self._recovery.enlisted(owner.tenant)
        async with enlisted:
            kept = await self._store.create(task, limits)
            # Where the process was told to stop meanwhile, the next one begins it.
            if kept.id == task.id and self._takes:
                self.start(task, local)
        return copy.deepcopy(kept)

    async def get(self, owner: Owner, task_id: str) -> Task:
        """Return a task of the owner's; raise the `MCPError` that there is none."""
        return copy.deepcopy(await self._find(owner, task_id))

    async def update(self, owner: Owner, task_id: str, answers: dict[str, dict[str, Any]]) -> None:
        """Answer a task's requests for input; answers to what is not outstanding are ignored."""
        task = await self._find(owner, task_id)
        fresh = {key: each for key, each in answers.items() if key in task.outstanding}
        if not fresh:
            return
        await self._store.answer(owner.tenant, task_id, fresh)
        if (run := self._live.get((owner.tenant, task_id))) is not None:
            run.answer(fresh)

    async def cancel(self, owner: Owner, task_id: str) -> None:
        """Ask that a task be cancelled; one that has ended stays as it is."""
        task = await self._find(owner, task_id)
        if task.ending is not None:
            return
        run = self._live.get((owner.tenant, task_id))
        if run is not None:
            # First of all: it may hold the tenant's turn to write, which keeping the wish needs.
            run.cancel()
        with anyio.move_on_after(_ACKNOWLEDGE_SECONDS):
            await self._store.cancel(owner.tenant, task_id)
            if run is not None:
                await run.ended.wait()

    @property
    def change(self) -> anyio.Event:
        """What is set when a task that runs here changes next."""
        return self._change

    def live(self, tenant: str) -> dict[str, Run]:
        """Return the tenant's tasks that run here, by id."""
        return {task_id: run for (owner, task_id), run in self._live.items() if owner == tenant}

    def live_tenants(self) -> set[str]:
        """Return the tenants whose tasks run here."""
        return {tenant for tenant, _ in self._live}

    def start(self, task: Task, local: Any = None) -> None:
        """Begin a task that is kept as this process's."""
        if self._group is None:
            raise RuntimeError("tasks run only within `Tasks.running()`")
        run = Run(copy.deepcopy(task), self._changed, local)
        self._live[task.owner.tenant, task.id] = run
        self._group.start_soon(self._run, run)
        self._changed()

    async def keep(self, run: Run) -> None:
        """Keep how far a task is."""
        if not await self._store.save(run.task):
            run.lose()

    @property
    def _takes(self) -> bool:
        """Whether tasks can be begun: from the start of `running` to its end."""
        return self._group is not None

    async def _find(self, owner: Owner, task_id: str) -> Task:
        task = await self._known(owner.tenant, task_id)
        orphan = task is not None and task.owner == owner and task.ending is None and not self._here(task)
        if orphan and task is not None and self._recovery is not None and await self._recovery.rescue(task):
            task = await self._known(owner.tenant, task_id)
        if task is None or task.owner != owner or task.expired(moment()):
            raise unknown_task()
        return task

    async def _known(self, tenant: str, task_id: str) -> Task | None:
        run = self._live.get((tenant, task_id))
        return await self._store.find(tenant, task_id) if run is None else run.task

    def _here(self, task: Task) -> bool:
        return (task.owner.tenant, task.id) in self._live

    async def _run(self, run: Run) -> None:
        task = run.task
        log = self._log.bind(tenant=task.owner.tenant, task=task.id, tool=task.tool)
        try:
            final = await self._outcome(run, log)
            if final is None:
                return
            with anyio.CancelScope(shield=True):
                if await self._store.save(final):
                    run.task = final
                else:
                    log.warning("task ended, but it is another process's now or had ended before")
        except Exception:  # one task's trouble is not the others': it is found unfinished and gone on with
            log.exception("task could not be kept")
        finally:
            del self._live[task.owner.tenant, task.id]
            run.ended.set()
            self._changed()

    async def _outcome(self, run: Run, log: structlog.typing.FilteringBoundLogger) -> Task | None:
        """Do the work and return the task as it ended, None where it did not end here."""
        final: list[Task] = []
        run.scope.deadline = anyio.current_time() + _seconds_until(run.task.expires_at)
        with run.scope:
            if run.task.cancelling:
                run.scope.cancel()
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep, run, log)
                final.append(await self._worked(run, log))
                group.cancel_scope.cancel()
        if run.lost:
            return None
        if final:
            return final[0]
        return run.ending("cancelled") if run.task.cancelling else _failed(run, InternalError("its time is over"))

    async def _worked(self, run: Run, log: structlog.typing.FilteringBoundLogger) -> Task:
        task = run.task
        if task.runs > 1 and not self._work.repeatable(task):
            return _failed(run, InDoubt("its process died midway: it may or may not have taken effect"))
        if task.runs > self.limits.runs:
            return _failed(run, InDoubt(f"its process died {task.runs - 1} times midway"))
        try:
            return run.ending("completed", result=await self._work.run(task, run))
        except MCPError as error:
            data = {} if error.data is None else {"data": error.data}
            return run.ending("failed", error.message, error={"code": error.code, "message": error.message, **data})
        except Exception:
            log.exception("task broke")
            return _failed(run, InternalError(f"internal error, task {task.id}"))

    async def _keep(self, run: Run, log: structlog.typing.FilteringBoundLogger) -> None:
        while True:
            await run.changed.wait()
            run.changed = anyio.Event()
            try:
                await self.keep(run)
            except Exception:
                log.warning("task's progress could not be kept", exc_info=True)
            await anyio.sleep(_KEEP_SECONDS)

    async def _stay_awake(self, path: str) -> None:
        """Hold a connection to the process's own socket while tasks run: whoever stops idle processes counts those."""
        while True:
            await self._until(busy=True)
            try:
                async with await anyio.connect_unix(path):
                    await self._until(busy=False)
            except OSError:
                self._log.warning("no connection to our own socket: this process may be stopped as idle", path=path)
                await self._until(busy=False)

    async def _until(self, *, busy: bool) -> None:
        while bool(self._live) != busy:
            await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = anyio.Event()


def _failed(run: Run, error: TauseError) -> Task:
    return run.ending("failed", error.message, error=to_jsonrpc(error))


def _seconds_until(moment_text: str) -> float:
    return (datetime.fromisoformat(moment_text) - datetime.now(UTC)).total_seconds()
