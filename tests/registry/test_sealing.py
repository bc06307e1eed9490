"""Secrets at rest."""

from __future__ import annotations

import pytest

from tausestack.errors import InternalError
from tausestack_registry.sealing import Sealer

PLACE = {"tenant": "acme", "row": "time/TOKEN", "version": 1}


@pytest.mark.covers("registry:secrets-bound")
@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"row": "time/OTHER"}, {"version": 2}])
def test_a_sealed_secret_opens_at_its_own_place_alone(other: dict[str, object]) -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal("ñandú", tenant="acme", row="time/TOKEN", version=1)
    assert sealer.open(sealed, tenant="acme", row="time/TOKEN", version=1) == "ñandú"
    with pytest.raises(InternalError):
        sealer.open(sealed, **{**PLACE, **other})  # type: ignore[arg-type]
    with pytest.raises(InternalError):
        Sealer(b"j" * 32).open(sealed, tenant="acme", row="time/TOKEN", version=1)
    with pytest.raises(InternalError):
        sealer.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), tenant="acme", row="time/TOKEN", version=1)
