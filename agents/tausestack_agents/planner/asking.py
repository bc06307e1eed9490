"""In which words a change is asked for: the forms of asking.toml, at the beginning of a text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tausestack_agents.planner.forms import Mood
from tausestack_agents.planner.text import bag, concepts_of, fold, glossary, moods_of, stem

_LITERAL = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`|\{.*\}|(?<!\w)'[^']+'(?!\w)", re.DOTALL)
_UTTERED = re.compile(
    r"\b(?:que dig[ao]n?|diciendo(?:le|les)?(?: que)?|saying(?: that)?|mensaje de que)\b(?=.)", re.DOTALL
)
_CODE = re.compile(r"[^\s,;:]*\d[^\s,;:]*")
_CLITICS = r"(?:(?:me|te|le|les|nos|lo|la|los|las|se) ){0,2}"
_BEFORE_PAST = re.compile(r"\b(?:ya|hoy|listo|yo|te|les?)\b")
_PRESSES = re.compile(r"\b(?:(?:por|x) ?fa|porfi|favor|pl[si]s|please|de una vez|(?:ya|ahora) mismo|inmediata|cuanto antes)")
_ENCLITIC = re.compile(r"(?:me|se|nos)?l[ao]s?$")
_PARTITIVE = re.compile(r"(?:\b(?:me|nos) (?:l[ao]s?) )$")
_KINDS: dict[str, frozenset[Mood]] = {
    "infinitive": frozenset({"infinitive"}),
    "gerund": frozenset({"gerund"}),
    "subjunctive": frozenset({"subjunctive"}),
    "present": frozenset({"present"}),
    "base": frozenset({"imperative"}),
}
"""The moods of the form that follows each kind of words that ask."""
_MOST_LEAD = 400
"""So many characters are looked through for what asks."""
BEFORE_THINGS = bag(
    "el la los las un una unos unas mi mis su sus este esta estos estas the an my our this de del en con"
)
"""What stands before a thing, and never before a verb that wishes."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Where a text asks for something: what stands before `start` is what it is about, and `verb` ends at `end`."""

    start: int
    verb: str
    end: int
    questioned: bool
    """Whether its question mark asks whether to do it, rather than asking politely to do it."""


@dataclass(frozen=True, slots=True)
class _Phrases:
    """The patterns of asking.toml."""

    leads: tuple[tuple[re.Pattern[str], frozenset[Mood], bool, bool], ...]
    """Each with the moods that may follow, whether it may be a question, and whether nothing but the verb asks."""
    courtesy: re.Pattern[str]
    reasons: re.Pattern[str]
    comments: re.Pattern[str]
    particles: frozenset[str]
    relating: frozenset[str]
    emojis: frozenset[str]


@cache
def phrases() -> _Phrases:
    """Return the patterns of the package."""
    raw: dict[str, Any] = tomllib.loads(files("tausestack_agents.planner").joinpath("asking.toml").read_text("utf-8"))
    openers, courtesy = _any(raw["openers"]), _any(raw["courtesy"])
    before = rf"[\W_]*(?:(?:{openers}|{courtesy})[\W_]+)*+"
    between = rf"(?:(?:{courtesy})[\W_]+)*+{_spaced(_CLITICS)}(?P<verb>[^\W\d_]+)"

    def lead(phrases_of: list[str]) -> re.Pattern[str]:
        return re.compile(rf"{before}(?P<lead>(?:{_any(phrases_of)})[\W_]+){between}")

    leads = [
        (lead(raw[kind][manner]), moods, manner == "question", False)
        for kind, moods in _KINDS.items()
        for manner in ("question", "statement")
        if raw[kind][manner]
    ]
    bare = re.compile(rf"{before}(?P<lead>)(?P<verb>[^\W\d_]+)")
    return _Phrases(
        leads=(*leads, (bare, frozenset[Mood]({"imperative", "infinitive"}), False, True)),
        courtesy=re.compile(rf"\b(?:{courtesy})(?!\w)"),
        reasons=re.compile(rf"\b(?:{_any(raw['reasons'])})\b"),
        comments=re.compile(rf"\b(?:{_any(raw['comments'])})\b"),
        particles=bag(raw["particles"]),
        relating=bag(raw["relating"]),
        emojis=frozenset(raw["emojis"]),
    )


