"""Cutting a request into its parts: one part, one thing that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tausestack_agents.planner.asking import ask, is_in_jest, masked, phrases
from tausestack_agents.planner.text import MAX_READ, bag, concepts_of, fold, glossary, stem, words

_PROTECTED = re.compile(
    r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`|\{.*\}|\[.*\]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://\S+|\d[\d.,:/-]*\d"
    r"|siempre y cuando",
    re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[.!?;\n])(?<!\bsr\.)(?<!\bsra\.)(?<!\bdr\.)(?<!\bdra\.)\s+|\n+|(?=¿)")
# What begins at a run's first space and gives none of it back takes as long as the text; else it would take its cube.
_JOINT = re.compile(
    r"(?<!\s)(?:(?:\s*+[,;])?+\s++(?:pero|sino|solo|solamente|unicamente|mejor|but|only|just)\s+"
    r"|\s*+[,;]\s*(?:y|e|and|then|luego|despues|ademas|tambien|also|por ultimo|finalmente|finally)?\s+"
    r"|\s++(?:y|e|and|then|luego|despues|ademas|tambien|also|as well as|asi como)\s+)"
)
_LEAD = re.compile(
    r"^(?:[\s,;.:]|y\b|e\b|and\b|then\b|luego\b|despues\b|ademas\b|tambien\b|also\b|por favor\b|please\b|por ultimo\b"
    r"|finalmente\b|finally\b|primero\b|first\b|next\b|after that\b|hola\b|hello\b|hi\b|hey\b"
    r"|buen(?:os|as) (?:dias|tardes|noches)\b|buenas(?=\s*(?:[,;.!]|$))|buen dia\b"
    r"|good (?:morning|afternoon|evening)\b)+"
)
_LATER = re.compile(r"\W*(?:luego|despues|then)\b")
_TAIL = re.compile(r"(?<![\s,;.])[\s,;.]++(?:(?:y|e|and|then|luego)[\s,;.]*+)?$")
_END = re.compile(r"(?<![\s,;.])[\s,;.]++$")
_CONDITION = re.compile(r"^[\s,;]*(?:if|si|when|cuando|given|dado que|como)\b(?![^?]*\?)")
_TURNS = re.compile(
    r"^\W*(?:o|u|or|no|pero|but|aunque|although|ah|ay|uy|perdon|sorry|wait|espera|mejor|actually)\b"
    r"|\bantes\b(?! del?\b)|(?<!\bel )\bprimero\b|(?:^|\s)(?:first|before)\W*$|^\W*(?:first|before)\b"
)
"""Begins what turns on the part before it, or says what comes before that."""
_INQUIRES = re.compile(
    r"[?¿]|^\W*(?:(?:a|en|de|con|por|para)\s+)?"
    r"(?:que|cual(?:es)?|cuant[oa]s?|donde|cuando|quien(?:es)?|como|what|which|how|where|when|who)\b"
)
_REPORTS = re.compile(
    r":\s*$|\b(?:dij\w+|dice\w*|escrib\w+|respond\w+|mensajes?|correos?|texto|siguientes?|ejemplos?|instruccion\w*"
    r"|said|says|wrote|messages?|email|text|following|examples?)\b"
)
"""Says that somebody's words follow."""
_ENDED = re.compile(r"[.!?;\n]\s*$")
_BACK = re.compile(r"l[aeo]s?$")
_VALUE = re.compile(r"[\d\"“«/@]|(?<=\s)[A-ZÁÉÍÓÚÑ]")
_QUESTIONS = bag(
    "que cual cuales cuanto cuanta cuantos cuantas donde cuando quien como what which how where when who is are does",
    "can es son hay",
)
_DETERMINERS = bag(
    "el la los las un una unos unas mi mis su sus este esta estos estas ese esa todos todas the an my our this that",
    "these all every each",
)
_POLITE = bag(
    "then luego despues ademas tambien also finally finalmente please por favor me le nos te quiero quisiera necesito",
    "can could you would i want need to",
)
_FOLLOWING = 4
"""Words to look at after a joint."""


