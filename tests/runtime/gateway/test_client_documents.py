"""Client ID metadata documents: fetched where that is safe, and from nowhere else."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tausestack_runtime.egress import Egress
from tausestack_runtime.gateway.oauth.documents import MAX_BYTES, ClientDocuments
from tausestack_runtime.gateway.oauth.fetching import Fetching

pytestmark = [pytest.mark.anyio, pytest.mark.covers("oauth:client-documents")]


@dataclass
class Site:
    """A site over TLS that says who a client is; what it answers can be changed."""

    port: int = 0
    body: bytes = b"{}"
    status: str = "200 OK"
    headers: list[str] = field(default_factory=lambda: ["content-type: application/json"])
    asked: list[str] = field(default_factory=list)
    trust: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/client.json"

    def documents(self, *, allowed: bool = True) -> ClientDocuments:
        hosts = frozenset({("localhost", self.port)}) if allowed else frozenset[tuple[str, int]]()

        async def resolve(host: str, _: int) -> list[str]:
            return ["127.0.0.1"] if host == "localhost" else ["169.254.169.254"]

        return ClientDocuments(Fetching(Egress(hosts, resolve), self.trust))


def certificate(folder: Path) -> ssl.SSLContext:
    """Return a server's context with a certificate of its own for localhost, left in the folder to be trusted."""
    from datetime import UTC, datetime, timedelta

    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Site]:
    site = Site()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        site.asked.append(head.decode().split(" ")[1])
        lines = [f"HTTP/1.1 {site.status}", *site.headers, f"content-length: {len(site.body)}", "connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + site.body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate(folder))
    site.port = server.sockets[0].getsockname()[1]
    site.trust.load_verify_locations(folder / "cert.pem")
    try:
        yield site
    finally:
        server.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(tmp_path) as found:
        yield found


def says(site: Site, **document: Any) -> dict[str, Any]:
    found = {"client_id": site.url, "client_name": "App", "redirect_uris": ["https://app.example/cb"], **document}
    site.body = json.dumps(found).encode()
    return found


async def test_a_document_is_fetched_once_while_it_may_be_kept(site: Site) -> None:
    said, documents = says(site), site.documents()
    assert await documents.of(site.url) == said
    assert await documents.of(site.url) == said
    assert site.asked == ["/client.json"]
    site.headers.append("cache-control: no-store")
    fresh = site.documents()
    await fresh.of(site.url)
    await fresh.of(site.url)
    assert len(site.asked) == 3


async def test_nothing_is_fetched_from_an_address_that_is_not_public(site: Site) -> None:
    says(site)
    documents = site.documents(allowed=False)
    for url in (
        site.url,
        "https://metadata.example/client.json",
        f"https://127.0.0.1:{site.port}/client.json",
        f"https://2130706433:{site.port}/client.json",
        f"https://[::ffff:127.0.0.1]:{site.port}/client.json",
    ):
        assert await documents.of(url) is None, url
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/client.json", "https://localhost", "https://localhost/", "https://u:p@localhost/c.json",
        "https://localhost/a/../client.json", "https://localhost/./client.json", "https://localhost/c.json#x",
        "https://localhost\\@evil/c.json", "file:///etc/passwd", "", "https://", "https://localhost:99999/c.json",
    ],
)  # fmt: skip
async def test_what_is_no_url_of_a_client_is_not_fetched(site: Site, url: str) -> None:
    assert await site.documents().of(url.replace("localhost", f"localhost:{site.port}", 1)) is None
    assert site.asked == []


@pytest.mark.parametrize("wrong", ["redirect", "missing", "html", "large", "array", "nonsense", "twice"])
async def test_a_reply_that_is_no_small_json_object_is_no_document(site: Site, wrong: str) -> None:
    says(site)
    if wrong == "redirect":
        site.status = "302 Found"
        site.headers.append("location: http://169.254.169.254/latest/meta-data")
    elif wrong == "missing":
        site.status = "404 Not Found"
    elif wrong == "html":
        site.headers = ["content-type: text/html"]
    elif wrong == "large":
        site.body = json.dumps({"client_name": "x" * MAX_BYTES}).encode()
    else:
        site.body = {"array": b"[]", "nonsense": b"{", "twice": b'{"client_id": "a", "client_id": "b"}'}[wrong]
    documents = site.documents()
    assert await documents.of(site.url) is None
    assert await documents.of(site.url) is None
    assert len(site.asked) == 1
