"""The ledger: what every call did and cost, in a file, before its reply."""

from tausestack_runtime.ledger.ledger import Ledger
from tausestack_runtime.ledger.line import Line, moment
from tausestack_runtime.ledger.prices import FREE, NO_PRICE, Price, PriceList, read_prices
from tausestack_runtime.ledger.verifying import Verification

__all__ = ["FREE", "NO_PRICE", "Ledger", "Line", "Price", "PriceList", "Verification", "moment", "read_prices"]
