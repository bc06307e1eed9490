"""Finding strings for a property: by format, pattern, enum, label, name and example, most telling first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tausestack_agents.planner.schema import Property, Schema, matcher, shape
from tausestack_agents.planner.text import bag, concepts, concepts_of, fold, glossary, words
from tausestack_agents.planner.values import CURRENCIES, CURRENCY, Source, Value

TYPED, NAMED, GUESSED = 3, 2, 1
"""How sure a finding is: by a format or pattern, by a name, or for want of anything better."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A value for a property, how sure it is, and where it stands in the text (-1: nowhere)."""

    value: Any
    strength: int
    start: int = -1
    end: int = -1
    parts: tuple[Finding, ...] = ()
    """What it was put together from."""


PARTY = bag(
    "customer client cliente company empresa buyer recipient payer vendor supplier person contact tenant to",
)
_PARTY_TEXT = re.compile(
    r"\b(?:para|a nombre de|al cliente|del cliente|cliente|for|to|customer|client|bill|invoice|charge"
    r"|facturale|cobrale|pay|(?:factura|cobra|paga|facturar)(?:le)? a)\s+"
    r"(?:el cliente\s+|la empresa\s+|the customer\s+)?$"
)
_PLACE_WORDS = bag("city municipality municipio department departamento place location ciudad town region state")
_TEXT_WORDS = bag("query text search q term terms message body content prompt input question note texto")
_SOUGHT_WORDS = bag("query search q")
_MATTER_WORDS = bag("title subject topic titulo asunto text body message content note description reason comment")
_ENDS_OF_WAYS = bag("origin destination origen destino from to source target")
_SAYING = re.compile(
    r"\b(?:que dig[ao]|diciendo(?: que)?|saying(?: that)?|porque|because|(?:de |con el )?que|sobre|acerca de|about|para"
    r"|to)\s+"
)
_UTTERING = re.compile(r"\b(?:que dig[ao]|diciendo(?:le|les)? (?:que )?|saying(?: that)?|dile que|mensaje de que)\s*$")
"""What follows is somebody's words to their end."""
_DETAIL_WORDS = bag("description descripcion concept concepto detail detalle memo subject product item service")
_KEY_WORDS = bag("key path slug id identifier code ref reference number token")
_DUE_WORDS = bag("due deadline vence vencimiento")
_DUE = re.compile(
    r"\b(?:vence\w*|venza|vencimiento|plazo|pagader[oa]|pagar\w*|due|deadline|payable|para|antes|hasta|by|before|until)"
    r"(?:\s+(?:el|del?|la|al|dia|en|es|on|the|date|is))*\s*:?\s*$"
)
"""Stands before a date by which something is to be done, and not on which."""
_ADVERBS = bag("hoy ayer manana today yesterday tomorrow")
_AFTER_MONEY = re.compile(
    r"\s*(?:cada un[oa]s?|c/u|each|apiece)?\s*(?:de|por(?: concepto de)?|en concepto de|for|of)\s+"
    r"(?:la |el |los |las |the )?"
)
_PHRASE_END = re.compile(
    r"[,;.!?]|\s(?:por|para|a nombre|for|to|con|with|at|in|en|mas|plus|y|and|e|al|del cliente|desde|hasta)\s"
    r"|\s(?:que|vence|due)\s|\s(?:a\s+)?[\d$]|$"
)


def find(prop: Property, source: Source) -> list[Finding]:
    """Return what the text holds for a string property, surest first; of equally sure ones in the text's order."""
    found = _typed(prop, source)
    if found is None:
        found = _by_name(prop, source)
    return [each for each in found if _fits(each.value, prop)]


