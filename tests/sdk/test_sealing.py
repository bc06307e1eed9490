"""A sealed value opens by its key, at its place, unchanged, and nowhere else."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tausestack.errors import InternalError
from tausestack.sealing import KEY_BYTES, NONCE_BYTES, new_key, place, seal, unseal

KEY = b"k" * KEY_BYTES
HERE = place("acme", "registry.secrets", "r1", 2)


@pytest.mark.covers("secrets:place")
def test_a_value_opens_at_its_own_place_alone() -> None:
    sealed = seal(KEY, b"hunter2", HERE)
    assert unseal(KEY, sealed, HERE) == b"hunter2"
    elsewhere = [
        place("globex", "registry.secrets", "r1", 2), place("acme", "registry.keys", "r1", 2),
        place("acme", "registry.secrets", "r2", 2), place("acme", "registry.secrets", "r1", 3), b"", b"null",
    ]  # fmt: skip
    tries = [(KEY, sealed, other) for other in elsewhere]
    tries += [(b"l" * KEY_BYTES, sealed, HERE), (KEY, b"", HERE), (KEY, sealed[:NONCE_BYTES], HERE)]
    tries += [(KEY, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], HERE) for at in range(len(sealed))]
    for key, value, bound in tries:
        with pytest.raises(InternalError) as refused:
            unseal(key, value, bound)
        assert refused.value.message == "a secret can't be opened: sealed by another key or for another place"


@pytest.mark.covers("secrets:place")
def test_what_a_value_is_bound_to_never_runs_over() -> None:
    assert json.loads(HERE) == ["acme", "registry.secrets", "r1", 2]
    assert place("a", "b,c") != place("a,b", "c")
    assert place("a", 1) != place("a", "1")
    assert place("ñandú", 'a"b') == '["ñandú","a\\"b"]'.encode()


@pytest.mark.covers("secrets:form")
def test_the_form_is_a_nonce_of_its_own_and_aes_256_gcm() -> None:
    one, other = (seal(KEY, b"hunter2", HERE) for _ in range(2))
    assert one[:NONCE_BYTES] != other[:NONCE_BYTES]
    assert len(one) == NONCE_BYTES + len(b"hunter2") + 16
    assert AESGCM(KEY).decrypt(one[:NONCE_BYTES], one[NONCE_BYTES:], HERE) == b"hunter2"
    assert b"hunter2" not in one


@pytest.mark.covers("secrets:form")
def test_keys_are_random_and_of_32_bytes() -> None:
    keys = {new_key() for _ in range(20)}
    assert len(keys) == 20
    assert {len(key) for key in keys} == {32}
