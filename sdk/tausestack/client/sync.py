"""The client for scripts: the asynchronous one on a thread of its own."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tausestack.client.agents import Agents, Event
from tausestack.client.approvals import Approvals
from tausestack.client.client import DEFAULT_URL, Client, Progress
from tausestack.client.runs import Run
from tausestack.client.schedules import Schedules
from tausestack.client.threads import Threads
from tausestack.client.wire import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tausestack.agents import AgentSpec, TeamSpec

P = ParamSpec("P")
T = TypeVar("T")


class _Thread:
    """The event loop's thread, started on first use."""

    def __init__(self) -> None:
        self._running: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None

    def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._portal is None:
            self._running = start_blocking_portal("asyncio")
            self._portal = self._running.__enter__()
        return self._portal.call(functools.partial(function, *args, **kwargs))

    def stop(self) -> None:
        running, self._running, self._portal = self._running, None, None
        if running is not None:
            running.__exit__(None, None, None)


class SyncAgents:
    """The agents of a tenant; see `Agents`."""

    def __init__(self, thread: _Thread, agents: Agents) -> None:
        self._thread = thread
        self._agents = agents

    def specs(self) -> list[dict[str, Any]]:
        """Return the agents that can be run."""
        return self._thread.run(self._agents.specs)

    def spec(self, agent: str) -> dict[str, Any]:
        """Return an agent: all of it under `spec`, and its versions."""
        return self._thread.run(self._agents.spec, agent)

    def save(self, spec: AgentSpec | Mapping[str, Any]) -> dict[str, Any]:
        """Save a version of an agent: `{"name", "version", "new", "unknown_handoffs", "warnings"}`."""
        return self._thread.run(self._agents.save, spec)

    def delete(self, agent: str) -> None:
        """Delete an agent; runs that are under way go on with their version."""
        self._thread.run(self._agents.delete, agent)

    def teams(self) -> dict[str, Any]:
        """Return the tenant's teams with their tasks, and the presets that can be saved by `save_preset`."""
        return self._thread.run(self._agents.teams)

    def save_team(self, team: TeamSpec | Mapping[str, Any]) -> dict[str, Any]:
        """Save a version of a team: `{"name", "version", "new"}`."""
        return self._thread.run(self._agents.save_team, team)

    def save_preset(self, preset: str) -> dict[str, Any]:
        """Save a team that comes ready, with its agents."""
        return self._thread.run(self._agents.save_preset, preset)

    def allow_tools(self, tools: Sequence[str]) -> list[str]:
        """Name the tools that built-in agents call without asking a person, in place of those before; return them."""
        return self._thread.run(self._agents.allow_tools, tools)

    def delete_team(self, team: str) -> None:
        """Delete a team; its agents stay."""
        self._thread.run(self._agents.delete_team, team)

    def run_team(
        self,
        team: str,
        input: str,
        *,
        thread: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run of a team, and return it as `run` does."""
        return self._thread.run(
            self._agents.run_team, team, input, thread=thread, wait=wait, idempotency_key=idempotency_key
        )

    def run(
        self,
        agent: str,
        input: str,
        *,
        thread: str | None = None,
        budget: Mapping[str, Any] | None = None,
        model: str | None = None,
        wait: float | None = None,
        message: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run, and return it as it stands once it settled or `wait` seconds are over."""
        return self._thread.run(
            self._agents.run,
            agent,
            input,
            thread=thread,
            budget=budget,
            model=model,
            wait=wait,
            message=message,
            idempotency_key=idempotency_key,
        )

    def wait(self, run: str, *, timeout: float = 300.0) -> Run:
        """Return a run once it settled, or raise `DeadlineExceeded` after `timeout` seconds."""
        return self._thread.run(self._agents.wait, run, timeout=timeout)

    def stream(self, agent: str, input: str, *, thread: str | None = None) -> Generator[Event]:
        """Start a run and yield its events until it ended, or waits for a person: its last status is `interrupted`."""
        return self._followed(self._agents.stream(agent, input, thread=thread))

    def events(self, run: str, *, after: str | None = None) -> Generator[Event]:
        """Yield a run's events after one of them, or from the first, until it ended."""
        return self._followed(self._agents.events(run, after=after))

    def _followed(self, source: AsyncGenerator[Event]) -> Generator[Event]:
        async def following() -> Event | None:
            return await anext(source, None)

        try:
            while (event := self._thread.run(following)) is not None:
                yield event
        finally:
            self._thread.run(source.aclose)

    def resume(
        self,
        run: str,
        decision: Mapping[str, Any] | None = None,
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Let an interrupted run go on with a decision, and return it as `run` does."""
        return self._thread.run(self._agents.resume, run, decision, wait=wait, idempotency_key=idempotency_key)

    def cancel(self, run: str) -> Run:
        """Stop a run at once; what it has done already stays done."""
        return self._thread.run(self._agents.cancel, run)

    def pause(self, run: str) -> Run:
        """Stop a run before its next call; `resume` lets it go on."""
        return self._thread.run(self._agents.pause, run)

    def fork(
        self,
        run: str,
        checkpoint: str | None = None,
        *,
        thread: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run that keeps what another did before a checkpoint, and does the rest anew."""
        return self._thread.run(self._agents.fork, run, checkpoint, thread=thread, idempotency_key=idempotency_key)

    def replay(self, run: str) -> dict[str, Any]:
        """Go through a run by its journal alone, and return its steps and its answer."""
        return self._thread.run(self._agents.replay, run)

    def get(self, run: str) -> Run:
        """Return a run."""
        return self._thread.run(self._agents.get, run)

    def list(self, *, limit: int | None = None, status: str | None = None) -> list[Run]:
        """Return runs, the newest first."""
        return self._thread.run(self._agents.list, limit=limit, status=status)


class SyncApprovals:
    """The approvals of a tenant; see `Approvals`."""

    def __init__(self, thread: _Thread, approvals: Approvals) -> None:
        self._thread = thread
        self._approvals = approvals

    def list(self, *, status: str | None = None) -> list[dict[str, Any]]:
        """Return approvals, or those of one status."""
        return self._thread.run(self._approvals.list, status=status)

    def decide(
        self,
        approval: str,
        decision: Literal["approve", "reject"],
        *,
        reason: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Approve or reject a waiting call and return the approval."""
        return self._thread.run(self._approvals.decide, approval, decision, reason=reason, arguments=arguments)


class SyncThreads:
    """The threads of a tenant; see `Threads`."""

    def __init__(self, thread: _Thread, threads: Threads) -> None:
        self._thread = thread
        self._threads = threads

    def list(self, *, limit: int | None = None, before: str | None = None) -> list[dict[str, Any]]:
        """Return threads, the one with the newest turn first."""
        return self._thread.run(self._threads.list, limit=limit, before=before)

    def get(self, thread: str, *, limit: int | None = None, before: str | None = None) -> dict[str, Any]:
        """Return a thread with its newest turns in order."""
        return self._thread.run(self._threads.get, thread, limit=limit, before=before)

    def delete(self, thread: str) -> dict[str, Any]:
        """Delete a thread with its runs, for good."""
        return self._thread.run(self._threads.delete, thread)

    def prune(self, days: float) -> dict[str, Any]:
        """Delete the threads that have been idle for so many days."""
        return self._thread.run(self._threads.prune, days)


class SyncSchedules:
    """The schedules of a tenant; see `Schedules`."""

    def __init__(self, thread: _Thread, schedules: Schedules) -> None:
        self._thread = thread
        self._schedules = schedules

    def list(self) -> list[dict[str, Any]]:
        """Return all schedules by name."""
        return self._thread.run(self._schedules.list)

    def get(self, name: str) -> dict[str, Any]:
        """Return a schedule."""
        return self._thread.run(self._schedules.get, name)

    def save(
        self,
        name: str,
        *,
        agent: str | None = None,
        input: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        thread: str | None = None,
        missed: Literal["once", "skip"] | None = None,
        enabled: bool | None = None,
    ) -> dict[str, Any]:
        """Make a schedule, or change what is given of it, and return it."""
        return self._thread.run(
            self._schedules.save,
            name,
            agent=agent,
            input=input,
            cron=cron,
            timezone=timezone,
            thread=thread,
            missed=missed,
            enabled=enabled,
        )

    def delete(self, name: str) -> dict[str, Any]:
        """Delete a schedule; the runs that it started stay."""
        return self._thread.run(self._schedules.delete, name)


class SyncClient:
    """Calls one tenant's tools, servers and agents from code without an event loop; see `Client`."""

    def __init__(
        self, tenant: str, api_key: str, url: str = DEFAULT_URL, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._thread = _Thread()
        self._client = Client(tenant, api_key, url, patience=patience)
        self.agents = SyncAgents(self._thread, self._client.agents)
        self.approvals = SyncApprovals(self._thread, self._client.approvals)
        self.threads = SyncThreads(self._thread, self._client.threads)
        self.schedules = SyncSchedules(self._thread, self._client.schedules)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client's connections and end its thread."""
        self._thread.run(self._client.aclose)
        self._thread.stop()

    def call(
        self,
        address: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        approval: str | None = None,
        on_progress: Progress | None = None,
    ) -> Any:
        """Call a tool by its address and return its structured result."""
        return self._thread.run(
            self._client.call,
            address,
            arguments,
            idempotency_key=idempotency_key,
            timeout=timeout,
            approval=approval,
            on_progress=on_progress,
        )

    def tools(self, search: str | None = None) -> list[dict[str, Any]]:
        """Return the tenant's tools; those that a search finds, best first."""
        return self._thread.run(self._client.tools, search)

    def servers(self) -> list[dict[str, Any]]:
        """Return the tenant's installed servers."""
        return self._thread.run(self._client.servers)

    def server(self, name: str) -> dict[str, Any]:
        """Return one installed server."""
        return self._thread.run(self._client.server, name)

    def plan(
        self,
        ref: str,
        *,
        name: str | None = None,
        arguments: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return what installing would do; nothing changes."""
        return self._thread.run(
            self._client.plan,
            ref,
            name=name,
            arguments=arguments,
            config=config,
            secrets=secrets,
            timeout=timeout,
        )

    def install(
        self,
        ref: str,
        *,
        name: str | None = None,
        arguments: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        default: bool | None = None,
        approve: bool | str = True,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Install a server and return `{"name", "status", "tools": […]}`."""
        return self._thread.run(
            self._client.install,
            ref,
            name=name,
            arguments=arguments,
            config=config,
            secrets=secrets,
            default=default,
            approve=approve,
            timeout=timeout,
        )

    def update(
        self, name: str, *, default: bool | None = None, secrets: Mapping[str, str | None] | None = None
    ) -> dict[str, Any]:
        """Change how a server is installed, and return it: whether it is the tenant's default, and its secrets."""
        return self._thread.run(self._client.update, name, default=default, secrets=secrets)

    def approve(self, name: str, approve: bool | str = True) -> dict[str, Any]:
        """Approve a server's quarantined tools and return it; `approve` is True or the hash that a review showed."""
        return self._thread.run(self._client.approve, name, approve)

    def uninstall(self, name: str, *, purge: bool = False) -> dict[str, Any]:
        """Uninstall a server; one of our own keeps its data unless `purge`."""
        return self._thread.run(self._client.uninstall, name, purge=purge)

    def usage(self, *, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        """Return the calls of a period summed up by tool; times are UTC, ISO 8601."""
        return self._thread.run(self._client.usage, since=since, until=until)

    def audit(self, *, limit: int | None = None, before: int | None = None) -> list[dict[str, Any]]:
        """Return audit entries, the newest first."""
        return self._thread.run(self._client.audit, limit=limit, before=before)

    def verify_audit(self) -> dict[str, Any]:
        """Check the tenant's audit chain and return `{"ok", "lines", …}`."""
        return self._thread.run(self._client.verify_audit)

    def explain(self, address: str) -> dict[str, Any]:
        """Return whether this credential may call a tool, and which rule decides that."""
        return self._thread.run(self._client.explain, address)
