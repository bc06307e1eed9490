"""Choosing the tool for a part of a request: its words against the tools' own, and whether its arguments are there."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from tausestack.confidential import open_secrets
from tausestack.contract import tool_policy
from tausestack.errors import UpstreamError
from tausestack.schemas import Validator, compiled
from tausestack_agents.planner.arguments import Earlier, Filled, fill
from tausestack_agents.planner.asking import BEFORE_THINGS, ask
from tausestack_agents.planner.remainder import otherwise_meant, remainder
from tausestack_agents.planner.schema import Schema, as_schema
from tausestack_agents.planner.text import MAX_READ, concepts, concepts_of, fold, glossary, stem, words
from tausestack_agents.planner.values import MONTHS, Source
from tausestack_agents.planner.wishes import Unwished, unwished

NAME, PROPERTY, TEXT = 3.0, 1.2, 1.0
"""What a match weighs in a tool's name, its properties' names and its description."""
CLOSE = 0.55
"""A tool whose arguments are all there is taken over a better match that lacks some, if its score is this near."""
_VERB_REACH = 4
_LITERAL = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|\{.*\}")
_ADDRESS = re.compile(r"\S+@\S+|https?://\S+")
_DATE = re.compile(rf"(?i)\d\S*(?:\s+de)?\s+(?:{'|'.join(MONTHS)})\b(?:\s+(?:de|del)\s+\d+)?")
_AMOUNT = re.compile(r"\S*[\d_/]\S*(?:\s+(?:pesos|d[oó]lares|euros)(?:\s+colombianos)?\b)?")
_NAME = re.compile(r"(?<=[\w,] )[A-ZÁÉÍÓÚÑ][\w'-]+")
_WHO = re.compile(r"(?i)\bwho am i\b|\bqui[eé]n soy\b")
SURE = 0.6
"""By how much a writing tool has to be ahead of the next, or people are asked which they mean."""


@dataclass(frozen=True)
class Candidate:
    """A tool that search found."""

    name: str
    address: str
    raw: dict[str, Any]
    rank: int = 0
    compiled_once: dict[str, Validator] = field(default_factory=dict[str, Validator], compare=False, repr=False)
    """What its schema was compiled to, for whoever stands for the same tool."""

    @property
    def validator(self) -> Validator:
        """What checks arguments by its schema; raises `UpstreamError` where that can't be used."""
        if "input" not in self.compiled_once:
            self.compiled_once["input"] = compiled(self.schema)
        return self.compiled_once["input"]

    @property
    def schema(self) -> Schema:
        """The schema of its arguments."""
        return as_schema(self.raw.get("inputSchema"))

    @property
    def reads(self) -> bool:
        """Whether it says of itself that it changes nothing."""
        return tool_policy(self.raw).side_effect == "read"


@dataclass(frozen=True)
class Choice:
    """What is to be called for a part, or why nothing is."""

    outcome: Literal["calls", "no_tool", "missing", "unsure", "left_over", "too_long"] | Unwished
    """`unsure`: either of two tools; `left_over`: what is asked for holds more than the calls would."""
    tool: Candidate | None = None
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    missing: list[str] = field(default_factory=list[str])
    other: Candidate | None = None
    unused: list[str] = field(default_factory=list[str])
    proposed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The tool's calls as they would be, where it is sure enough which these are to ask whether to make them."""


def choose(part: str, tools: Sequence[Candidate], source: Source, earlier: Sequence[Earlier] = ()) -> Choice:
    """Return the calls for a part of a request.

    A part that asks for a change gets only a tool of that verb, and a part that doesn't gets only tools that read. One
    that asks how a change is made, or not to make it, gets none; nor does one of which the calls would do a part alone.
    """
    verbs, nouns = asked(part)
    if (none := _unwished(verbs, nouns, tools, source)) is not None:
        return _proposing(none, source, earlier)
    if source.of("time"):
        nouns |= {"time"}
    if any("/" in code.text for code in source.codes):
        nouns |= {"key"}
    back = not nouns and bool(earlier or source.codes)
    rarity = Rarity(tools)
    scored = [(score(verbs, nouns, tool, rarity, back=back), tool) for tool in tools if allowed(verbs, tool)]
    ranked = sorted(
        ((points, tool) for points, tool in scored if points > 0), key=lambda each: (-each[0], each[1].rank)
    )
    if not ranked:
        return Choice("no_tool")
    best_points, best = ranked[0]
    lacking: list[str] | None = None
    fitting: list[tuple[float, Candidate, Filled]] = []
    for points, tool in ranked:
        if points < best_points * CLOSE:
            break
        filled = fill(tool.schema, source, earlier)
        wrong = filled.missing or _wrong(tool, filled.calls)
        if not wrong:
            fitting.append((points + 0.15 * filled.strength - 0.8 * len(filled.unused), tool, filled))
        elif tool is best:
            lacking = wrong
    if not fitting:
        return Choice("missing", best, missing=lacking or [])
    fitting.sort(key=lambda each: -each[0])
    points, tool, filled = fitting[0]
    if tool.reads:
        return Choice("calls", tool, filled.calls)
    rivals = [other for own, other, _ in fitting[1:] if not other.reads and points - own < SURE]
    if rivals:
        return Choice("unsure", tool, other=rivals[0])
    return _of_a_change(tool, filled, verbs & glossary().writes or verbs & _tool_verbs(tool), source)


