"""What a model is asked and what it answers, whichever vendor's wire format it travels in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tausestack.raw import as_object

Wire = Literal["openai", "anthropic"]
PIECE = 24
"""Characters of a text or of a call's arguments in one piece of a stream; vendors send a token at a time."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: `arguments` is JSON as the model wrote it, valid or not."""

    name: str
    arguments: str
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer; one with an `error` (the vendor's type of it) has the HTTP status that goes with it."""

    text: str = ""
    calls: Sequence[Call] = ()
    input_tokens: int = 10
    output_tokens: int = 5
    status: int = 200
    error: str | None = None
    retry_after: str | None = None

    def pieces(self) -> Iterator[str]:
        """Yield the text as a stream would."""
        for start in range(0, len(self.text), PIECE):
            yield self.text[start : start + PIECE]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server got it."""

    wire: Wire
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted as a stream."""
        return bool(self.body.get("stream"))

    @property
    def tools(self) -> list[str]:
        """The names of the tools it may call."""
        offered = cast("list[Any]", self.body.get("tools") or [])
        named = [as_object(each) or {} for each in offered]
        return [str((as_object(each.get("function")) or each).get("name", "")) for each in named]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation."""
        return [as_object(each) or {} for each in cast("list[Any]", self.body.get("messages") or [])]

    @property
    def said(self) -> list[str]:
        """What users said, oldest first; tool results are none of it."""
        return [text for each in self.messages if each.get("role") == "user" and (text := _text(each.get("content")))]

    @property
    def results(self) -> list[str]:
        """What tools returned, oldest first."""
        found: list[str] = []
        for each in self.messages:
            content = each.get("content")
            if each.get("role") == "tool":
                found.append(_text(content))
            elif isinstance(content, list):
                blocks = [as_object(block) or {} for block in cast("list[Any]", content)]
                found += [_text(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
        return found

    def digest(self) -> str:
        """Return what this request is known by: the conversation without what tools returned, and the tools' use.

        Ids, dates in results and the catalogue's growth leave it as it is.
        """
        told: list[Any] = [self.model, _chosen(self.body.get("tool_choice"))]
        for each in self.messages:
            said = "" if each.get("role") == "tool" else _text(each.get("content"))
            told.append([each.get("role"), said, _called(each)])
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def _chosen(choice: Any) -> str:
    return choice if isinstance(choice, str) else str((as_object(choice) or {}).get("type", ""))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    return "\n".join(str(block["text"]) for each in blocks if "text" in (block := as_object(each) or {}))


def _called(message: dict[str, Any]) -> list[Any]:
    """The names and arguments of the tools that a message of the model calls."""
    own = [as_object(each) or {} for each in cast("list[Any]", message.get("tool_calls") or [])]
    functions = [as_object(each.get("function")) or {} for each in own]
    found: list[Any] = [[each.get("name"), each.get("arguments")] for each in functions]
    content = message.get("content")
    blocks = [as_object(each) or {} for each in cast("list[Any]", content)] if isinstance(content, list) else []
    return found + [[each.get("name"), each.get("input")] for each in blocks if each.get("type") == "tool_use"]
