"""Waiting for a run: a while in a call, to its end in a task, with progress as it goes and questions where it waits."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError

from tausestack.errors import MISSING_CLIENT_CAPABILITY, Conflict, TauseError
from tausestack.mcp import Context
from tausestack.raw import as_object, object_at
from tausestack_agents.domain import ENDED, Decision, subject
from tausestack_agents.keeping import State
from tausestack_agents.starting import MAX_WAIT_SECONDS, Run, settled, shown
from tausestack_agents.stopping import stop

LOOK_SECONDS = 0.5


async def followed(ctx: Context, run: str) -> Run:
    """Return a run once it has ended; what it waits for is asked of the task's client, where that can be asked.

    A task that is cancelled cancels its run.
    """
    try:
        while (found := await settled(ctx, run, MAX_WAIT_SECONDS))["status"] not in ENDED:
            if found["status"] == "interrupted":
                await _asked(ctx, found)
    except anyio.get_cancelled_exc_class():
        if ctx.given_up():
            with anyio.CancelScope(shield=True):
                await stop(ctx.state, ctx.tenant, run, ctx.principal.id)
        raise
    return found


async def _asked(ctx: Context, found: Run) -> None:
    """Have the client's person decide on what a run waits for; return once that is decided, by whomever."""
    held = object_at(found, "interrupt")
    async with _until_it_goes_on(ctx, found) as moved:
        question = _question(found, held)
        if question is None or ctx.principal.agent is not None:
            await moved.wait()
            return
        message, schema = question
        name = f"run-{held.get('approval') or held.get('call')}"
        try:
            answer = await ctx.elicit(message, schema, name=name, unless=moved)
        except MCPError as error:
            if error.code != MISSING_CLIENT_CAPABILITY:
                raise
            await moved.wait()  # somebody decides elsewhere
            return
        if not moved.is_set():
            await _decided(ctx, str(held.get("run") or found["id"]), held, answer)


@asynccontextmanager
async def _until_it_goes_on(ctx: Context, found: Run) -> AsyncGenerator[anyio.Event]:
    """Give an event that is set once a run no longer waits for what it waited for."""
    moved = anyio.Event()

    async def look() -> None:
        while True:
            now = await shown(ctx, found["id"])
            if now["status"] != "interrupted" or now.get("interrupt") != found["interrupt"]:
                moved.set()
                return
            await ctx.state.bell.wait(ctx.tenant, found["id"], LOOK_SECONDS)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        yield moved
        group.cancel_scope.cancel()


async def _decided(ctx: Context, run: str, held: dict[str, Any], answer: dict[str, Any]) -> None:
    """Take an answer for a decision, where it is one; whoever put it off is asked again."""
    content, action = object_at(answer, "content"), answer.get("action")
    approve = action == "accept" and content.get("decision") == "approve"
    if not approve and not (action == "decline" or content.get("decision") == "reject"):
        return
    reason = str(content.get("reason") or "")
    edited = as_object(_json(content.get("arguments"))) if approve else None
    if edited == held.get("arguments"):
        edited = None
    approval = held.get("approval")
    state: State = ctx.state
    if approval is not None and state.gateway is not None:
        decision = {"id": approval, "decision": "approve" if approve else "reject", "reason": reason}
        given = {**decision, **({} if edited is None else {"arguments": edited})}
        try:
            told = await state.gateway.decide_for(ctx.tenant, ctx.principal.id, given)
            edited = None if edited is None else told["arguments"]
        except Conflict:
            return  # somebody else was first: the run says what came of it
        except TauseError as error:
            ctx.logger.warning("an answer in a task was not taken", code=error.code, reason=error.message)
            raise
    await state.decide(ctx.tenant, run, subject(held), Decision(approve, reason, edited, approval))


def _question(found: Run, held: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    if held.get("kind") not in {"approval", "decision"}:
        return None
    arguments = json.dumps(held.get("arguments"), ensure_ascii=False)
    message = f"The agent {found['agent']} wants to call {held.get('server')}/{held.get('tool')}: {arguments[:1500]}"
    properties: dict[str, Any] = {
        "decision": {"type": "string", "title": "Decision", "enum": ["approve", "reject"]},
        "reason": {"type": "string", "title": "Why", "maxLength": 1000},
    }
    if len(arguments) <= 1500:
        properties["arguments"] = {"type": "string", "title": "Arguments, as JSON", "default": arguments}
    return message, {"type": "object", "properties": properties, "required": ["decision"]}


def _json(text: Any) -> Any:
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