def _of_a_change(tool: Candidate, filled: Filled, wanted: frozenset[str], source: Source) -> Choice:
    """Return a changing tool's calls where the text asks for them in so many words, and for nothing beside them."""
    if (why := unwished(wanted, source)) is not None:
        return _proposed(Choice(why, tool), tool, filled, source)
    left = remainder(source, ask(source.text, wanted), filled, tool.raw, tool.schema)
    if left:
        return _proposed(Choice("left_over", tool, unused=left), tool, filled, source)
    return Choice("calls", tool, filled.calls)


def _proposing(choice: Choice, source: Source, earlier: Sequence[Earlier]) -> Choice:
    """Return a choice that was made by the words alone, with the calls that it would come to."""
    if choice.tool is None:
        return choice
    filled = fill(choice.tool.schema, source, earlier)
    wrong = filled.missing or _wrong(choice.tool, filled.calls)
    return replace(choice, missing=wrong) if wrong else _proposed(choice, choice.tool, filled, source)


def _proposed(choice: Choice, tool: Candidate, filled: Filled, source: Source) -> Choice:
    """Propose calls, unless the text means others, or they can't be shown whole, or kept: secrets are not."""
    secret = any(open_secrets(tool.schema, call) for call in filled.calls)
    if choice.outcome == "forbidden" or secret or len(json.dumps(filled.calls)) > MAX_READ:
        return choice
    meant = otherwise_meant(source, filled, tool.raw, tool.schema)
    return replace(choice, unused=choice.unused or meant) if meant else replace(choice, proposed=filled.calls)


def _unwished(
    verbs: frozenset[str], nouns: frozenset[str], tools: Sequence[Candidate], source: Source
) -> Choice | None:
    """Return why a part that names a change does not ask for it, or None where it does."""
    if len(source.text) > MAX_READ:
        return Choice("too_long")
    wanted = verbs & glossary().writes
    why = unwished(wanted, source) if wanted else None
    if why is None:
        return None
    return Choice(why, None if why == "forbidden" else _nearest(verbs, nouns, tools))


def _nearest(verbs: frozenset[str], nouns: frozenset[str], tools: Sequence[Candidate]) -> Candidate | None:
    rarity = Rarity(tools)
    scored = [(score(verbs, nouns, tool, rarity), -tool.rank, tool) for tool in tools if allowed(verbs, tool)]
    best = max(scored, key=lambda each: each[:2], default=None)
    return None if best is None or best[0] <= 0 else best[2]


def asks_for_a_change(part: str) -> bool:
    """Return whether a part asks for nothing but to change something."""
    verbs, _ = asked(part)
    return bool(verbs) and verbs <= glossary().writes


