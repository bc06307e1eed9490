"""How asking a language model fails: kinds, which of them another model may do better at, and texts without secrets."""

from __future__ import annotations

import os
import re
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    ModelAPIError,
    ModelHTTPError,
    ModelRetry,
    OutputTokenLimitExceeded,
    UsageLimitExceeded,
)

Kind = Literal[
    "rate_limited",
    "unavailable",
    "timeout",
    "cut",
    "invalid_answer",
    "too_long",
    "request_too_long",
    "unpriced",
    "unauthorized",
    "refused",
    "endless",
]
AGAIN: frozenset[Kind] = frozenset({"rate_limited", "unavailable", "timeout", "cut"})
"""What may go away by itself: asked again after a pause."""
WORTHY: frozenset[Kind] = frozenset({*AGAIN, "invalid_answer", "too_long", "request_too_long", "unpriced"})
"""What another model may do better at; a request that is bad, or that nobody may make, is so for each."""
MAX_TEXT = 500
_HIDDEN = "[hidden]"
_UNKNOWN_TOOL = re.compile(r"Unknown tool name: '?(.+?)'?\.(?:\s|$)")
"""How pydantic-ai tells a model that a tool is not there."""
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET = re.compile(r"\b(?:sk|pk|rk|tsk|key|xai|gsk|AIza)[-_][\w*.-]{6,}|(?i:bearer)\s+[\w.~+/-]{8,}=*")


class ModelFailed(ModelAPIError):
    """A model could not be asked, or gave no answer that can be used.

    `tokens` and `usd` are what the attempt may have cost all the same; `retry_after` is seconds, where it said so.
    """

    def __init__(self, model: str, kind: Kind, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(model, scrubbed(reason))
        self.kind: Kind = kind
        self.retry_after = retry_after
        self.tokens = 0
        self.usd = 0.0

    def __str__(self) -> str:
        return f"{self.model_name}: {self.message}"


def told(error: AgentRunError) -> dict[str, Any]:
    """Return what a run says of a failed model."""
    if isinstance(error, ModelFailed):
        return {"code": "model_error", "kind": error.kind, "model": error.model_name, "message": str(error)}
    kind, text = _of_library(error)
    return {"code": "model_error", "kind": kind, "message": scrubbed(text)}


def _of_library(error: AgentRunError) -> tuple[Kind, str]:
    """Return what one of pydantic-ai's own errors means here, in our words: its are for whoever writes code with it."""
    if isinstance(error, UsageLimitExceeded):
        return "endless", "The model came to no end within the requests that one step may make"
    if isinstance(error, ModelHTTPError):
        status = error.status_code
        kind: Kind = "rate_limited" if status == 429 else "unauthorized" if status in {401, 403} else "unavailable"
        refused = 400 <= status < 500 and kind == "unavailable"
        return "refused" if refused else kind, f"{error.model_name}: its vendor answered {status}"
    if isinstance(error, ModelAPIError):
        return "unavailable", f"{error.model_name}: it could not be asked"
    if isinstance(error, ContentFilterError):
        return "refused", "The model's vendor held its answer back: its content filter"
    if isinstance(error, OutputTokenLimitExceeded):
        return "too_long", "The model's answer is longer than it may be, and was cut off"
    wrong = wrong_with(error)
    return (
        "invalid_answer",
        f"The model gave no answer that can be used, and was told so in vain{wrong and ': '}{wrong}",
    )


def wrong_with(error: AgentRunError) -> str:
    """Return what was wrong with the last answer of a model that was told so in vain, "" where that is not known."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            first = cause.errors(include_url=False, include_input=False)[0]
            return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}".removeprefix(": ")
        if isinstance(cause, ModelRetry):
            unknown = _UNKNOWN_TOOL.match(cause.message)
            return f"it called {unknown[1][:80]}, which is no tool here" if unknown else cause.message
        cause = cause.__cause__
    return ""


def failure(model: str, error: Exception) -> ModelFailed:
    """Return one of litellm's errors, which share no base but `Exception`, as what it means here."""
    name, status = type(error).__name__, getattr(error, "status_code", None)
    kind: Kind = "unavailable"
    if isinstance(error, TimeoutError) or name == "Timeout" or status == 408:
        kind = "timeout"
    elif name == "MidStreamFallbackError":
        kind = "cut"
    elif name == "ContextWindowExceededError":
        kind = "request_too_long"
    elif status == 429:
        kind = "rate_limited"
    elif status in {401, 403}:
        kind = "unauthorized"
    elif isinstance(status, int) and 400 <= status < 500:
        kind = "refused"
    return ModelFailed(model, kind, f"{name}: {error}", retry_after=_retry_after(error))


def scrubbed(text: str) -> str:
    """Return a text without what the environment or its form says is a secret, cut to a bearable length."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, _HIDDEN)
    clean = _SECRET.sub(_HIDDEN, text).replace("\0", "")
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def _retry_after(error: Exception) -> float | None:
    headers: Any = getattr(error, "litellm_response_headers", None) or {}
    said = str(headers.get("retry-after", ""))
    return float(said) if re.fullmatch(r"\d{1,6}(?:\.\d{1,3})?", said) else None
