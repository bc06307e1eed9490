"""A tenant's agents: running, following, resuming and cancelling."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import httpx2

from tausestack.client.runs import Run
from tausestack.client.wire import Repeatable, Wire
from tausestack.errors import DeadlineExceeded, InvalidArguments, Unavailable
from tausestack.raw import given

if TYPE_CHECKING:
    from tausestack.agents import AgentSpec, TeamSpec  # not read by a client that saves none

LONGEST_WAIT_SECONDS = 60.0
"""How long one request may wait at the gateway for a run's end; a longer wait is several."""
FIRST_POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 1.0
BROKEN_STREAMS = 5
"""How many times in a row a stream of events may break without a new event."""


class Tenant(Protocol):
    """What this face needs of the client that it belongs to."""

    @property
    def wire(self) -> Wire: ...

    def path(self, *parts: str) -> str: ...

    def may_repeat(self, address: str) -> Repeatable: ...

    def key(self, own: str | None) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run: its place in the run's event log, its kind, and its JSON.

    Kinds are `run`, `step`, `token`, `tool_call`, `tool_result`, `approval`, `cost`, `handoff` and `error`.
    """

    id: str
    kind: str
    content: Any

    @property
    def status(self) -> str | None:
        """The run's status, where this is what the event tells."""
        return self.content.get("status") if self.kind == "run" and isinstance(self.content, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] raw JSON


