"""Saying why a part of a request was not done, in the request's language."""

from __future__ import annotations

from tausestack_agents.planner.answer import clip, field_name, say_arguments, title
from tausestack_agents.planner.choice import Candidate, Choice
from tausestack_agents.planner.schema import as_schema, resolved
from tausestack_agents.planner.text import Language, bag, words

_GREETINGS = bag(
    "hola buenas buenos dias dia tardes noches que tal como esta estas saludos gracias muchas ok listo vale perfecto",
    "hello hi hey good morning afternoon evening thanks thank you how are",
)
_MOST_WORDS = 6
MAX_SAID = 240
"""Characters of a part that are said again."""
_SAID: dict[str, dict[Language, str]] = {
    "greeting": {
        "es": "Hola. Dime qué necesitas y lo hago con las herramientas instaladas.",
        "en": "Hello. Tell me what you need, and I do it with the installed tools.",
    },
    "no_tool": {
        "es": "no encontré ninguna herramienta instalada para esto, así que no lo hice.",
        "en": "I found no installed tool for this, so I did not do it.",
    },
    "missing": {
        "es": "{tool} sirve para esto, pero en la petición falta, o no sirve: {things}. No lo hice. ¿Me lo das?",
        "en": "{tool} would serve, but the request lacks, or has wrongly: {things}. I did not do it. Can you tell me?",
    },
    "unsure": {
        "es": "no estoy seguro: ¿{tool} o {other}? No hice ninguna.",
        "en": "I am not sure: {tool} or {other}? I did neither.",
    },
    "left_over": {
        "es": "podría hacerlo con {tool}, pero no sé qué hacer con: {things}. No lo hice a medias. ¿Me lo pides por "
        "partes?",
        "en": "{tool} would do it, but I don't know what to do with: {things}. I did nothing by halves. One thing at a "
        "time?",
    },
    "forbidden": {"es": "entendido: no lo hice.", "en": "understood: I did not."},
}
_TAIL: dict[str, dict[Language, str]] = {
    "proposed": {
        "es": " ¿Quieres que lo haga ya, con {act}?",
        "en": " Do you want me to do it now, with {act}?",
    },
    "missing": {
        "es": " Lo haría con {tool}, pero falta, o no sirve: {things}. ¿Me lo das?",
        "en": " I would do it with {tool}, but lack, or can't use: {things}. Can you tell me?",
    },
    "unused": {
        "es": " Lo haría con {tool}, pero no sé qué hacer con: {things}. ¿Me lo pides por partes?",
        "en": " I would do it with {tool}, but don't know what to do with: {things}. One thing at a time?",
    },
    "else": {
        "es": " Lo haría con {tool}: si lo quieres, pídemelo sin más.",
        "en": " I would do it with {tool}: if you want it, just ask for it.",
    },
}
"""What is asked where a tool would do what is not plainly asked for."""
_ONLY: dict[Language, str] = {
    "es": "no sé qué hacer con: {things}; no hice nada. ¿Quieres que haga solo esto: {act}?",
    "en": "I don't know what to do with: {things}; I did nothing. Do you want me to do this alone: {act}?",
}
_WHY: dict[str, dict[Language, str]] = {
    "asked_how": {
        "es": "no cambié nada.",
        "en": "I changed nothing.",
    },
    "depends": {
        "es": "depende de algo que no puedo juzgar; no lo hice.",
        "en": "that depends on what I can't judge; I did not do it.",
    },
    "too_long": {
        "es": "sin modelo de lenguaje no leo tanto de una vez; no hice nada. ¿Me lo pides en menos palabras?",
        "en": "without a language model I don't read that much at once; I did nothing. Can you say it in fewer words?",
    },
    "doubtful": {
        "es": "no estoy seguro de que me lo pidas de verdad; no cambié nada.",
        "en": "I am not sure that you really want it; I changed nothing.",
    },
    "told": {
        "es": "entiendo que me lo cuentas, o que es para otro momento; no cambié nada.",
        "en": "I take it that you tell me so, or mean another time; I changed nothing.",
    },
}


def say_declined(part: str, choice: Choice, spoken: Language) -> str:
    """Return the line for a part for which nothing is called: why, and what to say instead."""
    said = words(part)
    if choice.outcome == "no_tool" and len(said) <= _MOST_WORDS and _GREETINGS.issuperset(said):
        return _SAID["greeting"][spoken]
    text = _template(choice, spoken).format(
        tool="" if choice.tool is None else choice.tool.address,
        other="" if choice.other is None else choice.other.address,
        things=", ".join(_things(choice, spoken)),
        act=_act(choice, spoken),
    )
    return f"{clip(title(part), MAX_SAID)} — {text}"


def _template(choice: Choice, spoken: Language) -> str:
    if choice.outcome in _WHY:
        return _WHY[choice.outcome][spoken] + ("" if choice.tool is None else _tail(choice, spoken))
    if choice.outcome == "left_over" and choice.proposed:
        return _ONLY[spoken]
    return _SAID[choice.outcome][spoken]


def _tail(choice: Choice, spoken: Language) -> str:
    states = {"proposed": choice.proposed, "missing": choice.missing, "unused": choice.unused, "else": True}
    return _TAIL[next(name for name, there in states.items() if there)][spoken]


def _act(choice: Choice, spoken: Language) -> str:
    """Return the calls that are asked about, with all their arguments."""
    if choice.tool is None:
        return ""
    told = [say_arguments(call, choice.tool.schema, spoken) for call in choice.proposed]
    return f"{choice.tool.address} ({'; '.join(told)})" if any(told) else choice.tool.address


def _things(choice: Choice, spoken: Language) -> list[str]:
    if choice.tool is None or not choice.missing:
        return [f"«{each}»" if spoken == "es" else f"“{each}”" for each in choice.unused]
    return [_described(choice.tool, name, spoken) for name in choice.missing]


def _described(tool: Candidate, name: str, spoken: Language) -> str:
    """Return what an argument is called, with its description where the language has no name for it."""
    first, last = name.split("/")[0], name.split("/")[-1]
    known = field_name(last, spoken)
    if spoken == "es" and known != last.replace("_", " "):
        return known
    prop = resolved(as_schema(as_schema(tool.schema.get("properties")).get(first)), tool.schema)
    about = str(prop.get("description", "")).strip().rstrip(".")
    return f"{first} ({clip(about, 90)})" if about else first
