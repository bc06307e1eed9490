"""The ledger: what every call did and cost, in a file, before its reply."""

from tausestack_runtime.ledger.ledger import Ledger
from tausestack_runtime.ledger.line import Line
from tausestack_runtime.ledger.reading import Verification

__all__ = ["Ledger", "Line", "Verification"]
