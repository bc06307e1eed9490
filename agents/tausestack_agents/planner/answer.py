"""Saying what came of tool calls, from their results alone, in the request's language."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, cast

from tausestack_agents.planner.arguments import MINOR_DIGITS
from tausestack_agents.planner.choice import Candidate
from tausestack_agents.planner.schema import Schema, as_schema, resolved
from tausestack_agents.planner.text import Language, fold

MAX_FIELDS = 14
MAX_ITEMS = 8
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call and what came of it: its structured result or text, or why it failed."""

    tool: Candidate
    arguments: dict[str, Any]
    result: Any
    failed: bool = False


def say_calls(part: str, called: Sequence[Called], spoken: Language) -> str:
    """Return a line or more for a part that was served."""
    lines = [f"{_title(part)} — {_say_call(each, spoken)}" for each in called[:1]]
    lines += [f"  · {_say_call(each, spoken)}" for each in called[1:]]
    return "\n".join(lines)


def say_no_tool(part: str, spoken: Language) -> str:
    """Return the line for a part that no tool serves."""
    if spoken == "es":
        return f"{_title(part)} — no encontré ninguna herramienta instalada para esto, así que no lo hice."
    return f"{_title(part)} — I found no installed tool for this, so I did not do it."


def say_missing(part: str, tool: Candidate, missing: Sequence[str], spoken: Language) -> str:
    """Return the line for a part whose tool is known but whose arguments are not in the request."""
    named = ", ".join(_describe(tool, name) for name in missing)
    if spoken == "es":
        return f"{_title(part)} — {tool.address} sirve para esto, pero falta en la petición: {named}. No lo hice."
    return f"{_title(part)} — {tool.address} would serve, but the request lacks: {named}. I did not do it."


def say_unsure(part: str, tools: Sequence[Candidate], spoken: Language) -> str:
    """Return the line for a part that either of two tools may be meant by."""
    if spoken == "es":
        return f"{_title(part)} — no estoy seguro: ¿{' o '.join(tool.address for tool in tools)}? No hice ninguna."
    return f"{_title(part)} — I am not sure: {' or '.join(tool.address for tool in tools)}? I did neither."


def say_asked_how(part: str, tool: Candidate | None, spoken: Language) -> str:
    """Return the line for a part that asks how something is done: nothing was."""
    if spoken == "es":
        ask = f": lo hace {tool.address}. ¿Quieres que lo haga?" if tool else "; no encontré con qué se haría."
        return f"{_title(part)} — no cambié nada{ask}"
    ask = f": {tool.address} does it. Do you want me to?" if tool else "; I found nothing that would do it."
    return f"{_title(part)} — I changed nothing{ask}"


def say_depends(part: str, tool: Candidate | None, spoken: Language) -> str:
    """Return the line for a part that is to be done only if something is so."""
    with_what = "" if tool is None else f" ({tool.address})"
    if spoken == "es":
        return f"{_title(part)} — depende de algo que no puedo juzgar; no lo hice. ¿Quieres que lo haga{with_what}?"
    return f"{_title(part)} — that depends on what I can't judge; I did not do it. Do you want me to{with_what}?"


def say_forbidden(part: str, spoken: Language) -> str:
    """Return the line for a part that says what not to do."""
    return f"{_title(part)} — {'entendido: no lo hice.' if spoken == 'es' else 'understood: I did not.'}"


def say_answered(part: str, answer: str, spoken: Language) -> str:
    """Return the line for a part that a person answered."""
    return f"{_title(part)} — {'una persona respondió' if spoken == 'es' else 'a person answered'}: {answer}"


def compose(texts: Sequence[str], spoken: Language) -> str:
    """Return the whole answer of the offline planner, labelled as such."""
    if spoken == "es":
        label = "Respuesta del planificador sin conexión (ningún modelo de lenguaje; solo resultados de herramientas):"
    else:
        label = "Answer of the offline planner (no language model; tool results only):"
    return "\n".join([label, *(f"- {text}" for text in texts)])


