"""Whether a part of a request that names a change wishes for it, here and now."""

from __future__ import annotations

import re
from typing import Literal

from tausestack_agents.planner.text import bag, concepts_of, fold, glossary, words
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
    "despues ademas tambien y e ahora ya hoy primero entonces tienes debes vamos claro dale gracias toca",
    "please can could would will you i we want need like to then also and now today first let lets go ahead kindly",
    "just hello hi must should have us for of do",
)
"""What may stand right before the verb of a wish."""
_BEFORE_THAT = bag(
    "quiero quisiera queremos quisieramos necesito necesitamos deseo deseamos pido pedimos favor gustaria encantaria",
    "hay tienes tiene tienen urge espero solicito agradezco bueno mejor",
)
"""What `que` stands after where a wish follows it; after others, as in `dice que`, somebody tells."""
_NEGATIONS = bag("no nunca jamas ni tampoco nadie not never don't dont")
_NEGATED_BY = bag(
    "quiero quisiera quisieramos queremos necesito necesitamos deseo deseamos vayas vaya vayan ir a que hay tienes",
    "tiene tenemos debes debe deben puedes puede pueden hace falta me te le les lo la los las se nos por favor want",
    "need have to should must you i we please quiere quieren pedi dije",
)
"""What may stand between a negation and the verb that it forbids."""
_NOT_FORGOTTEN = re.compile(
    r"\b(?:no|not|don't|dont|never)\s+(?:(?:me|te|se|le|les)\s+)*(?:olvid\w+|dejes? de|forget)\b"
)
_ALSO_PAST = bag("ya hoy le les te yo")
"""Before a form that is a wish and, its accent left out, the past too: `ya pague`."""
_HOW = re.compile(
    r"\bcomo (?:se |le )?(?:hago|hacemos|hace|hacer|puedo|podemos|podria)\b|\b(?:se puede|se podria|es posible|puedo)\b"
    r"|\bque pasa si\b|\bcuando (?:debo|hay que)\b|\bhow (?:do|can|would|should) (?:i|we|you)\b|\bis it possible\b"
    r"|\b(?:can|may|should) (?:i|we)\b|\bwhat happens if\b"
)
"""Asks about doing something, which is no wish to have it done."""
_NOT = re.compile(
    r"\b(?:no|nunca|jamas|ni|sin|tampoco|not|never|don't|dont|without)\s+(?:(?:me|te|le|les|lo|la|los|las|se|nos)\s+)*(\w+)"
)
"""What is not to be done."""
_QUESTION = re.compile(
    r"^\W*(?:(?:a|en|de|con|por|para|desde|hasta|y)\s+)?"
    r"(?:quien(?:es)?|cuando|donde|que|cual(?:es)?|cuant[oa]s?|como|ya|who|when|where|why|which|what|how|did|has|have|is|are)\b"
)
"""Begins a question about something, in which a verb is no wish: "¿quién paga la factura?"."""
_IF = re.compile(r"^\W*(?:si|cuando|en caso de|if|when|unless|a menos que|salvo que)\b")
"""Makes what follows depend on something that nobody here can judge."""
_IF_LATER = re.compile(
    r"(?<=[\s,;])(?:si(?!\s+(?:puede|es posible|no es molestia|eres tan|gusta))|(?:apenas|en cuanto)(?!\s+pueda)"
    r"|cuando(?!\s+(?:pueda|quiera|teng))|(?:hasta|a menos|salvo|siempre|con tal de) (?:y cuando|que)|en caso de"
    r"|if(?!\s+(?:you can|possible))|unless|when(?!\s+you (?:can|want))|as soon as(?!\s+(?:you can|possible)))\s+\w"
)
"""The same, after what depends on it; `si puedes` is politeness."""
_SAYS = re.compile(
    r"[\"“«:{]|\b(?:que dig\w+|diciendo\w*|pregunt\w+|avis\w+|porque|saying|asking|because|whether"
    r"|(?:saber|ver|mirar|revisar|verificar|confirmar|averiguar|validar|check|see|know)(?=\s+(?:si|if)\b))"
)
"""After this somebody's words follow, or what something is about."""
_LATER = re.compile(
    r"\b(?:mas tarde|despues\W*$|en un rato|al rato|otro dia"
    r"|(?:la|el) (?:proxim[oa]|siguiente|otr[oa]) (?:semana|mes|ano)"
    r"|(?:la semana|el mes|el ano) (?:que viene|entrante)|(?:a )?(?:fin|finales) (?:de|del) (?:mes|ano|semana)"
    r"|en unas? horas?|esta (?:tarde|noche)"
    r"|cada (?:dia|semana|quincena|mes|ano|hora|lunes|martes|miercoles|jueves|viernes)"
    r"|todos los (?:dias|meses|anos|lunes|martes|miercoles|jueves|viernes|sabados|domingos)"
    r"|later|next (?:week|month|year)|tonight|every (?:day|week|month|year|hour))\b"
)
"""Some other time, of which no date tells, or again and again."""
RETRACTED = re.compile(
    r"\b(?:mejor no|olvid(?:alo|ala|elo|ela|a (?:eso|todo|lo anterior))|mentiras?|(?:deja|dejemos|dejem)(?:l[oa])? asi"
    r"|no hagas nada|cancela (?:eso|todo|lo anterior)|no,? esper[ae]|(?:todavia|aun) no|mejor l[oa] (?:dejamos|dejo)"
    r"|never ?mind|forget it|scratch that)\b"
)
"""Takes back what was asked for before."""
_PAST = re.compile(r"\b(?:\w+[éó]|paid)\b", re.IGNORECASE)
"""What somebody did: `creé`, `pagó`; without the accent it would be a wish."""
_OF_OTHERS = re.compile(
    r"\b(?:estoy|estamos|estas|esta|estan|estaba|sigo|am|are|is|was|were)\s+(\w+(?:ando|iendo|ing))\b"
    r"|\b(?:voy|vas|va|van|iba|iban)\s+a\s+(\w+)"
)
"""What somebody is about to do, or is doing already."""
_VERB = re.compile(r"[^\W_]+")
_BREAK = re.compile(r"[.,;:!?¿¡]|\b(?:pero|sino|but)\b")
_FAR = 5
"""Words before a verb in which a negation is looked for."""
_PRONOUN = re.compile(r"(?:me|te|se|nos)?(?:l[aeo]s?)$|(?:me|nos)$")
_AR = (("qu", "c"), ("gu", "g"), ("c", "z"))
"""How the last sound of a stem is written before an e, and before an a."""


