"""Saying what came of tool calls, from their results alone, in the request's language."""

from __future__ import annotations

import json
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


def say_arguments(arguments: dict[str, Any], schema: Schema, spoken: Language) -> str:
    """Return the arguments of a call that somebody is asked about, whole, as JSON where they can't be told so."""
    if not _is_told_whole(arguments):
        return json.dumps(arguments, ensure_ascii=False)
    currency = as_schema(as_schema(schema.get("properties")).get("currency")).get("default", "")
    said = _flat(arguments, schema, _Told(schema, spoken, str(currency)))
    return ", ".join(f"{name}: {value}" for name, value in said)


def _is_told_whole(arguments: dict[str, Any]) -> bool:
    """Whether nothing of some arguments is left out, or cut off, where they are told like a result."""
    for value in arguments.values():
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if len(items) > MAX_ITEMS:
            return False
        for item in items:
            fields = list(cast("dict[str, Any]", item).values()) if isinstance(item, dict) else [item]
            plain = all(isinstance(each, str | int | float) and 0 < len(str(each)) <= MAX_TEXT for each in fields)
            if not plain or len(fields) > MAX_ITEM_FIELDS:
                return False
    return True


def _say_call(called: Called, spoken: Language) -> str:
    address = called.tool.address
    if called.failed:
        reason = clip(_reason(str(called.result), spoken))
        return f"{address} falló: {reason}" if spoken == "es" else f"{address} failed: {reason}"
    result = called.result
    if isinstance(result, str):
        return f"{address}: {clip(result)}"
    schema = as_schema(called.tool.raw.get("outputSchema"))
    said = _flat(result, schema, _Told(schema, spoken))
    if not said:
        return f"{address}: {'hecho, sin datos' if spoken == 'es' else 'done, nothing to show'}"
    shown = ", ".join(f"{name}: {value}" if name else value for name, value in said[:MAX_FIELDS])
    return f"{address}: {shown}" + ("…" if len(said) > MAX_FIELDS else "")


@dataclass(frozen=True, slots=True)
class _Told:
    """How a result is told: by its schema, in a language, and in a currency where something around it names one."""

    root: Schema
    spoken: Language
    currency: str = ""


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
    objects = sum(isinstance(each, dict) for each in fields.values())
    found: list[tuple[str, str]] = []
    for key, each in fields.items():
        inner = as_schema(properties.get(key))
        if each is None or each == "" or each == [] or f"{key}_minor" in fields:
            continue  # a sum that is written out stands there in minor units too
        if _is_money(key, each, inner, told):
            found.append((field_name(key.removesuffix("_minor"), told.spoken), _money(each, told)))
            continue
        below = _flat(each, inner, told, name if key == "result" else key)
        if isinstance(each, dict) and objects > 1:
            # Of several objects each says whose its fields are.
            below = [(f"{its} ({field_name(key, told.spoken)})", value) for its, value in below]
        found += below
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
    """Return the first fields of an object that say something new, and its last sum of money."""
    if not isinstance(item, dict):
        return _scalar("", item, told.spoken)
    fields = cast("dict[str, Any]", item)
    schema = resolved(schema, told.root)
    properties = as_schema(schema.get("properties"))
    told = replace(told, currency=str(fields.get("currency") or told.currency))
    money = [key for key, each in fields.items() if _is_money(key, each, as_schema(properties.get(key)), told)]
    plain = {key: each for key, each in fields.items() if not isinstance(each, dict | list) and key not in money}
    if money:
        plain.pop("currency", None)
        plain = {key: each for key, each in plain.items() if f"{key}_minor" not in money}
    said = dict.fromkeys(
        f"{name} {value}" if value.isdecimal() or value in _TRUTHS else value
        for name, value in _flat(plain, schema, told)
    )
    sums = [_money(fields[key], told) for key in money[-1:]]
    return ", ".join([*list(said)[: MAX_ITEM_FIELDS - len(sums)], *sums])


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


def _is_money(name: str, value: Any, schema: Schema, told: _Told) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and (name.endswith("_minor") or _is_minor(schema, told))


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
    return (part[:1].upper() + part[1:]).strip().rstrip(".")


def clip(text: str, most: int = MAX_TEXT) -> str:
    """Return a text, of a long one the beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"
