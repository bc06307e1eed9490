"""What a run has used of its budgets, counted from its journal, and what its next unit may use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tausestack.agents import Budget, Monthly
from tausestack.database import Row
from tausestack.errors import InvalidArguments, RateLimited
from tausestack.raw import object_at, objects_in

MANY = 1000
"""More steps than a plan has."""
LEAST_ANSWER = 64
"""Tokens: where a budget leaves less for an answer, the model is not asked."""
_RATE = "TAUSESTACK_COP_PER_USD is how many pesos a dollar was, and on which day, such as 4100.50@2026-11-20"
WHOLE_RUN = frozenset({"plan", "answer", "handoff"})
"""Tasks that are no step."""


class BudgetExceeded(Exception):
    """A run's next unit would use more than a budget has left; `budget` names which."""

    def __init__(self, budget: str, limit: float | str, used: float | str) -> None:
        super().__init__(f"The budget of {budget} has too little left for what comes next: {used} of {limit} used")
        self.budget, self.limit, self.used = budget, limit, used

    def told(self) -> dict[str, Any]:
        """Return what the run says of it."""
        about = {"budget": self.budget, "limit": self.limit, "used": self.used}
        return {"code": "budget_exceeded", **about, "message": str(self)}

    @classmethod
    def of_tenant(cls, refused: RateLimited) -> BudgetExceeded:
        """Return the refusal of the tenant's month."""
        about = refused.data
        return cls(str(about.get("limit", "tenant")), about.get("quota", 0), about.get("used", 0))


@dataclass(frozen=True, slots=True)
class Rate:
    """How many Colombian pesos a US dollar was on a day."""

    cop: Decimal
    on: date

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Rate | None:
        """Return the rate of TAUSESTACK_COP_PER_USD (`4100.50@2026-11-20`), or None where it is not set.

        Raises `InvalidArguments` saying what it has to look like.
        """
        given = environment.get("TAUSESTACK_COP_PER_USD", "").strip()
        if not given:
            return None
        amount, _, day = given.partition("@")
        try:
            found = cls(Decimal(amount), date.fromisoformat(day))
        except (InvalidOperation, ValueError) as error:
            raise InvalidArguments(_RATE) from error
        if not (found.cop.is_finite() and found.cop > 0):
            raise InvalidArguments(_RATE)
        return found


@dataclass(frozen=True, slots=True)
class Price:
    """What a request to a model may use: tokens sent at most, tokens of the longest answer, and US dollars.

    `usd` is what is sent, `usd_each` a token of the answer; `usd` is None where the price is not known.
    """

    sent: int
    longest: int
    usd: float | None
    usd_each: float


def check(budget: Budget, rate: Rate | None) -> None:
    """Raise `InvalidArguments` where a budget is in pesos and nobody said what a dollar is."""
    if budget.cost is not None and budget.currency == "COP" and rate is None:
        raise InvalidArguments(f"A budget in COP needs a rate: {_RATE}")


@dataclass(frozen=True, slots=True)
class Month:
    """What an agent's runs may use of models in a month, together: tokens, US dollars; None where nobody says."""

    tokens: int | None = None
    usd: float | None = None

    @classmethod
    def of(cls, monthly: Monthly, rate: Rate | None) -> Month:
        """Return an agent's, with pesos as dollars of a rate; raises `InvalidArguments` without one."""
        cost = monthly.cost
        if cost is not None and monthly.currency == "COP":
            if rate is None:
                raise InvalidArguments(f"A budget in COP needs a rate: {_RATE}")
            cost = cost / rate.cop
        return cls(monthly.tokens, None if cost is None else float(cost))

    def told(self) -> dict[str, Any]:
        """Return what the platform is told of it."""
        given = {"agent_tokens": self.tokens, "agent_usd": self.usd}
        return {name: amount for name, amount in given.items() if amount is not None}


