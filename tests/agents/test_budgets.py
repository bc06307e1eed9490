"""Budgets of a run: reserved before each unit, counted from the journal, and ended typed with what it has."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from model_server import Answer, Asked, calls, plans, says

from tausestack.agents import Budget
from tausestack.errors import InvalidArguments
from tausestack_agents.spending import BudgetExceeded, Price, Rate, Spending

pytestmark = [pytest.mark.timeout(300)]

TIME = "mcp-server-time__get_current_time"
TWO = "Dime qué hora es en Lima y dime qué hora es en Quito"


@pytest.mark.anyio
@pytest.mark.covers("models:budgets")
async def test_the_offline_planner_keeps_to_steps_and_tool_calls(agents: Any) -> None:
    for budget, name in (({"steps": 1}, "steps"), ({"tool_calls": 1}, "tool_calls")):
        run = await agents.acme.run(TWO, budget=budget)
        assert (run["status"], run["error"]["code"], run["error"]["budget"]) == ("error", "budget_exceeded", name), run
        assert (run["error"]["limit"], run["error"]["used"]) == (1, 1)
        assert [step["arguments"] for step in run["steps"] if step["status"] == "done"] == [
            {"timezone": "America/Lima"}
        ]
        assert run["output"].startswith("No terminé")
        assert "America/Lima" in run["output"]
    enough = await agents.acme.run(TWO, budget={"steps": 2, "tool_calls": 2})
    assert enough["status"] == "success"


@pytest.mark.anyio
@pytest.mark.covers("models:budgets")
async def test_a_budget_has_to_be_one(agents: Any) -> None:
    for wrong in ({"tokens": 0}, {"euros": 3}, {"cost": "-1"}, {"cost": "1", "currency": "EUR"}, {"seconds": 1e9}):
        with pytest.raises(InvalidArguments):
            await agents.acme.run(TWO, budget=wrong)
    with pytest.raises(InvalidArguments, match="TAUSESTACK_COP_PER_USD"):
        await agents.acme.run(TWO, budget={"cost": "100", "currency": "COP"})


@pytest.mark.anyio
@pytest.mark.covers("models:budgets")
async def test_a_run_over_its_time_ends_with_what_it_has(agents: Any, until: Any) -> None:
    agents.gateway.hold("mcp-server-time/get_current_time")
    run = await agents.acme.run("Valida el NIT 900.123.456-8 y dime qué hora es en Quito", budget={"seconds": 4})
    assert (run["status"], run["error"]["code"], run["error"]["budget"]) == ("error", "budget_exceeded", "seconds"), run
    assert "colombia/validate_nit" in run["output"]


def _thinks(asked: Asked) -> Any:
    if asked.tools == ["final_result"]:
        return plans("¿Qué hora es en Lima?")(asked)
    if asked.results:
        return says("Son las cinco.", input_tokens=300, output_tokens=50)(asked)
    return calls(TIME, {"timezone": "America/Lima"})(asked)


@pytest.mark.anyio
@pytest.mark.covers("models:budgets")
async def test_tokens_bound_each_answer_and_then_the_run(process: Any, model: Any) -> None:
    process.environ = model.environ()
    model.always = _thinks
    agents = await process.start()
    enough = await agents.acme.run("¿Qué hora es en Lima?", budget={"tokens": 50_000})
    assert enough["status"] == "success", enough
    longest = [asked.body.get("max_tokens") or asked.body.get("max_completion_tokens") for asked in model.asked]
    assert longest == sorted(longest, reverse=True)
    assert longest[0] <= 16_000
    model.asked.clear()
    model.always = lambda asked: replace(_thinks(asked), input_tokens=700)
    run = await agents.acme.run("¿Qué hora es en Lima?", budget={"tokens": 1_500})
    assert (run["status"], run["error"]["code"], run["error"]["budget"]) == ("error", "budget_exceeded", "tokens"), run
    used = run["cost"]["input_tokens"] + run["cost"]["output_tokens"]
    assert used <= 1_500
    assert all((asked.body.get("max_tokens") or 0) < 1_500 for asked in model.asked)
    none = await agents.acme.run("¿Qué hora es en Lima?", budget={"tokens": 10})
    assert (none["error"]["budget"], none["output"], none["cost"]["model_calls"]) == ("tokens", None, 0)


@pytest.mark.anyio
@pytest.mark.covers("models:budgets", "models:money")
async def test_money_is_bounded_in_pesos_by_a_dated_rate(process: Any, model: Any) -> None:
    process.environ = model.environ("openai/gpt-4o", TAUSESTACK_COP_PER_USD="4000@2026-11-20")
    model.always = _thinks
    agents = await process.start()
    enough = await agents.acme.run("¿Qué hora es en Lima?", budget={"cost": "2000", "currency": "COP"})
    assert enough["status"] == "success", enough
    assert enough["cost"]["cop"] == pytest.approx(enough["cost"]["usd"] * 4000, abs=0.01)
    assert enough["cost"]["cop_rates"] == ["4000@2026-11-20"]
    run = await agents.acme.run("¿Qué hora es en Lima?", budget={"cost": "3", "currency": "COP"})
    assert (run["status"], run["error"]["code"], run["error"]["budget"]) == ("error", "budget_exceeded", "cost"), run
    assert run["error"]["limit"] == "3.00 COP"


@pytest.mark.anyio
@pytest.mark.covers("models:money")
async def test_a_model_without_a_price_is_not_asked_within_a_budget_of_money(process: Any, model: Any) -> None:
    process.environ = model.environ("openai/some-model-of-our-own", TAUSESTACK_MODEL_FALLBACKS="openai/gpt-4o")
    model.always = _thinks
    agents = await process.start()
    run = await agents.acme.run("¿Qué hora es en Lima?", budget={"cost": "1"})
    assert run["status"] == "success", run
    assert run["cost"]["models"] == ["openai/gpt-4o"]
    assert model.of("some-model-of-our-own") == []
    assert (await agents.acme.run("¿Qué hora es en Lima?"))["cost"]["models"] == ["openai/some-model-of-our-own"]


@pytest.mark.anyio
@pytest.mark.covers("models:budgets")
async def test_what_was_reserved_when_a_worker_died_stays_counted(process: Any, model: Any, until: Any) -> None:
    process.environ = model.environ()
    model.always = model.slow(Answer("Nunca"))
    agents = await process.start()
    run = await agents.acme.call(
        "run", {"agent": "concierge", "input": "¿Qué hora es en Lima?", "budget": {"tokens": 10_000}, "wait": 0}
    )

    async def asked() -> bool:
        return bool(model.asked)

    await until(asked, 60)
    process.kill()  # the answer was being written: it may have been paid
    model.always = _thinks
    agents = await process.start()

    async def ended() -> Any:
        found = await agents.acme.call("get_run", {"run": run["id"]})
        return found["status"] in {"error", "success"} and found

    found = await until(ended, 100)
    assert (found["error"]["code"], found["error"]["budget"]) == ("budget_exceeded", "tokens"), found
    assert found["error"]["used"] > 9_000
    assert len(model.asked) == 1


@pytest.mark.covers("models:money")
def test_a_rate_is_an_amount_and_a_day() -> None:
    assert Rate.of({}) is None
    assert Rate.of({"TAUSESTACK_COP_PER_USD": "4100.50@2026-11-20"}) == Rate(Decimal("4100.50"), date(2026, 11, 20))
    for wrong in ("4100", "@2026-11-20", "0@2026-11-20", "-1@2026-11-20", "NaN@2026-11-20", "4100@20/11/2026"):
        with pytest.raises(InvalidArguments, match=r"4100\.50@2026-11-20"):
            Rate.of({"TAUSESTACK_COP_PER_USD": wrong})


@pytest.mark.covers("models:budgets")
def test_every_budget_holds_and_the_narrowest_is_named() -> None:
    wide, narrow = Budget(tokens=10_000, cost=Decimal(5)), Budget(tokens=2_000)
    spending = Spending([wide, narrow])
    assert spending.room(Price(sent=500, longest=16_000, usd=0.001, usd_each=0.00001)) == 1_500
    spending.add(1_900, 0.0)
    with pytest.raises(BudgetExceeded) as refused:
        spending.room(Price(sent=500, longest=16_000, usd=0.001, usd_each=0.00001))
    assert refused.value.told()["limit"] == 2_000
    dear = Spending([Budget(cost=Decimal("0.01"))])
    assert dear.room(Price(sent=100, longest=16_000, usd=0.001, usd_each=0.00001)) == 900
    with pytest.raises(BudgetExceeded, match="cost"):
        dear.room(Price(sent=100, longest=16_000, usd=0.02, usd_each=0.00001))


@pytest.mark.anyio
@pytest.mark.covers("agents:budgets-of-three")
async def test_a_run_its_agent_and_its_tenant_each_have_a_budget_that_is_reserved_and_settled(
    process: Any, gateway: Any, model: Any
) -> None:
    process.environ = model.environ(TAUSESTACK_COP_PER_USD="4000@2026-11-20")
    agents = await process.start()
    spec = {"name": "clerk", "instructions": "Help.", "budget": {"tokens": 100_000}}
    month = {"tokens": 500_000, "cost": 20_000, "currency": "COP"}
    await agents.acme.call("save_agent", {"spec": {**spec, "monthly": month}})
    request = "¿Qué hora es en Lima?"
    model.script = [plans(request), says("Las cinco.")]
    ended = await agents.acme.run(request, agent="clerk")
    assert ended["status"] == "success", ended

    assert [kind for kind, _ in gateway.spent] == ["reserve", "settle"] * 2
    for kind, amount in gateway.spent:
        if kind == "reserve":  # the agent's month goes with the tenant's, in one transaction of the platform's
            assert (amount["tenant"], amount["agent"]) == ("acme", "clerk")
            assert (amount["agent_tokens"], amount["agent_usd"]) == (500_000, 5.0)

    asked = len(model.asked)
    run = await agents.acme.run(request, agent="clerk", budget={"tokens": 10})
    assert (run["error"]["code"], run["error"]["budget"], run["error"]["limit"]) == ("budget_exceeded", "tokens", 10)
    await agents.acme.call("save_agent", {"spec": {**spec, "budget": {"tokens": 20}}})
    run = await agents.acme.run(request, agent="clerk")
    assert (run["error"]["code"], run["error"]["budget"], run["error"]["limit"]) == ("budget_exceeded", "tokens", 20)
    await agents.acme.call("save_agent", {"spec": {**spec, "monthly": month}})
    for limit in ("agent_tokens_per_month", "tokens_per_month"):
        gateway.budget_is_spent = limit
        run = await agents.acme.run(request, agent="clerk")
        assert (run["error"]["code"], run["error"]["budget"]) == ("budget_exceeded", limit), run
    assert len(model.asked) == asked, "nothing was asked that was not reserved"