def _typed(prop: Property, source: Source) -> list[Finding] | None:
    """What format, enum, pattern or an unmistakable name decides; None where nothing does."""
    if "const" in prop.schema:
        return [Finding(prop.schema["const"], TYPED)]
    if "enum" in prop.schema:
        return _enumerated(prop, source)
    if prop.named("timezone", "tz") or prop.says(r"\biana\b|\btime ?zone\b|zona horaria"):
        return [Finding(place.zone, TYPED, place.start, place.end) for place in source.places]
    kind = _kind(prop)
    if kind is not None:
        found = [Finding(each.value, TYPED, each.start, each.end) for each in source.of(kind)]
        by_then = kind == "date" and prop.named(*_DUE_WORDS)
        return [each for each in found if not by_then or _is_due(each, source)]
    if prop.named("currency", "moneda") and not prop.required:
        return currencies(source)[:1]
    if prop.named("currency", "moneda") or prop.says(r"\bcurrency\b|\bmoneda\b|\biso 4217\b"):
        return currencies(source)
    if (fits := prop.fits_whole) is not None:
        found = _matching(fits, source)
        return _nearest_label(prop, source, found) if found else None
    return None


def _is_due(found: Finding, source: Source) -> bool:
    """Whether a date is one by which: a word such as `mañana` may as well say when something is to be done."""
    return source.folded[found.start : found.end] not in _ADVERBS or bool(_DUE.search(source.folded[: found.start]))


def currencies(source: Source) -> list[Finding]:
    """Return every currency that is named, with an amount or without, in order."""
    money = [each for each in source.of("money") if each.value.currency]
    found = [Finding(each.value.currency, TYPED) for each in money]  # its place is the amount's, which has it
    found += [
        Finding(CURRENCIES[match.group()], TYPED, *match.span())
        for match in CURRENCY.finditer(source.folded)
        if not any(match.start() < each.end and each.start < match.end() for each in money)
    ]
    return sorted(found, key=lambda each: each.start)


def _kind(prop: Property) -> Any:
    form = str(prop.schema.get("format", ""))
    if form in {"email", "idn-email"} or prop.named("email", "correo"):
        return "email"
    if form == "date" or (not form and prop.named("date", "fecha", "due")):
        return "date"
    if form in {"uri", "url"} or prop.named("url", "uri"):
        return "url"
    if form == "uuid":
        return "uuid"
    if form == "time" or prop.says(r"hh:mm"):
        return "time"
    return None


def _enumerated(prop: Property, source: Source) -> list[Finding]:
    found: list[Finding] = []
    meant = {word: concepts_of(word) for word in words(source.text)}
    for option in prop.schema["enum"]:
        if not isinstance(option, str):
            continue
        exact = re.search(rf"\b{re.escape(fold(option).replace('_', ' '))}\b", source.folded.replace("_", " "))
        if exact:
            found.append(Finding(option, TYPED, *exact.span()))
        elif (of := concepts([option])) and any(of <= each for each in meant.values() if each):
            found.append(Finding(option, NAMED))
    return found


def _matching(fits: Callable[[str], object], source: Source) -> list[Finding]:
    """Tokens that fit, as written or without marks of grouping."""
    found: list[Finding] = []
    for token in _tokens(source):
        for text in dict.fromkeys((token.text.strip("\"'`“”«»"), *_plainer(token.text))):
            if fits(text):
                found.append(Finding(text, TYPED, token.start, token.end))
                break
    return _apart(found)


def _plainer(text: str) -> Iterable[str]:
    yield re.sub(r"[.,\s]", "", text)
    yield re.sub(r"[.,\s-]", "", text)
    if re.search(r"\d", text):
        yield text.upper()
        yield text.lower()


def _tokens(source: Source) -> list[Value]:
    """Everything that could be a value: codes first, then words."""
    plain = [
        Value("code", m.group(), m.group(), *m.span())
        for m in re.finditer(r"[^\s,;:¿?¡!()\"]+[^\s,;:.¿?¡!()\"]", source.text)
    ]
    return source.codes + source.names + plain


