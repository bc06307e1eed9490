"""A model that misbehaves: the run ends typed, the fallback serves, the budget holds, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from model_server import Answer, Asked, calls, cut, ends_early, fails, huge, plans, raw, says

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

FIRST, SECOND = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"
TIME = "mcp-server-time__get_current_time"
REQUEST = "¿Qué hora es en Lima?"

MISDEEDS: dict[str, tuple[Callable[[Asked], Any], str]] = {
    "429": (fails(429, "Too many"), "rate_limited"),
    "429 with a long Retry-After": (fails(429, "Too many", retry_after="3600"), "rate_limited"),
    "500": (fails(500), "unavailable"),
    "503": (fails(503), "unavailable"),
    "529": (fails(529, "Overloaded"), "unavailable"),
    "a gateway's own page": (raw(502, b"<html><h1>Bad gateway</h1>"), "unavailable"),
    "a cut stream": (cut(), "cut"),
    "a stream that ends too early": (ends_early(), "cut"),
    "no answer at all": (says(""), "invalid_answer"),
    "a page instead of a stream": (raw(200, b"<html>Sign in</html>"), "cut"),
    "malformed arguments": (calls(TIME, '{"timezone": "America/Li'), "invalid_answer"),
    "arguments that are a list": (calls(TIME, '["America/Lima"]'), "invalid_answer"),
    "an unknown tool": (calls("billing__wire_everything", {}), "invalid_answer"),
    "10 MB": (huge(10), "too_long"),
    "10 MB at once": (huge(10, at_once=True), "too_long"),
}


def _served(model: Any, turn: Callable[[Asked], Any]) -> None:
    """The first model misbehaves in each step, the second serves the request."""

    def second(asked: Asked) -> Any:
        if asked.tools == ["final_result"]:
            return plans(REQUEST)(asked)
        return (says("Son las cinco.") if asked.results else calls(TIME, {"timezone": "America/Lima"}))(asked)

    def first(asked: Asked) -> Any:
        return plans(REQUEST)(asked) if asked.tools == ["final_result"] else turn(asked)

    model.by_model = {FIRST.partition("/")[2]: first, SECOND.partition("/")[2]: second}


@pytest.mark.covers("models:misbehaving", "models:fallback")
async def test_the_fallback_serves_what_the_first_model_does_not(process: Any, gateway: Any, model: Any) -> None:
    some = ("429", "500", "a cut stream", "malformed arguments", "an unknown tool", "10 MB")
    await _fallen_back(process, gateway, model, some)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.covers("models:misbehaving", "models:fallback")
async def test_the_fallback_serves_whatever_the_first_model_does_wrong(process: Any, gateway: Any, model: Any) -> None:
    await _fallen_back(process, gateway, model, MISDEEDS)


async def _fallen_back(process: Any, gateway: Any, model: Any, names: Iterable[str]) -> None:
    process.environ = model.environ(FIRST, TAUSESTACK_MODEL_FALLBACKS=SECOND)
    agents = await process.start()
    for name in names:
        turn, kind = MISDEEDS[name]
        _served(model, turn)
        run = await agents.acme.run(REQUEST)
        assert (run["status"], run["output"]) == ("success", "Son las cinco."), (name, run)
        assert run["cost"]["models"] == ["anthropic/claude-sonnet-4-5", "openai/gpt-4o-mini"], name
        assert run["cost"]["unanswered"]["attempts"] >= 1, name
        errors = [data for told, data in await agents.events(run["id"]) if told == "error"]
        assert {error["kind"] for error in errors} == {kind}, (name, errors)
        assert {error["model"] for error in errors} == {FIRST}, name
    assert all(sent.arguments == {"timezone": "America/Lima"} for sent in gateway.calls)


@pytest.mark.covers("models:misbehaving")
async def test_without_a_fallback_the_run_ends_typed(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    for name in ("429 with a long Retry-After", "a cut stream", "malformed arguments", "an unknown tool", "10 MB"):
        turn, kind = MISDEEDS[name]
        _served(model, turn)
        before = len(model.asked)
        run = await agents.acme.run(REQUEST)
        assert (run["status"], run["error"]["code"], run["error"]["kind"]) == ("error", "model_error", kind), (
            name,
            run,
        )
        assert "sk-secret" not in str(run), name
        for leaked in ("pydantic", "retries", "request_limit"):
            assert leaked not in run["error"]["message"], run["error"]
        assert len(model.asked) - before <= 4, name
    assert gateway.calls == []


@pytest.mark.covers("models:fallback")
async def test_a_bad_request_is_bad_for_every_model(process: Any, model: Any) -> None:
    process.environ = model.environ(FIRST, TAUSESTACK_MODEL_FALLBACKS=SECOND)
    agents = await process.start()
    for status, kind in ((400, "refused"), (401, "unauthorized"), (404, "refused"), (422, "refused")):
        model.asked.clear()
        _served(model, fails(status, f"Incorrect API key provided: sk-secret-openai ({status})"))
        run = await agents.acme.run(REQUEST)
        assert (run["error"]["code"], run["error"]["kind"]) == ("model_error", kind), run
        assert "sk-secret" not in str(run)
        assert len(model.of("claude-sonnet-4-5")) == 0
        assert len(model.of("gpt-4o-mini")) == 2


@pytest.mark.covers("models:misbehaving")
async def test_calls_that_all_bear_one_id_are_told_apart(process: Any, gateway: Any, model: Any) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    model.script = [
        plans(REQUEST),
        calls(TIME, {"timezone": "America/Lima"}, "call_0"),
        calls(TIME, {"timezone": "Asia/Tokyo"}, "call_0"),
        says("Listo."),
    ]
    run = await agents.acme.run(REQUEST)
    assert (run["status"], run["output"]) == ("success", "Listo."), run
    asked = [{"timezone": "America/Lima"}, {"timezone": "Asia/Tokyo"}]
    assert [sent.arguments for sent in gateway.calls] == asked


@pytest.mark.covers("models:misbehaving")
async def test_what_passes_is_asked_again_after_the_pause_that_the_vendor_wants(process: Any, model: Any) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    model.script = [
        fails(429, "Too many", retry_after="1"),
        plans(REQUEST),
        fails(500),
        calls(TIME, {"timezone": "America/Lima"}),
        cut(),
        says("Son las cinco."),
    ]
    run = await agents.acme.run(REQUEST)
    assert (run["status"], run["output"]) == ("success", "Son las cinco."), run
    assert len(model.asked) == 6


@pytest.mark.covers("models:misbehaving")
async def test_a_model_that_never_ends_is_left_in_time(process: Any, model: Any) -> None:
    process.environ = model.environ(FIRST, TAUSESTACK_MODEL_SECONDS="1")
    agents = await process.start()
    model.always = model.slow(Answer("Son las cinco y media"))
    run = await agents.acme.run(REQUEST)
    assert (run["status"], run["error"]["code"], run["error"]["kind"]) == ("error", "model_error", "timeout"), run


@pytest.mark.covers("models:misbehaving", "models:budgets")
async def test_a_model_that_calls_tools_for_ever_is_ended_with_what_it_has(
    process: Any, gateway: Any, model: Any
) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    _served(model, lambda asked: calls(TIME, {"timezone": "America/Lima"}, f"call_{len(model.asked)}")(asked))
    run = await agents.acme.run(REQUEST)
    assert (run["status"], run["error"]["code"], run["error"]["kind"]) == ("error", "model_error", "endless"), run
    assert "mcp-server-time/get_current_time" in run["output"]
    assert len(model.asked) <= 20
    made = len(gateway.calls)
    bounded = await agents.acme.run(REQUEST, budget={"tool_calls": 3})
    assert (bounded["status"], bounded["error"]["code"]) == ("error", "budget_exceeded"), bounded
    assert (bounded["error"]["budget"], bounded["error"]["limit"]) == ("tool_calls", 3)
    assert "mcp-server-time/get_current_time" in bounded["output"]
    assert len(gateway.calls) - made == 3


@pytest.mark.covers("models:misbehaving")
async def test_ten_megabytes_cost_no_memory_to_speak_of(process: Any, model: Any) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    _served(model, says("hola"))
    assert (await agents.acme.run(REQUEST))["status"] == "success"
    before = _peak_kb(process.pid)
    for at_once in (False, True):
        _served(model, huge(10, at_once=at_once))
        run = await agents.acme.run(REQUEST)
        assert run["error"]["kind"] == "too_long", run
    assert _peak_kb(process.pid) - before < 120_000


def _peak_kb(pid: int) -> int:
    """How much memory a process held at its most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.covers("models:misbehaving")
