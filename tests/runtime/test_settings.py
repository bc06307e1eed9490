"""Settings come from the environment, under what the command line gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tausestack_runtime.settings import StartError, read_settings


@pytest.mark.covers("settings:environment")
def test_what_is_given_goes_before_the_environment_which_goes_before_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("TAUSESTACK_PORT", "9100")
    monkeypatch.setenv("TAUSESTACK_HOST", "0.0.0.0")
    monkeypatch.setenv("TAUSESTACK_DATABASE_URL", "")
    monkeypatch.chdir(tmp_path)
    settings = read_settings(port=9200, host=None)
    assert (settings.port, settings.host, settings.sandbox) == (9200, "0.0.0.0", "auto")
    assert settings.database_url is None
    assert settings.data == tmp_path / ".tausestack"


@pytest.mark.covers("settings:environment")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "seventy"),
        ("PORT", "70000"),
        ("SANDBOX", "none"),
        ("LOG_LEVEL", "loud"),
        ("ALLOWED_PRIVATE_HOSTS", "localhost"),
        ("PUBLIC_URL", "http://tools.acme.co"),
        ("PUBLIC_URL", "https://tools.acme.co/path"),
        ("PUBLIC_URL", "tools.acme.co"),
        ("OIDC_ISSUER", "http://login.acme.co"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"TAUSESTACK_{name}", value)
    with pytest.raises(StartError, match=f"TAUSESTACK_{name} is wrong"):
        read_settings()


@pytest.mark.covers("settings:environment")
def test_a_stack_without_a_worker_is_refused_with_the_reason(monkeypatch):
    for given in ({"workers": 0}, {"workers": -1}):
        with pytest.raises(StartError, match=r"TAUSESTACK_WORKERS is wrong: .*one worker at least.*wait for ever"):
            read_settings(**given)
    monkeypatch.setenv("TAUSESTACK_WORKERS", "0")
    with pytest.raises(StartError, match="one worker at least"):
        read_settings()


@pytest.mark.covers("settings:environment")
def test_settings_go_on_to_other_processes_without_the_master_secret(monkeypatch):
    given = read_settings(data=Path("/srv/stack"), secret_key="x" * 40, database_url="postgresql://db/stack")
    passed = given.environment()
    assert not [value for value in passed.values() if "xxx" in value]
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    again = read_settings()
    assert again.model_copy(update={"secret_key": given.secret_key}) == given
    assert given.secret == "x" * 40
    assert "xxx" not in repr(given)