def _by_name(prop: Property, source: Source) -> list[Finding]:
    detail = prop.name_words & _DETAIL_WORDS or prop.name_concepts & {"description"}
    found = _labelled(prop, source) or (_details(source) if detail else [])
    if prop.name_words & _KEY_WORDS:
        found += _under(source)
    for example in prop.examples:
        if isinstance(example, str) and re.fullmatch(r"(?=.*[\d/_:.-])\S{3,}", example):
            found += [each for each in _matching(shape(example).fullmatch, source) if not _is_measure(each, source)]
    if prop.name_concepts & {"nit", "cedula", "phone"} or prop.says(r"\b(nit|cedula|tax id|phone|telefono)\b"):
        found += _documents(prop, source)
    if prop.name_words & PARTY or prop.name_concepts & {"customer"}:
        found += _parties(source)
    if (
        prop.name_words & _PLACE_WORDS
        or (prop.name_words & _TEXT_WORDS and prop.says(r"municipalit|municipio|city|place|department"))
        or (prop.name_words & _ENDS_OF_WAYS and prop.says(r"\bcity\b|\bciudad\b|\bplace\b|\bmunicip"))
    ):
        found += _places(source)
    if prop.name_words & _MATTER_WORDS and not found:
        quoted = [Finding(each.value, NAMED, each.start, each.end) for each in source.of("quoted")]
        found += quoted or _matter(source)
    if prop.name_words & _SOUGHT_WORDS:
        found += [
            Finding(each.value, NAMED, each.start, each.end) for each in [*source.of("email"), *_proper_names(source)]
        ]
    if prop.name_words & _TEXT_WORDS and not found:
        found += [Finding(each.value, NAMED, each.start, each.end) for each in source.of("quoted")]
        found += _object_phrase(source)
    if prop.name_words & _KEY_WORDS and not found:
        found += [
            Finding(each.value if each.kind == "quoted" else each.text, NAMED, each.start, each.end)
            for each in source.codes
            if each.kind in {"quoted", "code"} and not _is_measure(Finding(each.text, 0, each.start, each.end), source)
        ]
    if prop.name_concepts & {"name"} and not found:
        found += [Finding(each.value, NAMED, each.start, each.end) for each in source.of("quoted")]
        found += _parties(source)
    return _apart(found)


def _is_measure(finding: Finding, source: Source) -> bool:
    """Whether a token is (part of) money, a percentage, a date or a time."""
    measures = source.of("money", "percent", "date", "time")
    return any(finding.start < each.end and each.start < finding.end for each in measures)


_LABEL_END = (
    r"\s*(?::|=|\bes\b|\bis\b|\bde\b|\bcon\b|\bllamad[oa]\b|\bnamed\b|\bcalled\b|\bnumero\b|\bnumber\b|\bno\.)?\s*"
)
_OF = re.compile(r"\b(?:del?|of)\b")
_AFTER_LABEL = re.compile(_LABEL_END + r"(?P<value>\"[^\"]+\"|“[^”]+”|«[^»]+»|'[^']+'|`[^`]+`|[^\s,;]+)")


def _labelled(prop: Property, source: Source) -> list[Finding]:
    """What follows a word that means the same as the property's name: `clave perfil`, `key: profile`."""
    wanted = {concept for concept in prop.name_concepts if concept not in glossary().verbs and concept != "id"}
    is_id = prop.named("id", "number") and not prop.name_words & PARTY
    found: list[Finding] = []
    for match in re.finditer(r"[^\W_]+", source.folded):
        if not concepts_of(match.group()) & wanted:
            continue
        after = _AFTER_LABEL.match(source.folded, match.end())
        if after is None:
            continue
        start, end = after.span("value")
        capitals = next((name for name in source.names if name.start == start), None)
        end = capitals.end if capitals else end
        text = source.text[start:end].strip("\"'`“”«»").rstrip(".?!:")
        if capitals and is_id and _OF.search(source.folded[match.end() : start]):
            continue  # "la factura de Ana" says whose it is, and not which
        if text and fold(text) not in glossary().stop and not concepts_of(fold(text)) & glossary().verbs:
            found.append(Finding(text, NAMED, start, end))
    return found


