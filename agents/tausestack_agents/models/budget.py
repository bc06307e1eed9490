"""A tenant's month of language models: what a request may use at most is set aside at the gateway before it is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic_ai.exceptions import ModelAPIError

from tausestack_agents.gateway import Delegation


@dataclass(slots=True)
class Use:
    """Tokens and US dollars: at first the most that a request may use, then what it did."""

    tokens: int
    usd: float


class Budget:
    """The budget of the tenant that a run is of."""

    def __init__(self, delegation: Delegation) -> None:
        self._delegation = delegation

    @asynccontextmanager
    async def reserved(self, request: str, use: Use) -> AsyncGenerator[Use]:
        """Set aside what a request may use, under an id of this one attempt; what is left in `use` is what it did.

        Raises `RateLimited` where the budget has no room for it. A request that is cut off stays counted as the most
        that it may have used: it may have been paid. One that the provider refused is not.
        """
        await self._delegation.reserve(request, use.tokens, use.usd)
        try:
            yield use
        except ModelAPIError:
            await self._delegation.settle(request, 0, 0.0)
            raise
        await self._delegation.settle(request, use.tokens, use.usd)
