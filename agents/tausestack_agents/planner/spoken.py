"""Numbers in words, in Spanish and English: `mil quinientos`, `millón y medio`, `2 millones 500 mil`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

UNITS = {
    "un": 1, "uno": 1, "una": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8,
    "nueve": 9, "diez": 10, "once": 11, "doce": 12, "trece": 13, "catorce": 14, "quince": 15, "dieciseis": 16,
    "diecisiete": 17, "dieciocho": 18, "diecinueve": 19, "veinte": 20, "veintiun": 21, "veintiuno": 21, "veintiuna": 21,
    "veintidos": 22, "veintitres": 23, "veinticuatro": 24, "veinticinco": 25, "veintiseis": 26, "veintisiete": 27,
    "veintiocho": 28, "veintinueve": 29,
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70, "ochenta": 80, "noventa": 90,
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
HUNDREDS = {
    "cien": 100, "ciento": 100, "doscientos": 200, "doscientas": 200, "trescientos": 300, "trescientas": 300,
    "cuatrocientos": 400, "cuatrocientas": 400, "quinientos": 500, "quinientas": 500, "seiscientos": 600,
    "seiscientas": 600, "setecientos": 700, "setecientas": 700, "ochocientos": 800, "ochocientas": 800,
    "novecientos": 900, "novecientas": 900,
}  # fmt: skip
THOUSAND = frozenset({"mil", "thousand"})
MILLION = frozenset({"millon", "millones", "million", "millions"})
ARTICLES = frozenset({"un", "uno", "una", "one"})
"""Alone they count nothing."""
_TOKEN = re.compile(r"\d+(?:[.,'’]\d+)*|[^\W\d]+")
_IDIOM = re.compile(r"\s+(?:de\s+)?(?:gracias|disculpas|perdones|felicitaciones|bendiciones|veces|maravillas|thanks)\b")
"""After `mil`, where it only means many."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A number and where it stands in the text."""

    amount: Decimal
    start: int
    end: int


@dataclass(slots=True)
class _Sum:
    """What has been said of a number so far."""

    millions: Decimal = Decimal(0)
    thousands: Decimal = Decimal(0)
    below: Decimal = Decimal(0)
    least: int = 1_000
    """What comes next has to be below this, as units are after tens."""
    scales: int = 0
    scaled: Decimal = Decimal(0)
    """What the last scale is of: of that `y medio` is the half."""

    @property
    def amount(self) -> Decimal:
        return self.millions + self.thousands + self.below

    def add(self, value: Decimal, room: int) -> bool:
        """Add a part that leaves room for what is smaller; False where it can't follow."""
        if not 0 < value < self.least:
            return False
        self.below, self.least = self.below + value, room
        return True

    def thousand(self) -> bool:
        if self.thousands:
            return False
        self.thousands, self.below, self.least = (self.below or Decimal(1)) * 1000, Decimal(0), 1_000
        self.scales, self.scaled = self.scales + 1, Decimal(1000)
        return True

    def million(self) -> bool:
        if self.millions:
            return False
        self.millions = (self.thousands + self.below or Decimal(1)) * 1_000_000
        self.thousands, self.below, self.least = Decimal(0), Decimal(0), 1_000
        self.scales, self.scaled = self.scales + 1, Decimal(1_000_000)
        return True


def spoken(folded: str, digits: Callable[[str], Decimal | None]) -> Iterator[Spoken]:
    """Yield the numbers of a text, its letters folded, that are in words or of several scales.

    `digits` reads one in figures. A lone article is none, nor is a `mil` that only means many.
    """
    tokens = list(_TOKEN.finditer(folded))
    at = 0
    while at < len(tokens):
        found, after = _number(folded, tokens, at, digits)
        if found is not None:
            yield found
        at = after


def _number(
    folded: str, tokens: list[re.Match[str]], first: int, digits: Callable[[str], Decimal | None]
) -> tuple[Spoken | None, int]:
    said, at, last = _Sum(), first, first
    in_words = not tokens[first][0][0].isdigit()
    if tokens[first][0] in {"medio", "half"}:
        beyond = first + 1 + (_word(tokens, first + 1) == "a")
        if _word(tokens, beyond) in MILLION and _adjoin(folded, tokens[first : beyond + 1]):
            return Spoken(Decimal(500_000), tokens[first].start(), tokens[beyond].end()), beyond + 1
        return None, first + 1
    while at < len(tokens) and (at == first or _adjoin(folded, tokens[last : at + 1])):
        took = _take(said, tokens, at, digits)
        if not took:
            break
        at += took
        last = at - 1
    if at == first or (not in_words and at - first < 3):
        return None, max(at, first + 1)  # figures with one scale are read elsewhere
    if at == first + 1 and tokens[first][0] in ARTICLES:
        return None, at
    if said.below == 0 and _IDIOM.match(folded, tokens[last].end()):
        return None, at
    return Spoken(said.amount, tokens[first].start(), tokens[last].end()), at


def _take(said: _Sum, tokens: list[re.Match[str]], at: int, digits: Callable[[str], Decimal | None]) -> int:
    """Take what stands at a place into a number; return how many tokens that were, 0 where it does not go on."""
    word, following = tokens[at][0], _word(tokens, at + 1)
    if word in HUNDREDS:
        return int(said.add(Decimal(HUNDREDS[word]), 100))
    if word == "hundred" and 0 < said.below < 10:
        said.below, said.least = said.below * 100, 100
        return 1
    if word in TENS:
        return int(said.add(Decimal(TENS[word]), 10))
    if word in UNITS:
        return int(said.add(Decimal(UNITS[word]), 1))
    if word in THOUSAND:
        return int(said.thousand())
    if word in MILLION:
        return int(said.million())
    if word in {"y", "and"}:
        return _joined(said, tokens, at)
    if word[0].isdigit() and following in THOUSAND | MILLION:
        value = digits(word)
        return int(value is not None and said.below == 0 and said.add(value, 1))
    if said.scales and said.below == 0 and re.fullmatch(r"[1-9]\d\d", word):
        return int(said.add(Decimal(word), 1))  # `tres mil 500`
    return 0


def _joined(said: _Sum, tokens: list[re.Match[str]], at: int) -> int:
    """Take `y` with what follows it: units after tens, a half after a scale, in English whatever is below a hundred."""
    following = _word(tokens, at + 1)
    if following in {"medio", "media"} and said.scales and said.below == 0:
        said.below, said.least = said.scaled / 2, 1
        return 2
    if tokens[at][0] == "y":
        after_tens = said.least == 10 and UNITS.get(following, 10) < 10
        return 2 if after_tens and said.add(Decimal(UNITS[following]), 1) else 0
    value = UNITS.get(following) or TENS.get(following)
    room = 1 if following in UNITS else 10
    return 2 if value is not None and said.least == 100 and said.add(Decimal(value), room) else 0


def _word(tokens: list[re.Match[str]], at: int) -> str:
    return tokens[at][0] if at < len(tokens) else ""


def _adjoin(folded: str, tokens: list[re.Match[str]]) -> bool:
    """Whether nothing but spaces, or one hyphen, stands between tokens."""
    return all(folded[one.end() : other.start()].strip() in {"", "-"} for one, other in pairwise(tokens))
