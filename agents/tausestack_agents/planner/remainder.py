"""What of a request its calls and its courtesy leave unsaid: whoever does not understand it all does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

from tausestack_agents.planner.arguments import Filled
from tausestack_agents.planner.asking import Ask, masked, phrases, utterance
from tausestack_agents.planner.schema import Schema, as_schema, properties, resolved
from tausestack_agents.planner.text import concepts, concepts_of, fold, glossary
from tausestack_agents.planner.values import Source

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[<>=\[\]|]")
_DONE = re.compile(
    r"\b(?:que\s+)?ya\s+(?:quedo|quedaron|esta|estan|fue|fueron)\s+(?:muy\s+)?(\w+[aiou]d[oa]s?|list[oa]s?)\b"
)
_RESULT = re.compile(r"\b(?:como|as)\s+(?:\w+[ai]d[oa]s?|hech[oa]s?|done)\b")
_SAYING = re.compile(r"\bque(?:\s+dig[ao]n?)?\s+$|\b(?:diciendo(?:le|les)?(?: que)?|saying(?: that)?|that says)\W+$")
_STOP = re.compile(r"[,.;!?](?=\s)|\(|\b(?:pero|aunque|sino|but|although|o|or)\b")
_LABEL = re.compile(r"\b(\w+)\s+$")
_OF = re.compile(r"\b(\w+)\s+(?:del?|of)\s+(?:(?:l[ao]s?|the)\s+)?([a-z]{3,})\b")
_JOINED = re.compile(r"[,;&+]|\b(?:y|e|and)\b")
_FROM_TO = re.compile(r"\b(?:a|al|hasta|to|through|until)\b|^\s*-\s*$")
_WORD = re.compile(r"\s+([^\W\d_]+)")
_OR = re.compile(r"\W*\b(?:o|u|or)\s+(?:(?:el|la|los|las|de|del|al|a|en|the|to|in)\s+)*(?:\w+\s+)?")
"""Between two values says that one of them is meant, and not which."""
_OTHERWISE = re.compile(
    r"\b(?:(?:no|ni|menos|excepto|salvo|except|not)\s+(?:(?:por|a|para|con|the|for)\s+)?(?:el|la|los|las|al|a|the)"
    r"|(?:menos|excepto|salvo|except|perdon|digo|mejor|corrijo|mejor dicho|sorry|i mean|rather"
    r"|en (?:vez|lugar) del?|instead of)\b"
    r"[\s,]*(?:(?:el|la|al|a|the)\b)?)\s*(?:\w+\s+)?$"
)
"""Before a value says that it is not meant, or meant in the other's place: `no la EV-209`, `perdón, la EV-209`."""
_PARTLY = re.compile(r"\b(?:la mitad|el doble|el triple|una parte|half|double|twice)\b")
_AND_NOT = re.compile(r"\b(?:y|e|pero|and|but)\s+(?:l[ao]s?|el)\b[^,.;]*\bno\W*$")
_ANOTHER = r"(?:el|la|lo) que\b|l[ao]s? otr[oa]s?\b|el otro\b|otr[oa]\b|another\b|the other\b"
_WITHOUT = re.compile(r"\b(?:sin|without)\s+(\w+)")
_ALL = re.compile(r"\b(?:tod[oa]s|all|every)\b\s+(?:(?:l[oa]s|the|mis|nuestr[oa]s|my|our)\s+)?(?:\w+)")
Spans = Sequence[tuple[int, int]]


def remainder(source: Source, asked: Ask | None, filled: Filled, raw: dict[str, Any], schema: Schema) -> list[str]:
    """Return what a text says beside its calls: other things or numbers of them, else words that are not understood."""
    several = otherwise_meant(source, filled, raw, schema)
    several += [each for each in filled.unused if not any(each in one for one in several)]
    return several or _not_understood(source, asked, filled.taken, raw, schema)


def _not_understood(source: Source, asked: Ask | None, taken: Spans, raw: dict[str, Any], schema: Schema) -> list[str]:
    """Return the stretches of a text that neither ask, nor are arguments (`taken`), nor name the tool's thing."""
    folded = masked(source.text, uttered=False)
    begin, stop = utterance(source.text) or (0, 0)
    spans = [(start, min(end, stop)) if begin <= start < stop else _clause(folded, start, end) for start, end in taken]
    spans += [match.span() for match in phrases().courtesy.finditer(folded)]
    if asked is not None:
        spans += [(0, asked.opened), (asked.start, asked.end)]
    spans += [_clause(folded, each.start(), len(folded)) for each in phrases().reasons.finditer(folded)]
    spans += [span for start, _ in taken for span in _before(folded, start)]
    measures = source.of("date", "time", "money", "number", "percent")
    for each in (*measures, *(name for name in source.names if not re.search(r"\d", name.text))):
        spans += [related.span() for related in [_relating().search(folded, 0, each.start)] if related]
    known = _things(raw, schema)
    spans += [match.span() for match in _explained(folded, known)]
    left: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(folded):
        if _is_in(token, spans) or _means_nothing(token.group(), known):
            continue
        near = left and not re.search(r"[,.;!?()]", folded[left[-1][1] : token.start()])
        if near:
            left[-1] = (left[-1][0], token.end())
        else:
            left.append(token.span())
    return [source.text[start:end] for start, end in left]


def _clause(folded: str, start: int, end: int) -> tuple[int, int]:
    """Return what of a stretch is one clause: what follows a comma may speak of the request itself."""
    stop = _STOP.search(folded, start, end)
    return start, stop.start() if stop else end


@cache
def _relating() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(phrases().relating)})\s+(?:(?:el|la|las|los|the)\s+)?$")


