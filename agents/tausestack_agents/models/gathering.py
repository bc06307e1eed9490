"""A streamed answer put together from its pieces, within a bound."""

from __future__ import annotations

import json
from typing import Any, cast

from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

MAX_BYTES = 1_000_000
"""Of an answer's text and calls together; what goes beyond is not read."""
MAX_CALLS = 64
"""Tool calls in one answer."""


class TooLong(Exception):
    """An answer goes beyond its bound."""


class Gathered:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.bytes = 0
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self._texts: list[str] = []
        self._calls: dict[int, tuple[list[str], list[str], list[str]]] = {}
        """By index: the pieces of its id, name and arguments."""

    def add(self, chunk: Any) -> str:
        """Take one of litellm's chunks and return the text in it; raises `TooLong`."""
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            self.input_tokens = int(usage.prompt_tokens or 0)
            self.output_tokens = int(usage.completion_tokens or 0)
        text = ""
        for choice in cast("list[Any]", chunk.choices)[:1]:
            text = str(choice.delta.content or "")
            self._grow(text)
            self._texts.append(text)
            for piece in cast("list[Any]", choice.delta.tool_calls or []):
                self._add_call(piece)
        return text

    def _add_call(self, piece: Any) -> None:
        identifiers, names, arguments = self._calls.setdefault(int(piece.index or 0), ([], [], []))
        function = piece.function
        for found, kept in ((piece.id, identifiers), (function.name, names), (function.arguments, arguments)):
            if found:
                self._grow(found)
                kept.append(found)
        if len(self._calls) > MAX_CALLS:
            raise TooLong(f"It makes more than {MAX_CALLS} calls at once")

    def _grow(self, text: str) -> None:
        self.bytes += len(text.encode("utf-8", "replace"))
        if self.bytes > MAX_BYTES:
            raise TooLong(f"It is longer than {MAX_BYTES:,} bytes")

    def empty(self) -> bool:
        """Return whether nothing was said and nothing is called."""
        return not self._calls and not any(text.strip() for text in self._texts)

    def wrong(self, offered: set[str]) -> str | None:
        """Return what is wrong with the calls: their JSON, or that there is no such tool; None where nothing is."""
        for _, names, arguments in self._calls.values():
            name = "".join(names)
            if name not in offered:
                return f"It calls a tool that it was not given: {name[:80]}"
            try:
                parsed: Any = json.loads("".join(arguments) or "{}")
            except (json.JSONDecodeError, RecursionError) as error:
                return f"The arguments of its call of {name} are no JSON: {error}"
            if not isinstance(parsed, dict):
                return f"The arguments of its call of {name} are no object"
        return None

    def response(self, model: str) -> ModelResponse:
        """Return the answer; the usage that it did not tell is left at 0."""
        text = "".join(self._texts).replace("\0", "")
        parts: list[TextPart | ToolCallPart] = [TextPart(text)] if text else []
        parts += [
            ToolCallPart("".join(names), "".join(arguments) or "{}", "".join(identifiers) or f"call_{index}")
            for index, (identifiers, names, arguments) in sorted(self._calls.items())
        ]
        usage = RequestUsage(input_tokens=self.input_tokens or 0, output_tokens=self.output_tokens or 0)
        return ModelResponse(parts=parts, model_name=model, usage=usage)
