"""Meter and audit: the lines of every call, whatever comes of it, are in the ledger before its reply."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import orjson
import structlog

from tausestack.errors import (
    ApprovalRequired,
    Cancelled,
    Forbidden,
    HeaderMismatch,
    InDoubt,
    InternalError,
    InvalidArguments,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    TauseError,
    ToolFailed,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.scopes import OPERATOR
from tausestack_runtime.gateway.call import TOOLS_CALL, Call, Outcome, canonical
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.guard import ORIGIN
from tausestack_runtime.gateway.identity import NotYours
from tausestack_runtime.gateway.metrics import Metrics
from tausestack_runtime.gateway.rules import Lacking, allowing, denying
from tausestack_runtime.gateway.snapshots import Snapshots
from tausestack_runtime.ledger import FREE, Ledger, Line, PriceList, moment

GATEWAY = "gateway"
"""What metrics name where no server is asked."""

MAX_NAME = 128
"""How many characters of a name that was asked for are kept; what exists has no more."""

_CHARGED = frozenset({"done", "cancelled"})
_STOPPED = {"denied": "deny", "waiting": "wait"}
"""The outcomes of calls that are not sent, and what was decided there."""
_RULES = {
    ApprovalRequired.code: "approval",
    NotFound.code: "installed",
    RateLimited.code: "limit",
    InvalidRequest.code: "form",
    InvalidArguments.code: "form",
    HeaderMismatch.code: "form",
    PayloadTooLarge.code: "form",
    "code_replayed": "replay",
    "code_unproven": "proof",
    "refresh_token_unproven": "proof",
    "refresh_token_replayed": "replay",
    "access_denied": "password",
}
"""The rule behind an error; behind a call that went through is its principal's role."""

logger = structlog.get_logger("gateway")


class Meter:
    """Writes what calls did and cost."""

    def __init__(self, ledger: Ledger, metrics: Metrics, prices: PriceList, snapshots: Snapshots) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self.price = functools.lru_cache(256)(prices.of)
        """What a call of a price class costs; one that is named often is looked up once."""
        self._snapshots = snapshots

    async def reseal(self) -> None:
        """Have every head of the ledger sealed by the current master."""
        await self._ledger.reseal()

    async def intend(self, call: Call) -> None:
        """Leave the line of a call that is about to have its effect."""
        await self._ledger.append(_line(call, self._ledger.mark, "intent", "allow", "", elapsed_us=call.elapsed_us()))

    async def noted(self, call: Call, work: Awaitable[Outcome]) -> Outcome:
        """Return what comes of some work, or raise it, once the call's line is in the ledger."""
        try:
            outcome = await work
        except asyncio.CancelledError:
            await self._undone(call, "cancelled", (call.stopped or Cancelled).code)
            raise
        except TauseError as error:
            await self.refused(call, error)
            raise
        except Exception as error:
            logger.exception("defect", call=call.id, tenant=call.tenant, server=call.server, tool=call.tool)
            failure = InternalError(f"Something went wrong on our side; it is in the log under {call.id}")
            await self.refused(call, failure)
            raise failure from error
        call.allowed = True
        if outcome.failed:
            await self._ended(call, "failed", ToolFailed.code, outcome)
        else:
            await self._ended(call, "input_required" if outcome.waits else "done", "", outcome)
        return outcome

    async def note(self, call: Call, refusal: str = "") -> None:
        """Leave the line of a call that a door answers itself, or refuses with an error's code."""
        call.service, call.price = GATEWAY, self.price(FREE)
        call.allowed = not refusal
        await self._undone(call, "denied" if refusal else "done", refusal)

    async def answer(self, call: Call, work: Awaitable[Outcome]) -> Outcome:
        """Return what a door answers itself to a call, once its line is in the ledger."""
        call.service, call.price = GATEWAY, self.price(FREE)
        return await self.noted(call, work)

    async def turn_away(self, call: Call, error: TauseError) -> None:
        """Leave the line of what a door would have answered itself, and refuses."""
        call.service = GATEWAY
        await self.refused(call, error)

    async def refuse(self, exchange: Exchange, error: TauseError, door: str, asked: str = "") -> None:
        """Leave the line of a request that a door refuses, where it is known who asks and the ledger does not tell yet.

        What another tenant's credential asks for stands in the chain of its own. `asked` says for what.
        """
        asker = error.asker if isinstance(error, NotYours) else exchange.asker
        if asker is None or error.noted or exchange.noted:
            return
        if isinstance(error, NotYours) and await self._real(asker.tenant) != asker.tenant:
            return  # one that is suspended, or being deleted, gets no more lines
        call = Call(asker.tenant, asker, server="", tool="", arguments={}, door=door, deadline=0.0, method=asked)
        await self.turn_away(call, error)

    async def refused(self, call: Call, error: TauseError) -> None:
        """Leave the line of a call that came to nothing."""
        undecided = isinstance(error, (Forbidden, NotFound, InvalidRequest)) and not call.allowed
        denied = undecided or isinstance(error, RateLimited)
        error.noted = True
        if denied:
            outcome = "waiting" if isinstance(error, ApprovalRequired) else "denied"
        else:
            outcome = "in_doubt" if isinstance(error, InDoubt) else "failed"
        await self._undone(call, outcome, error.code, _refusing(call, error))

    async def _undone(self, call: Call, outcome: str, error: str, rule: str = "") -> None:
        """Leave the line of a call without a result, in a chain that is there: the operator may name any tenant."""
        if not call.allowed and OPERATOR in call.principal.scopes:
            call.tenant = await self._real(call.tenant)
        await self._ended(call, outcome, error, rule=rule)

    def _ended(
        self, call: Call, outcome: str, error: str, result: Outcome | None = None, rule: str = ""
    ) -> Awaitable[None]:
        """Count a call's end; what is returned is done when its line is durable, with its caller or without."""
        elapsed_us = call.elapsed_us()
        self._metrics.ended(call.service, outcome, elapsed_us)
        if call.principal.id == "gateway":
            return asyncio.sleep(0)
        # What failed before it was decided on was neither allowed nor denied.
        decision = _STOPPED.get(outcome) or ("allow" if call.allowed else "")
        kind = "denied" if outcome in _STOPPED else "result"
        return self._ledger.append(
            _line(call, self._ledger.mark, kind, decision, outcome, error, rule, result, elapsed_us)
        )

    async def _real(self, tenant: str) -> str:
        """Return a tenant that is there and active, and `_system` in place of every other."""
        try:
            return (await self._snapshots.tenant(tenant)).tenant
        except TauseError:
            return SYSTEM_TENANT