def _before(folded: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield what leads to an argument: `que diga`, or what quoted words are called."""
    if saying := _SAYING.search(folded, 0, start):
        yield saying.span()
    if folded[start : start + 1] in {'"', "“", "«", "'"} and (label := _LABEL.search(folded, 0, start)):
        named = glossary().concepts.get(label.group(1), frozenset())
        if named - glossary().verbs:
            yield label.span()


def _explained(folded: str, known: frozenset[str]) -> Iterator[re.Match[str]]:
    """Yield what says how a thing is, or which: `ya quedó solucionado`, `como hecha`, `de odontología`."""
    verbs = glossary().verbs
    yield from (match for match in _DONE.finditer(folded) if not concepts_of(match.group(1)) & glossary().writes)
    yield from _RESULT.finditer(folded)
    for match in _OF.finditer(folded):
        thing, kind = match.groups()
        if concepts_of(thing) & known and not concepts_of(kind) & verbs and not kind.endswith(("ar", "er", "ir")):
            yield match


def _things(raw: dict[str, Any], schema: Schema) -> frozenset[str]:
    """The concepts of a tool's own words, and of its options, but for those that are acts."""
    texts = [str(raw.get(name, "")) for name in ("name", "title", "description")]
    named = as_schema(schema.get("properties"))
    for each in properties(schema, schema):
        texts += [each.name, each.description, each.about]
    for each in named.values():
        options = resolved(as_schema(each), schema).get("enum")
        texts += [str(option) for option in cast("list[Any]", options or [])]
    return concepts(texts) - glossary().verbs - phrases().no_things


def _is_in(token: re.Match[str], spans: Spans) -> bool:
    return any(start < token.end() and token.start() < end for start, end in spans)


def _means_nothing(token: str, known: frozenset[str]) -> bool:
    return token in phrases().particles or bool(concepts_of(fold(token)) & known)


def otherwise_meant(source: Source, filled: Filled, raw: dict[str, Any], schema: Schema) -> list[str]:
    """Return what a request says that its calls of a tool do not: `dos facturas` are not one, nor `a o b` both."""
    calls = filled.calls
    named = concepts([str(raw.get("name", ""))])
    several: list[str] = []
    for each in source.of("number"):
        after = _WORD.match(source.folded, each.end)
        if after and each.value > 1 and each.value != len(calls) and concepts_of(after.group(1)) & named:
            several.append(source.text[each.start : after.end()])
    several += [*_either(source), *_otherwise(source)]
    if len(calls) > 1:
        several = list(dict.fromkeys([*several, *_unjoined(source, calls)]))
    if len(calls) < 2 and (everything := _ALL.search(source.folded)) and not _quoted(source, everything.start()):
        several.append(source.text[everything.start() : everything.end()])
    for pattern in (_PARTLY, _AND_NOT, _other_options(schema)):
        found = pattern.search(source.folded)
        if found and not _quoted(source, found.start()):
            several.append(source.text[found.start() : found.end()])
    without = _WITHOUT.finditer(masked(source.text))
    return [*several, *(match.group() for match in without if _is_option(match.group(1), schema))]


def _is_option(word: str, schema: Schema) -> bool:
    """Whether a word names something that a tool's schema lets one set, and not merely say."""
    named = (each for each in properties(schema, schema) if each.type != "boolean")
    return any(concepts_of(word) & each.name_concepts for each in named)


def _either(source: Source) -> list[str]:
    """Return the values of a text of which one or the other is meant: "inv_1 o inv_2"."""
    values = sorted((*source.codes, *source.of("money", "date", "time", "url")), key=lambda each: each.start)
    return [
        source.text[one.start : other.end]
        for one, other in pairwise(values)
        if _OR.fullmatch(source.folded, one.end, other.start)
    ]


def _unjoined(source: Source, calls: Sequence[dict[str, Any]]) -> list[str]:
    """Return what names several things otherwise than one by one: "de EV-1 a EV-9", "el 3 el lunes"."""
    told = [{str(call.get(name)) for call in calls} for name in calls[0]]
    several = {value for values in told if len(values) > 1 for value in values}
    values = (*source.codes, *source.names, *source.values)
    named = {each.start: each for each in values if str(each.value) in several}
    return [
        source.text[one.start : other.end]
        for (_, one), (_, other) in pairwise(sorted(named.items()))
        if _FROM_TO.search(between := source.folded[one.end : other.start]) or not _JOINED.search(between)
    ]


def _otherwise(source: Source) -> list[str]:
    """Return the values of a text that are not meant, or meant in another's place, with what says so."""
    found: list[str] = []
    for each in (*source.codes, *source.names, *source.of("money", "date", "time", "url")):
        before = _OTHERWISE.search(source.folded, 0, each.start)
        if before and not _quoted(source, before.start()):
            found.append(source.text[before.start() : each.end])
    return found


def _other_options(schema: Schema) -> re.Pattern[str]:
    """Return what offers another of a tool's options, or of things: `premium o enterprise`, `o la otra`."""
    named = (resolved(as_schema(each), schema) for each in as_schema(schema.get("properties")).values())
    listed = [cast("list[Any]", each.get("enum") or []) for each in named]
    options = {fold(option) for each in listed for option in each if isinstance(option, str)}
    known = "".join(rf"|{re.escape(option)}\b" for option in sorted(options))
    return re.compile(rf"\b(?:o|u|or)\s+(?:(?:al?|el|la|the|de|en|con|plan)\s+)*(?:{_ANOTHER}{known})")


def _quoted(source: Source, at: int) -> bool:
    return any(each.start <= at < each.end for each in source.of("quoted", "json"))