def _say_call(called: Called, spoken: Language) -> str:
    address = called.tool.address
    if called.failed:
        reason = _clip(str(called.result))
        return f"{address} falló: {reason}" if spoken == "es" else f"{address} failed: {reason}"
    result = called.result
    if isinstance(result, str):
        return f"{address}: {_clip(result)}"
    schema = as_schema(called.tool.raw.get("outputSchema"))
    pairs = _flat(result, schema, schema, spoken)
    if not pairs:
        return f"{address}: {'hecho, sin datos' if spoken == 'es' else 'done, nothing to show'}"
    shown = ", ".join(f"{label}: {value}" if label else value for label, value in pairs[:MAX_FIELDS])
    return f"{address}: {shown}" + ("…" if len(pairs) > MAX_FIELDS else "")


def _flat(value: Any, schema: Schema, root: Schema, spoken: Language, label: str = "") -> list[tuple[str, str]]:
    """Labels and values of a result, objects within it flattened."""
    schema = resolved(schema, root)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        properties = as_schema(schema.get("properties"))
        inner = {name: as_schema(properties.get(name)) for name in fields}
        found: list[tuple[str, str]] = []
        for name, each in fields.items():
            if each is None or each == "" or each == []:
                continue
            whole = isinstance(each, int) and not isinstance(each, bool)
            if whole and (name.endswith("_minor") or _is_minor(inner[name], root)):
                found.append(
                    (_label(name.removesuffix("_minor"), spoken), _money(each, fields.get("currency"), spoken))
                )
            else:
                found += _flat(each, inner[name], root, spoken, _label(name, spoken) if name != "result" else label)
        return found
    if isinstance(value, list):
        return [(label, _say_list(cast("list[Any]", value), spoken))]
    return [(label, _scalar(value, spoken))]


def _say_list(items: list[Any], spoken: Language) -> str:
    shown = [_say_item(item, spoken) for item in items[:MAX_ITEMS]]
    rest = len(items) - len(shown)
    more = (f" y {rest} más" if spoken == "es" else f" and {rest} more") if rest > 0 else ""
    count = f"{len(items)} " + (
        ("elementos" if len(items) != 1 else "elemento") if spoken == "es" else ("items" if len(items) != 1 else "item")
    )
    return f"{count} [{'; '.join(shown)}{more}]" if items else ("ninguno" if spoken == "es" else "none")


def _say_item(item: Any, spoken: Language) -> str:
    if isinstance(item, dict):
        scalars = {
            k: v
            for k, v in cast("dict[str, Any]", item).items()
            if not isinstance(v, dict | list) and v not in (None, "")
        }
        return " ".join(_scalar(value, spoken) for value in list(scalars.values())[:3])
    return _scalar(item, spoken)


def _scalar(value: Any, spoken: Language) -> str:
    if isinstance(value, bool):
        return ("sí" if value else "no") if spoken == "es" else ("yes" if value else "no")
    return _clip(str(value))


def _is_minor(schema: Schema, root: Schema) -> bool:
    words_of = fold(str(resolved(schema, root).get("description", "")))
    return "minor unit" in words_of or "centavo" in words_of or "unidades menores" in words_of


def _money(amount: int, currency: Any, spoken: Language) -> str:
    code = currency if isinstance(currency, str) else ""
    digits = MINOR_DIGITS.get(code, 2)
    plain = f"{Decimal(amount).scaleb(-digits):,.{digits}f}"
    if spoken == "es":
        plain = plain.replace(",", "_").replace(".", ",").replace("_", ".")
    return f"{plain} {code}".strip()


@cache
def _labels() -> dict[str, str]:
    raw = tomllib.loads(files("tausestack_agents.planner").joinpath("labels.toml").read_text("utf-8"))
    return {str(name): str(label) for name, label in raw.items()}


def _label(name: str, spoken: Language) -> str:
    return _labels().get(name, name.replace("_", " ")) if spoken == "es" else name.replace("_", " ")


def _describe(tool: Candidate, name: str) -> str:
    prop = resolved(as_schema(as_schema(tool.schema.get("properties")).get(name.split("/")[0])), tool.schema)
    about = str(prop.get("description", "")).strip().rstrip(".")
    return f"{name} ({_clip(about, 90)})" if about else name


def _title(part: str) -> str:
    return part[:1].upper() + part[1:].strip().rstrip(".")


def _clip(text: str, most: int = MAX_TEXT) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
