"""Finding a tool's arguments in a part of a request, by the tool's schema alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any, cast

from tausestack_agents.planner.asking import phrases
from tausestack_agents.planner.schema import Property, Schema, properties, resolved
from tausestack_agents.planner.strings import GUESSED, NAMED, PARTY, TYPED, Finding, find, fits_pattern
from tausestack_agents.planner.text import concepts_of, fold, glossary
from tausestack_agents.planner.values import Money, Source, Value, is_telling

MINOR_DIGITS = {"JPY": 0, "CLP": 0, "KRW": 0, "PYG": 0, "VND": 0}
"""Digits after the point of currencies that don't have two."""
_MINOR = r"minor unit|centavo|\bcents?\b|unidades? menor|\bminor\b"
_MONEY = r"\b(amount|price|precio|total|subtotal|monto|importe|cost|costo|valor|budget|fee|balance)\b"
_PERCENT = r"\b(percent|percentage|porcentaje|rate|tasa|bps|basis points?|tax|iva|discount|descuento)\b"
_COUNT = r"\b(quantity|cantidad|qty|units|unidades|count|number of|how many|seats)\b"
_LIMIT = r"\b(page size|max results|maximum number|return at most|at most so many)\b"
_BEFORE_AMOUNT = re.compile(r"(?:\b(?:por|for|at|a|vale|cuesta|costs?|precio|price|monto|amount)|[=:])\s*$")
_AFTER_AMOUNT = re.compile(r"\s*(?:$|[,.;!?]|(?:de|por|for|of|y|and|cada|each|con|with|para|to|mas|plus)\b)")
_DISCOUNT = re.compile(r"\b(?:descuento|rebaja|dcto|discount)\s+(?:de\s+|del\s+|of\s+)?$")
_DAYS = r"\bdays\b|\bdias\b"
_TRUE = re.compile(r"\b(?:si|yes|true|verdadero|activ\w+|enabled?)\b")
_FALSE = re.compile(r"\b(?:no|false|falso|sin|without|inactiv\w+|disabled?)\b")


@dataclass(frozen=True, slots=True)
class Filled:
    """What was found: a list of arguments, one for each call, and what is missing from them."""

    calls: list[dict[str, Any]]
    missing: list[str] = field(default_factory=list[str])
    strength: int = 0
    """How sure the findings are, summed: the measure between tools that both fit."""
    unused: list[str] = field(default_factory=list[str])
    """Which amounts, dates, names, codes and other telling things of the text have no place in the arguments."""
    taken: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Where in the text the arguments stand."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier step of the same run gave."""

    address: str
    result: Any


def fill(schema: Schema, source: Source, earlier: Sequence[Earlier] = ()) -> Filled:
    """Return the arguments for a tool that a text holds.

    One property with several findings of the same kind makes as many calls. Optional properties are filled only by
    what is sure to be theirs.
    """
    root = schema
    scope = _Scope(source, earlier)
    arguments: dict[str, Any] = {}
    several: tuple[str, list[Finding]] | None = None
    missing: list[str] = []
    strength = 0
    for prop in properties(resolved(schema, root), root):
        found = scope.findings(prop)
        if not found:
            if prop.required and "default" not in prop.schema:
                missing.append(prop.name)
            continue
        if prop.required and several is None and _several(prop, found):
            several = (prop.name, [each for each in found if each.strength == found[0].strength])
        arguments[prop.name] = found[0].value
        scope.take(found[0])
        strength += found[0].strength
    if several is None:
        return Filled([arguments], missing, strength, scope.unused(), scope.spans())
    name, wishes = several
    wished = [each for each in wishes if each is wishes[0] or not scope.overlaps(each)]
    for each in wished:
        scope.take(each)
    values = dict.fromkeys(each.value for each in wished)
    calls = [{**arguments, name: value} for value in values]
    return Filled(calls, missing, strength, scope.unused(), scope.spans())


