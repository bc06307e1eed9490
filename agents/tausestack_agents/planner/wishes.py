"""Whether a part of a request that names a change wishes for it, here and now."""

from __future__ import annotations

import re
from typing import Literal

from tausestack_agents.planner.asking import ask, is_in_jest, masked
from tausestack_agents.planner.text import bag, concepts_of, fold
from tausestack_agents.planner.values import Source

Unwished = Literal["asked_how", "forbidden", "depends", "told", "doubtful"]
"""`asked_how`: how, or whether, something is done; `forbidden`: not to do something; `depends`: to do something if;
`told`: that somebody does it, did it, or is to do it some other time; `doubtful`: something, in jest or unsurely."""

_NEGATIONS = bag("no nunca jamas ni tampoco nadie not never don't dont")
_NEGATED_BY = bag(
    "quiero quisiera quisieramos queremos necesito necesitamos deseo deseamos vayas vaya vayan ir a que hay tienes",
    "tiene tenemos debes debe deben puedes puede pueden hace falta me te le les lo la los las se nos por favor want",
    "need have to should must you i we please quiere quieren pedi dije",
)
"""What may stand between a negation and the verb that it forbids."""
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
    r"(?:quien(?:es)?|cuando|donde|que|cual(?:es)?|cuant[oa]s?|como|who|when|where|why|which|what|how|did|has|have|is|are)\b"
)
"""Begins a question about something, in which a verb is no wish: "¿quién paga la factura?"."""
_IF = re.compile(
    r"^\W*(?:si(?!\s*,|\s+(?:puedes?|es posible|no es molestia|e(?:re)?s tan)\b)|cuando|en caso de"
    r"|if|when|unless|a menos que|salvo que)\b"
)
"""Makes what follows depend on something that nobody here can judge."""
_IF_LATER = re.compile(
    r"(?<=[\s,;])(?:si(?!\s+(?:puede|es posible|no es molestia|e(?:re)?s tan|gusta))"
    r"|(?:apenas|en cuanto)(?!\s+puedas?\s*(?:$|[,.;!?)]))"
    r"|previ[ao]s?|(?:antes|despues|luego) de que|luego de"
    r"|con (?:el )?(?:permiso|visto bueno|autorizacion|aprobacion)"
    r"|cuando(?!\s+(?:pueda|quiera|teng))|(?:hasta|a menos|salvo|siempre|con tal de) (?:y cuando|que)|en caso de"
    r"|if(?!\s+(?:you can|possible))|unless|when(?!\s+you (?:can|want))|as soon as(?!\s+(?:you can|possible)))\s+\w"
)
"""The same, after what depends on it; `si puedes` is politeness."""
_SAYS = re.compile(
    r"\b(?:pregunt\w+|avis\w+|porque|asking|because|whether"
    r"|(?:saber|ver|mirar|revisar|verificar|confirmar|averiguar|validar|check|see|know)(?=\s+(?:si|if)\b))"
)
"""After this somebody's words follow, or what something is about."""
_LATER = re.compile(
    r"^\W*(?:luego|despues)\b|\b(?:mas tarde|(?:despues|luego)\W*$|en un rato|al rato|otro dia"
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
_VERB = re.compile(r"[^\W_]+")
_BREAK = re.compile(r"[.,;:!?¿¡]|\b(?:pero|sino|but)\b")
_FAR = 5
"""Words before a verb in which a negation is looked for."""


def unwished(wanted: frozenset[str], source: Source) -> Unwished | None:
    """Return why a text that names changes (`wanted`, as concepts) does not ask for them, or None where it does.

    It asks in one of the forms in which people ask, and nothing in it denies that, puts it off or plays it down.
    """
    said = masked(source.text)
    if _IF.search(said) and not said.lstrip().startswith("¿"):
        return "depends"
    if any(_means(match.group(1), wanted) for match in _NOT.finditer(said)) or RETRACTED.search(said):
        return "forbidden"
    asked = ask(source.text, wanted)
    if asked is None:
        how = _HOW.search(said) or _QUESTION.search(said)
        return "asked_how" if how else _negated(wanted, said) or _elsewhen(source, said) or "told"
    if is_in_jest(said) or source.text.count('"') % 2:  # a quotation without an end may be of any words
        return "doubtful"
    return "asked_how" if asked.questioned else _elsewhen(source, said)


def _negated(wanted: frozenset[str], said: str) -> Unwished | None:
    """Look for a negation some words before the verb: `no quiero que canceles`."""
    verb = next((match for match in _VERB.finditer(said) if _means(match.group(), wanted)), None)
    if verb is None:
        return None
    before = re.findall(r"[^\W_]+(?:'[^\W_]+)?", _BREAK.split(said[: verb.start()])[-1])[-_FAR:]
    at = next((place for place in reversed(range(len(before))) if before[place] in _NEGATIONS), None)
    return "forbidden" if at is not None and _NEGATED_BY.issuperset(before[at + 1 :]) else None


def _elsewhen(source: Source, said: str) -> Unwished | None:
    """Tell what is to be done if something is so, or some other time."""
    for match in _IF_LATER.finditer(said):
        if not _SAYS.search(source.folded, 0, match.start() + 3):
            return "depends"
    later = _LATER.search(said)
    return "told" if later and not _SAYS.search(source.folded, 0, later.start()) else None


def _means(word: str, wanted: frozenset[str]) -> bool:
    return bool(concepts_of(fold(word)) & wanted)
