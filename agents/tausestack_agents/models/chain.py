"""A model and its fallbacks: each request journaled, within the budgets, its text told as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import anyio
import structlog
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from tausestack.errors import RateLimited
from tausestack_agents.gateway import Delegation
from tausestack_agents.journal import Journal
from tausestack_agents.models import Chosen
from tausestack_agents.models.failures import AGAIN, WORTHY, ModelFailed
from tausestack_agents.models.journaled import JournaledModel
from tausestack_agents.models.language import LanguageModel
from tausestack_agents.models.tokens import Tokens
from tausestack_agents.spending import BudgetExceeded, Spending

logger = structlog.get_logger("agents")

ROUNDS = 3
"""How often the models are tried, one after the other, while what fails may go away by itself."""
PAUSES = (0.5, 2.0)
"""Seconds before the next round."""
LONGEST_PAUSE = 20.0
"""The longest that a vendor's `Retry-After` is waited for; who asks for more is not asked again."""


class ChainedModel(JournaledModel):
    """Asks the first model, and where that fails in a way that another may not, the next."""

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        journal: Journal,
        task: str,
        delegation: Delegation,
        spending: Spending,
    ) -> None:
        super().__init__(models[0], journal=journal, task=task, delegation=delegation)
        self._models = models
        self._spending = spending
        self._attempts: list[dict[str, object]] = []
        """Of the request under way: what each attempt reserved, or used."""

    async def asked_for(
        self,
        call: str,
        earlier: Sequence[dict[str, object]],
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the models in turn; raises the last one's `ModelFailed`, or `BudgetExceeded`."""
        self._attempts = list(earlier)
        for pause in (*PAUSES[: ROUNDS - 1], None):
            failures: list[ModelFailed] = []
            for place, model in enumerate(self._models):
                last = place == len(self._models) - 1
                try:
                    return await self._attempt(model, call, messages, settings, parameters, last=last)
                except ModelFailed as failed:
                    failures.append(failed)
                    logger.warning("a model failed", run=self._journal.run, kind=failed.kind, reason=str(failed))
                    if failed.kind not in WORTHY:
                        raise
            wait = _wait(failures, pause)
            if wait is None:
                raise failures[-1]
            await anyio.sleep(wait)
        raise AssertionError("the last round has no pause")

    async def _attempt(
        self,
        model: LanguageModel,
        call: str,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        *,
        last: bool,
    ) -> ModelResponse:
        price = await model.price(messages, settings, parameters)
        in_money = self._spending.in_money or self._delegation.monthly.usd is not None
        if price.usd is None and in_money:
            raise ModelFailed(model.model_name, "unpriced", "Its price is not known, and the budget is in money")
        longest = self._spending.room(price)
        tokens, usd = price.sent + longest, (price.usd or 0.0) + longest * price.usd_each
        # A run that is taken up again after a crash asks anew, and pays anew: that is another request.
        request = f"{self._journal.run}/{self._task}/{call}/{self._journal.fence}.{len(self._attempts)}"
        try:
            await self._delegation.reserve(request, tokens, usd)
        except RateLimited as error:
            raise BudgetExceeded.of_tenant(error) from error
        self._attempts.append({"model": model.model_name, "tokens": tokens, "usd": usd})
        self._spending.add(tokens, usd)
        await self._journal.reserve_model(self._task, call, self._attempts)
        bounded: ModelSettings = (
            {**(settings or {}), "max_tokens": longest} if longest < price.longest else settings or {}
        )
        said = Tokens(self._journal, f"{self._task}/{call}", len(self._attempts))
        try:
            response = await model.ask(messages, bounded, parameters, said.add)
            self._check(model, response, last=last)
        except ModelFailed as failed:
            await said.flush()
            self._attempts[-1] |= {"tokens": failed.tokens, "usd": failed.usd, "failed": failed.kind}
            await self._settle(request, failed.tokens - tokens, failed.usd - usd, failed.tokens, failed.usd)
            about = {"code": "model_error", "kind": failed.kind, "model": failed.model_name, "message": str(failed)}
            await self._journal.reserve_model(self._task, call, self._attempts)
            await self._journal.tell("error", {**about, "call": f"{self._task}/{call}"})
            raise
        await said.flush()
        used, cost = response.usage.input_tokens + response.usage.output_tokens, _usd(response)
        if (rate := self._spending.rate) is not None:
            pesos = {"cop": float(round(Decimal(str(cost)) * rate.cop, 4)), "rate": f"{rate.cop}@{rate.on}"}
            response.provider_details = {**(response.provider_details or {}), **pesos}
        self._attempts.pop()  # the response itself says what it used
        await self._settle(request, used - tokens, cost - usd, used, cost)
        return response

    async def _settle(self, request: str, tokens: int, usd: float, used: int, cost: float) -> None:
        self._spending.add(tokens, usd)
        await self._delegation.settle(request, used, cost)

    def attempts(self) -> list[dict[str, object]]:
        """Return what the request's failed attempts used."""
        return self._attempts

    def _check(self, model: LanguageModel, response: ModelResponse, *, last: bool) -> None:
        """Raise `ModelFailed` for calls that are none; the last model is told of them and may try again."""
        wrong = (response.provider_details or {}).pop("wrong", None)
        if wrong is not None and not last:
            failed = ModelFailed(model.model_name, "invalid_answer", str(wrong))
            failed.tokens, failed.usd = response.usage.input_tokens + response.usage.output_tokens, _usd(response)
            raise failed


def _wait(failures: Sequence[ModelFailed], pause: float | None) -> float | None:
    """Return after how many seconds to try again, or None where that is no use."""
    passing = [failed for failed in failures if failed.kind in AGAIN]
    if pause is None or not passing:
        return None
    waits = [max(failed.retry_after or 0.0, pause) for failed in passing]
    soonest = min(waits)
    return soonest if soonest <= LONGEST_PAUSE else None


def _usd(response: ModelResponse) -> float:
    return float((response.provider_details or {}).get("usd") or 0)


def chained(chosen: Chosen) -> Callable[[str, Journal, Delegation, Spending], ChainedModel]:
    """Return what makes the model of a task."""
    at = {} if chosen.recorded is None else _loopback(chosen.recorded, chosen.names[0])

    def of(task: str, journal: Journal, delegation: Delegation, spending: Spending) -> ChainedModel:
        models = [LanguageModel(name, at) for name in chosen.names]
        return ChainedModel(models, journal=journal, task=task, delegation=delegation, spending=spending)

    return of


def _loopback(file: str, name: str) -> dict[str, str]:
    """Return where recorded answers are played, which is from here on."""
    from tausestack_agents.loopback.playing import address  # only an evaluation needs a web server of its own

    root = address(file)
    return {"api_base": root if name.startswith("anthropic/") else f"{root}/v1", "api_key": "recorded"}
