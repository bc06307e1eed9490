"""The one tree of errors, and its two mappers: to JSON-RPC and to RFC 9457 problem+json.

```
TauseError
├── InvalidRequest          400  the request's form is wrong
│   ├── InvalidArguments    422  a tool's arguments do not fit its schema
│   ├── HeaderMismatch      400  a header that mirrors the body says something else
│   └── PayloadTooLarge     413  over the size that the door takes
├── Unauthenticated         401  no credential, or one that is not good
├── Forbidden               403  a good credential that lacks a scope
│   ├── ApprovalRequired    403  held until a person decides
│   └── TenantSuspended     403  its tenant is suspended until the operator resumes it
├── NotFound                404  not there, or not yours: nobody can tell which
├── Conflict                409  it clashes with what is there
│   ├── KeyReused           409  an idempotency key with other arguments
│   ├── InDoubt             409  broke in mid-call: nobody knows if it happened
│   ├── Diverged            409  a replay goes another way than its run did
│   └── InputRequired       409  the server asks for input that this door can't give
├── RateLimited             429  over a limit of the tenant
├── ToolFailed              422  the tool ran and reported a failure (`isError`)
├── Cancelled               499  the caller went away
├── UpstreamError           502  a server answered with an error of its own
├── Unavailable             503  an upstream is not there
│   └── DeadlineExceeded    504  an upstream did not answer in time
└── InternalError           500  a defect of ours
```

An error's `code` is stable and part of the public surface; its message is for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CLIENT_CAPABILITY = -32021
UNSUPPORTED_PROTOCOL_VERSION = -32022
# Ours, within JSON-RPC's implementation-defined range and clear of MCP's own (-32020…-32022).
UNAUTHENTICATED = -32061
FORBIDDEN = -32062
APPROVAL_REQUIRED = -32063
CONFLICT = -32064
IN_DOUBT = -32065
RATE_LIMITED = -32066
UNAVAILABLE = -32067
DEADLINE_EXCEEDED = -32068
CANCELLED = -32069
PAYLOAD_TOO_LARGE = -32070
TENANT_SUSPENDED = -32071

PROBLEM_TYPE = "https://tause.pro/problems/"
"""Stem of a problem's `type`; the code follows."""


class TauseError(Exception):
    """Any failure that a caller may see.

    `message` is for people; `data` is JSON for programs and never holds a secret or another tenant's names.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    rpc: ClassVar[int] = INTERNAL_ERROR
    title: ClassVar[str] = "Error"

    noted = False
    """Whether the ledger tells of it already."""

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message or self.title)
        self.message = message or self.title
        self.data: dict[str, Any] = data


class InvalidRequest(TauseError):
    """The request's form is wrong: bad JSON, a missing header, an unknown field."""

    code, status, rpc, title = "invalid_request", 400, INVALID_REQUEST, "Invalid request"


class InvalidArguments(InvalidRequest):
    """A tool's arguments do not fit its input schema."""

    code, status, rpc, title = "invalid_arguments", 422, INVALID_PARAMS, "Invalid arguments"


class HeaderMismatch(InvalidRequest):
    """A header that mirrors a part of the body is missing, or says something else."""

    code, status, rpc, title = "header_mismatch", 400, HEADER_MISMATCH, "Header mismatch"


class PayloadTooLarge(InvalidRequest):
    """The body is larger than the door takes."""

    code, status, rpc, title = "payload_too_large", 413, PAYLOAD_TOO_LARGE, "Payload too large"


class Unauthenticated(TauseError):
    """There is no credential, or it is not good."""

    code, status, rpc, title = "unauthenticated", 401, UNAUTHENTICATED, "Missing or bad credential"


class Forbidden(TauseError):
    """The credential is good but lacks a scope; `data["scope"]` names it."""

    code, status, rpc, title = "forbidden", 403, FORBIDDEN, "Forbidden"


