"""Words of requests in Spanish and English: folded, cut to their stems, carried over into the other language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ENCLITIC = re.compile(r"(?<=[aeioudr])(?:me|te|se|nos|lo|la|los|las|le|les)$")
_ENDING = re.compile(
    r"(?:amientos?|imientos?|aciones|acion|iciones|icion|ciones|cion|mente|ando|iendo|adores|ador|adas?|ados?|idas?|idos?"
    r"|ar|er|ir|as|es|os|an|en|a|e|o|s)$"
)
_ENGLISH_ENDINGS = (
    ("ies", "y"), ("sses", "ss"), ("ations", ""), ("ation", ""), ("ating", ""), ("ated", ""), ("ates", ""), ("ate", ""),
    ("ing", ""), ("ers", "er"), ("ed", ""), ("es", ""), ("s", ""),
)  # fmt: skip
_CLAUSE = re.compile(
    r"[.;:!?]+(?=\s|$)|\n+|,\s+"
    r"|\s+(?:y|e|and|then|luego|despues|después|also|tambien|también|ademas|además)\s+",
    re.IGNORECASE,
)

_STOP_WORDS = """
    a about after all also an and any are as at be been before but by can could do does for from had has have how i if
    in into is it its just let like me my need no not of on one or our out please so some than that the their them then
    there these they this to up us want was we were what when where which while will with would you your
    al algo algun alguna como con cual cuando de del desde donde dos el ella ellos en entre era es esa ese eso esta este
    esto estas estos fue ha hay hasta la las le les lo los mas me mi mis muy necesito nos o para pero por porque puede
    puedes que quiero se ser si sin sobre solo son su sus te tengo tu tus u un una unas unos y ya favor e
"""
STOP = frozenset(_STOP_WORDS.split())


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


@lru_cache(maxsize=16384)
def spanish_stem(word: str) -> str:
    """Return a folded Spanish word without its ending: `factura`, `facturas` and `facturar` are one."""
    if len(word) > 6:
        word = _ENCLITIC.sub("", word)
    for _ in range(2):
        shorter = _ENDING.sub("", word)
        if len(shorter) < 3:
            break
        word = shorter
    return word


@lru_cache(maxsize=16384)
def english_stem(word: str) -> str:
    """Return a folded English word without its commonest endings."""
    if len(word) == 4 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    if len(word) <= 4:
        return word
    for ending, instead in _ENGLISH_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: len(word) - len(ending)] + instead
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def terms(text: str) -> list[list[str]]:
    """Return what to look for: for each telling word of a request, itself and its likes in the other language."""
    found: dict[str, list[str]] = {}
    for word in words(text):
        # Numbers are a request's arguments; that a tool's example has the same ones says nothing.
        if word not in STOP and len(word) > 1 and not word.isdigit():
            found.setdefault(word, [word, *(other for other in _glossary(word) if other != word)])
    return list(found.values())


def _glossary(word: str) -> Iterable[str]:
    spanish, english = _sides()
    return dict.fromkeys([*spanish.get(spanish_stem(word), ()), *english.get(word, ()), *english.get(word + "s", ())])


@lru_cache(maxsize=1)
def _sides() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    to_english: dict[str, list[str]] = {}
    to_spanish: dict[str, list[str]] = {}
    for line in (files("tausestack_registry") / "glossary.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or "=" not in line:
            continue
        spanish, _, english = line.partition("=")
        for word in spanish.split():
            to_english.setdefault(spanish_stem(word), []).extend(english.split())
        for word in english.split():
            to_spanish.setdefault(word, []).extend(spanish.split())
    return to_english, to_spanish
