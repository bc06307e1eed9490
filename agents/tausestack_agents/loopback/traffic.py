"""A file of recorded traffic: one answer a line, played by what was asked, by what it is for, or in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tausestack.errors import InvalidArguments
from tausestack_agents.loopback.answers import Answer, Asked, Call, Wire


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Call(_Part):
    name: str
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    id: str | None = None


class _Answer(_Part):
    text: str = ""
    calls: list[_Call] = Field(default_factory=list[_Call])
    input_tokens: int = Field(10, ge=0)
    output_tokens: int = Field(5, ge=0)
    status: int = Field(200, ge=200, le=599)
    error: str | None = None
    retry_after: str | int | None = None

    def as_answer(self, number: int) -> Answer:
        calls = [
            Call(
                call.name,
                call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False),
                call.id or f"call_{number}_{index}",
            )
            for index, call in enumerate(self.calls)
        ]
        retry_after = None if self.retry_after is None else str(self.retry_after)
        return Answer(self.text, calls, self.input_tokens, self.output_tokens, self.status, self.error, retry_after)


class _Line(_Part):
    digest: str | None = None
    about: str | None = Field(None, alias="for", min_length=1)
    answer: _Answer | None = None
    wire: Wire = "openai"
    status: int = 200
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> _Line:
        if (self.answer is None) == (self.body is None):
            raise ValueError("a line has an `answer`, or the `body` of a vendor's reply")
        return self


@dataclass(frozen=True, slots=True)
class Recorded:
    """A vendor's reply as it came: its body is what followed the headers."""

    wire: Wire
    status: int
    headers: dict[str, str]
    body: str


@dataclass(slots=True)
class _Turn:
    digest: str | None
    about: str | None
    reply: Answer | Recorded
    played: int = 0


class Traffic:
    """Recorded answers.

    A line with a `digest` answers every request of that digest. The others are played in turn, and from the first again
    once all were: those whose `for` stands in what the user said (or the other way round), else those without a `for`.
    """

    def __init__(self, lines: Sequence[Any]) -> None:
        """Take the lines' objects; raises `InvalidArguments` saying which is wrong and how."""
        self._turns = [_read(number, line) for number, line in enumerate(lines, 1)]

    def answer(self, asked: Asked) -> Answer | Recorded:
        """Return the answer to a request; an error of the vendor's where none was recorded."""
        digest, said = asked.digest(), [text.partition("\n")[0] for text in asked.said]
        fitting = [turn for turn in self._turns if turn.digest == digest]
        others = [turn for turn in self._turns if turn.digest is None]
        about = [turn for turn in others if turn.about and any(_meets(turn.about, text) for text in said)]
        found = fitting or about or [turn for turn in others if not turn.about]
        if not found:
            return Answer(f"No answer was recorded for this request, whose digest is {digest}", status=400)
        turn = min(found, key=lambda turn: turn.played)
        turn.played += 1
        return turn.reply


def read(path: Path) -> Traffic:
    """Return the traffic of a file of JSON lines; raises `InvalidArguments` saying which line is wrong and how."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"The recorded traffic can't be read: {error}") from error
    found: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise InvalidArguments(f"Line {number} of the recorded traffic is no JSON: {error}") from error
    return Traffic(found)


def line(asked: Asked, status: int, headers: dict[str, str], body: str) -> dict[str, Any]:
    """Return the line that records a vendor's reply, with those of its headers that say how and when to go on."""
    kept = {name: value for name, value in headers.items() if name in {"content-type", "retry-after"}}
    return {"digest": asked.digest(), "wire": asked.wire, "status": status, "headers": kept, "body": body}


def _meets(about: str, text: str) -> bool:
    return about in text or (len(text) > 3 and text in about)


def _read(number: int, raw: Any) -> _Turn:
    try:
        found = _Line.model_validate(raw)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(step) for step in wrong["loc"])
        raise InvalidArguments(f"Recorded answer {number} is not right: {where}: {wrong['msg']}") from error
    if found.answer is not None:
        return _Turn(found.digest, found.about, found.answer.as_answer(number))
    return _Turn(found.digest, found.about, Recorded(found.wire, found.status, found.headers, found.body or ""))