class ApprovalRequired(Forbidden):
    """The call waits for a person; `data["approval"]` is the approval's id."""

    code, status, rpc, title = "approval_required", 403, APPROVAL_REQUIRED, "Approval required"


class TenantSuspended(Forbidden):
    """The credential is good, but its tenant is suspended: nothing is done for it until the operator resumes it."""

    code, status, rpc, title = "tenant_suspended", 403, TENANT_SUSPENDED, "The tenant is suspended"


class NotFound(TauseError):
    """It is not there, or it is not yours: the two look exactly alike."""

    code, status, rpc, title = "not_found", 404, INVALID_PARAMS, "Not found"


class Conflict(TauseError):
    """It clashes with what is there already."""

    code, status, rpc, title = "conflict", 409, CONFLICT, "Conflict"


class KeyReused(Conflict):
    """The idempotency key was used before with other arguments."""

    code, status, rpc, title = "idempotency_key_reused", 409, CONFLICT, "Idempotency key reused"


class InDoubt(Conflict):
    """The call broke midway: it may or may not have taken effect, and is never repeated silently."""

    code, status, rpc, title = "in_doubt", 409, IN_DOUBT, "Outcome in doubt"


class Diverged(Conflict):
    """A run's replay does something else than the run did; `data["at"]` is where."""

    code, status, rpc, title = "diverged", 409, CONFLICT, "Replay diverged"


class InputRequired(Conflict):
    """The server asks its client for input before it goes on; `data["input_requests"]` is what it asks."""

    code, status, rpc, title = "input_required", 409, CONFLICT, "Input required"


class RateLimited(TauseError):
    """Over one of the tenant's limits; `data["retry_after"]` is in seconds, and absent where no time helps."""

    code, status, rpc, title = "rate_limited", 429, RATE_LIMITED, "Rate limited"


class ToolFailed(TauseError):
    """The tool ran and reported a failure (`isError: true`); the message is its own text."""

    code, status, rpc, title = "tool_error", 422, INTERNAL_ERROR, "Tool failed"


class Cancelled(TauseError):
    """The caller went away before the call ended."""

    code, status, rpc, title = "cancelled", 499, CANCELLED, "Cancelled"


class UpstreamError(TauseError):
    """A server answered with a JSON-RPC error of its own; `rpc` and `data["upstream"]` are the server's."""

    code, status, rpc, title = "upstream_error", 502, INTERNAL_ERROR, "Upstream error"


class Unavailable(TauseError):
    """An upstream is not there; nothing was done."""

    code, status, rpc, title = "unavailable", 503, UNAVAILABLE, "Unavailable"


class DeadlineExceeded(Unavailable):
    """An upstream did not answer in time."""

    code, status, rpc, title = "deadline_exceeded", 504, DEADLINE_EXCEEDED, "Deadline exceeded"


class InternalError(TauseError):
    """A defect of ours; the log has the rest under the call's id."""

    code, status, rpc, title = "internal_error", 500, INTERNAL_ERROR, "Internal error"


def tree(root: type[TauseError] = TauseError) -> Iterator[type[TauseError]]:
    """Yield every class of the tree, a parent before its children."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def to_jsonrpc(error: TauseError) -> dict[str, Any]:
    """Return the JSON-RPC error object of an error: `{code, message, data: {code, …}}`."""
    return {"code": error.rpc, "message": error.message, "data": {"code": error.code, **error.data}}


def to_problem(error: TauseError) -> dict[str, Any]:
    """Return the RFC 9457 problem of an error: `{type, title, status, code, detail, …data}`."""
    return {
        **error.data,
        "type": PROBLEM_TYPE + error.code,
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
    }


def from_data(message: str, data: Mapping[str, Any]) -> TauseError:
    """Return the error that a peer of ours sent: the inverse of both mappers, by the stable `code`."""
    known = {kind.code: kind for kind in tree() if kind.__module__ == __name__}
    rest = {key: value for key, value in data.items() if key not in {"type", "title", "status", "code", "detail"}}
    return known.get(str(data.get("code")), TauseError)(message, **rest)