@dataclass(slots=True)
class Spending:
    """One run's use under one claim; `budgets` hold all at once."""

    budgets: list[Budget]
    rate: Rate | None = None
    tokens: int = 0
    usd: float = 0.0
    tool_calls: int = 0
    tasks: set[str] = field(default_factory=set[str])

    def count(self, lines: Iterable[Row]) -> Spending:
        """Add what a journal says was used: what was reserved and never settled counts whole. Returns itself."""
        for line in lines:
            if line.kind == "tool":
                self.tool_calls += 1
            else:
                usage, details = object_at(line.result, "usage"), object_at(line.result, "provider_details")
                self.tokens += int(usage.get("input_tokens") or 0) + int(usage.get("output_tokens") or 0)
                self.usd += float(details.get("usd") or 0)
                for attempt in objects_in(object_at(line.arguments).get("attempts")):
                    self.tokens += int(attempt.get("tokens") or 0)
                    self.usd += float(attempt.get("usd") or 0)
            if line.task.rpartition(".")[2] not in WHOLE_RUN:
                self.tasks.add(line.task)
        return self

    def count_below(self, lines: Iterable[Row]) -> None:
        """Add what the runs used that this one started, by their journals; their steps are their own."""
        below = Spending([]).count(lines)
        self.tokens, self.usd, self.tool_calls = (
            self.tokens + below.tokens,
            self.usd + below.usd,
            self.tool_calls + below.tool_calls,
        )

    def hold(self, budget: Budget) -> None:
        """Be held to another budget too."""
        if budget not in self.budgets:
            self.budgets.append(budget)

    def left(self) -> Budget:
        """Return what is left of all budgets: what a run may use that this one starts. Raises `BudgetExceeded`."""
        left: dict[str, Any] = {}
        for name, used in (("tokens", self.tokens), ("tool_calls", self.tool_calls)):
            given = [limit for budget in self.budgets if (limit := getattr(budget, name)) is not None]
            if given and min(given) <= used:
                raise BudgetExceeded(name, min(given), used)
            if given:
                left[name] = min(given) - used
        money = [budget for budget in self.budgets if budget.cost is not None]
        if money:
            usd = min(self._usd(budget) for budget in money) - self.usd
            if usd <= 0:
                raise BudgetExceeded("cost", _money(money[0].cost or Decimal(), money[0]), str(self.usd))
            left["cost"] = Decimal(f"{usd:.9f}")
        seconds = [budget.seconds for budget in self.budgets if budget.seconds is not None]
        return Budget(**left, seconds=min(seconds) if seconds else None)

    def step(self, task: str) -> None:
        """Take a step; one that was taken before is the same one. Raises `BudgetExceeded`."""
        for budget in self.budgets:
            if budget.steps is not None and task not in self.tasks and len(self.tasks) >= budget.steps:
                raise BudgetExceeded("steps", budget.steps, len(self.tasks))
        self.tasks.add(task)

    def steps_left(self) -> int:
        """Return how many steps there is room for, each with a tool call, and 1 where there is for none."""
        steps = [budget.steps - len(self.tasks) for budget in self.budgets if budget.steps is not None]
        calls = [budget.tool_calls - self.tool_calls for budget in self.budgets if budget.tool_calls is not None]
        return max(1, min([*steps, *calls], default=MANY))

    def tool_call(self) -> None:
        """Take a tool call. Raises `BudgetExceeded`."""
        for budget in self.budgets:
            if budget.tool_calls is not None and self.tool_calls >= budget.tool_calls:
                raise BudgetExceeded("tool_calls", budget.tool_calls, self.tool_calls)
        self.tool_calls += 1

    def room(self, price: Price) -> int:
        """Return how long an answer may be, in tokens; raises `BudgetExceeded` where that is too little for any."""
        most = price.longest
        for budget in self.budgets:
            if budget.tokens is not None:
                left = budget.tokens - self.tokens - price.sent
                if left < min(LEAST_ANSWER, price.longest):
                    raise BudgetExceeded("tokens", budget.tokens, self.tokens)
                most = min(most, left)
            if budget.cost is not None:
                left_usd = self._usd(budget) - self.usd - (price.usd or 0.0)
                least = min(LEAST_ANSWER, price.longest) * price.usd_each
                if left_usd < least or left_usd <= 0:
                    raise BudgetExceeded("cost", _money(budget.cost, budget), _money(self._spent(budget), budget))
                most = min(most, int(left_usd / price.usd_each)) if price.usd_each else most
        return most

    @property
    def in_money(self) -> bool:
        """Whether a budget is in money, so that only models with a price may be asked."""
        return any(budget.cost is not None for budget in self.budgets)

    def add(self, tokens: int, usd: float) -> None:
        """Count what is reserved, or (with less than 0) give back what was not used."""
        self.tokens += tokens
        self.usd += usd

    def _usd(self, budget: Budget) -> float:
        assert budget.cost is not None
        return float(budget.cost / self._cop if budget.currency == "COP" else budget.cost)

    def _spent(self, budget: Budget) -> Decimal:
        spent = Decimal(str(self.usd))
        return spent * self._cop if budget.currency == "COP" else spent

    @property
    def _cop(self) -> Decimal:
        assert self.rate is not None  # checked before the run is taken up
        return self.rate.cop


def seconds_left(budgets: Sequence[Budget], worked: float) -> float | None:
    """Return how long a run may go on, or None where no budget says."""
    given = [budget.seconds for budget in budgets if budget.seconds is not None]
    return max(min(given) - worked, 0.0) if given else None


def worked(events: Iterable[Row]) -> float:
    """Return for how many seconds a run was worked on, by its events; what follows a killed worker's last is lost."""
    total, since, last = 0.0, None, None
    for event in events:
        at = datetime.fromisoformat(event.at)
        status = str(event.data.get("status", "")) if event.kind == "run" else ""
        if status == "running":
            if since is not None and last is not None:
                total += (last - since).total_seconds()
            since = at
        elif status and since is not None:
            total += (at - since).total_seconds()
            since = None
        last = at
    if since is not None and last is not None:
        total += (last - since).total_seconds()
    return total


def _money(amount: Decimal, budget: Budget) -> str:
    plain = f"{amount:.6f}".rstrip("0").rstrip(".") if amount < 1 else f"{amount:.2f}"
    return f"{re.sub('^$', '0', plain)} {budget.currency}"