def _several(prop: Property, found: Sequence[Finding]) -> bool:
    """Whether findings are as many wishes for the same thing: strings of one kind, none of them a mere guess."""
    equal = [each for each in found if each.strength == found[0].strength and each.start >= 0]
    return prop.type == "string" and "enum" not in prop.schema and len(equal) > 1 and found[0].strength >= NAMED


class _Scope:
    """A text, what was taken from it already, and what earlier steps gave."""

    def __init__(self, source: Source, earlier: Sequence[Earlier], *, guess: bool = True) -> None:
        """`guess`: whether a required string may be taken from what is left over."""
        self._guess = guess
        self._source = source
        self._earlier = earlier
        self.taken: list[Finding] = []

    def take(self, finding: Finding) -> None:
        """Note that a finding was used."""
        self.taken += [each for each in (finding, *finding.parts) if each.start >= 0]

    def spans(self) -> list[tuple[int, int]]:
        """Return where what was used stands."""
        return [(each.start, each.end) for each in self.taken]

    def unused(self) -> list[str]:
        """Return what the text holds and nothing took, but for courtesy, in order."""
        polite = [match.span() for match in phrases().courtesy.finditer(self._source.folded)]
        left: list[Value] = []
        for each in [*self._source.values, *self._source.codes, *self._source.names]:
            apart = not any(each.start < other.end and other.start < each.end for other in left)
            thanks = any(start <= each.start < end for start, end in polite)
            if apart and not thanks and is_telling(each) and not self.overlaps(Finding(None, 0, each.start, each.end)):
                left.append(each)
        return [self._source.text[each.start : each.end] for each in sorted(left, key=lambda each: each.start)]

    def findings(self, prop: Property) -> list[Finding]:
        """Return what fits a property, surest first."""
        found = [each for each in self._of_type(prop) if prop.required or each.strength >= NAMED]
        free = self._directed(prop, [each for each in found if not self.overlaps(each)])
        if free:
            return free
        if prop.type in {"string", "integer"} and prop.required:
            given = self._from_earlier(prop)
            if given is not None:
                return [Finding(given, NAMED)]
        if self._guess and prop.required and prop.type == "string" and not _is_special(prop):
            return self._left_over(prop)
        return []

    def _directed(self, prop: Property, found: list[Finding]) -> list[Finding]:
        """Of equally sure findings put first what stands after `from` for a source, after `to` for a target."""
        for hints, before in (
            ({"source", "from", "origin", "origen"}, r"\b(?:de|desde|from|in|en)\s+$"),
            ({"target", "to", "destination", "destino"}, r"\b(?:a|to|hacia|hasta|into|al)\s+$"),
        ):
            if prop.name_words & hints:
                return sorted(found, key=lambda each: not re.search(before, self._source.folded[: max(each.start, 0)]))
        return found

    def _of_type(self, prop: Property) -> list[Finding]:
        kind = prop.type
        if kind == "string":
            return find(prop, self._source)
        if kind in {"integer", "number"}:
            return self._numbers(prop)
        if kind == "boolean":
            return self._booleans(prop)
        if kind == "array":
            return self._arrays(prop)
        if kind == "object":
            return self._objects(prop)
        return self._anything(prop)

    def _numbers(self, prop: Property) -> list[Finding]:
        source, whole = self._source, prop.type == "integer"
        if isinstance(prop.schema.get("enum"), list):
            options = set(cast("list[Any]", prop.schema["enum"]))
            plain = [_plain(each, whole) for each in source.of("number", "percent")]
            return [each for each in plain if each.value in options]
        if prop.named("limit", "top") or (prop.says(_LIMIT) and not _counts(prop)):
            pattern = r"\b(?:primer[oa]?s|ultim[oa]s|top|first|last|limit|maximo|hasta|only|solo)\s+(\w+)"
            return self._following(pattern, whole) or self._only_number(prop, whole)
        if prop.says(_DAYS) and not prop.says(_MONEY):
            return self._preceding(r"dias?|days?", whole)
        if _counts(prop):
            return self._quantities(whole)
        if prop.says(_PERCENT) and not prop.says(_MONEY.replace("amount|", "")) and (shares := self._shares(prop)):
            scale = 100 if prop.says(r"basis points?|\bbps\b") else 1
            return [_scaled(each, each.value * scale, whole, TYPED) for each in shares]
        if prop.says(_PERCENT) and not prop.says(_MONEY):
            return []
        if prop.says(_MONEY) or prop.says(_MINOR):
            found = [_money(each, prop, whole) for each in source.of("money")]
            return found or [_money(each, prop, whole) for each in self._amounts() if prop.required]
        return self._labelled_number(prop, whole) or self._only_number(prop, whole)

    def _shares(self, prop: Property) -> list[Value]:
        """Percentages, those of a discount only where that is meant."""
        discounts = prop.name_concepts & {"discount"}
        found = self._source.of("percent")
        return [each for each in found if discounts or not _DISCOUNT.search(self._source.folded[: each.start])]

    def _amounts(self) -> list[Value]:
        """Numbers that stand where an amount would, without a currency: as money, in the currency by default."""
        return [
            Value("money", Money(each.value, None), each.text, each.start, each.end)
            for each in self._source.of("number")
            if _BEFORE_AMOUNT.search(self._source.folded[: each.start])
            and _AFTER_AMOUNT.match(self._source.folded, each.end)
        ]

    def _following(self, pattern: str, whole: bool) -> list[Finding]:
        starts = {match.start(1) for match in re.finditer(pattern, self._source.folded)}
        return [_plain(each, whole, NAMED) for each in self._source.of("number") if each.start in starts]

    def _preceding(self, units: str, whole: bool) -> list[Finding]:
        return [
            _plain(each, whole, NAMED)
            for each in self._source.of("number")
            if re.match(rf"\s+(?:{units})\b", self._source.folded[each.end :])
        ]

    def _quantities(self, whole: bool) -> list[Finding]:
        """Numbers of things: those followed by a word or an x, and not money."""
        return [
            _plain(each, whole, NAMED)
            for each in self._source.of("number")
            if re.match(r"\s*(?:x\b|×|[^\W\d]{2,})", self._source.folded[each.end :])
            and not re.match(r"\s*(?:(?:de|y|and|cuotas?|plazos?|pagos?|meses)\b|%)", self._source.folded[each.end :])
        ]

    def _labelled_number(self, prop: Property, whole: bool) -> list[Finding]:
        wanted = prop.name_concepts
        found: list[Finding] = []
        for each in self._source.of("number"):
            before = re.findall(r"[^\W_]+", self._source.folded[: each.start])[-3:]
            after = re.findall(r"[^\W_]+", self._source.folded[each.end :])[:1]
            if any(concepts_of(word) & wanted for word in before + after):
                found.append(_plain(each, whole, NAMED))
        return found

    def _only_number(self, prop: Property, whole: bool) -> list[Finding]:
        if not prop.required:
            return []
        return [_plain(each, whole) for each in self._source.of("number")]

    def _booleans(self, prop: Property) -> list[Finding]:
        wanted = prop.name_concepts - {"is", "has"}
        for match in re.finditer(r"[^\W_]+", self._source.folded):
            if concepts_of(match.group()) & wanted:
                around = self._source.folded[max(0, match.start() - 14) : match.end() + 10]
                return [Finding(not _FALSE.search(around), NAMED, *match.span())]
        if prop.required and (_TRUE.search(self._source.folded) or _FALSE.search(self._source.folded)):
            return [Finding(not _FALSE.search(self._source.folded), GUESSED)]
        return []

    def _arrays(self, prop: Property) -> list[Finding]:
        literal = [each for each in self._source.of("json") if isinstance(each.value, list)]
        if literal:
            return [Finding(literal[0].value, TYPED, literal[0].start, literal[0].end)]
        items = resolved(cast("Schema", prop.schema.get("items", {})), prop.root)
        about = f"{prop.about} {prop.description}"
        if items.get("type") == "object" or "properties" in items:
            return self._rows(items, prop, about)
        member = Property(prop.name.removesuffix("s"), items, prop.root, prop.required, about)
        found = self._of_type(member)
        best = [each for each in found if each.strength == found[0].strength]
        return [Finding([each.value for each in best], best[0].strength)] if best else []

    def _rows(self, items: Schema, prop: Property, about: str) -> list[Finding]:
        """One row for each stretch of the text that holds one amount; all must be complete."""
        rows: list[dict[str, Any]] = []
        parts: list[Finding] = []
        amounts = sorted([*self._source.of("money"), *self._amounts()], key=lambda each: each.start)
        for start, stretch in _stretches(self._source, amounts):
            scope = _Scope(stretch, (), guess=False)
            row, complete = scope.row(items, prop.root, about)
            if not complete or not row:
                return []
            rows.append(row)
            parts += [replace(each, start=each.start + start, end=each.end + start) for each in scope.taken]
        return [Finding(rows, NAMED, parts=tuple(parts))]

    def row(self, schema: Schema, root: Schema, about: str) -> tuple[dict[str, Any], bool]:
        """Return an object of a schema, and whether nothing that it needs is missing."""
        found_row: dict[str, Any] = {}
        complete = True
        for prop in properties(schema, root, about):
            found = self.findings(prop)
            if found:
                found_row[prop.name] = found[0].value
                self.take(found[0])
            elif prop.required and prop.type == "integer" and _counts(prop):
                found_row[prop.name] = 1  # one of what is named in the singular
            elif prop.required and "default" not in prop.schema:
                complete = False
        return found_row, complete

    def _objects(self, prop: Property) -> list[Finding]:
        literal = [each for each in self._source.of("json") if isinstance(each.value, dict)]
        if literal:
            return [Finding(literal[0].value, TYPED, literal[0].start, literal[0].end)]
        if prop.schema.get("properties"):
            scope = _Scope(self._source, (), guess=False)
            row, complete = scope.row(prop.schema, prop.root, f"{prop.about} {prop.description}")
            return [Finding(row, NAMED, parts=tuple(scope.taken))] if row and complete else []
        pairs = _pairs(self._source)
        return [Finding(pairs, NAMED)] if pairs else []

    def _anything(self, prop: Property) -> list[Finding]:
        literal = self._source.of("json")
        if literal:
            return [Finding(literal[0].value, TYPED, literal[0].start, literal[0].end)]
        pairs = _pairs(self._source)
        if pairs:
            return [Finding(pairs, NAMED)]
        if prop.name_words & {"value", "content", "document", "data", "body"}:
            plain = [*self._source.of("quoted"), *self._source.of("number")]
            return [Finding(_jsonable(each), NAMED, each.start, each.end) for each in plain]
        return find(prop, self._source)

    def overlaps(self, finding: Finding) -> bool:
        """Return whether a finding stands where another was taken."""
        return any(finding.start < other.end and other.start < finding.end for other in self.taken)

    def _from_earlier(self, prop: Property) -> Any:
        """What the last result that has it holds under the property's name, or as the id of what the name speaks of.

        None where that holds several, of which nobody said which is meant.
        """
        kind = str(prop.type)
        wanted = {prop.name}
        owner = re.sub(r"_?(id|number|key)$", "", prop.name) if prop.named("id", "number", "key") else None
        for step in reversed(self._earlier):
            found: dict[int, set[Any]] = {}
            for path, value in _leaves(step.result):
                fits = isinstance(value, str) if kind == "string" else isinstance(value, int)
                last = path[-1] if path else ""
                of_owner = owner and last == prop.name.removeprefix(f"{owner}_")
                about_owner = owner and (owner in path or fold(owner) in fold(step.address))
                if fits and (
                    last in wanted or (of_owner and about_owner) or (prop.name == "id" and last.endswith("_id"))
                ):
                    found.setdefault(len(path), set()).add(value)
            if found:
                nearest = found[min(found)]
                return next(iter(nearest)) if len(nearest) == 1 else None
        return None

    def _left_over(self, prop: Property) -> list[Finding]:
        """For want of anything better: the most telling thing that nothing else has taken."""
        measures = self._source.of("money", "percent", "date", "time", "json")
        known = glossary()
        found: list[Finding] = []
        # Nobody's name says which of somebody's things is meant, and a party's name is found as such.
        names = [] if prop.named("id", "number") and not prop.name_words & PARTY else self._source.names
        for group in (self._source.of("quoted"), self._source.codes, names):
            for each in group:
                finding = Finding(each.value if each.kind == "quoted" else each.text, GUESSED, each.start, each.end)
                measured = any(each.start < other.end and other.start < each.end for other in measures)
                if not measured and not self.overlaps(finding) and not concepts_of(fold(each.text)) & known.verbs:
                    found.append(finding)
            if found:
                break
        return [each for each in found if fits_pattern(prop.schema, str(each.value))]


