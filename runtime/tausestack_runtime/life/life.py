"""Suspending, resuming and deleting tenants.

A deletion goes on until nothing is left: its first step is written down, the last one is that the tenant is forgotten.
What is killed in between is finished by the next gateway that starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from tausestack.database import TenantDatabases
from tausestack.database.whole import Whole
from tausestack.errors import Conflict, TauseError, Unavailable
from tausestack.names import SYSTEM_TENANT, check_tenant
from tausestack_runtime.gateway.snapshots import Snapshots, SystemCall
from tausestack_runtime.ledger import Ledger
from tausestack_runtime.life.folder import Folder, open_files
from tausestack_runtime.life.gateways import Gateways
from tausestack_runtime.life.shares import Shares
from tausestack_runtime.services import ADAPTER, socket_path
from tausestack_runtime.supervisor.control import ControlClient

LOCK = "life.lock"
BUSY = "a tenant is being deleted, imported or exported just now: try again"
STOP_SECONDS = 20.0
"""How long a tenant's adapter host may take to end, its servers with it."""
LOOK_SECONDS = 0.05
AGAIN_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""After how long an unfinished deletion is tried again; the last one holds for every further time."""

Receipt = dict[str, Any]

logger = structlog.get_logger("life")


class TenantLife:
    """Changes what a tenant is: for the operator, by way of the platform's tools."""

    def __init__(
        self,
        *,
        data: Path,
        run: Path,
        snapshots: Snapshots,
        system: SystemCall,
        shares: Shares,
        gateways: Gateways,
        databases: TenantDatabases,
        ledger: Ledger,
        control: ControlClient,
    ) -> None:
        self._data, self._run = data, run
        self._snapshots = snapshots
        self._system = system
        self._shares = shares
        self._gateways = gateways
        self._databases = databases
        self._ledger = ledger
        self._control = control
        self._deleting: dict[str, asyncio.Task[Receipt]] = {}
        self._finishing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Finish, in the background, the deletions that a dead process left unfinished."""
        self._finishing = asyncio.create_task(self._finish())

    async def aclose(self) -> None:
        """Stop; what is unfinished stays so until the next start."""
        tasks: list[asyncio.Task[Any]] = list(self._deleting.values())
        tasks += [] if self._finishing is None else [self._finishing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def suspend(self, tenant: str) -> dict[str, Any]:
        """Suspend a tenant and return it: its calls, runs and servers have ended, and nothing new begins."""
        changed = await self._change(tenant, "suspended")
        await self._gateways.everywhere("stop", tenant)
        await self._shares.stop(tenant)
        await self._stop_adapter(tenant)
        return changed

    async def resume(self, tenant: str) -> dict[str, Any]:
        """Let a suspended tenant go on, and return it."""
        return await self._change(tenant, "active")

    async def delete(self, tenant: str) -> Receipt:
        """Delete all that there is of a tenant, and return the receipt of what that was.

        Who asks may go away: it goes on. Raises `Unavailable` where something is left; then it can be asked for again,
        and is by the next start.
        """
        task = self._deleting.get(check_tenant(tenant))
        if task is None:
            task = self._deleting[tenant] = asyncio.create_task(self._delete(tenant))
            task.add_done_callback(lambda _: self._deleting.pop(tenant, None))
        return await asyncio.shield(task)

    async def _delete(self, tenant: str) -> Receipt:
        with self._alone():
            return await self._erase(tenant)

    async def _erase(self, tenant: str) -> Receipt:
        """Delete all that there is of a tenant, in its turn."""
        await self._change(tenant, "deleting")
        await self._gateways.everywhere("shut", tenant)
        await self._shares.shut(tenant)
        await self._stop_adapter(tenant)
        removed = await self._shares.erase(tenant)
        own = await Whole(self._databases).erase(tenant)
        lines = await self._ledger.erase(tenant)
        folder = Folder(self._data, tenant)
        files = await asyncio.to_thread(folder.remove)
        left = await self.left(tenant)
        if left:
            raise Unavailable(f"the tenant is not wholly deleted yet: {left}", left=left)
        await self._shares.unshut(tenant)
        await self._gateways.everywhere("unshut", tenant)
        await self._system("auth", "strike", SYSTEM_TENANT, {"tenant": tenant})
        self._snapshots.expire()
        found = {**removed, "gateway": own, "ledger": {"lines": lines}, "files": files}
        kept = {name: counts for name, counts in found.items() if any(counts.values())}
        return {"tenant": tenant, "deleted_at": datetime.now(UTC).isoformat(), "removed": kept, "left": {}}

    async def left(self, tenant: str) -> dict[str, Any]:
        """Return what there still is of a tenant, wherever there could be: nothing, once it is deleted."""
        found: dict[str, Any] = dict(await self._shares.count(tenant))
        adapter = await self._adapter(tenant)
        figures = await self._control.services()
        pids = [one["pid"] for one in (*figures["services"], *figures["gateways"]) if one["pid"]]
        folder = Folder(self._data, tenant)
        found |= {
            "gateway": await Whole(self._databases).count(tenant),
            "ledger": await self._ledger.count(tenant),
            "files": await asyncio.to_thread(folder.count),
            "process": 0 if adapter is None else 1,
            "socket": int(socket_path(self._run, ADAPTER.name, tenant).exists()),
            "open files": await asyncio.to_thread(open_files, folder.path, pids),
        }
        return {name: what for name, what in found.items() if what}

    async def _change(self, tenant: str, status: str) -> dict[str, Any]:
        try:
            return await self._system("auth", "change_status", SYSTEM_TENANT, {"tenant": tenant, "status": status})
        finally:
            self._snapshots.expire()

    async def _stop_adapter(self, tenant: str) -> None:
        await self._control.stop(ADAPTER.name, tenant)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + STOP_SECONDS
        while await self._adapter(tenant) is not None:
            if loop.time() > give_up:
                raise Unavailable("the tenant's servers do not end: try again")
            await asyncio.sleep(LOOK_SECONDS)

    async def _adapter(self, tenant: str) -> dict[str, Any] | None:
        """Return the supervisor's figures of a tenant's adapter host, or None where there is none."""
        figures = await self._control.services()
        return next((one for one in figures["services"] if one["tenant"] == tenant), None)

    async def _unfinished(self) -> list[str]:
        found: list[str] = (await self._system("auth", "unfinished", SYSTEM_TENANT, {}))["tenants"]
        return found

    async def _finish(self) -> None:
        """Delete what was being deleted when a gateway died, or imported when a command did; until it is done."""
        tries = 0
        while True:
            try:
                for tenant in await self._unfinished():
                    with self._alone():
                        # Whoever had the turn may have finished its import meanwhile.
                        if tenant in await self._unfinished():
                            await self._erase(tenant)
                    logger.info("an unfinished deletion or import was finished", tenant=tenant)
                return
            except TauseError as error:
                logger.info("unfinished deletions can't be finished yet", error=error.message)
            await asyncio.sleep(AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS) - 1)])
            tries += 1

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """Be the only one, of all gateways and commands, that deletes a tenant; the kernel ends a dead one's turn."""
        lock = os.open(self._data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(BUSY, retry_after=1) from None
            yield
        finally:
            os.close(lock)
