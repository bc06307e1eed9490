"""Master secrets, kept private, from which every key comes."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from tausestack.errors import Unavailable
from tausestack_runtime.keys import Keys, Masters, operator_key
from tausestack_runtime.settings import StartError

OLD, NEW = "an old secret of enough characters!!", "a new secret of enough characters!!!"


@pytest.mark.covers("keys:derived")
def test_keys_are_derived_by_name_and_stay_the_same(tmp_path: Path) -> None:
    keys, again = Masters(tmp_path).current, Masters(tmp_path).current
    assert (keys.id, keys.subkey("secrets")) == (again.id, again.subkey("secrets"))
    assert len(keys.subkey("secrets")) == 32
    assert len({keys.subkey("secrets"), keys.subkey("other"), Keys(NEW).subkey("secrets")}) == 3
    assert keys.id not in (tmp_path / "secret.key").read_text()


@pytest.mark.covers("keys:derived")
def test_the_secret_of_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = Masters(tmp_path).current
    secret = (tmp_path / "secret.key").read_text().strip()
    assert Masters(tmp_path, secret).current.id == file.id
    assert Masters(tmp_path, NEW).current.id != file.id


@pytest.mark.covers("keys:private")
def test_key_files_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    masters = Masters(tmp_path)
    assert operator_key(tmp_path).startswith("tsk_operator_")
    assert operator_key(tmp_path) == operator_key(tmp_path, make=False)
    masters.begin()
    for name in ("secret.key", "operator.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["operator.key", "secret.key"]


@pytest.mark.covers("keys:private")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    Masters(tmp_path)
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(StartError, match="chmod 600"):
        Masters(tmp_path)


@pytest.mark.covers("keys:private")
def test_a_link_in_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("0" * 64)
    (tmp_path / "secret.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="can't read"):
        Masters(tmp_path)


@pytest.mark.covers("keys:private")
def test_missing_short_and_empty_keys_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="makes it on the first start"):
        Masters(tmp_path, make=False)
    with pytest.raises(StartError, match="openssl rand"):
        Masters(tmp_path, "short")
    with pytest.raises(StartError, match="openssl rand"):
        Masters(tmp_path, NEW, "short")
    with pytest.raises(StartError, match="TAUSESTACK_SECRET_KEY, the new one, beside it"):
        Masters(tmp_path, None, OLD)
    (tmp_path / "operator.key").touch(mode=0o600)
    with pytest.raises(StartError, match="holds no key"):
        operator_key(tmp_path)


@pytest.mark.covers("keys:derived")
def test_starts_at_the_same_moment_agree_on_one_key(tmp_path: Path) -> None:
    found = set[str]()
    threads = [threading.Thread(target=lambda: found.add(Masters(tmp_path).current.id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


@pytest.mark.covers("keys:file-replaced")
def test_a_new_master_stands_beside_the_old_until_that_is_retired(tmp_path: Path) -> None:
    masters, elsewhere = Masters(tmp_path), Masters(tmp_path)
    old = masters.current.id
    assert masters.begin()
    new = masters.current.id
    assert [one.id for one in elsewhere.live()] == [new, old]
    assert not masters.begin(), "broken off and begun again it is the same rotation"
    assert [one.id for one in Masters(tmp_path).live()] == [new, old]
    masters.retire(0)
    masters.retire(0)
    assert [one.id for one in elsewhere.live()] == [one.id for one in Masters(tmp_path).live()] == [new]
    (tmp_path / "secret.key").chmod(0o644)
    (tmp_path / "secret.key").touch()
    with pytest.raises(Unavailable, match="chmod 600"):
        elsewhere.live()


@pytest.mark.covers("keys:file-replaced")
def test_a_master_that_seals_no_more_holds_for_what_it_signed_and_then_no_longer(tmp_path: Path) -> None:
    now = [1000.0]
    masters = Masters(tmp_path, clock=lambda: now[0])
    first = masters.current.id
    masters.begin()
    masters.retire(600)
    second = masters.current.id
    assert masters.leaving() == {first: 1600.0}
    assert [one.id for one in masters.sealing()] == [second]
    assert masters.begin(), "one that is leaving stands in no other's way"
    masters.retire(600)
    assert set(masters.leaving()) == {first, second}
    again = Masters(tmp_path, clock=lambda: now[0])
    assert [one.id for one in again.live()] == [masters.current.id, second, first]
    now[0] = 1601.0
    assert [one.id for one in again.live()] == [masters.current.id]
    again.prune()
    assert (tmp_path / "secret.key").read_text().count("\n") == 1
    assert Masters(tmp_path).current.id == masters.current.id


@pytest.mark.covers("keys:of-the-environment")
def test_masters_of_the_environment_are_the_operators_to_change(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="TAUSESTACK_SECRET_KEY_PREVIOUS"):
        Masters(tmp_path, OLD).begin()
    both = Masters(tmp_path, NEW, OLD)
    assert [one.id for one in both.live()] == [Keys(NEW).id, Keys(OLD).id]
    assert not both.begin()
    assert not list(tmp_path.iterdir())
