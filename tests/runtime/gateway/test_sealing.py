"""What is sealed opens as it was given out, and in no other spelling."""

from __future__ import annotations

import base64
import random
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tausestack_runtime.gateway.sealing import MAX_OPENED_BYTES, MAX_TOKEN, NONCE_BYTES, Sealer

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


@pytest.mark.covers("sealing:size")
def test_both_bounds_hold_to_the_character() -> None:
    noise = random.Random(1).randbytes(4096).hex()
    longest = max(size for size in range(3000, 8000) if fits(noise[:size]))
    token = SEALER.seal({"a": noise[:longest]}, "acme")
    assert MAX_TOKEN - 4 < len(token) <= MAX_TOKEN
    assert SEALER.open(token, "acme") == {"a": noise[:longest]}
    with pytest.raises(ValueError, match=r"^there is too much to seal$"):
        SEALER.seal({"a": noise[: longest + 8]}, "acme")
    most = "x" * (MAX_OPENED_BYTES - len('{"a":""}'))
    assert SEALER.open(SEALER.seal({"a": most}, "acme"), "acme") == {"a": most}
    with pytest.raises(ValueError, match=r"^there is too much to seal$"):
        SEALER.seal({"a": most + "x"}, "acme")


def fits(text: str) -> bool:
    try:
        SEALER.seal({"a": text}, "acme")
    except ValueError:
        return False
    return True


@pytest.mark.covers("sealing:bound")
def test_a_token_opens_for_what_it_was_sealed_for_alone() -> None:
    token = SEALER.seal({"a": "ñ"}, "acme", "session")
    assert SEALER.open(token, "acme", "session") == {"a": "ñ"}
    for bound in (("globex", "session"), ("acme", "code"), ("acme",), (), ("acme", "session", ""), ("acmesession",)):
        assert SEALER.open(token, *bound) is None
    assert Sealer(b"l" * 32).open(token, "acme", "session") is None
    assert len({SEALER.seal({}, "acme") for _ in range(20)}) == 20


@pytest.mark.covers("sealing:bound")
def test_what_is_no_token_of_ours_opens_as_nothing() -> None:
    token = SEALER.seal({"a": 1}, "acme")
    raw = base64.urlsafe_b64decode(token)
    changed = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))]
    nothing = ["", "ñ", "?", "A", token[:-4], token + "AAAA", "A" * 5000]
    tokens = [*nothing, *(base64.urlsafe_b64encode(one).decode() for one in (*changed, raw[:NONCE_BYTES], b"x"))]
    assert [SEALER.open(one, "acme") for one in tokens] == [None] * len(tokens)


@pytest.mark.covers("sealing:bound")
def test_what_holds_no_object_opens_as_nothing() -> None:
    def sealed(plain: bytes) -> str:
        nonce = b"n" * NONCE_BYTES
        packed = AESGCM(b"k" * 32).encrypt(nonce, zlib.compress(plain), b'["acme"]')
        return base64.urlsafe_b64encode(nonce + packed).decode()

    assert SEALER.open(sealed(b'{"a":1}'), "acme") == {"a": 1}
    assert SEALER.open(sealed(b"[1]"), "acme") is None
    # More than is opened is cut off, whatever it would unpack to.
    assert SEALER.open(sealed(b'{"a":1}'.ljust(MAX_OPENED_BYTES) + b"x" * 1_000_000), "acme") == {"a": 1}


@pytest.mark.covers("sealing:keys")
def test_the_first_key_seals_and_each_that_was_seen_opens() -> None:
    keys = [b"k" * 32]
    sealer = Sealer(lambda: keys)
    old = sealer.seal({"a": 1}, "acme")
    keys.insert(0, b"l" * 32)
    new = sealer.seal({"a": 2}, "acme")
    assert Sealer(b"l" * 32).open(new, "acme") == {"a": 2}
    assert SEALER.open(old, "acme") == {"a": 1}
    del keys[1]
    assert [sealer.open(token, "acme") for token in (old, new)] == [{"a": 1}, {"a": 2}]
    assert Sealer(lambda: keys).open(old, "acme") is None
    keys[:] = [b"m" * 32]
    third = Sealer(b"m" * 32).seal({"a": 3}, "acme")
    assert sealer.open(third, "acme") == {"a": 3}
    two = Sealer(lambda: [b"n" * 32, b"k" * 32])
    assert two.open(old, "acme") == {"a": 1}