def _any(some: list[str]) -> str:
    return "|".join(_spaced(each).replace("(", "(?:").replace("(?:?", "(?") for each in some)


def _spaced(phrase: str) -> str:
    return phrase.replace(" ?", r"\s*").replace(" ", r"[\s,]+")


def masked(text: str) -> str:
    """Return a text, folded, without what is quoted in it or said by somebody: only spaces stand for that."""
    folded = list(fold(text))
    uttered = _UTTERED.search("".join(folded))
    spans = [(match.start() + 1, match.end() - 1) for match in _LITERAL.finditer(text)]
    if uttered:
        spans.append((uttered.end(), len(text)))
    for start, end in spans:
        folded[start:end] = " " * (end - start)
    return "".join(folded)


def ask(text: str, wanted: frozenset[str]) -> Ask | None:
    """Return where a text asks for a change of `wanted`, as concepts, or None where it nowhere does."""
    folded = masked(text)
    for pattern, moods, question, bare in phrases().leads:
        found = pattern.match(folded, 0, _MOST_LEAD)
        if found is None:
            continue
        verb, (start, end) = found["verb"], found.span("verb")
        if not concepts_of(verb) & wanted or not _moods(text[start:end], verb) & moods:
            continue
        if bare and _may_be_past(folded, start, verb):
            continue
        return Ask(0, verb, end, not question and _questioned(folded))
    return next(_of_topics(text, folded, wanted), None)


def _of_topics(text: str, folded: str, wanted: frozenset[str]) -> Iterator[Ask]:
    """Find what is asked for after what it is about: `la factura inv_1 págala`, `la factura me la paga`."""
    for match in re.finditer(r"[^\W_]+", _CODE.sub(lambda code: " " * len(code.group()), folded[:_MOST_LEAD])):
        verb = match.group()
        if not concepts_of(verb) & wanted:
            if not _names(verb):
                return
            continue
        moods = _moods(text[match.start() : match.end()], verb)
        before = _PARTITIVE.search(folded, 0, match.start())
        if before and moods & {"present", "imperative"}:
            yield Ask(before.start(), verb, match.end(), False)
        elif _ENCLITIC.search(verb) and verb not in glossary().moods and "imperative" in moods:
            yield Ask(match.start(), verb, match.end(), _questioned(folded))


def _names(word: str) -> bool:
    """Whether a word may stand in what a topic is called: `la factura inv_1 me la`."""
    known = glossary()
    found = known.concepts.get(word) or known.concepts.get(stem(word)) or frozenset()
    return bool(found - known.verbs) or word in phrases().particles or word in {"me", "nos"}


def _moods(written: str, verb: str) -> frozenset[Mood]:
    """How a form may be meant, by its accent too: `cancelé`, `canceló` and `cancelará` tell."""
    moods = moods_of(verb)
    past = written[-1:] in "óÓ" or (written[-1:] in "éÉ" and "subjunctive" in moods)
    future = written[-1:] in "áÁ" and "infinitive" in moods_of(verb[:-1])
    return frozenset({"told"}) if past or future else moods


def _may_be_past(folded: str, start: int, verb: str) -> bool:
    """Whether a wish is what somebody did too, its accent left out, and nothing else asks: `ya pague`."""
    moods = glossary().moods.get(verb, frozenset[Mood]())
    doubtful = verb.endswith("e") and {"imperative", "subjunctive"} <= moods
    return doubtful and bool(_BEFORE_PAST.search(folded, 0, start)) and not _PRESSES.search(folded)


def _questioned(folded: str) -> bool:
    """Whether a question mark asks for more than a `por favor?` at the end."""
    marks = [match.start() for match in re.finditer(r"[?¿]", folded)]
    if not marks:
        return False
    tag = re.search(r"(?:,|¿)\s*(?P<tag>[^,?¿]*)\?\W*$", folded)
    return not (tag and re.fullmatch(rf"(?:si|ok|vale|listo|{phrases().courtesy.pattern})", tag["tag"].strip()))