class Agents:
    """The agents of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def specs(self) -> list[dict[str, Any]]:
        """Return the agents that can be run."""
        found: dict[str, Any] = await self._tenant.wire.request("GET", self._tenant.path("agents"))
        return found["agents"]

    async def spec(self, agent: str) -> dict[str, Any]:
        """Return an agent: all of it under `spec`, and its versions."""
        return await self._tenant.wire.request("GET", self._tenant.path("agents", agent))

    async def save(self, spec: AgentSpec | Mapping[str, Any]) -> dict[str, Any]:
        """Save a version of an agent: `{"name", "version", "new", "unknown_handoffs", "warnings"}`."""
        return await self._changed("POST", ("agents",), "agents/save_agent", _plain(spec))

    async def delete(self, agent: str) -> None:
        """Delete an agent; runs that are under way go on with their version."""
        await self._changed("DELETE", ("agents", agent), "agents/delete_agent", None)

    async def teams(self) -> dict[str, Any]:
        """Return the tenant's teams with their tasks, and the presets that can be saved by `save_preset`."""
        return await self._tenant.wire.request("GET", self._tenant.path("teams"))

    async def save_team(self, team: TeamSpec | Mapping[str, Any]) -> dict[str, Any]:
        """Save a version of a team: `{"name", "version", "new"}`."""
        return await self._changed("POST", ("teams",), "agents/save_team", _plain(team))

    async def save_preset(self, preset: str) -> dict[str, Any]:
        """Save a team that comes ready, with its agents."""
        path = ("tools", "agents", "save_preset")
        return await self._changed("POST", path, "agents/save_preset", {"preset": preset})

    async def allow_tools(self, tools: Sequence[str]) -> list[str]:
        """Name the tools that built-in agents call without asking a person, in place of those before; return them."""
        path, body = ("tools", "agents", "allow_tools"), {"tools": list(tools)}
        return (await self._changed("POST", path, "agents/allow_tools", body))["tools"]

    async def delete_team(self, team: str) -> None:
        """Delete a team; its agents stay."""
        await self._changed("DELETE", ("teams", team), "agents/delete_team", None)

    async def run_team(
        self,
        team: str,
        input: str,
        *,
        thread: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run of a team, and return it as `run` does."""
        body = given({"input": input, "thread": thread})
        return await self._start(("teams", team, "runs"), "agents/run_team", body, wait, idempotency_key)

    async def run(
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
        """Start a run, and return it as it stands once it settled or `wait` seconds are over.

        Without `wait` it is returned at once. A run is settled when it ended or waits for a person. `message` is the id
        of a message from outside: in its thread it is handled once. `budget` bounds it (`{"tokens", "cost", "currency",
        "steps", "seconds", "tool_calls"}`, any of them); `model` is `offline`, `recorded` or `live`, for evaluations.
        """
        body = given(
            {"agent": agent, "input": input, "thread": thread, "budget": budget, "model": model, "message": message}
        )
        return await self._start(("runs",), "agents/run", body, wait, idempotency_key)

    async def wait(self, run: str, *, timeout: float = 300.0) -> Run:
        """Return a run once it settled, or raise `DeadlineExceeded` after `timeout` seconds."""
        last = await self._follow(await self.get(run), time.monotonic() + timeout)
        if not last.settled:
            raise DeadlineExceeded(f"The run {run} is still {last.status} after {timeout:g} s")
        return last

    async def stream(
        self,
        agent: str,
        input: str,
        *,
        thread: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Start a run and yield its events until it ended or waits for a person; a broken stream goes on.

        The last event of a run that waits has the status `interrupted`. After `resume`, `events(run, after=event.id)`
        has the rest.
        """
        run = await self.run(agent, input, thread=thread)
        async with aclosing(self.events(run.id)) as events:
            async for event in events:
                yield event
                if event.status == "interrupted":
                    return

    async def events(self, run: str, *, after: str | None = None) -> AsyncGenerator[Event]:
        """Yield a run's events after one of them, or from the first, until it ended; an interrupted run has not."""
        last, breaks = after, 0
        while True:
            try:
                async with aclosing(self._events(run, last)) as events:
                    async for event in events:
                        last, breaks = event.id or last, 0
                        yield event
            except httpx2.TransportError as error:
                breaks += 1
                if breaks > BROKEN_STREAMS:
                    raise Unavailable(f"The events of the run {run} break off") from error
            if (await self.get(run)).ended and not breaks:
                return
            await anyio.sleep(FIRST_POLL_SECONDS * (breaks + 1))

    async def resume(
        self,
        run: str,
        decision: Mapping[str, Any] | None = None,
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Let an interrupted run go on, and return it as `run` does.

        A decision is `{"approve": true}`, `{"approve": false, "reason": …}`, `{"arguments": …}` or `{"input": "…"}`; a
        pause needs none.
        """
        body: dict[str, Any] = {} if decision is None else {"decision": dict(decision)}
        return await self._start(("runs", run, "resume"), "agents/resume", body, wait, idempotency_key)

    async def cancel(self, run: str) -> Run:
        """Stop a run at once, in the middle of a call too; what it has done already stays done."""
        return Run.model_validate(await self._steer(run, "cancel", {}))

    async def pause(self, run: str) -> Run:
        """Stop a run before its next call; `resume` lets it go on."""
        return Run.model_validate(await self._steer(run, "pause", {}))

    async def fork(
        self,
        run: str,
        checkpoint: str | None = None,
        *,
        thread: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run that keeps what another did before a `call` that its events name, and does the rest anew."""
        body = given({"checkpoint": checkpoint, "thread": thread})
        return Run.model_validate(await self._steer(run, "fork", body, idempotency_key))

    async def replay(self, run: str) -> dict[str, Any]:
        """Go through a run by its journal alone, and return its steps and its answer; raises `Diverged`."""
        return await self._steer(run, "replay", {})

    async def get(self, run: str) -> Run:
        """Return a run."""
        return Run.model_validate(await self._tenant.wire.request("GET", self._tenant.path("runs", run)))

    async def list(self, *, limit: int | None = None, status: str | None = None) -> list[Run]:
        """Return runs, the newest first."""
        found: dict[str, Any] = await self._tenant.wire.request(
            "GET", self._tenant.path("runs"), query={"limit": limit, "status": status}
        )
        return [Run.model_validate(run) for run in found["runs"]]

    async def _changed(self, method: str, path: tuple[str, ...], address: str, body: dict[str, Any] | None) -> Any:
        return await self._tenant.wire.request(
            method,
            self._tenant.path(*path),
            body=body,
            headers=self._tenant.key(None),
            repeatable=self._tenant.may_repeat(address),
        )

    async def _steer(self, run: str, how: str, body: dict[str, Any], key: str | None = None) -> Any:
        return await self._tenant.wire.request(
            "POST",
            self._tenant.path("runs", run, how),
            body=body,
            headers=self._tenant.key(key),
            repeatable=self._tenant.may_repeat(f"agents/{how}"),
        )

    async def _start(
        self, path: tuple[str, ...], address: str, body: dict[str, Any], wait: float | None, key: str | None
    ) -> Run:
        """Set a run going, and return it once it settled or `wait` seconds are over."""
        began = time.monotonic()
        if wait is not None:
            body["wait"] = min(wait, LONGEST_WAIT_SECONDS)
        found = await self._tenant.wire.request(
            "POST",
            self._tenant.path(*path),
            body=body,
            headers=self._tenant.key(key),
            repeatable=self._tenant.may_repeat(address),
        )
        run = Run.model_validate(found)
        return run if wait is None else await self._follow(run, began + wait)

    async def _events(self, run: str, last: str | None) -> AsyncGenerator[Event]:
        headers = {} if last is None else {"last-event-id": last}
        path = self._tenant.path("runs", run, "events")
        async with self._tenant.wire.events("GET", path, headers=headers, timeout=None) as source:
            async for event in source:
                if event.data:
                    yield Event(event.id, event.event, _content(event.data))

    async def _follow(self, run: Run, until: float) -> Run:
        pause = FIRST_POLL_SECONDS
        while not run.settled and time.monotonic() + pause < until:
            await anyio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_POLL_SECONDS)
            run = await self.get(run.id)
        return run


def _plain(spec: AgentSpec | TeamSpec | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(spec, Mapping):
        return dict(spec)
    if not hasattr(spec, "as_json"):
        raise InvalidArguments("An agent or a team is a spec, or a mapping with its fields")
    return spec.as_json()


def _content(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
