"""A language model through litellm, against a loopback server that speaks its wire format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def _call(name: str, arguments: dict[str, Any], identifier: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"id": identifier, "type": "function", "function": function}]}


def _planned(*parts: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda asked: _call(asked["tools"][0]["function"]["name"], {"parts": list(parts)}, "plan")


def _says(text: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda _: {"content": text}


@pytest.mark.covers("agents:language-model")
async def test_a_language_model_plans_uses_tools_and_words_the_answer(process: Any, gateway: Any, model: Any) -> None:
    process.environ = {"TAUSESTACK_MODEL": "openai/gpt-4o-mini", "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": model.url}
    time, invoice = "mcp-server-time__get_current_time", "billing__create_invoice"
    line = {"description": "té", "unit_price_minor": 1000}
    model.script = [
        _planned("¿Qué hora es en Lima?", "Crea una factura para Ana por 10 COP de té"),
        lambda asked: _call(time, {"timezone": "America/Lima"}, "call_1"),
        _says("Son las cinco."),
        lambda asked: _call(invoice, {"customer_id": "Ana", "items": [line]}, "call_2"),
        _says("Factura hecha."),
        _says("Son las cinco y la factura está hecha."),
    ]
    agents = await process.start()
    held = await agents.acme.run("¿Qué hora es en Lima? Crea una factura para Ana por 10 COP de té")
    assert held["status"] == "interrupted", held
    process.kill()  # what the model said so far is replayed from the journal, not asked for again
    agents = await process.start()
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 100})
    assert ended["status"] == "success", ended
    assert ended["output"] == "Son las cinco y la factura está hecha."
    assert len(model.asked) == 6
    assert [step["tool"] for step in ended["steps"]] == ["get_current_time", "create_invoice"]
    assert ended["cost"]["model_calls"] == 6
    assert ended["cost"]["input_tokens"] == 60
    assert ended["cost"]["usd"] > 0
    told = model.asked[2]["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "tool"]
    assert gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:language-model")
async def test_a_model_that_fails_ends_the_run_with_its_reason(process: Any, gateway: Any, model: Any) -> None:
    process.environ = {"TAUSESTACK_MODEL": "openai/gpt-4o-mini", "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": model.url}
    agents = await process.start()
    run = await agents.acme.run("¿Qué hora es en Lima?")  # the script is empty: the server breaks
    assert run["status"] == "error"
    assert run["error"]["code"] == "model_error"
    reserved, settled = gateway.spent
    assert (reserved[0], settled[0]) == ("reserve", "settle")
    assert reserved[1]["tokens"] > 0
    assert settled[1] | {"run": ""} == {"tenant": "acme", "id": reserved[1]["id"], "run": "", "tokens": 0, "usd": 0.0}


@pytest.mark.covers("agents:budget")
async def test_each_request_to_a_model_is_reserved_and_settled_and_none_is_made_without(
    process: Any, gateway: Any, model: Any
) -> None:
    process.environ = {"TAUSESTACK_MODEL": "openai/gpt-4o-mini", "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": model.url}
    agents = await process.start()
    model.script = [_planned("¿Qué hora es en Lima?"), _says("Son las cinco.")]
    ended = await agents.acme.run("¿Qué hora es en Lima?")
    assert ended["status"] == "success", ended
    assert [kind for kind, _ in gateway.spent] == ["reserve", "settle"] * 2
    for (_, most), (_, used) in zip(gateway.spent[::2], gateway.spent[1::2], strict=True):
        assert (most["tenant"], most["run"], most["id"]) == ("acme", ended["id"], used["id"])
        assert most["tokens"] > used["tokens"] > 0
        assert most["usd"] > used["usd"] > 0
    assert len({most["id"] for _, most in gateway.spent}) == 2
    used = [amount for kind, amount in gateway.spent if kind == "settle"]
    assert sum(amount["tokens"] for amount in used) == ended["cost"]["input_tokens"] + ended["cost"]["output_tokens"]

    gateway.budget_is_spent = True
    asked = len(model.asked)
    refused = await agents.acme.run("¿Qué hora es en Quito?")
    assert (refused["status"], refused["error"]["code"]) == ("error", "rate_limited"), refused
    assert len(model.asked) == asked