def unwished(wanted: frozenset[str], source: Source) -> Unwished | None:
    """Return why a text that names changes (`wanted`, as concepts) does not ask for them, or None where it does."""
    if _IF.search(source.folded) and not source.text.lstrip(" ").lower().startswith(("¿", "sí")):
        return "depends"
    if any(_means(match.group(1), wanted) for match in _NOT.finditer(source.folded)):
        return "forbidden"
    if (retracted := RETRACTED.search(source.folded)) and not _said(source, retracted.start()):
        return "forbidden"
    if _HOW.search(source.folded) or _QUESTION.search(source.folded):
        return "asked_how"
    return _negated(wanted, source) or _elsewhen(source) or ("told" if _is_told(wanted, source) else None)


def _said(source: Source, at: int) -> bool:
    """Whether a place is within somebody's words, or what something is about."""
    return _SAYS.search(source.folded, 0, at) is not None


def _negated(wanted: frozenset[str], source: Source) -> Unwished | None:
    """Look for a negation some words before the verb: `no quiero que canceles`."""
    verb = next((match for match in _VERB.finditer(source.folded) if _means(match.group(), wanted)), None)
    if verb is None or _NOT_FORGOTTEN.search(source.folded):
        return None
    before = re.findall(r"[^\W_]+(?:'[^\W_]+)?", _BREAK.split(source.folded[: verb.start()])[-1])[-_FAR:]
    at = next((place for place in reversed(range(len(before))) if before[place] in _NEGATIONS), None)
    if at is None:
        return None
    return "forbidden" if _NEGATED_BY.issuperset(before[at + 1 :]) else "told"


def _elsewhen(source: Source) -> Unwished | None:
    """Tell what is to be done if something is so, or some other time."""
    for match in _IF_LATER.finditer(source.folded):
        yes = source.text[match.start() : match.start() + 2].lower() == "sí"
        if not yes and not _said(source, match.start() + 3):
            return "depends"
    later = _LATER.search(source.folded)
    return "told" if later and not _said(source, later.start()) else None


def _is_told(wanted: frozenset[str], source: Source) -> bool:
    if any(_means(match.group(), wanted) for match in _PAST.finditer(source.text)):
        return True
    if any(_means(match.group(1) or match.group(2), wanted) for match in _OF_OTHERS.finditer(source.folded)):
        return True
    for match in _VERB.finditer(source.folded):
        before = source.folded[: match.start()]
        said = words(before)
        word = (said or [""])[-1]
        if not _means(match.group(), wanted) or word in BEFORE_THINGS:
            continue
        # "Mi contador paga …" tells; after a comma, or with a pronoun at its end (`págala`), the same form is a wish.
        ended = _PRONOUN.search(match.group())
        if ended and _means(match.group()[: ended.start()], wanted):
            return False
        if not word or not before.rstrip()[-1].isalnum():
            return before.rstrip().endswith(":") and word not in _BEFORE_WISHES  # "El correo dice: …"
        if word == "que":
            return len(said) > 1 and said[-2] not in _BEFORE_THAT
        return word not in _BEFORE_WISHES or (word in _ALSO_PAST and _may_be_past(match.group()))
    return False


def _may_be_past(form: str) -> bool:
    """Whether a form is that of a verb in -ar which is also, without its accent, what somebody did: `pague`."""
    if not form.endswith("e"):
        return False
    stem = form[:-1]
    stems = [stem, *(stem.removesuffix(soft) + hard for soft, hard in _AR if stem.endswith(soft))]
    return any(f"{each}ar" in glossary().concepts for each in stems)


def _means(word: str, wanted: frozenset[str]) -> bool:
    return bool(concepts_of(fold(word)) & wanted)
