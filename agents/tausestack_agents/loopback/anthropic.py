"""Anthropic's messages as they travel: whole, as a stream of named server-sent events, and as errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tausestack_agents.loopback.answers import PIECE, Answer, Asked, Call

PATH = "/v1/messages"
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip


def whole(answer: Answer, asked: Asked) -> dict[str, Any]:
    """Return an answer in one object."""
    content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [{**_tool_use(call), "input": json.loads(call.arguments)} for call in answer.calls]
    return {**_message(asked), "content": content, "stop_reason": _reason(answer), "usage": _usage(answer)}


def frames(answer: Answer, asked: Asked) -> Iterator[bytes]:
    """Yield an answer as a stream's frames."""
    usage = {**_usage(answer), "output_tokens": 1}
    message: dict[str, Any] = {**_message(asked), "content": [], "stop_reason": None, "usage": usage}
    yield _sse("message_start", {"message": message})
    yield _sse("ping", {})
    index = 0
    if answer.text:
        yield _sse("content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}})
        yield from texts(answer.pieces(), asked)
        yield _sse("content_block_stop", {"index": index})
        index += 1
    for at, call in enumerate(answer.calls, index):
        yield _sse("content_block_start", {"index": at, "content_block": {**_tool_use(call), "input": {}}})
        for start in range(0, len(call.arguments), PIECE):
            delta = {"type": "input_json_delta", "partial_json": call.arguments[start : start + PIECE]}
            yield _sse("content_block_delta", {"index": at, "delta": delta})
        yield _sse("content_block_stop", {"index": at})
    ended = {"stop_reason": _reason(answer), "stop_sequence": None}
    yield _sse("message_delta", {"delta": ended, "usage": {"output_tokens": answer.output_tokens}})
    yield _sse("message_stop", {})


def texts(pieces: Iterable[str], asked: Asked) -> Iterator[bytes]:
    """Yield pieces of a text, the answer's first block, as a stream's frames."""
    del asked
    for piece in pieces:
        yield _sse("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})


def error(answer: Answer) -> dict[str, Any]:
    """Return the body of an error."""
    kind = answer.error or _KINDS.get(answer.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": answer.text}, "request_id": "req_loopback"}


def _tool_use(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _reason(answer: Answer) -> str:
    return "tool_use" if answer.calls else "end_turn"


def _usage(answer: Answer) -> dict[str, Any]:
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": answer.input_tokens, **cached, "output_tokens": answer.output_tokens}


def _message(asked: Asked) -> dict[str, Any]:
    head = {"id": f"msg_{asked.digest()[:24]}", "type": "message", "role": "assistant", "model": asked.model}
    return {**head, "stop_sequence": None}


def _sse(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data}, ensure_ascii=False)}\n\n".encode()
