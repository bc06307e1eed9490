"""Archives that were changed, cut off or made to harm: refused in one line, and nothing of them is taken."""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from archives import PASSPHRASE, Installation, changed, member, written
from stack import Stack
from tausestack.errors import InvalidRequest, TauseError
from tausestack_runtime.keys import Masters
from tausestack_runtime.life import archive as archives
from tausestack_runtime.life.archive import Archive, open_archive
from tausestack_runtime.life.archive_keys import ArchiveKeys, keys_for
from tausestack_runtime.life.files import take_in
from tausestack_runtime.life.here import Here
from tausestack_runtime.life.importing import import_tenant
from tausestack_runtime.schemas import schemas
from tausestack_runtime.settings import read_settings

pytestmark = pytest.mark.anyio

MANY = 150
TENANT: dict[str, Any] = {
    "id": "acme", "name": "Acme", "plan": "basic", "status": "active",
    "created_at": "2026-11-26T00:00:00+00:00", "settings": {}, "parts": {"storage": {"revision": "0002"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def good(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a tenant that has something."""
    tenant = stack.tenant(f"honest-{os.getpid()}")
    for number in range(20):
        tenant.must("storage/put_json", {"key": f"k{number}", "value": os.urandom(40).hex()})
    tenant.must("billing/list_plans", {})
    file = tmp_path_factory.mktemp("archives") / "good.tar"
    stack.cli("tenant", "export", tenant.name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)
    return file


def opened(path: Path) -> Archive:
    return open_archive(path, "tenant", lambda told: keys_for(told, PASSPHRASE, []))


@pytest.mark.covers("life:archive-whole")
def test_no_flipped_byte_and_no_missing_one_goes_unnoticed(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached: dict[str, ArchiveKeys] = {}

    def keys_of(told: dict[str, Any]) -> ArchiveKeys:
        name = orjson.dumps(told).decode()
        if name not in cached:
            cached[name] = keys_for(told, PASSPHRASE, [])
        return cached[name]

    raw = good.read_bytes()
    spoiled = tmp_path / "spoiled.tar"
    chance = random.Random(4)
    assert open_archive(good, "tenant", keys_of).tenants
    head = 512 + len(orjson.dumps(_head(good)))
    for at in [*range(1024, len(raw), max(1, len(raw) // MANY)), *chance.sample(range(512, head), 12)]:
        spoiled.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << chance.randrange(8))]) + raw[at + 1 :])
        with pytest.raises(InvalidRequest):
            open_archive(spoiled, "tenant", keys_of)
    for end in [*range(0, len(raw), 509), len(raw) - 1, len(raw) - 512]:
        spoiled.write_bytes(raw[:end])
        with pytest.raises(InvalidRequest):
            open_archive(spoiled, "tenant", keys_of)
    spoiled.write_bytes(raw + b"\0")
    with pytest.raises(InvalidRequest):
        open_archive(spoiled, "tenant", keys_of)


def _head(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        raw = archive.extractfile("head.json")
        assert raw is not None
        return json.loads(raw.read())


@pytest.mark.covers("life:archive-hostile")
def test_members_that_are_none_of_ours_are_refused(good: Path, tmp_path: Path) -> None:
    raw = good.read_bytes()
    with tarfile.open(good) as archive:
        places = {one.name: (one.offset, one.offset_data, one.size) for one in archive.getmembers()}
    last = places["manifest.json"][0]
    first = next(name for name in places if name.endswith(".gz"))
    start, data, size = places[first]
    end = data + size + (-size % 512)
    twice = raw[:end] + raw[start:end] + raw[end:]
    bomb = gzip.compress(b"{}\n" * (archives.MAX_SEGMENT_BYTES // 3 + 10))

    def added(other: bytes) -> bytes:
        return raw[:last] + other + raw[last:]

    cases = {
        "twice": twice,
        "in another order": raw[:start] + raw[end:last] + raw[start:end] + raw[last:],
        "left out": raw[:start] + raw[end:],
        "after the manifest": raw[:-1024] + raw[start:end] + raw[-1024:],
        "a path": added(member("../../etc/cron.d/x", b"x")),
        "absolute": added(member("/tmp/x", b"x")),
        "a link": added(member("000099.0.files.jsonl.gz", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "a device": added(member("000099.0.files.jsonl.gz", b"", type=tarfile.CHRTYPE)),
        "a bomb": added(member(f"{len(places) - 1:06d}.0.files.jsonl.gz", bomb)),
        "an extension": added(member("x", b"20 path=../../../x\n", type=tarfile.XHDTYPE)),
        "a vast size": raw[:last] + raw[last : last + 124] + b"77777777777\0" + raw[last + 136 :],
        "nothing": b"",
        "zeros": b"\0" * 4096,
        "another file": b"PK\3\4" + struct.pack("<I", 20) * 400,
    }  # fmt: skip
    for name, spoiled in cases.items():
        path = tmp_path / "spoiled.tar"
        path.write_bytes(spoiled)
        with pytest.raises(InvalidRequest):
            opened(path)
        assert name


@pytest.mark.covers("life:archive-hostile")
@pytest.mark.parametrize(
    "records",
    [
        [{"file": "../../../escaped", "mode": 0o600, "size": 0}],
        [{"file": "/tmp/escaped", "mode": 0o600, "size": 0}],
        [{"file": "a/../../escaped", "mode": 0o600, "size": 0}],
        [{"file": "a\0b", "mode": 0o600, "size": 0}],
        [{"file": "", "mode": 0o600, "size": 0}],
        [{"folder": "a"}, {"folder": "a"}],
        [{"file": "a", "mode": 0o600, "size": 0}, {"file": "a", "mode": 0o600, "size": 0}],
        [{"file": "a", "mode": 0o600, "size": 0}, {"file": "a/b", "mode": 0o600, "size": 0}],
        [{"link": "a", "to": "/etc"}, {"file": "a/escaped", "mode": 0o600, "size": 0}],
        [{"link": "a", "to": "/etc"}, {"link": "a/escaped", "to": "/etc"}],
        [{"link": "a", "to": "/etc"}, {"folder": "a/escaped"}],
        [{"folder": "a"}, {"link": "a", "to": "/etc"}],
        [{"link": "a", "to": ""}],
        [{"file": "a", "mode": 0o4755, "size": 0}],
        [{"file": "a", "mode": 0o600, "size": -1}],
        [{"file": "a", "mode": 0o600, "size": 1}, {"at": 0, "bytes": "AAAA"}],
        [{"file": "a", "mode": 0o600, "size": 9}, {"at": -1, "bytes": "AA=="}],
        [{"file": "a", "mode": 0o600, "size": 9}, {"at": 0, "bytes": "no base64"}],
        [{"at": 0, "bytes": "AA=="}],
        [{"folder": "/".join("d" * 70)}],
        [{"file": "x" * 300, "mode": 0o600, "size": 0}],
        [{"file": "a", "mode": 0o600, "size": 0, "owner": "root"}],
        [{"device": "a"}],
    ],
)
def test_files_stay_in_their_folder(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    root = tmp_path / "tenant" / "servers"
    root.parent.mkdir()
    with pytest.raises(InvalidRequest):
        take_in(root, [records])
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/etc/escaped").exists()


def _row(**values: Any) -> bytes:
    at = "2026-11-26T00:00:00+00:00"
    row = {"key": "k", "body": "{}", "created_at": at, "updated_at": at, **values}
    return orjson.dumps({"table": "documents", "row": row})


def _key(owner: dict[str, Any]) -> bytes:
    return orjson.dumps({"system": "key_lookup", "row": {"hash": "a" * 64, "key_id": "x", **owner}})


def _table(table: str, /, **row: Any) -> bytes:
    return orjson.dumps({"table": table, "row": row})


def _checkpoint(**values: Any) -> bytes:
    pickled = {"type": "pickle", "checkpoint": "gASVAAAAAAAAAAA="}
    return orjson.dumps({"thread": "t", "ns": "", "parent": None, "metadata": {}, "writes": [], **pickled, **values})


BAD_ROWS: dict[str, tuple[str, list[bytes]]] = {
    "another's key": ("auth", [_key({"owner": "globex"})]),
    "a table of everybody's": ("auth", [orjson.dumps({"system": "tenants", "row": {"id": "globex"}})]),
    "no such table": ("storage", [_table("sqlite_master", name="x")]),
    "data keys": ("registry", [_table("data_keys", version=1)]),
    "the revision": ("storage", [_table("alembic_version", version_num="9")]),
    "another column": ("storage", [_row(tenant="globex")]),
    "no column": ("storage", [_table("documents", key="k")]),
    "another type": ("storage", [_row(body=1)]),
    "a list": ("storage", [_row(body=["x"])]),
    "an unknown kind": ("storage", [_row(body={"$x": "y"})]),
    "two kinds": ("storage", [_row(body={"$b": "AA==", "$t": "y"})]),
    "twice": ("storage", [_row(), _row()]),
    "null": ("storage", [_row(body=None)]),
    "no object": ("storage", [b"[]"]),
    "no JSON": ("storage", [b"{"]),
    "deep": ("storage", [b'{"table":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]),
    "a number too large": ("storage", [_table("totals", name="bytes", amount=2**64 - 1)]),
    "orphans": ("billing", [_table("payments", invoice="none", method="x", reference=None, paid_at="x")]),
    "half a checkpoint": ("agents-beside", [orjson.dumps({"thread": "t"})]),
    "a pickled checkpoint": ("agents-beside", [_checkpoint()]),
    "a strange thread": ("agents-beside", [_checkpoint(thread=7)]),
    "no service": ("nothing", [_row()]),
    "a line of no ledger": ("ledger", [b"{}"]),
    "a file elsewhere": ("files", [orjson.dumps({"file": "../../x", "mode": 384, "size": 0})]),
}


@pytest.mark.covers("life:archive-hostile", "life:import-whole")
async def test_rows_that_are_none_of_a_tenants_are_refused_whole(tmp_path: Path) -> None:
    here = Installation(tmp_path / "here").founded()
    heads = {one.service: one.head for one in schemas()}
    for name, (part, lines) in BAD_ROWS.items():
        told: dict[str, Any] = {part: {"revision": heads.get(part)}}
        if part == "agents-beside":
            told["agents"] = {"revision": heads["agents"]}
        if part == "ledger":
            told[part] = {"lines": 1, "calls": 0, "hash": "0" * 64, "latest": "", "open": {"1": 1024}}
        file = written(tmp_path / "bad.tar", [{**TENANT, "parts": told}], {(0, part): lines})
        await _refused(here, file, name)


@pytest.mark.covers("life:archive-hostile")
async def test_a_tenant_that_can_be_none_here_is_refused(tmp_path: Path) -> None:
    here = Installation(tmp_path / "here").founded()
    wrong: list[dict[str, Any]] = [
        {"id": "../other"}, {"id": "_system"}, {"id": "UPPER"}, {"plan": "gold"}, {"status": "deleting"}, {"name": 7},
        {"settings": {"limits": {"calls_per_minute": "many"}}}, {"settings": []}, {"created_at": "yesterday"},
        {"parts": {"ledger": {"lines": "1"}}}, {"parts": {"storage": {"revision": "../../x"}}},
    ]  # fmt: skip
    for change in wrong:
        await _refused(here, written(tmp_path / "bad.tar", [{**TENANT, **change}], {}), str(change))
    await _refused(here, written(tmp_path / "bad.tar", [TENANT, {**TENANT, "id": "globex"}], {}), "two")
    file = written(tmp_path / "bad.tar", [TENANT], {}, "installation")
    done = here.cli("tenant", "import", str(file), check=False)
    assert (done.returncode, len(done.stderr.splitlines()), "restore" in done.stderr) == (1, 1, True)


async def _refused(place: Installation, file: Path, name: str) -> None:
    """See that an archive is refused, and that of its tenant nothing is there."""
    settings = read_settings(data=place.data)
    here = Here(settings, Masters.of(settings, make=False))
    try:
        with pytest.raises(TauseError) as refused:
            await import_tenant(here, opened(file), None)
        assert refused.value.status < 500 or "release" in refused.value.message, (name, refused.value)
        assert await here.every_tenant() == [], name
        assert await here.left("acme") == {}, name
    finally:
        await here.aclose()


@pytest.mark.covers("life:moved-secrets")
def test_secrets_are_opened_by_the_passphrase_or_by_the_same_installation_alone(
    stack: Stack, good: Path, tmp_path: Path
) -> None:
    here = Installation(tmp_path / "here").founded()
    for environment, said in (
        ({"TAUSESTACK_PASSPHRASE": ""}, "--passphrase-file"),
        ({"TAUSESTACK_PASSPHRASE": "another that is long"}, "the passphrase is another"),
        ({"TAUSESTACK_PASSPHRASE": "short"}, "under 12"),
    ):
        done = here.cli("tenant", "import", str(good), check=False, **environment)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    own = tmp_path / "own.tar"
    stack.cli("tenant", "export", f"honest-{os.getpid()}", str(own))
    elsewhere = here.cli("tenant", "import", str(own), check=False)
    assert (elsewhere.returncode, "master key that is not here" in elsewhere.stderr) == (1, True)
    assert not (here.data / "tenants").exists()


@pytest.mark.covers("life:moved-secrets")
@pytest.mark.usefixtures("clock_at_hand")
def test_a_secret_put_in_anothers_place_does_not_open(stack: Stack, tmp_path: Path) -> None:
    tenant = stack.tenant(f"sealed-{os.getpid()}")
    tenant.install("pypi:mcp-server-time", name="clock", secrets={"ONE": "canary-one", "TWO": "canary-two"})
    file = tmp_path / "sealed.tar"
    stack.cli("tenant", "export", tenant.name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)

    def swap(told: dict[str, Any], parts: dict[tuple[int, str], list[bytes]]) -> None:
        rows = [orjson.loads(line) for line in parts[0, "registry"]]
        one, two = (row["row"] for row in rows if row["table"] == "secrets")
        one["sealed"], two["sealed"] = two["sealed"], one["sealed"]
        parts[0, "registry"] = [orjson.dumps(row) for row in rows]

    here = Installation(tmp_path / "here").founded()
    done = here.cli("tenant", "import", str(changed(file, tmp_path / "swapped.tar", swap)), check=False)
    assert (done.returncode, "can't be opened" in done.stderr) == (1, True), done.stderr
