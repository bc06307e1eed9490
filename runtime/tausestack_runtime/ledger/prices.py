"""What calls cost: an amount for each price class, from a list with a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from tausestack_runtime.settings import StartError

STANDARD = "standard"
"""The class whose amount holds for every class that the list does not name."""
FREE = "free"
"""The class of what is no tool's call, and of tools that say so."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs: class, minor units of a currency, and the version of the list that said so."""

    name: str
    amount_minor: int
    currency: str
    version: str


NO_PRICE = Price("", 0, "", "")


class PriceList(BaseModel):
    """An amount in minor units of one currency for each price class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1, max_length=64)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    amounts: dict[str, NonNegativeInt] = Field(default_factory=dict[str, NonNegativeInt])

    def of(self, name: str) -> Price:
        """Return what a call of a price class costs."""
        amount = 0 if name == FREE else self.amounts.get(name, self.amounts.get(STANDARD, 0))
        return Price(name, amount, self.currency, self.version)


DEFAULT = PriceList(version="2026-11", currency="COP", amounts={STANDARD: 100, "premium": 1000})
"""What holds where the operator says nothing: one peso a call, ten for a premium one."""


def read_prices(path: Path | None) -> PriceList:
    """Return the operator's price list, `{"version", "currency", "amounts": {class: minor units}}`, or the default.

    Raises `StartError` for a file that is none.
    """
    if path is None:
        return DEFAULT
    try:
        return PriceList.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"can't read the price list {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StartError(f"the price list {path} is none: {where}: {first['msg']}") from error
