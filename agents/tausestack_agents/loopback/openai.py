"""OpenAI's chat completions as they travel: whole, as a stream of server-sent events, and as errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tausestack.raw import object_at
from tausestack_agents.loopback.answers import PIECE, Answer, Asked, Call

PATH = "/v1/chat/completions"
_KINDS = {429: ("requests", "rate_limit_exceeded"), 401: ("invalid_request_error", "invalid_api_key")}
DONE = b"data: [DONE]\n\n"


def whole(answer: Answer, asked: Asked) -> dict[str, Any]:
    """Return an answer in one object."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None, "annotations": []}
    if answer.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
    return {**_head(asked, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def frames(answer: Answer, asked: Asked) -> Iterator[bytes]:
    """Yield an answer as a stream's frames."""
    yield _frame(asked, {"role": "assistant", "content": "" if answer.text else None, "refusal": None})
    yield from texts(answer.pieces(), asked)
    for index, call in enumerate(answer.calls):
        yield _frame(asked, {"tool_calls": [{"index": index, **_call(call, "")}]})
        for start in range(0, len(call.arguments), PIECE):
            piece = {"index": index, "function": {"arguments": call.arguments[start : start + PIECE]}}
            yield _frame(asked, {"tool_calls": [piece]})
    yield _frame(asked, {}, _reason(answer))
    if object_at(asked.body, "stream_options").get("include_usage"):
        yield _sse({**_head(asked, "chat.completion.chunk"), "choices": [], "usage": _usage(answer)})
    yield DONE


def texts(pieces: Iterable[str], asked: Asked) -> Iterator[bytes]:
    """Yield pieces of a text as a stream's frames."""
    for piece in pieces:
        yield _frame(asked, {"content": piece})


def error(answer: Answer) -> dict[str, Any]:
    """Return the body of an error."""
    kind, code = _KINDS.get(answer.status, ("server_error" if answer.status >= 500 else "invalid_request_error", None))
    return {"error": {"message": answer.text, "type": answer.error or kind, "param": None, "code": code}}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _reason(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    fixed = {"created": 1760000000, "service_tier": "default", "system_fingerprint": "fp_loopback"}
    return {"id": f"chatcmpl-{asked.digest()[:24]}", "object": kind, "model": asked.model, **fixed}


def _frame(asked: Asked, delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _sse({**_head(asked, "chat.completion.chunk"), "choices": [choice], "usage": None})


def _sse(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
