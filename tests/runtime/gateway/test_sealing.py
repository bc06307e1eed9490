"""What is sealed opens as it was given out, and in no other spelling."""

from __future__ import annotations

import pytest

from tausestack_runtime.gateway.sealing import Sealer

SEALER = Sealer(b"k" * 32)


@pytest.mark.covers("sealing:spelling")
def test_a_token_has_one_spelling() -> None:
    token = next(token for _ in range(1000) if {"-", "_"} & set(token := SEALER.seal({"a": "x" * 40}, "acme")))
    assert SEALER.open(token, "acme") == {"a": "x" * 40}
    others = (token.replace("-", "+").replace("_", "/"), token + "====", token + "=", token.rstrip("=") + "\n")
    assert [SEALER.open(other, "acme") for other in others if other != token] == [None] * 4


@pytest.mark.covers("sealing:size")
def test_nothing_is_sealed_that_would_not_open() -> None:
    assert SEALER.open(SEALER.seal({"a": "x" * 65_000}, "acme"), "acme") == {"a": "x" * 65_000}
    with pytest.raises(ValueError, match="too much"):
        SEALER.seal({"a": "x" * 66_000}, "acme")
