"""What people asked for in a run: a change that only a tool's result speaks of is nobody's wish."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, cast

from tausestack.agents import ApprovalRule
from tausestack.contract import tool_policy
from tausestack_agents.planner.choice import Candidate, allowed, asked
from tausestack_agents.planner.schema import as_schema, resolved
from tausestack_agents.planner.split import split
from tausestack_agents.planner.strings import currencies
from tausestack_agents.planner.text import MAX_READ, fold, glossary
from tausestack_agents.planner.values import Source
from tausestack_agents.planner.wishes import unwished

FOREIGN = ApprovalRule(
    side_effect="write", reason="It came up after a tool's result, and the request does not say it in these words"
)
"""By what such a call waits for a person."""


@dataclass(frozen=True)
class Grounds:
    """What people said in a run and in the thread before it; `outside`: whether that thread holds tools' results."""

    said: Sequence[str]
    today: date
    outside: bool = False

    def cover(self, tool: Candidate, arguments: Mapping[str, Any]) -> bool:
        """Return whether people asked for a call: for that kind of change, with these very values. Reading is free."""
        if tool_policy(tool.raw).side_effect == "read":
            return True
        return any(self._asks(part, tool) for text in self._read for part in split(text)) and all(
            self._said(value, schema) for value, schema in _leaves(arguments, tool)
        )

    @property
    def _read(self) -> list[str]:
        """What was said, without what is too long to be read: a call that only that asks for waits for a person."""
        return [text for text in self.said if len(text) <= MAX_READ]

    def _asks(self, part: str, tool: Candidate) -> bool:
        verbs, _ = asked(part)
        wanted = verbs & glossary().writes
        wished = bool(wanted) and unwished(wanted, Source(part, today=self.today)) is None
        return wished and allowed(verbs, tool)

    def _said(self, value: Any, schema: Mapping[str, Any]) -> bool:
        if value is None or isinstance(value, bool) or value in cast("list[Any]", schema.get("enum") or []):
            return True
        if "default" in schema and value == schema["default"]:
            return True
        return any(_holds(text, Source(text, today=self.today), value) for text in self._read)


def _holds(text: str, source: Source, value: Any) -> bool:
    if isinstance(value, int | float):
        amounts = [each.value.amount for each in source.of("money")]
        numbers = [each.value for each in source.of("number", "percent")] + amounts
        return Decimal(str(value)) in {*numbers, *(amount * 100 for amount in amounts), Decimal(1)}
    plain = " ".join(fold(str(value)).split()).strip(" .,;:!?\"'")
    if not plain:
        return True
    whole = " ".join(source.folded.split())
    if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", whole):
        return True
    known = [str(each.value) for each in source.of("date", "time")] + [str(each.value) for each in currencies(source)]
    return str(value) in known or _digits(str(value)) in {_digits(each.text) for each in source.codes} - {""}


def _digits(text: str) -> str:
    """The digits of an identifier that is nothing but digits and their grouping."""
    return re.sub(r"[.\s-]", "", text) if re.fullmatch(r"[\d.\s-]+", text) else ""


def _leaves(arguments: Mapping[str, Any], tool: Candidate) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield the values of a call, in whatever they stand, with the schema of each; names of free objects are values."""
    pending: list[tuple[Any, Mapping[str, Any]]] = [(dict(arguments), tool.schema)]
    while pending:
        value, schema = pending.pop()
        if isinstance(value, dict):
            properties = as_schema(schema.get("properties"))
            for name, each in cast("dict[str, Any]", value).items():
                if name not in properties:
                    yield name, {}
                pending.append((each, resolved(as_schema(properties.get(name)), tool.schema)))
        elif isinstance(value, list):
            items = resolved(as_schema(schema.get("items")), tool.schema)
            pending += [(each, items) for each in cast("list[Any]", value)]
        else:
            yield value, schema
