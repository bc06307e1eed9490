"""In which words a change is asked for: the forms of asking.toml, at the beginning of a text."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from tausestack_agents.planner.forms import Mood
from tausestack_agents.planner.text import bag, concepts_of, fold, glossary, moods_of, stem

_LITERAL = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`|(?<!\w)'[^']+'(?!\w)")
_UTTERED = re.compile(
    r"\b(?:que dig[ao]n?|diciendo(?:les?)?(?: que)?|saying(?: that)?|mensaje de que"
    r"|(?:anot|apunt|registr|escrib)[^\W\d]*\b[^.;:]*?\bque)\b(?P<said>.*?)(?=[,.;!?]\s|[(\n]|$)"
)
"""What somebody is to say, or what is to be noted, to its clause's end."""
_YES = re.compile(r"\b[sS][íÍ]\s")
"""Its accent tells it from the `si` of a condition."""
_APART = r"[^\w>\[<|=]"
"""What may stand between words that ask: not what marks a quotation, or a list."""
_WORDS = re.compile(r"[^\W_]+")
_CODE = re.compile(r"[^\s,;:]*\d[^\s,;:]*")
_SMILE = re.compile(r"[:;]-?[)(dp](?!\w)|(?<=\s)/s\b")
_CLITICS = r"(?:(?:me|te|le|les|nos|lo|la|los|las|se) ){0,2}"
_BEFORE_PAST = re.compile(r"\b(?:ya|hoy|listo|yo|te|les?)\b")
_PRESSES = re.compile(
    r"\b(?:(?:por|x) ?fa|porfi|favor|pl[si]s|please|de una vez|(?:ya|ahora) mismo|inmediata|cuanto antes)"
)
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
_Manner = Literal["question", "inquiry", "statement", "alone", "bare"]
_MANNERS: tuple[_Manner, ...] = ("question", "inquiry", "statement", "alone")
"""How it asks: `question` may have a question mark; `inquiry` needs one, or a `por favor`; `alone` stands first."""
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
    opened: int = 0
    """Where a greeting before the topic ends."""


@dataclass(frozen=True, slots=True)
class _Phrases:
    """The patterns of asking.toml."""

    leads: tuple[tuple[re.Pattern[str], frozenset[Mood], _Manner], ...]
    """Each with the moods of the verb that may follow."""
    opening: re.Pattern[str]
    courtesy: re.Pattern[str]
    reasons: re.Pattern[str]
    comments: re.Pattern[str]
    evaluations: re.Pattern[str]
    particles: frozenset[str]
    relating: frozenset[str]
    no_things: frozenset[str]
    emojis: frozenset[str]
    tags: re.Pattern[str]


@cache
def phrases() -> _Phrases:
    """Return the patterns of the package."""
    raw: dict[str, Any] = tomllib.loads(files("tausestack_agents.planner").joinpath("asking.toml").read_text("utf-8"))
    openers, courtesy = _any(raw["openers"]), _any(raw["courtesy"])
    before = rf"{_APART}*(?:(?:{openers}|{courtesy}){_APART}+)*+"
    between = rf"(?:(?:{courtesy}){_APART}+)*+{_spaced(_CLITICS)}(?P<verb>[^\W\d_]+)"

    def lead(phrases_of: list[str]) -> re.Pattern[str]:
        return re.compile(rf"{before}(?P<lead>(?:{_any(phrases_of)}){_APART}+){between}")

    leads: list[tuple[re.Pattern[str], frozenset[Mood], _Manner]] = [
        (lead(raw[kind][manner]), moods, manner)
        for kind, moods in _KINDS.items()
        for manner in _MANNERS
        if raw[kind].get(manner)
    ]
    bare = re.compile(rf"{before}(?P<lead>)(?P<verb>[^\W\d_]+)")
    return _Phrases(
        leads=(*leads, (bare, frozenset[Mood]({"imperative", "infinitive"}), "bare")),
        opening=re.compile(before),
        courtesy=re.compile(rf"\b(?:{courtesy})(?!\w)"),
        reasons=re.compile(rf"\b(?:{_any(raw['reasons'])})\b"),
        comments=re.compile(rf"\b(?:{_any(raw['comments'])})\b"),
        evaluations=re.compile(rf"\b(?:{_any(raw['evaluations'])})\b"),
        particles=bag(raw["particles"]),
        relating=bag(raw["relating"]),
        no_things=bag(raw["no_things"]),
        emojis=frozenset(raw["emojis"]),
        tags=re.compile(_any(raw["tags"])),
    )


