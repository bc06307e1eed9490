"""Saying what came of tool calls, from their results alone, in the request's language."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
MAX_ITEM_FIELDS = 5
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
    lines = [f"{title(part)} — {_say_call(each, spoken)}" for each in called[:1]]
    lines += [f"  · {_say_call(each, spoken)}" for each in called[1:]]
    return "\n".join(lines)


def say_answered(part: str, answer: str, spoken: Language) -> str:
    """Return the line for a part that a person answered."""
    return f"{title(part)} — {'una persona respondió' if spoken == 'es' else 'a person answered'}: {answer}"


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
        reason = clip(_reason(str(called.result), spoken))
        return f"{address} falló: {reason}" if spoken == "es" else f"{address} failed: {reason}"
    result = called.result
    if isinstance(result, str):
        return f"{address}: {clip(result)}"
    schema = as_schema(called.tool.raw.get("outputSchema"))
    said = _said(result, schema, _Told(schema, spoken))
    if not said:
        return f"{address}: {'hecho, sin datos' if spoken == 'es' else 'done, nothing to show'}"
    shown = ", ".join(f"{name}: {value}" if name else value for name, value in list(said.items())[:MAX_FIELDS])
    return f"{address}: {shown}" + ("…" if len(said) > MAX_FIELDS else "")


@dataclass(frozen=True, slots=True)
class _Told:
    """How a result is told: by its schema, in a language, and in a currency where something around it names one."""

    root: Schema
    spoken: Language
    currency: str = ""


def _said(result: Any, schema: Schema, told: _Told) -> dict[str, str]:
    """Values of a result by name, of two of one name the first: a sum in minor units goes before it written out."""
    said: dict[str, str] = {}
    for name, value in _flat(result, schema, told):
        said.setdefault(name, value)
    return said


def _flat(value: Any, schema: Schema, told: _Told, name: str = "") -> list[tuple[str, str]]:
    """Names and values of a result, objects within it flattened."""
    schema = resolved(schema, told.root)
    if isinstance(value, list):
        items = as_schema(schema.get("items"))
        return [(field_name(name, told.spoken), _say_list(cast("list[Any]", value), items, told))]
    if not isinstance(value, dict):
        return [(field_name(name, told.spoken), _scalar(name, value, told.spoken))]
    fields = cast("dict[str, Any]", value)
    told = replace(told, currency=str(fields.get("currency") or told.currency))
    properties = as_schema(schema.get("properties"))
    found: list[tuple[str, str]] = []
    for key, each in fields.items():
        inner = as_schema(properties.get(key))
        if each is None or each == "" or each == []:
            continue
        if isinstance(each, int) and not isinstance(each, bool) and (key.endswith("_minor") or _is_minor(inner, told)):
            found.append((field_name(key.removesuffix("_minor"), told.spoken), _money(each, told)))
        else:
            found += _flat(each, inner, told, name if key == "result" else key)
    return found


def _say_list(items: list[Any], schema: Schema, told: _Told) -> str:
    if not items:
        return "ninguno" if told.spoken == "es" else "none"
    shown = [_say_item(item, schema, told) for item in items[:MAX_ITEMS]]
    rest, one = len(items) - len(shown), len(items) == 1
    if told.spoken == "es":
        count, more = f"{len(items)} {'elemento' if one else 'elementos'}", f" y {rest} más" if rest else ""
    else:
        count, more = f"{len(items)} {'item' if one else 'items'}", f" and {rest} more" if rest else ""
    return f"{count} [{'; '.join(shown)}{more}]"


def _say_item(item: Any, schema: Schema, told: _Told) -> str:
    if not isinstance(item, dict):
        return _scalar("", item, told.spoken)
    schema = resolved(schema, told.root)
    flat = {key: each for key, each in cast("dict[str, Any]", item).items() if not isinstance(each, dict | list)}
    said = list(_said(flat, schema, told).items())[:MAX_ITEM_FIELDS]
    return ", ".join(f"{name} {value}" if value.isdecimal() or value in _TRUTHS else value for name, value in said)


_TRUTHS = {"sí", "no", "yes"}


def _scalar(name: str, value: Any, spoken: Language) -> str:
    if isinstance(value, bool):
        return ("sí" if value else "no") if spoken == "es" else ("yes" if value else "no")
    text = str(value)
    if spoken == "es" and name in _STATES:
        text = _spanish()["values"].get(text.lower(), text)
    return clip(text)


_STATES = {"status", "state", "method", "day_of_week"}
"""Fields whose values are words of a fixed list."""


def _is_minor(schema: Schema, told: _Told) -> bool:
    words_of = fold(str(resolved(schema, told.root).get("description", "")))
    return "minor unit" in words_of or "centavo" in words_of or "unidades menores" in words_of


def _money(amount: int, told: _Told) -> str:
    digits = MINOR_DIGITS.get(told.currency, 2)
    shown = 0 if told.currency in _WHOLE and amount % 10**digits == 0 else digits
    plain = f"{Decimal(amount).scaleb(-digits):,.{shown}f}"
    if told.spoken == "es":
        plain = plain.replace(",", "_").replace(".", ",").replace("_", ".")
    return f"{plain} {told.currency}".strip()


_WHOLE = {"COP"}
"""Currencies whose cents nobody writes where there are none."""


@cache
def _spanish() -> dict[str, dict[str, str]]:
    raw: dict[str, Any] = tomllib.loads(files("tausestack_agents.planner").joinpath("labels.toml").read_text("utf-8"))
    return raw


def _reason(text: str, spoken: Language) -> str:
    """Return why a call failed; what we say ourselves in the request's language."""
    if spoken != "es":
        return text
    said, colon, rest = text.partition(": ")
    known = _spanish()["reasons"]
    return known.get(said, said) + colon + known.get(rest, rest)


def field_name(name: str, spoken: Language) -> str:
    """Return what a field is called in a language, as far as that is known."""
    return _spanish()["fields"].get(name, name.replace("_", " ")) if spoken == "es" else name.replace("_", " ")


def title(part: str) -> str:
    """Return a part as the beginning of a line."""
    return part[:1].upper() + part[1:].strip().rstrip(".")


def clip(text: str, most: int = MAX_TEXT) -> str:
    """Return a text, of a long one the beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"
