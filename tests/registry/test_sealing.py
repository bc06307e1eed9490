"""Secrets at rest."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.errors import InternalError
from tausestack_registry.sealing import Sealer

PLACE: dict[str, Any] = {"tenant": "acme", "row": "time/TOKEN", "version": 1}


@pytest.mark.covers("registry:secrets-bound")
@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"row": "time/OTHER"}, {"version": 2}])
def test_a_sealed_secret_opens_at_its_own_place_alone(other: dict[str, Any]) -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal("ñandú", **PLACE)
    assert sealer.open(sealed, **PLACE) == "ñandú"
    with pytest.raises(InternalError):
        sealer.open(sealed, **{**PLACE, **other})
    with pytest.raises(InternalError):
        Sealer(b"j" * 32).open(sealed, **PLACE)
    with pytest.raises(InternalError):
        sealer.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), **PLACE)