def _any(some: list[str]) -> str:
    return "|".join(_spaced(each).replace("(", "(?:").replace("(?:?", "(?") for each in some)


def _spaced(phrase: str) -> str:
    return phrase.replace(" ?", r"\s*").replace(" ", r"[\s,]+")


def masked(text: str, *, uttered: bool = True) -> str:
    """Return a text, folded, with spaces for what is quoted in it, and for what somebody is to say (`uttered`)."""
    folded = list(fold(text))
    spans = [(match.start() + 1, match.end() - 1) for match in _LITERAL.finditer(text)]
    if uttered and (said := utterance(text)):
        spans.append(said)
    for start, end in spans:
        folded[start:end] = " " * (end - start)
    for yes in _YES.finditer(text):
        folded[yes.end() - 1] = ","
    return "".join(folded)


def utterance(text: str) -> tuple[int, int] | None:
    """Return where a text has words that somebody is to say, or that are to be noted, unquoted."""
    found = _UTTERED.search(fold(text))
    return found.span("said") if found else None


def ask(text: str, wanted: frozenset[str]) -> Ask | None:
    """Return where a text asks for a change of `wanted`, as concepts, or None where it nowhere does."""
    folded = masked(text)
    pressed = _PRESSES.search(folded) is not None
    for pattern, moods, manner in phrases().leads:
        found = pattern.match(folded, 0, _MOST_LEAD)
        if found is None:
            continue
        verb, (start, end) = found["verb"], found.span("verb")
        if not concepts_of(verb) & wanted or not _moods(text[start:end], verb) & moods:
            continue
        if manner == "bare" and not pressed and _may_be_past(folded, start, verb):
            continue
        if manner == "inquiry" and not pressed and "?" not in folded:
            continue
        if manner == "alone" and _WORDS.search(folded, 0, found.start("lead")):
            continue
        polite = manner in {"question", "inquiry"}
        return Ask(0, verb, end, not polite and _questioned(folded))
    return next(_of_topics(text, folded, wanted), None)


def _of_topics(text: str, folded: str, wanted: frozenset[str]) -> Iterator[Ask]:
    """Find what is asked for after what it is about: `la factura inv_1 págala`, `la factura me la paga`."""
    words_alone = _CODE.sub(lambda code: " " * len(code.group()), folded[:_MOST_LEAD])
    opened = phrases().opening.match(words_alone)
    begin = opened.end() if opened else 0
    for match in _WORDS.finditer(words_alone, begin):
        verb = match.group()
        if not concepts_of(verb) & wanted:
            if not _names(verb):
                return
            continue
        moods = _moods(text[match.start() : match.end()], verb)
        before = _PARTITIVE.search(folded, 0, match.start())
        if before and moods & {"present", "imperative"}:
            yield Ask(before.start(), verb, match.end(), False, begin)
        elif _ENCLITIC.search(verb) and verb not in glossary().moods and "imperative" in moods:
            yield Ask(match.start(), verb, match.end(), _questioned(folded), begin)


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
    return doubtful and bool(_BEFORE_PAST.search(folded, 0, start))


def _questioned(folded: str) -> bool:
    """Whether a question mark asks for more than a `por favor?` at the end."""
    marks = [match.start() for match in re.finditer(r"[?¿]", folded)]
    if not marks:
        return False
    tag = re.search(r"(?:,|¿)\s*(?P<tag>[^,?¿]*)\?\W*$", folded)
    return not (tag and phrases().tags.fullmatch(tag["tag"].strip()))


def is_in_jest(said: str) -> bool:
    """Return whether a masked text plays down what it asks, by its words, a smile or a picture."""
    known = phrases()
    reason = known.reasons.search(said)
    if known.comments.search(said) or known.evaluations.search(said, 0, reason.start() if reason else len(said)):
        return True
    smiles = {each.group() for each in _SMILE.finditer(said)} - {":)", ":-)"}
    return bool(smiles) or any(_is_picture(char) and char not in known.emojis for char in said)


def _is_picture(char: str) -> bool:
    tone = "\U0001f3fb" <= char <= "\U0001f3ff"
    return char > "\u2190" and not tone and unicodedata.category(char) in {"So", "Sk"}
