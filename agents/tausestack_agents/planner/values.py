"""What a part of a request holds: quoted strings, numbers, money, dates, names and the like, with where they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from typing import Any, Literal

from tausestack_agents.planner.places import Place, places
from tausestack_agents.planner.spoken import spoken
from tausestack_agents.planner.text import Language, fold, glossary, language, stem, words

Kind = Literal["json", "quoted", "email", "url", "uuid", "date", "time", "money", "percent", "number", "code"]


@dataclass(frozen=True, slots=True)
class Value:
    """Something of a known kind at a place of a text; `value` is what it means."""

    kind: Kind
    value: Any
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in major units, and its ISO 4217 code where the text gives one."""

    amount: Decimal
    currency: str | None


_MOST_TRIES = 64
"""At how many brackets of a text JSON may begin."""
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"https?://[^\s,;]+[^\s,;.?!)]")
_UUID = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_SLASH_DATE = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b")
MONTHS = {
    name: index + 1
    for names in (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "january february march april may june july august september october november december",
    )
    for index, name in enumerate(names.split())
}
_WRITTEN_DATE = re.compile(
    rf"\b(\d{{1,2}})\s+(?:de\s+)?({'|'.join(MONTHS)})(?:\s+(?:de\s+|del\s+)?(\d{{4}}))?\b"
    rf"|\b({'|'.join(MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?\b"
)
_WEEKDAYS = {
    name: index
    for names in ("lunes martes miercoles jueves viernes sabado domingo",
                  "monday tuesday wednesday thursday friday saturday sunday")
    for index, name in enumerate(names.split())
}  # fmt: skip
_WEEKDAY = re.compile(rf"(?<!los )(?<!cada )(?<!every )\b({'|'.join(_WEEKDAYS)})\b")
"""The next such day, today's not; every one of them is none."""
_IN_DAYS = re.compile(r"\b(?:en|dentro de|in|within)\s+(\d{1,3})\s+(?:dias|days)\b")
_TIME = re.compile(
    r"\b([01]?\d|2[0-3])[:.h]([0-5]\d)(?::[0-5]\d)?\s*(a\.?m\b\.?|p\.?m\b\.?|de la (?:manana|tarde|noche))?"
    r"|\b(1[0-2]|[1-9])\s*(a\.?m\b\.?|p\.?m\b\.?|de la (?:manana|tarde|noche))"
)
_NUMBER = r"(?<!\d)\d++(?:[.,'’]\d++)*+"
_SCALE = r"(?:\s*(?:millones|millon|million|mil|thousand|k)\b)?"
CURRENCIES = {
    "cop": "COP", "pesos colombianos": "COP", "peso colombiano": "COP", "pesos": "COP", "peso": "COP",
    "usd": "USD", "us$": "USD", "dolares": "USD", "dolar": "USD", "dollars": "USD", "dollar": "USD", "bucks": "USD",
    "eur": "EUR", "euros": "EUR", "euro": "EUR", "€": "EUR", "gbp": "GBP", "£": "GBP", "libras": "GBP", "mxn": "MXN",
    "brl": "BRL", "ars": "ARS", "clp": "CLP", "pen": "PEN", "jpy": "JPY", "yen": "JPY", "yenes": "JPY", "cad": "CAD",
}  # fmt: skip
_MARK = "|".join(re.escape(name) for name in sorted(CURRENCIES, key=len, reverse=True))
CURRENCY = re.compile(rf"(?<![\w$])(?:{_MARK})(?!\w)")
_MONEY = re.compile(
    rf"(?P<minus>(?<![\w)])-)?"
    rf"(?P<before>us\$|\$|€|£|\b(?:cop|usd|eur|gbp|mxn|brl|ars|clp|pen|cad)\b)\s*\$?\s*(?P<a>-?{_NUMBER}{_SCALE})"
    rf"(?:\s*(?:de\s+)?(?P<also>(?:{_MARK})(?!\w)))?"
    rf"|(?P<b>(?:(?<![\w)])-)?{_NUMBER}{_SCALE})\s*(?:de\s+)?(?P<after>(?:{_MARK})(?!\w))"
)
_PERCENT = re.compile(
    rf"({_NUMBER})\s*(?:%|por ciento|percent\b)"
    r"|\b(?:iva|vat|tax|impuesto)\s+(?:de\s+|del\s+|of\s+)?(\d{1,2})(?!\w|[.,]\d)"
)
_PLAIN = re.compile(rf"(?<![\w.,/-])-?{_NUMBER}{_SCALE}(?![\w/-]|[.,]\d)")
_CODE = re.compile(
    r"(?<![\w@/])(?=[\w.:/-]*\d)[A-Za-z0-9][\w.:/-]*[A-Za-z0-9]|\b[A-Za-z0-9]+(?:[_:/.-][A-Za-z0-9]+)+\b"
)
_CAPITALS = re.compile(
    r"[A-ZÁÉÍÓÚÑ][\wáéíóúñ&.'-]*(?:\s+(?:(?:de|del|la|las|los|y|and|of|the|&)\s+)*[A-ZÁÉÍÓÚÑ&][\wáéíóúñ&.'-]*)*"
)
_BEFORE = re.compile(r"(us\$|\$|€|£|\b(?:cop|usd|eur|gbp|mxn|brl|ars|clp|pen|cad)\b)\s*\$?\s*$")
_AFTER = re.compile(rf"\s*(?:de\s+)?(?P<after>(?:{_MARK})(?!\w))")
_LUCAS = re.compile(rf"(?P<many>{_NUMBER})?\s+lucas?\b")
"""What a thousand pesos are called."""


