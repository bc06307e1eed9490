"""Keys of caches: no two tenants, principals, epochs or parts share one."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tausestack.tenancy import cache_key, credential_hash

PARTS = st.lists(st.text(max_size=4), min_size=3, max_size=6).filter(lambda parts: parts[0] != "")


def framed(parts: list[str]) -> str:
    """Return what a key is, written down anew: the SHA-256 of each part's UTF-8 after its length in four bytes."""
    raw = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(raw).hexdigest()


@pytest.mark.covers("tenancy:cache-keys")
@given(PARTS, PARTS)
def test_two_keys_are_equal_only_where_all_of_their_parts_are(one: list[str], other: list[str]) -> None:
    assert cache_key(*one) == framed(one)
    assert (cache_key(*one) == cache_key(*other)) is (one == other)


@pytest.mark.covers("tenancy:cache-keys")
def test_parts_that_would_run_into_each_other_do_not() -> None:
    texts = ["a|bc|1|", "ab|c|1|", "a|b|c1|", "a|bc|1", "a|bc|1|x", "a|bc|2|", "a|bc||1", "ñ|bc|1", "a|\0bc|1"]
    keys = [cache_key(*text.split("|")) for text in texts]
    assert all(one != other for one, other in itertools.combinations(keys, 2))


@pytest.mark.covers("tenancy:cache-keys")
def test_a_key_of_no_tenant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a cache key needs a tenant$"):
        cache_key("", "p", "1")


@pytest.mark.covers("tenancy:cache-keys")
def test_a_credential_is_known_by_all_of_it() -> None:
    credential = "tsk_" + "a" * 40
    assert credential_hash(credential) == hashlib.sha256(credential.encode()).hexdigest()
    assert credential_hash(credential) != credential_hash(credential[:-1] + "b")
