"""One master secret, kept private, from which every key comes."""

from __future__ import annotations

import json
import stat
import threading

import pytest

from tausestack.contract import Principal
from tausestack.tokens import Signer, Verifier
from tausestack_runtime.keys import Keys, open_keys, operator_key, write_jwks
from tausestack_runtime.settings import StartError


@pytest.mark.covers("keys:derived")
def test_keys_are_derived_by_name_and_stay_the_same(tmp_path):
    keys = open_keys(tmp_path)
    again = open_keys(tmp_path)
    assert keys.signing_seed() == again.signing_seed()
    assert len(keys.subkey("secrets")) == 32
    assert len({keys.subkey("secrets"), keys.subkey("other"), keys.signing_seed()}) == 3
    assert keys.subkey("secrets") != Keys("another secret of enough characters!").subkey("secrets")


@pytest.mark.covers("keys:derived")
def test_the_secret_of_the_environment_goes_before_the_file(tmp_path):
    open_keys(tmp_path)
    secret = (tmp_path / "secret.key").read_text().strip()
    assert open_keys(tmp_path, secret).signing_seed() == open_keys(tmp_path).signing_seed()
    assert open_keys(tmp_path, "x" * 40).signing_seed() != open_keys(tmp_path).signing_seed()


@pytest.mark.covers("keys:private")
def test_key_files_are_made_for_their_owner_alone(tmp_path):
    open_keys(tmp_path)
    assert operator_key(tmp_path).startswith("tsk_operator_")
    assert operator_key(tmp_path) == operator_key(tmp_path, make=False)
    for name in ("secret.key", "operator.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["operator.key", "secret.key"]


@pytest.mark.covers("keys:private")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path, mode):
    open_keys(tmp_path)
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(StartError, match="chmod 600"):
        open_keys(tmp_path)


@pytest.mark.covers("keys:private")
def test_a_link_in_place_of_a_key_file_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_text("0" * 64)
    (tmp_path / "secret.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="can't read"):
        open_keys(tmp_path)


@pytest.mark.covers("keys:private")
def test_missing_short_and_empty_keys_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(StartError, match="makes it on the first start"):
        open_keys(tmp_path, make=False)
    with pytest.raises(StartError, match="openssl rand"):
        open_keys(tmp_path, "short")
    (tmp_path / "operator.key").touch(mode=0o600)
    with pytest.raises(StartError, match="holds no key"):
        operator_key(tmp_path)


@pytest.mark.covers("keys:derived")
def test_starts_at_the_same_moment_agree_on_one_key(tmp_path):
    found = set()
    threads = [threading.Thread(target=lambda: found.add(open_keys(tmp_path).signing_seed())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


@pytest.mark.covers("keys:derived")
def test_the_public_keys_are_enough_to_verify_and_hold_no_secret(tmp_path):
    signer = Signer(open_keys(tmp_path).signing_seed())
    jwks = json.loads(write_jwks(tmp_path, signer).read_text())
    assert "d" not in jwks["keys"][0]
    token = signer.sign(Principal("acme", "key:k1", frozenset({"tools:call"})), "server:billing", 60)
    assert Verifier(jwks, "server:billing").verify(token)[0].tenant == "acme"