def _under(source: Source) -> list[Finding]:
    """What stands after `under` or `bajo`: the key of a thing, wherever else there are codes."""
    found: list[Finding] = []
    for match in re.finditer(
        r"\b(?:under|bajo)\s+(?:(?:the|la|el)\s+)?(?:(?:key|clave|llave|name|nombre)\s+)?", source.folded
    ):
        token = re.compile(r"\"[^\"]+\"|[^\s,;]+").match(source.text, match.end())
        if token:
            found.append(Finding(token.group().strip('".?!'), TYPED, *token.span()))
    return found


def _documents(prop: Property, source: Source) -> list[Finding]:
    """Identity numbers: digits grouped by dots with or without a check digit."""
    del prop
    return [
        Finding(match.group(), TYPED, *match.span())
        for match in re.finditer(r"(?<![\w.])\d[\d.]{4,}\d(?:\s?-\s?\d)?(?![\w%])", source.text)
        if not _is_measure(Finding("", 0, *match.span()), source)
    ]


def _parties(source: Source) -> list[Finding]:
    """Names after a word such as `para`; a quoted one too."""
    named = source.names + source.of("quoted")
    return [
        Finding(each.value, NAMED, each.start, each.end)
        for each in sorted(named, key=lambda each: each.start)
        if _PARTY_TEXT.search(source.folded[: each.start])
    ]


_CONCEPT = re.compile(r"\b(?:por concepto de|en concepto de|concepto|descripcion|described as|description)\s*:?\s+")
_COUNTED = re.compile(r"\b\d+\s+(?:x\s+)?(?=[^\W\d])(?!mil\b|millon|pesos|cop\b|usd\b|dol|eur|de\b|%)")
_FOR = re.compile(r"\b(?:de|por(?!\s+fa)|for|of)\s+(?=[^\W\d])")


def _details(source: Source) -> list[Finding]:
    """What money is for: the phrase after the amount or after such a word, else what is counted, else after `for`."""
    after = (_AFTER_MONEY.match(source.folded, money.end) for money in source.of("money"))
    starts = [match.end() for match in after if match] + [match.end() for match in _CONCEPT.finditer(source.folded)]
    counted = [match.end() for match in _COUNTED.finditer(source.folded)]
    loose = [
        match.end()
        for match in _FOR.finditer(source.folded)
        if match.group().startswith("for") or not _PARTY_TEXT.search(source.folded[: match.end()])
    ]
    for places in (starts, counted, loose):
        found = [each for each in (_phrase(source, start) for start in places) if each.value]
        if found:
            return found
    return []


_BEFORE_DAY = re.compile(r"\s+(?:(?:el|del|la|de|este|on|this|next)\s+)*$")


def _phrase(source: Source, start: int) -> Finding:
    end = _PHRASE_END.search(source.folded, start)
    days = [_BEFORE_DAY.sub("", source.folded[: each.start]) for each in source.of("date") if each.start > start]
    stop = min([end.start() if end else len(source.text), *map(len, days)])
    text = source.text[start:stop].strip(" \"'`“”«».")
    return Finding(text, NAMED, start, stop)


def _proper_names(source: Source) -> list[Value]:
    """Names, but for a word that only begins the sentence."""
    return [each for each in source.names if each.start > 0 or " " in each.text]


