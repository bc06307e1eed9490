"""Whether a part of a request that names a change wishes for it, here and now."""

from __future__ import annotations

import re
from typing import Literal

from tausestack_agents.planner.text import bag, concepts_of, fold, words
from tausestack_agents.planner.values import Source

Unwished = Literal["asked_how", "forbidden", "depends", "told"]
"""`asked_how`: how, or whether, something is done; `forbidden`: not to do something; `depends`: to do something if;
`told`: that somebody does it, did it, or is to do it some other time."""

BEFORE_THINGS = bag(
    "el la los las un una unos unas mi mis su sus este esta estos estas the an my our this de del en con"
)
"""What stands before a thing, and never before a verb that wishes."""
_BEFORE_WISHES = bag(
    "por favor me te le les nos se lo la los las quiero quisiera queremos necesito necesitamos deseo puedes puede",
    "podrias podria pueden ayudame ayudanos a que hay favor hola buenas buenos dias tardes noches ok listo bueno luego",
    "despues ademas tambien y e ahora ya hoy primero entonces tienes debes vamos si claro dale gracias toca",
    "please can could would will you i we want need like to then also and now today first let lets go ahead kindly",
    "just hello hi must should have us for of do",
)
"""What may stand right before the verb of a wish."""
_HOW = re.compile(
    r"\bcomo (?:se |le )?(?:hago|hacemos|hace|hacer|puedo|podemos|podria)\b|\b(?:se puede|se podria|es posible|puedo)\b"
    r"|\bque pasa si\b|\bcuando (?:debo|hay que)\b|\bhow (?:do|can|would|should) (?:i|we|you)\b|\bis it possible\b"
    r"|\b(?:can|may|should) (?:i|we)\b|\bwhat happens if\b"
)
"""Asks about doing something, which is no wish to have it done."""
_NOT = re.compile(
    r"\b(?:no|nunca|jamas|ni|sin|tampoco|not|never|don't|dont|without)\s+(?:(?:me|te|le|les|lo|la|los|las|se|nos)\s+)?(\w+)"
)
"""What is not to be done."""
_QUESTION = re.compile(
    r"^\W*(?:(?:a|en|de|con|por|para|desde|hasta|y)\s+)?"
    r"(?:quien(?:es)?|cuando|donde|que|cual(?:es)?|cuant[oa]s?|como|ya|who|when|where|why|which|what|how|did|has|have|is|are)\b"
)
"""Begins a question about something, in which a verb is no wish: "¿quién paga la factura?"."""
_IF = re.compile(r"^\W*(?:si|cuando|en caso de|if|when|unless|a menos que|salvo que)\b")
"""Makes what follows depend on something that nobody here can judge."""
_OF_OTHERS = re.compile(
    r"\b(?:estoy|estamos|estas|esta|estan|estaba|sigo|am|are|is|was|were)\s+(\w+(?:ando|iendo|ing))\b"
    r"|\b(?:voy|vas|va|van|iba|iban)\s+a\s+(\w+)"
)
"""What somebody is about to do, or is doing already."""
_PAST = re.compile(r"\b(?:\w+[éó]|paid)\b", re.IGNORECASE)
"""What somebody did: `creé`, `pagó`; without the accent it would be a wish."""
_VERB = re.compile(r"[^\W_]+")
_PRONOUN = re.compile(r"(?:me|te|se|nos)?(?:l[aeo]s?)$|(?:me|nos)$")


def unwished(wanted: frozenset[str], source: Source) -> Unwished | None:
    """Return why a text that names changes (`wanted`, as concepts) does not ask for them, or None where it does."""
    if _IF.search(source.folded) and not source.text.lstrip().startswith("¿"):
        return "depends"
    if any(_means(match.group(1), wanted) for match in _NOT.finditer(source.folded)):
        return "forbidden"
    if _HOW.search(source.folded) or _QUESTION.search(source.folded):
        return "asked_how"
    return "told" if _is_told(wanted, source) else None


def _is_told(wanted: frozenset[str], source: Source) -> bool:
    if any(_means(match.group(), wanted) for match in _PAST.finditer(source.text)):
        return True
    if any(_means(match.group(1) or match.group(2), wanted) for match in _OF_OTHERS.finditer(source.folded)):
        return True
    for match in _VERB.finditer(source.folded):
        before = source.folded[: match.start()]
        word = (words(before) or [""])[-1]
        if not _means(match.group(), wanted) or word in BEFORE_THINGS:
            continue
        # "Mi contador paga …" tells; after a comma, or with a pronoun at its end (`págala`), the same form is a wish.
        ended = _PRONOUN.search(match.group())
        if ended and _means(match.group()[: ended.start()], wanted):
            return False
        return bool(word) and word not in _BEFORE_WISHES and before.rstrip()[-1].isalnum()
    return False


def _means(word: str, wanted: frozenset[str]) -> bool:
    return bool(concepts_of(fold(word)) & wanted)
