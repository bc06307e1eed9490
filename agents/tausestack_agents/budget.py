"""What a run may use at most."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Budget(BaseModel):
    """What a run may use at most; what is not given is bounded by the tenant's own limits alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None = Field(default=None, ge=1, le=1_000_000_000)
    cost: Decimal | None = Field(default=None, gt=0, le=1_000_000_000, description="an amount in `currency`")
    currency: Literal["COP", "USD"] = "USD"
    steps: int | None = Field(default=None, ge=1, le=1000, description="parts of a request, and times that it thinks")
    seconds: float | None = Field(default=None, gt=0, le=86_400, description="waiting for people left out")
    tool_calls: int | None = Field(default=None, ge=1, le=10_000)
