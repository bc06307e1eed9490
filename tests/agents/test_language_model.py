"""A language model through litellm, against a loopback server that speaks its wire format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from model_server import Answer, Call, calls, fails, plans, says

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

TIME, INVOICE = "mcp-server-time__get_current_time", "billing__create_invoice"


@pytest.mark.covers("agents:language-model")
async def test_a_language_model_plans_uses_tools_and_words_the_answer(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ()
    line = {"description": "té", "unit_price_minor": 1000}
    model.script = [
        plans("¿Qué hora es en Lima?", "Crea una factura para Ana por 10 COP de té"),
        calls(TIME, {"timezone": "America/Lima"}),
        says("Son las cinco."),
        calls(INVOICE, {"customer_id": "Ana", "items": [line]}),
        says("Factura hecha."),
        says("Son las cinco y la factura está hecha."),
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
    assert [message["role"] for message in model.asked[2].messages] == ["system", "user", "assistant", "tool"]
    assert gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:language-model", "models:both-wires")
async def test_a_model_of_anthropics_does_the_same(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ("anthropic/claude-sonnet-4-5")
    model.script = [plans("¿Qué hora es en Lima?"), calls(TIME, {"timezone": "America/Lima"}), says("Son las cinco.")]
    agents = await process.start()
    ended = await agents.acme.run("¿Qué hora es en Lima?")
    assert (ended["status"], ended["output"]) == ("success", "Son las cinco."), ended
    assert {asked.wire for asked in model.asked} == {"anthropic"}
    assert all(asked.streams for asked in model.asked)
    assert model.asked[2].results
    assert ended["cost"]["input_tokens"] == 30
    assert ended["cost"]["usd"] > 0
    assert len(gateway.sent("mcp-server-time/get_current_time")) == 1


@pytest.mark.covers("models:tokens")
async def test_what_a_model_says_is_told_as_it_comes_and_not_a_token_at_a_time(process: Any, model: Any) -> None:
    process.environ = model.environ()
    text = " ".join(f"palabra{number}" for number in range(600))
    model.script = [plans("Cuéntame algo"), model.slow(Answer(text))]
    agents = await process.start()
    run = await agents.acme.call("run", {"agent": "concierge", "input": "Cuéntame algo", "wait": 0})
    model.gate.set()
    told = await agents.events(run["id"])
    pieces = [data for kind, data in told if kind == "token"]
    assert "".join(piece["text"] for piece in pieces) == text
    assert {piece["call"] for piece in pieces} == {"step-0/model-0"}
    assert 2 <= len(pieces) <= 20, len(pieces)
    assert (await agents.acme.call("get_run", {"run": run["id"]}))["output"] == text


@pytest.mark.covers("agents:language-model")
async def test_a_model_that_refuses_ends_the_run_with_its_reason(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ()
    model.always = fails(400, "That is not how it is asked")
    agents = await process.start()
    run = await agents.acme.run("¿Qué hora es en Lima?")
    assert run["status"] == "error"
    assert run["error"]["code"] == "model_error"
    assert run["error"]["kind"] == "refused"
    assert "not how it is asked" in run["error"]["message"]
    reserved, settled = gateway.spent
    assert (reserved[0], settled[0]) == ("reserve", "settle")
    assert reserved[1]["tokens"] > 0
    assert settled[1] | {"run": ""} == {"tenant": "acme", "id": reserved[1]["id"], "run": "", "tokens": 0, "usd": 0.0}


@pytest.mark.covers("agents:budget")
async def test_each_request_to_a_model_is_reserved_and_settled_and_none_is_made_without(
    process: Any, gateway: Any, model: Any
) -> None:
    process.environ = model.environ()
    agents = await process.start()
    model.script = [plans("¿Qué hora es en Lima?"), says("Son las cinco.")]
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
    assert (refused["status"], refused["error"]["code"]) == ("error", "budget_exceeded"), refused
    assert refused["error"]["budget"] == "tokens_per_month"
    assert len(model.asked) == asked


@pytest.mark.covers("agents:language-model")
async def test_several_calls_in_one_answer_are_all_made(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ()
    both = [Call(TIME, json.dumps({"timezone": zone}), zone) for zone in ("America/Lima", "America/Bogota")]
    model.script = [plans("¿Qué hora es en Lima y Bogotá?"), lambda _: Answer("Miro.", both), says("Las cinco.")]
    agents = await process.start()
    ended = await agents.acme.run("¿Qué hora es en Lima y Bogotá?")
    assert ended["status"] == "success", ended
    assert [sent.arguments["timezone"] for sent in gateway.sent("mcp-server-time/get_current_time")] == [
        "America/Lima",
        "America/Bogota",
    ]
    assert len(model.asked[2].results) == 2
