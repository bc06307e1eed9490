"""The one noun of the house: a call of one tool, for one tenant, by one principal."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tausestack.contract import META_ERROR, Principal
from tausestack.errors import TauseError, ToolFailed, from_data
from tausestack.raw import as_array, as_object
from tausestack_runtime.gateway.mirrors import Mirror
from tausestack_runtime.ledger import NO_PRICE, Price

if TYPE_CHECKING:
    from tausestack_runtime.gateway.installed import Installation

Notify = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes a JSON-RPC notification on its way to the caller."""
Send = Callable[["Call", "Installation", str], Awaitable["Outcome"]]
"""Sends a call to a remote server of an earlier version, as of an epoch, in a session of the caller's there."""

CALL_SECONDS = 120.0
"""How long a call may take, whichever door it came by; a nested one has what is left of its parent's time."""
MAX_KEY = 255
"""Characters of an idempotency key."""
MAX_DEPTH = 4
"""How deep calls may nest: a service calls another, which calls another."""

TOOLS_CALL = "tools/call"
NAMED = {
    TOOLS_CALL: "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The parameter that says what a method is about; `Mcp-Name` mirrors it."""


_PREFIX = "call_"
_NUMBER_DIGITS = 2
_origin = f"{_PREFIX}01"
_random = random.Random()  # noqa: S311 an id tells calls apart, and opens nothing


def originate(number: int) -> None:
    """Have the calls of this process bear its gateway's number, 1 to 255, in their ids."""
    global _origin
    _origin = f"{_PREFIX}{number:0{_NUMBER_DIGITS}x}"


def new_id() -> str:
    """Return an id for a call: `call_` and 24 hexadecimal digits, of which the first two are the gateway's number.

    The next 13 are the microseconds since the epoch: in the ledger's index one call's place is beside the last one's.
    """
    return _origin + (time.time_ns() // 1000 << 36 | _random.getrandbits(36)).to_bytes(11).hex()


def origin(call_id: str) -> int | None:
    """Return the number of the gateway that a call's id names, or None for what is no such id."""
    digits = call_id.removeprefix(_PREFIX)[:_NUMBER_DIGITS]
    if not call_id.startswith(_PREFIX) or len(digits) < _NUMBER_DIGITS:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


@dataclass(slots=True)
class Call:
    """One call on its way through the house: of a tool, or of another method of its server.

    `key` is the idempotency key; `approval` the grant that it claims; `deadline` is in seconds of the event loop's
    clock; `meta` is what the client sent in `_meta`, without the keys that only the house may set. Where `method` is
    not a tool's, `tool` is what it is about (a prompt's name, a resource's URI), and `rest` its other parameters.
    """

    tenant: str
    principal: Principal
    server: str
    tool: str
    arguments: dict[str, Any]
    door: str
    deadline: float
    method: str = TOOLS_CALL
    rest: dict[str, Any] = field(default_factory=dict[str, Any])
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    key: str | None = None
    parent: Call | None = None
    request_id: str | int | None = None
    bytes_in: int = 0
    task: asyncio.Task[Any] | None = None
    """Who runs it, where that is known: to ask for it takes a system call."""
    notify: Notify | None = None
    headers: Mapping[bytes, bytes] | None = None
    """The client's headers, where they have to agree with the arguments."""
    send: Send | None = None
    """How it is sent where its server speaks the caller's own, earlier version; None: as every call is."""
    approval: str | None = None
    hold: bool = False
    """Whether an agent's own rules have it wait for a person, beside what the tool's policy says."""
    id: str = field(default_factory=new_id)
    allowed: bool = False
    """Whether all has been asked that may refuse it."""
    started: float = field(default_factory=time.perf_counter)
    price: Price = NO_PRICE
    """What it costs, as of when the tool was found."""
    mirrors: tuple[Mirror, ...] = ()
    """The tool's parameters that headers mirror, likewise."""
    service: str = "unknown"
    """The process of ours that serves it, once that is known: what metrics may name."""
    placed: bool = False
    """Whether it has a place among its tenant's calls, to be given back."""
    limits: Mapping[str, int] | None = None
    """The tenant's limits that its server counts, once that is known."""
    stopped: TauseError | None = None
    """Why it was ended from outside: its tenant was suspended, or is being deleted."""
    quarantined: bool = False
    """Whether it names a tool that is there, and waits for its definition to be approved."""
    needs: tuple[str, ...] | None = None
    """The scopes that it needs and its principal has, once it is allowed; None: it is no tool's."""
    assertion: str = ""
    """What the upstream was given; whoever shows it again may call on behalf of this call while it is in flight."""

    @property
    def depth(self) -> int:
        """How many calls this one is nested in."""
        return 0 if self.parent is None else self.parent.depth + 1

    def trace(self) -> str:
        """Return the W3C trace id, the client's own where it sent one."""
        given = self.meta.get("traceparent")
        if isinstance(given, str):
            parts = given.split("-")
            if len(parts) == 4 and len(parts[1]) == 32:
                return parts[1]
        return self.id[5:].ljust(32, "0")

    def wire_id(self) -> str | int:
        """Return the id that its request bears at the server: the client's own, so that the reply can go back raw."""
        return self.id if self.request_id is None else self.request_id

    def params(self) -> dict[str, Any]:
        """Return the request's parameters under the server's own names, without `_meta`: a new object."""
        if self.method == TOOLS_CALL:
            return {"name": self.tool, "arguments": self.arguments, **self.rest}
        about = NAMED.get(self.method)
        return {**self.rest, about: self.tool} if about else {**self.rest}

    def elapsed_us(self) -> int:
        """Return the microseconds since the call was admitted."""
        return int((time.perf_counter() - self.started) * 1_000_000)


class Outcome:
    """What came of a call: the raw result object, and the reply's bytes where nothing in them needs to change."""

    __slots__ = ("digest", "failed", "raw", "result", "waits")

    def __init__(self, result: dict[str, Any], raw: bytes | None = None, digest: str = "") -> None:
        """`digest` is the result's, where that is known and `result` is not all of it."""
        self.result, self.raw, self.digest = result, raw, digest
        self.waits = result.get("resultType") == "input_required"
        """Whether the server asks for input before it goes on: the client comes again with it."""
        self.failed = result.get("isError") is True
        """Whether the tool reported a failure."""

    @property
    def text(self) -> str:
        """The text blocks of the result, joined."""
        blocks = [as_object(block) or {} for block in as_array(self.result.get("content")) or []]
        return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")

    @property
    def failure(self) -> TauseError:
        """What a failed tool says went wrong: the error of ours that it names, else `ToolFailed`."""
        named = as_object((as_object(self.result.get("_meta")) or {}).get(META_ERROR)) or {}
        return from_data(self.text, named) if "code" in named else ToolFailed(self.text)


def failed(error: TauseError) -> Outcome:
    """Return a failure as the result of a tool, which names the error for those who know our words."""
    said = [{"type": "text", "text": error.message}]
    named = {META_ERROR: {"code": error.code, **error.data}}
    return Outcome({"resultType": "complete", "content": said, "isError": True, "_meta": named})


def canonical(value: Any) -> bytes:
    """Return a JSON value in canonical form: sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