def number(text: str, *, spanish: bool) -> Decimal | None:
    """Return the number in a text such as `1.234,56`, `1'250.000`, `250 mil` or `3k`; None where there is none.

    An apostrophe groups digits, as a single point or comma before exactly three of them does; otherwise the language
    decides which is which.
    """
    folded = fold(text).strip()
    scale = Decimal(1)
    for names, factor in ((("millones", "millon", "million"), 1_000_000), (("mil", "thousand", "k"), 1000)):
        for name in names:
            if folded.endswith(name):
                folded, scale = folded[: -len(name)].strip(), Decimal(factor)
    if not re.fullmatch(rf"-?{_NUMBER}", folded):
        return None
    folded = folded.replace("'", "").replace("’", "")
    last = max(folded.rfind("."), folded.rfind(","))
    if last >= 0:
        mark, other = folded[last], "," if folded[last] == "." else "."
        grouped = len(folded) - last == 4 and (scale == 1 or folded.count(mark) > 1)
        decimal_mark = "," if spanish else "."
        if grouped and other not in folded and not (folded.startswith("0") and mark == decimal_mark):
            folded = folded.replace(mark, "")
        elif other in folded or folded.count(mark) == 1:
            folded = folded[:last].replace(".", "").replace(",", "") + "." + folded[last + 1 :]
        else:
            folded = folded.replace(mark, "")
    try:
        return Decimal(folded) * scale
    except InvalidOperation:
        return None


@cache
def _mere_words() -> frozenset[str]:
    known = glossary()
    return frozenset(known.concepts.keys() | known.stop | CURRENCIES.keys() | MONTHS.keys())


def is_telling(value: Value) -> bool:
    """Return whether a value says something that has to be heeded: not `today`, and no name that is a mere word."""
    if value.kind == "date":
        return fold(value.text) not in {"hoy", "today"}
    mere = _mere_words()
    said = fold(value.text).split() if value.kind == "code" else words(value.text)
    return not all(word in mere or stem(word) in mere for word in said)


