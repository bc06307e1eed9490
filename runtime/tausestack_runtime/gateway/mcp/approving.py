"""Approvals in the chat client: a call that waits for a person is answered with `input_required` if its client can ask.

Who may decide is asked in the round trip, and nobody else: clients that can't ask, and whoever may not decide, get the
error that a call waits with. What is decided is decided by `platform/decide_approval` or `agents/resume`, as always.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tausestack.confidential import restored
from tausestack.contract import META_APPROVAL
from tausestack.errors import INVALID_PARAMS, ApprovalRequired, Conflict, Forbidden
from tausestack.raw import as_object, object_at
from tausestack.scopes import TENANT_ADMIN, missing
from tausestack_runtime.gateway.call import CALL_SECONDS, Call, Outcome, digest, failed
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.sealing import Sealer

ELICITATION = "elicitation"
NAME = "approval"
"""What the question is called among a result's `inputRequests`."""
MAX_SHOWN = 1500
"""Characters of arguments that a question repeats; what is longer is approved or rejected, and not edited."""
RESUMED_SECONDS = 60.0
"""How long a run that goes on is waited for, where its caller did not say."""

_ROUND = frozenset({"inputResponses", "requestState"})
_PURPOSE = "approving"
_PUT_OFF = "cancel"
_AGENTS = "agents"

Work = Callable[[Ask], Awaitable[Outcome]]


class Approving:
    """Has calls, and the runs that calls start, decided on by the person at their own client."""

    def __init__(self, pipeline: Pipeline, sealer: Sealer) -> None:
        self._pipeline = pipeline
        self._sealer = sealer

    async def through(self, ask: Ask, work: Work) -> Outcome:
        """Return what comes of a tool call whose client can ask a person: its result, or the question."""
        decides = _may_decide(ask)
        state = self._opened(ask) if decides else None
        if state is None and _of_agents(ask) and ask.params.get("requestState") is not None:
            # Taken for a new call it would start another run, and what was answered would be lost.
            raise Refused(INVALID_PARAMS, "This requestState was changed, is another's, or is good no more", ask.id)
        if not decides:
            return await work(ask)
        if state is None:
            return await self._asked(ask, work)
        if "run" in state:
            outcome = await self._resumed(ask, state)
            # Whoever puts the question off is not asked again at once: the run waits, and says so.
            return outcome if _content(ask)[0] == _PUT_OFF else self._run_question(ask, outcome)
        return await self._decided(ask, state, work)

    async def _asked(self, ask: Ask, work: Work) -> Outcome:
        try:
            outcome = await work(ask)
        except ApprovalRequired as error:
            return await self._question(ask, error)
        return self._run_question(ask, outcome)

    async def _question(self, ask: Ask, error: ApprovalRequired) -> Outcome:
        arguments = await self._pipeline.asked_for(ask.principal.tenant, str(error.data["approval"]))
        question = _form(f"{error.message}. {_shown(arguments)}", arguments)
        return self._input_required(ask, question, {"approval": error.data["approval"]})

    def _run_question(self, ask: Ask, outcome: Outcome) -> Outcome:
        """Ask for what a run waits for, where a call of the agents' came to that."""
        run = object_at(outcome.result, "structuredContent")
        held = object_at(run, "interrupt")
        if not _of_agents(ask) or outcome.failed or run.get("status") != "interrupted" or "id" not in run:
            return outcome
        kind = held.get("kind")
        if kind in {"approval", "decision"}:
            arguments = object_at(held, "arguments")
            about = f"The agent {run.get('agent')} wants to call {held.get('server')}/{held.get('tool')}."
            why = held.get("message") or held.get("reason") or ""
            question = _form(f"{about} {why} {_shown(arguments)}", arguments)
        elif kind == "input":
            question = _elicitation(str(held.get("message") or "The agent asks for your answer."), _ANSWER, ["input"])
        else:
            return outcome
        waits = {"run": run["id"], "kind": kind, "call": held.get("call")}
        return self._input_required(ask, question, waits)

    def _input_required(self, ask: Ask, question: dict[str, Any], state: dict[str, Any]) -> Outcome:
        sealed = self._sealer.seal({**state, "digest": digest(object_at(ask.params, "arguments"))}, *_bound(ask))
        return Outcome({"resultType": "input_required", "inputRequests": {NAME: question}, "requestState": sealed})

    def _opened(self, ask: Ask) -> dict[str, Any] | None:
        """Return what a question of ours was about; None where this is no answer to one, but perhaps to a server's."""
        token = ask.params.get("requestState")
        state = self._sealer.open(token, *_bound(ask)) if isinstance(token, str) else None
        if state is not None and state["digest"] != digest(object_at(ask.params, "arguments")):
            raise Refused(INVALID_PARAMS, "This requestState belongs to another request", ask.id)
        return state

    async def _decided(self, ask: Ask, state: dict[str, Any], work: Work) -> Outcome:
        said, asked_for = _said(ask), object_at(ask.params, "arguments")
        if said is not None and said.get("arguments") == asked_for:
            del said["arguments"]
        if said is None:
            raise ApprovalRequired("This call still waits for a person's approval", approval=state["approval"])
        decision = {"id": state["approval"], **said}
        decided = await self._pipeline.run(_nested(ask, "platform", "decide_approval", decision))
        if decided.failed:
            return decided
        if said["decision"] == "reject":
            why = f": {said['reason']}" if said.get("reason") else ""
            refused = Forbidden(f"A person rejected this call{why}", approval=state["approval"], decision="reject")
            return failed(refused)
        params = {name: each for name, each in ask.params.items() if name not in _ROUND}
        if "arguments" in said:
            params["arguments"] = restored(said["arguments"], asked_for)
        granted = {**ask.meta, META_APPROVAL: state["approval"]}
        return await self._asked(replace(ask, params=params, meta=granted), work)

    async def _resumed(self, ask: Ask, state: dict[str, Any]) -> Outcome:
        given = {"run": state["run"]}
        decision = _answer(ask) if state["kind"] == "input" else _as_decision(_said(ask))
        if decision is None:
            return await self._pipeline.run(_nested(ask, _AGENTS, "get_run", given))
        wait = object_at(ask.params, "arguments").get("wait") or RESUMED_SECONDS
        resuming: dict[str, Any] = {**given, "decision": decision, "wait": wait, "call": state["call"]}
        outcome = await self._pipeline.run(_nested(ask, _AGENTS, "resume", resuming))
        if outcome.failed and isinstance(outcome.failure, Conflict):
            # Somebody else was first, or it was too late: the run says what came of it.
            return await self._pipeline.run(_nested(ask, _AGENTS, "get_run", given))
        return outcome