async def test_a_model_that_talks_instead_of_planning_is_told_once_and_then_heard(
    process: Any, gateway: Any, model: Any
) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    model.script = [
        says("Son las cinco."),
        plans(REQUEST),
        calls(TIME, {"timezone": "America/Lima"}),
        says("Las seis."),
    ]
    run = await agents.acme.run(REQUEST)
    assert (run["status"], run["output"]) == ("success", "Las seis."), run
    assert model.asked[1].messages[-1]["role"] == "user"  # what it was told
    before = len(model.asked)
    model.script = [says("¡Hola!"), says("¡Hola de nuevo!"), says("¡Hola! ¿En qué te ayudo?")]
    run = await agents.acme.run("hola")
    assert (run["status"], run["output"]) == ("success", "¡Hola! ¿En qué te ayudo?"), run
    assert len(model.asked) - before == 3
    replayed = await agents.acme.call("replay", {"run": run["id"]})
    assert replayed["output"] == run["output"]


@pytest.mark.covers("models:misbehaving")
async def test_what_was_wrong_with_a_models_answer_is_said_in_plain_words(process: Any, model: Any) -> None:
    process.environ = model.environ(FIRST)
    agents = await process.start()
    _served(model, calls("billing__wire_everything", {}))
    run = await agents.acme.run(REQUEST)
    assert run["error"]["message"] == (
        "The model gave no answer that can be used, and was told so in vain: "
        "it called billing__wire_everything, which is no tool here"
    )
    _served(model, lambda asked: calls(TIME, {"timezone": "America/Lima"}, f"call_{len(model.asked)}")(asked))
    run = await agents.acme.run(REQUEST)
    assert run["error"]["message"] == "The model came to no end within the requests that one step may make"