def _matter(source: Source) -> list[Finding]:
    """What something is to be about, in the request's words: after a word such as `para`, else what is wished for.

    Dates, times and addresses at its end are no part of it.
    """
    measures = source.of("date", "time", "email", "url")
    measured = {each.start for each in measures}
    said = (match.end() for match in _SAYING.finditer(source.folded) if source.folded[match.end() :].strip())
    start = next((end for end in said if end not in measured), 0)
    tokens = list(re.finditer(r"[^\s]+", source.text[start:]))
    if not start:
        while tokens and concepts_of(fold(tokens[0].group())) & glossary().verbs:
            tokens.pop(0)
    if not tokens:
        return []
    begin = start + tokens[0].start()
    uttered = bool(_UTTERING.search(source.folded[:begin]))
    ends = [each.start for each in measures if each.start > begin and not uttered]
    text = source.text[begin : min(ends, default=len(source.text))]
    text = re.sub(r"\s+(?:el|la|a|a las|a la|para|on|at|el dia|por|hasta|until|con|y|,)\s*$", "", text.rstrip(" .,;?!"))
    text = re.sub(r"\s+(?:el|la|a|para|on|at|por)\s*$", "", text)
    article = "" if uttered else r"(?:el|la|los|las|un|una|the|an?)\s+"
    text = re.sub(rf"^{article}", "", text).strip(" .,;?!\"'«»")
    begin = source.text.index(text, begin)
    return [Finding(text, GUESSED, begin, begin + len(text))] if text else []


def _places(source: Source) -> list[Finding]:
    found: list[Finding] = []
    for match in re.finditer(r"\b(?:en|de|del|desde|a|hasta|hacia|in|of|from|to|is|es|esta)\s+", source.folded):
        name = next((each for each in source.names if each.start == match.end()), None)
        if name is not None:
            found.append(Finding(name.value, NAMED, name.start, name.end))
    quoted = [Finding(each.value, NAMED, each.start, each.end) for each in source.of("quoted")]
    loose = [Finding(each.value, NAMED, each.start, each.end) for each in source.names]
    return quoted or found or loose


def _object_phrase(source: Source) -> list[Finding]:
    """What is left of a request without its verb: what to search for."""
    known = glossary()
    match = re.search(r"\b(?:sobre|acerca de|about|regarding|por|for|que diga|saying)\s+", source.folded)
    if match:
        return [Finding(source.text[match.end() :].strip(" .?!\"'"), NAMED, match.end(), len(source.text))]
    kept = [
        token
        for token in re.finditer(r"[^\s,;¿?¡!]+", source.text)
        if not (concepts_of(fold(token.group())) & known.verbs) and fold(token.group()) not in known.stop
    ]
    if not kept:
        return []
    start, end = kept[0].start(), kept[-1].end()
    return [Finding(source.text[start:end].strip(" ."), GUESSED, start, end)]


def _nearest_label(prop: Property, source: Source, found: list[Finding]) -> list[Finding]:
    """Keep those that follow the property's own name, where any does."""
    labelled = {each.start for each in _labelled(prop, source)}
    near = [each for each in found if each.start in labelled]
    multiple = len(found) > 1 and all(_same_kind(found[0].value, each.value) for each in found)
    return found if multiple or not near else near


def _same_kind(one: Any, other: Any) -> bool:
    return re.sub(r"\d+", "0", str(one)) == re.sub(r"\d+", "0", str(other))


def _apart(found: list[Finding]) -> list[Finding]:
    """Of findings that overlap keep the first; order by strength, then by place."""
    kept: list[Finding] = []
    for each in sorted(found, key=lambda finding: -finding.strength):
        if not any(each.start < other.end and other.start < each.end for other in kept):
            kept.append(each)
    return sorted(kept, key=lambda finding: (-finding.strength, finding.start))


def fits_pattern(schema: Schema, value: str) -> bool:
    """Whether a text fits a schema's pattern; one that is not read here is left for the tool's own server."""
    pattern = schema.get("pattern")
    fits = matcher(pattern) if isinstance(pattern, str) else None
    return fits is None or fits(value)


def _fits(value: Any, prop: Property) -> bool:
    if not isinstance(value, str):
        return True
    if not fits_pattern(prop.schema, value):
        return False
    return prop.schema.get("minLength", 0) <= len(value) <= prop.schema.get("maxLength", len(value))