def _counts(prop: Property) -> bool:
    """Whether a number says how many: never one of money, whose units are minor or major ones."""
    if prop.says(_MONEY) or prop.says(_MINOR):
        return prop.named("quantity", "cantidad", "qty")
    return prop.says(_COUNT)


def _is_special(prop: Property) -> bool:
    """Whether only a certain kind of string will do, so that no leftover is tried."""
    special = (
        "enum" in prop.schema or "format" in prop.schema or prop.named("timezone", "tz", "email", "currency", "date")
    )
    return special or prop.says(r"\biana\b|hh:mm")


def _plain(value: Value, whole: bool, strength: int = GUESSED) -> Finding:
    return _scaled(value, value.value, whole, strength)


def _scaled(value: Value, amount: Decimal, whole: bool, strength: int) -> Finding:
    exact = amount == amount.to_integral_value()
    shown: Any = int(amount) if whole or exact else float(amount)
    return Finding(shown, strength, value.start, value.end)


def _money(value: Value, prop: Property, whole: bool) -> Finding:
    money: Money = value.value
    minor = prop.says(_MINOR) or re.search(_MINOR, prop.about) is not None
    digits = MINOR_DIGITS.get(money.currency or "", 2) if minor else 0
    return _scaled(value, money.amount * 10**digits, whole, TYPED)


