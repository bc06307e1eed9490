"""Words of requests in Spanish and English: folded, cut to their stems, with their likes in either language."""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from snowballstemmer.english_stemmer import EnglishStemmer
from snowballstemmer.spanish_stemmer import SpanishStemmer

Language = Literal["es", "en"]

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CLAUSE = re.compile(
    r"[.;:!?]+(?=\s|$)|\n+|,\s+"
    r"|\s+(?:y|e|and|then|luego|despues|después|also|tambien|también|ademas|además)\s+",
    re.IGNORECASE,
)

_ENGLISH_TEXT = """
    a about after all also an and any are as at be been before but by can could do does for from had has have how i if
    in into is it its just let like me my need no not of on one or our out please so some than that the their them then
    there these they this to up us want was we were what when where which while will with would you your
"""
_SPANISH_TEXT = """
    al algo algun alguna como con cual cuando de del desde donde dos el ella ellos en entre era es esa ese eso esta este
    esto estas estos fue ha hay hasta la las le les lo los mas me mi mis muy necesito nos o para pero por porque puede
    puedes que quiero se ser si sin sobre solo son su sus te tengo tu tus u un una unas unos y ya favor e
"""
_ENGLISH = frozenset(_ENGLISH_TEXT.split())
_SPANISH = frozenset(_SPANISH_TEXT.split())
STOP = _ENGLISH | _SPANISH

LIKENESS = 0.8
"""What a word of the glossary counts beside the request's own."""
_LESS_LIKE = 0.92
"""How much less each further word of a meaning counts."""
_MOST_LIKES = 12

_spanish, _english = SpanishStemmer(), EnglishStemmer()
_stemming = threading.Lock()


@dataclass(frozen=True, slots=True)
class Term:
    """A telling word of a request: what to look for, English stems by how much each counts."""

    word: str
    stems: tuple[tuple[str, float], ...]


def fold(text: str) -> str:
    """Return a text in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).lower()


def words(text: str) -> list[str]:
    """Return the words of a text in order, folded; `createInvoice` and `create_invoice` are two each."""
    return _WORD.findall(fold(_CAMEL.sub(" ", text)))


def clauses(text: str) -> list[str]:
    """Return the parts of a request that may be separate wishes."""
    return [part.strip() for part in _CLAUSE.split(text) if part and part.strip()]


def language(text: str) -> Language | None:
    """Return which language a request is in, by its small words; None, where they don't say."""
    found = words(text)
    spanish, english = sum(word in _SPANISH for word in found), sum(word in _ENGLISH for word in found)
    return None if spanish == english else "es" if spanish > english else "en"


@lru_cache(maxsize=16384)
def stem(word: str, of: Language = "en") -> str:
    """Return a folded word without its ending: `factura`, `facturas` and `facturar` are one."""
    stemmer = _spanish if of == "es" else _english
    with _stemming:  # a stemmer keeps the word that it is at, and the index is asked from several threads
        return fold(str(stemmer.stemWord(word)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] it has no types


def terms(text: str, of: Language | None) -> list[Term]:
    """Return what to look for, for each telling word of a request in a language, or in either."""
    # Numbers are a request's arguments; that a tool's example has the same ones says nothing.
    telling = (word for word in words(text) if word not in STOP and len(word) > 1 and not word.isdigit())
    return [_term(word, of) for word in dict.fromkeys(telling)]


@lru_cache(maxsize=16384)
def _term(word: str, of: Language | None) -> Term:
    known = _glossary()
    likes = [*(known.translations.get(stem(word, "es"), ()) if of != "en" else ()), *known.likes.get(stem(word), ())]
    found = {stem(word): 1.0}
    for place, like in enumerate(dict.fromkeys(likes)):
        if place == _MOST_LIKES:
            break
        found.setdefault(like, LIKENESS * _LESS_LIKE**place)
    return Term(word, tuple(found.items()))


@dataclass(frozen=True, slots=True)
class _Glossary:
    translations: dict[str, tuple[str, ...]]
    """English stems by Spanish stem."""
    likes: dict[str, tuple[str, ...]]
    """English stems of one meaning, by English stem."""


@lru_cache(maxsize=1)
def _glossary() -> _Glossary:
    translations: dict[str, dict[str, None]] = {}
    likes: dict[str, dict[str, None]] = {}
    for line in (files("tausestack_registry") / "glossary.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or "=" not in line:
            continue
        spanish, _, english = line.partition("=")
        meant = dict.fromkeys(stem(word) for word in english.split())
        for word in spanish.split():
            translations.setdefault(stem(word, "es"), {}).update(meant)
        for one in meant:
            likes.setdefault(one, {}).update(meant)
    return _Glossary(
        {word: tuple(found) for word, found in translations.items()},
        {word: tuple(like for like in found if like != word) for word, found in likes.items()},
    )
