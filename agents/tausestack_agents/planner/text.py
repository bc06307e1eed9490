"""Words and what they mean: folding, language, and the concepts that Spanish and English words share."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal

from tausestack_agents.planner.forms import Forms, Mood, forms, is_participle

Language = Literal["es", "en"]
MAX_READ = 2000
"""So many characters of a request are read for what it asks: reading takes the square of a hostile one's length."""
MAX_KNOWN = 8192
"""So many words, and texts of tools, are remembered with their concepts."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?", re.UNICODE)
_PRONOUNS = (re.compile(r"l[aeo]s?$"), re.compile(r"(?:me|te|se|nos)$"), re.compile(r"(?:me|te|se|nos)l[aeo]s?$"))
_SHORTEST = 4
"""Letters of a verb, at the least, before pronouns at its end."""
_INFINITIVE = re.compile(r"\w+[ai]r$|hacer$|poner$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def bag(*lines: str) -> frozenset[str]:
    """Return the words of some lines."""
    return frozenset(" ".join(lines).split())


_SPANISH = bag(
    "el la los las un una de del en es por para con que y al lo se su mi me dime cual cuanto como donde hora crea ",
    "factura valida muestra muestrame lista busca guarda borra dame hay todos son pesos quiero cuales tengo esta",
)
_ENGLISH = bag(
    "the a an of in is are for with that and to it my me what which how where time create invoice validate show list ",
    "find save delete give there all please do does many tell get put check i have store look remove hello hi thanks ",
    "yes yep yeah sure okay nope nah go ahead don't",
)


@dataclass(frozen=True, slots=True)
class Glossary:
    """Which words mean what."""

    concepts: dict[str, frozenset[str]]
    """A word's concepts."""
    verbs: frozenset[str]
    """Concepts that say what is asked for."""
    writes: frozenset[str]
    """Those verbs that change something."""
    stop: frozenset[str]
    """Words that mean nothing alone."""
    moods: Forms
    """How the forms of Spanish verbs are meant."""


@cache
def glossary() -> Glossary:
    """Return the glossary of the package."""
    raw: dict[str, Any] = tomllib.loads(files("tausestack_agents.planner").joinpath("glossary.toml").read_text("utf-8"))
    concepts: dict[str, set[str]] = {}
    for section in ("verbs", "nouns"):
        for concept, words_of in raw[section].items():
            for word in words_of.split():
                concepts.setdefault(word, set()).add(concept)
    moods: Forms = {}
    for concept, infinitives in raw["infinitives"].items():
        for infinitive in infinitives.split():
            of_verb = forms(infinitive)
            moods |= {form: moods.get(form, frozenset()) | found for form, found in of_verb.items()}
            for form in of_verb:
                concepts.setdefault(form, set()).add(concept)
    for word in {word for words_of in raw["verbs"].values() for word in words_of.split() if _INFINITIVE.match(word)}:
        moods = forms(word) | moods
    return Glossary(
        concepts={word: frozenset(found) for word, found in concepts.items()},
        verbs=frozenset(raw["verbs"]),
        writes=frozenset(raw["writes"]),
        stop=frozenset(raw["stop"]["words"].split()),
        moods=moods,
    )


def fold(text: str) -> str:
    """Return a text in lower case without accents, character for character where that can be."""
    return text.lower() if text.isascii() else "".join(map(_folded, text))


@lru_cache(maxsize=4096)
def _folded(char: str) -> str:
    plain = "".join(part for part in unicodedata.normalize("NFD", char) if not unicodedata.combining(part))
    return plain.lower() if len(plain) == 1 and len(plain.lower()) == 1 else char


def words(text: str) -> list[str]:
    """Return the folded words of a text or of an identifier (snake, kebab or camel case)."""
    return [fold(word) for word in _WORD.findall(_CAMEL.sub(" ", text).replace("_", " "))]


def stem(word: str) -> str:
    """Return a word without its plural."""
    if len(word) > 5 and word.endswith("es") and word[-3] in "rlndz":
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=MAX_KNOWN)
def concepts_of(word: str) -> frozenset[str]:
    """Return the concepts of a folded word: those of the glossary, else the word's own stem; none of a stop word."""
    known = glossary()
    found = known.concepts.get(word) or known.concepts.get(stem(word)) or _imperative(word)
    if found:
        return found
    return frozenset() if word in known.stop or len(word) < 2 else frozenset({stem(word)})


@lru_cache(maxsize=MAX_KNOWN)
def moods_of(word: str) -> frozenset[Mood]:
    """Return how a folded form of a known verb may be meant, whatever pronouns it ends with."""
    known = glossary()
    if word in known.moods:
        return known.moods[word]
    base = frozenset[Mood]().union(*(known.moods.get(base, ()) for base in bases(word)))
    if base:
        return base & {"infinitive", "gerund", "imperative"} or frozenset({"told"})
    if word.endswith(("ando", "iendo", "ing")):
        return frozenset({"gerund"})
    third = word.endswith("s") and not word.endswith("ss")
    return frozenset({"told"} if third or is_participle(word) else {"imperative", "subjunctive"})


def _imperative(word: str) -> frozenset[str]:
    """What a Spanish imperative with pronouns at its end asks for: `suscríbenos`, `guárdamelo`."""
    known = glossary()
    found = (known.concepts.get(base, frozenset[str]()) & known.verbs for base in bases(word))
    return frozenset[str]().union(*found)


def bases(word: str) -> list[str]:
    """Return what a folded word is without pronouns at its end, in each way in which it may have some."""
    ends = (pattern.search(word) for pattern in _PRONOUNS)
    return [word[: end.start()] for end in ends if end and end.start() >= _SHORTEST]


@lru_cache(maxsize=MAX_KNOWN)
def concepts_in(text: str) -> frozenset[str]:
    """Return the concepts of all words of a text that comes again and again: of a tool, not of a request."""
    return frozenset(concept for word in words(text) for concept in concepts_of(word))


def concepts(texts: Iterable[str]) -> frozenset[str]:
    """Return the concepts of all words of some texts of tools."""
    return frozenset[str]().union(*map(concepts_in, texts))


def language(text: str) -> Language:
    """Return the language of a request by its commonest words and letters: English, else Spanish."""
    found = words(text)
    spanish = sum(word in _SPANISH for word in found) + 2 * len(re.findall(r"[¿¡ñáéíóú]", text.lower()))
    english = sum(word in _ENGLISH for word in found)
    return "en" if english > spanish else "es"