class Source:
    """A text and what it holds; places, dates and names are found when first asked for."""

    def __init__(self, text: str, *, today: date, spoken: Language | None = None) -> None:
        self.text = text
        self.folded = fold(text)
        self.today = today
        self.language: Language = spoken or language(text)

    def of(self, *kinds: Kind) -> list[Value]:
        """Return the values of some kinds, in order."""
        return [value for value in self.values if value.kind in kinds]

    @cached_property
    def values(self) -> list[Value]:
        """All values, none overlapping another: the more telling kind wins."""
        taken: list[Value] = []
        for value in self._found():
            if not any(value.start < other.end and other.start < value.end for other in taken):
                taken.append(value)
        return sorted(taken, key=lambda value: value.start)

    @cached_property
    def places(self) -> list[Place]:
        """The places that have a time zone."""
        return places(self.text)

    @cached_property
    def codes(self) -> list[Value]:
        """Tokens that look like an identifier, quoted ones and numbers among them."""
        literals = self.of("json", "quoted")
        found = [
            Value("code", match.group(), match.group(), *match.span())
            for match in _CODE.finditer(self.text)
            if not any(each.start <= match.start() < each.end for each in literals)
        ]
        return found + self.of("quoted", "number", "email", "uuid")

    @cached_property
    def names(self) -> list[Value]:
        """Runs of capitalised words."""
        found: list[Value] = []
        for match in _CAPITALS.finditer(self.text):
            start, text = match.start(), match.group().rstrip(".'-")
            if not re.search(r"\w", self.text[:start]):
                # A sentence's first word has its capital from there; a name may still follow it.
                _, _, text = text.partition(" ")
                start = match.end() - len(match.group().partition(" ")[2])
            quoted = any(each.kind == "quoted" and each.start <= start < each.end for each in self.values)
            if text and not quoted:
                found.append(Value("code", text, text, start, start + len(text)))
        return found

    def _found(self) -> Iterator[Value]:
        yield from self._json()
        for kind, pattern in (("quoted", _QUOTED), ("url", _URL), ("email", _EMAIL), ("uuid", _UUID)):
            for match in pattern.finditer(self.text):
                inner = next((group for group in match.groups() if group), match.group())
                yield Value(kind, inner, match.group(), *match.span())  # pyright: ignore[reportArgumentType] one of Kind
        yield from self._dates()
        yield from self._times()
        yield from self._numbers()

    def _json(self) -> Iterator[Value]:
        decoder = json.JSONDecoder()
        position = tried = 0
        while tried < _MOST_TRIES and (match := re.compile(r"[{\[]").search(self.text, position)) is not None:
            tried += 1
            try:
                value, end = decoder.raw_decode(self.text, match.start())
            except (json.JSONDecodeError, RecursionError):
                position = match.end()
                continue
            yield Value("json", value, self.text[match.start() : end], match.start(), end)
            position = end

    def _dates(self) -> Iterator[Value]:
        for match in _ISO_DATE.finditer(self.folded):
            yield from self._date(match, *match.groups())
        for match in _SLASH_DATE.finditer(self.folded):
            day, month, year = match.groups()
            yield from self._date(match, year, month, day)
        for match in _WRITTEN_DATE.finditer(self.folded):
            day, month, year, month_en, day_en, year_en = match.groups()
            named = MONTHS[month or month_en]
            yield from self._date(match, year or year_en or str(self.today.year), str(named), day or day_en)
        for pattern, days in (
            (r"\b(?:hoy|today)\b", 0),
            (r"\b(?:pasado manana|the day after tomorrow)\b", 2),
            (r"(?<!la )\b(?:manana|tomorrow)\b", 1),
            (r"\b(?:ayer|yesterday)\b", -1),
        ):
            for match in re.finditer(pattern, self.folded):
                meant = self.today + timedelta(days=days)
                yield Value("date", meant.isoformat(), match.group(), *match.span())
        for match in _IN_DAYS.finditer(self.folded):
            meant = self.today + timedelta(days=int(match.group(1)))
            yield Value("date", meant.isoformat(), match.group(), *match.span())
        for match in _WEEKDAY.finditer(self.folded):
            ahead = (_WEEKDAYS[match.group(1)] - self.today.weekday() - 1) % 7 + 1
            yield Value("date", (self.today + timedelta(days=ahead)).isoformat(), match.group(), *match.span())
        for pattern, meant in (
            (r"\b(?:este ano|this year)\b", self.today.replace(month=1, day=1)),
            (r"\b(?:este mes|this month)\b", self.today.replace(day=1)),
        ):
            for match in re.finditer(pattern, self.folded):
                yield Value("date", meant.isoformat(), match.group(), *match.span())

    def _date(self, match: re.Match[str], year: str, month: str, day: str) -> Iterator[Value]:
        try:
            meant = date(int(year), int(month), int(day))
        except ValueError:
            return
        yield Value("date", meant.isoformat(), match.group(), *match.span())

    def _times(self) -> Iterator[Value]:
        for match in _TIME.finditer(self.folded):
            hour, minute, half, hour_alone, half_alone = match.groups()
            mark = half or half_alone or ""
            if hour is not None and ":" not in match.group() and "h" not in match.group() and not mark:
                continue  # 3.50 is a number
            hours = int(hour or hour_alone)
            afternoon = mark.startswith("p") or mark.endswith(("tarde", "noche"))
            morning = mark.startswith("a") or mark.endswith("manana")
            hours = hours % 12 + 12 if afternoon and hours <= 12 else 0 if morning and hours == 12 else hours
            yield Value("time", f"{hours:02d}:{minute or '00'}", match.group(), *match.span())

    def _spoken(self) -> Iterator[Value]:
        """Yield amounts and numbers in words, first: a `dos` of `dos mil` alone would be another number."""
        spanish = self.language == "es"
        numbers = list(spoken(self.folded, lambda text: number(text, spanish=spanish)))
        for match in _LUCAS.finditer(self.folded):
            words_before = next((each for each in numbers if each.end == match.start()), None)
            many = number(match["many"], spanish=spanish) if match["many"] else words_before and words_before.amount
            if many:
                start = match.start() if match["many"] or words_before is None else words_before.start
                yield Value("money", Money(many * 1000, "COP"), self.folded[start : match.end()], start, match.end())
        for each in numbers:
            before, after = _BEFORE.search(self.folded[: each.start]), _AFTER.match(self.folded, each.end)
            start = before.start() if before else each.start
            end = after.end() if after else each.end
            text = self.folded[start:end]
            if before is None and after is None:
                yield Value("number", each.amount, text, start, end)
                continue
            mark = after["after"] if after else before[1] if before else ""
            currency = CURRENCIES.get(mark, mark.upper() if mark.isalpha() else None)
            yield Value("money", Money(each.amount, currency), text, start, end)

    def _numbers(self) -> Iterator[Value]:
        spanish = self.language == "es"
        yield from self._spoken()
        for match in _MONEY.finditer(self.folded):
            amount = number((match["minus"] or "") + (match["a"] or match["b"]), spanish=spanish)
            mark = match["also"] or match["after"] or match["before"]
            currency = CURRENCIES.get(mark, mark.upper() if mark and mark.isalpha() else None)
            if amount is not None:
                yield Value("money", Money(amount, currency), match.group(), *match.span())
        for match in _PERCENT.finditer(self.folded):
            share = number(match.group(1) or match.group(2), spanish=spanish)
            if share is not None:
                yield Value("percent", share, match.group(), *match.span())
        for match in _PLAIN.finditer(self.folded):
            plain = number(match.group(), spanish=spanish)
            if plain is not None:
                yield Value("number", plain, match.group(), *match.span())