def _line(
    call: Call, mark: Callable[[str, bytes], str], kind: str, decision: str, outcome: str,
    error: str = "", rule: str = "", result: Outcome | None = None, elapsed_us: int = 0,
) -> Line:  # fmt: skip
    who, price = call.principal, call.price
    if call.method == TOOLS_CALL:
        about, arguments = call.tool, call.arguments
    else:
        about, arguments = call.method, call.params()
    line: Line = {
        "tenant": call.tenant,
        "call": call.id,
        "kind": kind,
        "at": moment(),
        "principal": who.id,
        "door": call.door,
        "server": call.server[:MAX_NAME],
        "tool": about[:MAX_NAME],
        "arguments_digest": mark(call.tenant, canonical(arguments)),
        "bytes_in": call.bytes_in,
        "duration_us": elapsed_us,
        "price": price.name,
        "currency": price.currency,
        "price_version": price.version,
        "trace": call.trace(),
    }
    if who.agent is not None:
        line["agent"] = who.agent
    if who.run is not None:
        line["run"] = who.run
    if call.parent is not None:
        line["parent"] = call.parent.id
    if decision:
        line["decision"] = decision
        line["rule"] = rule or (_RULES.get(error) if decision != "allow" else None) or _allowing(call)
    if outcome:
        line["outcome"] = outcome
    if error:
        line["error"] = error
    if result is not None:
        line["result_digest"] = mark(call.tenant, result.digest.encode() or canonical(result.result))
        line["bytes_out"] = len(result.raw or orjson.dumps(result.result))
    if _is_charged(call, outcome, error):
        line["amount_minor"] = price.amount_minor
    return line


def _refusing(call: Call, error: TauseError) -> str:
    """Return the rule by which a call is refused, where its error alone does not tell."""
    if isinstance(error, RateLimited):
        return f"limit:{error.data.get('limit', 'bound')}"
    if isinstance(error, NotYours):
        return "tenant"
    if isinstance(error, Forbidden) and not call.allowed:
        need = error.need if isinstance(error, Lacking) else error.data.get("scope")
        return "approval" if need is None else need if need == ORIGIN else denying(call.principal, need)
    return "quarantine" if call.quarantined else ""


def _allowing(call: Call) -> str:
    who = call.principal
    if call.needs is None:
        return f"role:{who.role}" if who.role else "system"
    return allowing(who, call.needs)


def _is_charged(call: Call, outcome: str, error: str) -> bool:
    """Whether a call costs something: its tool has answered, or was at it when its caller went away.

    What was refused, what failed on our side and what is in doubt is free; so is a question back, which is not the end.
    """
    return call.allowed and (outcome in _CHARGED or (outcome == "failed" and error == ToolFailed.code))