@lru_cache(maxsize=512)
def asked(part: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return what a part asks to do, and what it speaks of, as concepts: nothing, where it is too long to be read."""
    if len(part) > MAX_READ:
        return frozenset(), frozenset()
    known = glossary()
    verbs: frozenset[str] = frozenset()
    nouns: set[str] = set()
    plural = False
    before = ""
    lead = ask(part, known.verbs)
    if lead is not None:
        for word in _spoken(part[: lead.start]):
            nouns |= concepts_of(word) - known.verbs
        part = part[lead.end - len(lead.verb) :]
    for position, word in enumerate(_spoken(part)):
        plural = plural or (stem(word) != word and bool(concepts_of(word)))
        found = concepts_of(word)
        # What an article or a preposition stands before is a thing: "la factura", "en la agenda".
        if found & known.verbs and not verbs and position < _VERB_REACH and before not in BEFORE_THINGS:
            verbs = found & known.verbs
        nouns |= found - known.verbs
        before = word
    if plural and "get" in verbs:
        verbs = verbs | {"list"} - {"get"}
    return verbs, frozenset(nouns)


def _spoken(part: str) -> list[str]:
    """The words of a part, without quoted text, literals, dates, amounts, codes and names: those are values."""
    bare = _LITERAL.sub(" ", part)
    bare = _ADDRESS.sub(" email " if "@" in bare else " ", bare)
    bare = _NAME.sub(_if_known, _AMOUNT.sub(" ", _DATE.sub(" ", bare)))
    return words(_WHO.sub("whoami", bare))


def _if_known(name: re.Match[str]) -> str:
    """A name in the middle of a sentence says nothing, unless it is a word of the glossary: `NIT`, `WhatsApp`."""
    word = fold(name.group())
    known = glossary().concepts
    return name.group() if word in known or stem(word) in known else " "


def _tool_verbs(tool: Candidate) -> frozenset[str]:
    known = glossary()
    first = words(tool.raw.get("name", ""))[:1]
    return frozenset(concept for word in first for concept in known.concepts.get(word, frozenset()) & known.verbs)


def allowed(verbs: frozenset[str], tool: Candidate) -> bool:
    """Return whether a tool does what is asked: a change only where that change is."""
    known = glossary()
    wanted = verbs & known.writes
    own = _tool_verbs(tool)
    if wanted:
        named = concepts([str(tool.raw.get("name", ""))])
        return bool(verbs & (own | named)) or bool(verbs - known.writes and tool.reads)
    return tool.reads or (bool(verbs & own) and not own & known.writes)


class Rarity:
    """How much a concept tells tools apart: the fewer of them speak of it, the more."""

    def __init__(self, tools: Sequence[Candidate]) -> None:
        spoken_of = (concepts([str(tool.raw.get("name", "")), str(tool.raw.get("description", ""))]) for tool in tools)
        self._holding = Counter(concept for some in spoken_of for concept in some)
        self._all = len(tools)

    def of(self, concept: str) -> float:
        """Return a concept's weight."""
        return 0.5 + math.log((1 + self._all) / (1 + self._holding[concept])) / 3


def score(
    verbs: frozenset[str], nouns: frozenset[str], tool: Candidate, rarity: Rarity, *, back: bool = False
) -> float:
    """Return how well a tool's words meet what is asked; 0 where too little does for it to be meant.

    `back`: the part names nothing but a code, or what an earlier step gave ("and pay it").
    """
    known = glossary()
    name = concepts([str(tool.raw.get("name", ""))])
    text = concepts([str(tool.raw.get("description", "")), str(tool.raw.get("title", ""))])
    names_of_properties = concepts(as_schema(tool.schema.get("properties")))
    points = 0.0
    matched: set[str] = set()
    in_name = False
    for concept in nouns:
        weight = NAME * (concept in name) or PROPERTY * (concept in names_of_properties) or TEXT * (concept in text)
        if weight:
            points += weight * rarity.of(concept)
            matched.add(concept)
            in_name = in_name or concept in name
    own = _tool_verbs(tool)
    verb_met = bool(verbs & (own | name))
    if verb_met:
        points += 2.0
    elif verbs & text:
        points += 0.5
    server = concepts([tool.address.split("/")[0]])
    points += 0.5 * len(nouns & server)
    # The nouns of a tool's name that nobody spoke of speak against it.
    points -= 0.4 * len(name - known.verbs - nouns - server - {"current"})
    bare = verb_met and not name - known.verbs and not nouns
    enough = in_name or (verb_met and (matched or back)) or bare or len(matched) >= 3
    return max(points + 0.4 / (1 + tool.rank), 0.01) if enough else 0.0


def _wrong(tool: Candidate, calls: Sequence[dict[str, Any]]) -> list[str]:
    """What a tool's schema finds wrong with any of the calls: the properties, or the call as a whole."""
    try:
        validator = tool.validator
    except UpstreamError as error:
        return [error.message]
    wrong: list[str] = []
    for arguments in calls:
        for error in validator.iter_errors(arguments):
            where = "/".join(str(step) for step in error.instance_path) or error.message
            if where not in wrong:
                wrong.append(where)
    return wrong
