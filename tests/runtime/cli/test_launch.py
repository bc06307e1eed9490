"""A stack that is started for the moment keeps to its own folder."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from tausestack_runtime.cli.launch import launched, own_stack
from tausestack_runtime.settings import StartError, read_settings


@pytest.mark.covers("cli:own-stack-apart")
def test_a_passing_stack_leaves_the_lasting_ones_database_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Nothing is there: a stack that used it would never be ready to make a tenant.
    monkeypatch.setenv("TAUSESTACK_DATABASE_URL", f"postgresql://owner@/lasting?host={tmp_path}")
    with own_stack(None) as stack:
        key = (stack.data / "operator.key").read_text(encoding="utf-8").strip()
        made = httpx2.post(
            f"{stack.url}/api/v2/tenants",
            json={"id": "acme"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert made.status_code == 201, made.text
        assert (stack.data / "tenants" / "acme" / "auth.db").is_file()
    assert not stack.data.exists()


@pytest.mark.covers("cli:taken-port")
def test_whoever_has_the_port_already_is_not_taken_for_the_stack(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = read_settings(host="127.0.0.1", port=other.getsockname()[1], data=tmp_path)
        with pytest.raises(StartError, match="is taken"), launched(settings):
            pytest.fail("a stack was started")
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()