def _may_decide(ask: Ask) -> bool:
    """Whether a person at this client may be asked: it shows forms, and acts for somebody who decides."""
    forms = as_object(ask.capabilities().get(ELICITATION))
    who = ask.principal
    shows = forms is not None and (not forms or "form" in forms)
    return shows and ask.parent is None and who.agent is None and missing(who.limits, [TENANT_ADMIN]) is None


def _of_agents(ask: Ask) -> bool:
    return ask.server == _AGENTS or (ask.server is None and str(ask.params.get("name")).startswith(f"{_AGENTS}__"))


def _bound(ask: Ask) -> tuple[str, ...]:
    who = ask.principal
    return (_PURPOSE, who.tenant, who.incarnation, who.id, ask.server or "", str(ask.params.get("name")))


_DECISION: dict[str, Any] = {
    "decision": {"type": "string", "title": "Decision", "enum": ["approve", "reject"]},
    "reason": {"type": "string", "title": "Why", "maxLength": 1000},
}
_ANSWER: dict[str, Any] = {"input": {"type": "string", "title": "Answer", "minLength": 1, "maxLength": 4000}}


def _elicitation(message: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }


def _form(message: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the question whether a call is to be made; forms are flat, so that arguments are edited as JSON."""
    text = json.dumps(arguments, ensure_ascii=False)
    edited = {"arguments": {"type": "string", "title": "Arguments, as JSON", "default": text}}
    return _elicitation(message, {**_DECISION, **(edited if len(text) <= MAX_SHOWN else {})}, ["decision"])


def _shown(arguments: dict[str, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _content(ask: Ask) -> tuple[str, dict[str, Any]]:
    """Return what the person did with the form, nothing where it is not answered, and what is in it."""
    answer = object_at(ask.params, "inputResponses", NAME)
    return str(answer.get("action") or ""), object_at(answer, "content")


def _said(ask: Ask) -> dict[str, Any] | None:
    """Return the decision `{"decision", "reason"?, "arguments"?}`, or None where there is none yet."""
    action, content = _content(ask)
    if action == "decline":
        return {"decision": "reject"}
    if action != "accept":
        return None
    if content.get("decision") not in {"approve", "reject"}:
        raise Refused(INVALID_PARAMS, "Nothing was decided: the form's decision is 'approve' or 'reject'", ask.id)
    said: dict[str, Any] = {"decision": content["decision"]}
    if isinstance(content.get("reason"), str) and content["reason"]:
        said["reason"] = content["reason"]
    edited = content.get("arguments")
    if said["decision"] == "approve" and isinstance(edited, str) and edited.strip():
        try:
            arguments = as_object(json.loads(edited))
        except ValueError:
            arguments = None
        if arguments is None:
            raise Refused(INVALID_PARAMS, "The edited arguments are not a JSON object", ask.id)
        said["arguments"] = arguments
    return said


def _as_decision(said: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a decision in the words of `agents/resume`."""
    if said is None:
        return None
    if said["decision"] == "reject":
        return {"approve": False, "reason": said.get("reason", "")}
    return {"approve": True, **{name: said[name] for name in ("reason", "arguments") if name in said}}


def _answer(ask: Ask) -> dict[str, Any] | None:
    action, content = _content(ask)
    if action == "decline":
        return {"approve": False}
    if action != "accept":
        return None
    text = content.get("input")
    if not isinstance(text, str) or not text.strip():
        raise Refused(INVALID_PARAMS, "Nothing was answered: the form's input is a text", ask.id)
    return {"input": text}


def _nested(ask: Ask, server: str, tool: str, arguments: dict[str, Any]) -> Call:
    return Call(
        tenant=ask.principal.tenant,
        principal=ask.principal,
        server=server,
        tool=tool,
        arguments=arguments,
        door="mcp",
        deadline=time.monotonic() + CALL_SECONDS,
        request_id=ask.id,
        bytes_in=ask.size,
        notify=ask.notify,
    )