def split(request: str) -> list[str]:
    """Return the parts of a request, in order, each as it was written; at least one unless there is nothing.

    One that is too long to be read stays whole.
    """
    if len(request) > MAX_READ:
        return [request.strip()] if words(request) else []
    parts: list[str] = []
    for sentence in _cut(request, _SENTENCE, lambda _: True):
        for part in _cut(sentence, _JOINT, _starts):
            if parts and _CONDITION.match(fold(parts[-1])):
                parts[-1] += part
            else:
                parts.append(part)
    joined = _joined(parts)
    trimmed = [_trim(part, first=part is joined[0], last=part is joined[-1]) for part in joined]
    return [part for part in trimmed if words(part)] or ([request.strip()] if words(request) else [])


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a request and what it does: told once of each, as a hostile request may have thousands."""

    text: str
    wishes: bool
    asks: bool
    changes: bool
    reports: bool

    @classmethod
    def of(cls, text: str) -> _Part:
        wishes = ask(text, glossary().verbs) is not None
        return cls(text, wishes, _asks(text), _changes(text), _REPORTS.search(fold(text)) is not None)

    @classmethod
    def whole(cls, parts: Sequence[_Part]) -> _Part:
        return cls(
            "".join(part.text for part in parts),
            wishes=any(part.wishes for part in parts),
            asks=any(part.asks for part in parts),
            changes=any(part.changes for part in parts),
            reports=any(part.reports for part in parts),
        )


def _joined(parts: Sequence[str]) -> list[str]:
    """Join what asks for nothing by itself to the change before it, and what reports to what it reports."""
    found: list[_Part] = []
    for part in map(_Part.of, parts):
        changes = [place for place, before in enumerate(found) if before.changes]
        if changes and not _stands_alone(part):
            # Thanks are for the last change; who takes back, or comments, may mean them all.
            first = changes[-1 if _is_courtesy(part.text) else 0]
            found[first:] = [_Part.whole([*found[first:], part])]
        elif found and _leads_to(found[-1], part):
            found[-1] = _Part.whole([found[-1], part])
        else:
            found.append(part)
    return [part.text for part in found]


def _leads_to(before: _Part, part: _Part) -> bool:
    """Whether a part that asks for nothing says of the change after it who means it, or when."""
    ended = _ENDED.search(before.text) is not None
    if part.text.startswith("¿") and not ended and not before.wishes:
        return True
    return not before.asks and (before.reports or (part.changes and not ended))


def _changes(part: str) -> bool:
    return any(concepts_of(word) & glossary().writes for word in words(part))


def _is_courtesy(part: str) -> bool:
    return not words(phrases().courtesy.sub(" ", fold(part)))


def _stands_alone(part: _Part) -> bool:
    """Whether a part asks by itself, and says nothing of the part before it."""
    return part.asks and not _TURNS.search(fold(part.text)) and not is_in_jest(masked(part.text))


def _asks(part: str) -> bool:
    """Whether a part asks for something, or about something, that it names."""
    folded, known = fold(part), glossary()
    asked = ask(part, known.verbs)
    if asked is None and not _INQUIRES.search(folded):
        return False
    spoken_of = [known.concepts.get(word) or known.concepts.get(stem(word)) or frozenset() for word in words(part)]
    if asked is None:
        return any(concepts - known.writes for concepts in spoken_of)
    back = _BACK.search(asked.verb) and asked.verb not in known.moods and concepts_of(asked.verb) & known.writes
    return bool(back or _VALUE.search(part) or any(concepts - known.verbs for concepts in spoken_of))


def _cut(text: str, joint: re.Pattern[str], starts: Callable[[str], bool]) -> list[str]:
    """Cut where a joint stands outside of what is protected, and where what follows starts something new."""
    folded = fold(text)
    shielded = [match.span() for match in _PROTECTED.finditer(text)]
    cuts = [0]
    for match in joint.finditer(folded):
        inside = any(start <= match.start() < end - (match.group() == "") for start, end in shielded)
        if not inside and match.end() > cuts[-1] and starts(folded[match.end() :]):
            cuts.append(match.end())
    cuts.append(len(text))
    return [text[start:end] for start, end in pairwise(cuts)]


def _starts(rest: str) -> bool:
    """Whether a folded text starts with what asks for something: a verb of the glossary, a question, an imperative."""
    following = [word for word in words(rest)[: _FOLLOWING + 2] if word not in _POLITE][:_FOLLOWING]
    if not following:
        return False
    first = following[0]
    known = glossary()
    if first in _QUESTIONS:
        return len(following) > 1
    verbs = concepts_of(first) & known.verbs
    if verbs:
        # "factura" after "y" is a verb only where something follows that can be its object.
        return len(following) > 1 or first.endswith(("lo", "la", "los", "las", "it"))
    if first in {"a", "de", "en", "con", "por", "para", "sin"} or first in _DETERMINERS or first in known.stop:
        return False
    imperative = re.fullmatch(r"[a-z]{3,}(?:a|e|ar|er|ir|ame|eme|alo|ala|elo|ela)", first) is not None
    return imperative and len(following) > 1 and following[1] in _DETERMINERS


def _trim(part: str, *, first: bool, last: bool) -> str:
    """Return a part without what joins it to others; at a request's beginning and end `luego` says when."""
    lead = _LEAD.match(fold(part))
    kept = part[lead.end() :] if lead and not (first and _LATER.match(lead.group())) else part
    return (_END if last else _TAIL).sub("", kept) if not kept.endswith("...") else kept.strip()