def _stretches(source: Source, amounts: Sequence[Value]) -> list[tuple[int, Source]]:
    """Cut a text so that each piece holds one amount, and return where each begins; without any there is one piece."""
    if len(amounts) < 2:
        return [(0, source)]
    cuts = [0]
    for before, after in pairwise(amounts):
        between = source.folded[before.end : after.start]
        joints = list(re.finditer(r"\s*(?:,|;|\by\b|\band\b|\be\b|\bmas\b|\bplus\b)\s+", between))
        cuts.append(before.end + (joints[-1].end() if joints else 0))
    cuts.append(len(source.text))
    return [
        (start, Source(source.text[start:end], today=source.today, spoken=source.language))
        for start, end in pairwise(cuts)
    ]


_PAIR = re.compile(r"\b([A-Za-zÁÉÍÓÚÑáéíóúñ_][\wáéíóúñ]*)\s*[=:]\s*(\"[^\"]*\"|“[^”]*”|'[^']*'|[^\s,;]+)")


def _pairs(source: Source) -> dict[str, Any]:
    """`name=value` and `name: value` pairs."""
    found: dict[str, Any] = {}
    for match in _PAIR.finditer(source.text):
        raw = match.group(2)
        if raw.startswith("//"):
            continue
        text = raw.strip("\"'“”").rstrip(".") if raw[0] in "\"'“" else raw.rstrip(".?!")
        found[match.group(1)] = _scalar(text) if raw[0] not in "\"'“" else text
    return found


def _scalar(text: str) -> Any:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return float(text)
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def _jsonable(value: Value) -> Any:
    if isinstance(value.value, Decimal):
        return int(value.value) if value.value == value.value.to_integral_value() else float(value.value)
    return value.value


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return [leaf for key, inner in entries.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for inner in cast("list[Any]", value)[:5] for leaf in _leaves(inner, path)]
    return [(path, value)]
